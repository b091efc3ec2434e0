//! Files and lines per file extension: what the program computes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use timely_persist::Codec;

/// A number of files and the lines in them. Differences of two tables can be negative.
///
/// A shard stores it by its codec, and one worker sends it to another by serde.
#[derive(Codec, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "count")]
pub(crate) struct Count {
    #[codec(id = 1)]
    pub(crate) files: i64,
    #[codec(id = 2)]
    pub(crate) lines: i64,
}

impl Count {
    fn plus(self, other: Self) -> Self {
        // Saturating: a wrong total on a forged input is better than no answer.
        Self { files: self.files.saturating_add(other.files), lines: self.lines.saturating_add(other.lines) }
    }

    pub(crate) fn times(self, times: i64) -> Self {
        Self { files: self.files.saturating_mul(times), lines: self.lines.saturating_mul(times) }
    }
}

/// Counts per extension (see [`crate::path_text::extension`]), or changes of them. An extension without files and lines is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    extensions: BTreeMap<String, Count>,
}

impl Table {
    /// Adds to the count of an extension.
    pub(crate) fn add(&mut self, extension: &str, count: Count) {
        let sum = self.extensions.get(extension).copied().unwrap_or_default().plus(count);
        if sum == Count::default() {
            self.extensions.remove(extension);
        } else {
            self.extensions.insert(extension.to_owned(), sum);
        }
    }

    /// The sum over all extensions.
    pub(crate) fn total(&self) -> Count {
        self.extensions.values().fold(Count::default(), |sum, count| sum.plus(*count))
    }

    /// Adds what a commit changed.
    pub(crate) fn apply(&mut self, change: &Table) {
        for (extension, count) in &change.extensions {
            self.add(extension, *count);
        }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.extensions.is_empty()
    }

    /// `{"rs": {"files": 3, "lines": 120}, …}`
    pub(crate) fn to_json(&self) -> Value {
        let entry = |(extension, count): (&String, &Count)| {
            (extension.clone(), json!({ "files": count.files, "lines": count.lines }))
        };
        Value::Object(self.extensions.iter().map(entry).collect::<Map<_, _>>())
    }

    /// The table as changes to another one: every number with its sign.
    pub(crate) fn signed(&self) -> impl fmt::Display {
        Layout { rows: self.rows(), signed: true }
    }

    /// Most lines first, then by name.
    fn rows(&self) -> Vec<(String, Count)> {
        let mut rows: Vec<(String, Count)> =
            self.extensions.iter().map(|(name, count)| (shown(name), *count)).collect();
        rows.sort_by(|(one, a), (other, b)| (b.lines, b.files, one).cmp(&(a.lines, a.files, other)));
        rows.push(("total".to_owned(), self.total()));
        rows
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Layout { rows: self.rows(), signed: false }.fmt(f)
    }
}

/// How a terminal shows an extension: control characters would disturb it.
fn shown(extension: &str) -> String {
    if extension.is_empty() { "(none)".to_owned() } else { format!(".{}", extension.escape_debug()) }
}

/// Rows to be aligned, the totals last.
struct Layout {
    rows: Vec<(String, Count)>,
    signed: bool,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: i64| if self.signed { format!("{number:+}") } else { number.to_string() };
        let head = ["extension".to_owned(), "files".to_owned(), "lines".to_owned()];
        let body = self.rows.iter().map(|(name, count)| [name.clone(), number(count.files), number(count.lines)]);
        let cells: Vec<[String; 3]> = std::iter::once(head).chain(body).collect();
        let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let (names, files, lines) = (width(0), width(1), width(2));
        for (index, [name, file_count, line_count]) in cells.iter().enumerate() {
            if index + 1 == cells.len() {
                writeln!(f, "{}", "-".repeat(names + files + lines + 4))?;
            }
            writeln!(f, "{name:<names$}  {file_count:>files$}  {line_count:>lines$}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, i64, i64)]) -> Table {
        let mut table = Table::default();
        for &(extension, files, lines) in rows {
            table.add(extension, Count { files, lines });
        }
        table
    }

    #[test]
    fn prints_aligned_with_totals() {
        let text = table(&[("rs", 2, 1200), ("", 1, 7), ("md", 10, 7)]).to_string();
        let expected = "\
extension  files  lines
.rs            2   1200
.md           10      7
(none)         1      7
-----------------------
total         13   1214
";
        assert_eq!(text, expected);
    }

    #[test]
    fn changes_add_up_and_leave_nothing_behind() {
        let mut sum = table(&[("rs", 2, 10), ("md", 1, 5)]);
        let change = table(&[("rs", -1, 0), ("md", -1, -5), ("toml", 1, 3)]);
        assert!(change.signed().to_string().contains("-1"));
        sum.apply(&change);
        assert_eq!(sum, table(&[("rs", 1, 10), ("toml", 1, 3)]));
        sum.apply(&table(&[("rs", -1, -10), ("toml", -1, -3)]));
        assert!(sum.is_empty());
    }

    #[test]
    fn json_names_every_extension() {
        let expected = serde_json::json!({ "": { "files": 1, "lines": 7 }, "rs": { "files": 2, "lines": 9 } });
        assert_eq!(table(&[("rs", 2, 9), ("", 1, 7)]).to_json(), expected);
    }
}
