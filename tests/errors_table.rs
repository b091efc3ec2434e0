//! `docs/errors.md` has every message of the library, and no other: what a person finds in a log is found there.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What a message is handed to. Whatever text follows, up to the end of the call, is one.
const TOLD_BY: &[&str] = &[
    "Error::invalid(",
    "Error::corrupt(",
    "Error::unavailable(",
    "Error::new(",
    "LogError::failed(",
    "LogError::unknown(",
    "let message = ",
];

/// Text that is shorter is a piece of a message, such as a name.
const MESSAGE_CHARACTERS_MIN: usize = 12;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The code of a file, without comments and tests, and with one line where a text goes over several.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let mut code = String::new();
    for line in lines {
        let line = if code.ends_with('\\') { line.trim_start() } else { line };
        if code.ends_with('\\') {
            code.pop();
        } else {
            code.push('\n');
        }
        code.push_str(line);
    }
    code
}

/// The text behind a quotation mark, and what follows it.
fn literal(rest: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = rest.find(|character| {
        let ends = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        ends
    });
    rest.split_at(end.unwrap_or(rest.len()))
}

/// The texts of some code, as the table has them: `…` for what is put in.
fn texts(code: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = code.replace("'\"'", "' '");
    while let Some((_, behind)) = rest.split_once('"') {
        let (text, behind) = literal(behind);
        texts.push(as_in_the_table(text));
        rest = behind.get(1..).unwrap_or_default().to_owned();
    }
    texts
}

fn as_in_the_table(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        shown.push_str(before);
        shown.push('…');
        rest = behind.split_once('}').map_or("", |(_, behind)| behind);
    }
    shown.push_str(rest);
    shown.replace('`', "'")
}

/// The call or the statement that `code` begins in the middle of.
fn to_its_end(code: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_i32, false, false);
    let end = code.find(|character| {
        match character {
            '"' if !escaped => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            _ => {}
        }
        escaped = quoted && character == '\\' && !escaped;
        !quoted && (depth < 0 || (depth == 0 && character == ';'))
    });
    &code[..end.unwrap_or(code.len())]
}

/// The messages that a file is seen to tell.
fn told(code: &str) -> Vec<String> {
    let starts = TOLD_BY.iter().flat_map(|by| code.match_indices(by).map(|(at, by)| &code[at + by.len()..]));
    let messages = starts.flat_map(|behind| texts(to_its_end(behind)));
    messages.filter(|text| text.chars().count() >= MESSAGE_CHARACTERS_MIN && text.contains(' ')).collect()
}

/// The messages of the table: what stands in backticks in the first cell of a row.
fn in_the_table() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split(" | ").next().unwrap().to_owned());
    cells.flat_map(|cell| cell.trim_end_matches('`').split("`<br>`").map(str::to_owned).collect::<Vec<_>>()).collect()
}

// Hazard 54.
#[test]
fn the_table_of_errors_has_every_message_and_no_other() {
    let table = in_the_table();
    assert!(table.len() > 100, "{} messages", table.len());
    let files = ["types/src", "core/src", "io/src", "src"].map(|folder| sources(&root().join(folder)));
    let codes: Vec<(PathBuf, String)> = files.into_iter().flatten().map(|path| (path.clone(), code(&path))).collect();
    let mut missing = Vec::new();
    for (path, code) in &codes {
        let lacks = told(code).into_iter().filter(|message| !table.contains(message));
        missing.extend(lacks.map(|message| format!("{}: {message}", path.display())));
    }
    assert!(missing.is_empty(), "docs/errors.md lacks these messages: add what they mean and what to do\n{missing:#?}");
    let known: BTreeSet<String> = codes.iter().flat_map(|(_, code)| texts(code)).collect();
    let gone: Vec<&String> = table.iter().filter(|message| !known.contains(*message)).collect();
    assert!(gone.is_empty(), "docs/errors.md has messages that no source has any more\n{gone:#?}");
}

#[test]
fn messages_are_found_where_they_are_told() {
    let code = "let error = Error::invalid(format!(\"no {name:?} in {}: {}\", one, f(two)))\n.advise(\"look elsewhere for it\");\n\
                let message = match such { true => \"one of the messages\", false => \"other\" };\nlog(\"it is not an error\")";
    assert_eq!(told(code), ["no … in …: …", "one of the messages"]);
    assert_eq!(texts("f(\"a \\\"b\\\"\", '\"', \"c\")"), ["a \\\"b\\\"", "c"]);
}
