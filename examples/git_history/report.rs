//! What a run tells: the table of one commit, and what it cost to get it.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::table::Table;

/// The history appended in this run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ingested {
    pub(crate) commits: usize,
    pub(crate) rows: u64,
    pub(crate) took: Duration,
}

/// The collection read back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hydrated {
    pub(crate) table: Table,
    /// Updates that the source emitted.
    pub(crate) rows: u64,
    pub(crate) parts: u64,
    pub(crate) bytes: u64,
    pub(crate) took: Duration,
    /// Whether it is the kept table that was read, not the history.
    pub(crate) kept: bool,
}

/// The answer of a run.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) commit: u64,
    pub(crate) id: String,
    pub(crate) workers: usize,
    pub(crate) ingested: Ingested,
    pub(crate) hydrated: Hydrated,
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let total = self.hydrated.table.total();
        json!({
            "commit": self.commit,
            "files": total.files,
            "lines": total.lines,
            "extensions": self.hydrated.table.to_json(),
            "rows": self.hydrated.rows,
            "ingest_s": self.ingested.took.as_secs_f64(),
            "hydrate_s": self.hydrated.took.as_secs_f64(),
            "workers": self.workers,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit, id, workers, ingested, hydrated } = self;
        writeln!(f, "commit {commit} ({})\n", short(id))?;
        writeln!(f, "{}", hydrated.table)?;
        match ingested.commits {
            0 => writeln!(f, "ingest: no new commits")?,
            commits => writeln!(
                f,
                "ingest: {commits} {}, {}",
                plural(commits as u64, "commit", "commits"),
                speed(ingested.rows, ingested.took)
            )?,
        }
        writeln!(
            f,
            "{} on {workers} {}: {}, {} {}, {} bytes",
            if hydrated.kept { "kept table read" } else { "hydration" },
            plural(*workers as u64, "worker", "workers"),
            speed(hydrated.rows, hydrated.took),
            hydrated.parts,
            plural(hydrated.parts, "part", "parts"),
            hydrated.bytes,
        )
    }
}

/// A commit id as people write it.
pub(crate) fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn plural<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

fn speed(rows: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let mut text = format!("{rows} {} in {seconds:.3} s", plural(rows, "row", "rows"));
    if seconds > 0.0 && rows > 0 {
        text.push_str(&format!(" ({:.0} rows/s)", rows as f64 / seconds));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Count;

    #[test]
    fn json_has_the_promised_fields() {
        let mut table = Table::default();
        table.add("rs", Count { files: 2, lines: 30 });
        let report = Report {
            commit: 4,
            id: "0123456789abcdef".to_owned(),
            workers: 2,
            ingested: Ingested { commits: 5, rows: 9, took: Duration::from_millis(1500) },
            hydrated: Hydrated { table, rows: 6, parts: 1, bytes: 100, took: Duration::from_millis(250), kept: false },
        };
        let expected = serde_json::json!({
            "commit": 4, "files": 2, "lines": 30, "extensions": { "rs": { "files": 2, "lines": 30 } },
            "rows": 6, "ingest_s": 1.5, "hydrate_s": 0.25, "workers": 2,
        });
        assert_eq!(report.to_json(), expected);
        let text = report.to_string();
        assert!(text.starts_with("commit 4 (0123456789ab)\n"), "{text}");
        assert!(text.contains("ingest: 5 commits, 9 rows in 1.500 s (6 rows/s)"), "{text}");
        assert!(text.contains("hydration on 2 workers: 6 rows in 0.250 s (24 rows/s), 1 part, 100 bytes"), "{text}");
    }
}
