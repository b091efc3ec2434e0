//! Which top-level module of its crate a file refers to, and where.

use crate::tokens::Token;

/// A reference to something that lies directly in the crate root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The first segment behind the root: a module, or an item of the root itself. `*` for all, `crate` for the root.
    pub(crate) name: String,
    /// Where it stands.
    pub(crate) line: usize,
}

/// The top-level module that a file under `src/` belongs to; `lib` for the root itself.
pub(crate) fn module_of(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// How many `super` lead from a file under `src/` to the crate root.
fn depth_of(file: &str) -> usize {
    let folders = file.matches('/').count();
    match file.rsplit('/').next() {
        Some("lib.rs" | "mod.rs") => folders,
        _ => folders + 1,
    }
}

/// The crates of the library whose modules are those of the layer table, as if they were one crate's.
const ROOMS: [&str; 3] = ["timely_persist_types", "timely_persist_core", "timely_persist_io"];

/// What a file refers to in the root of its own crate, by `crate::…` or by as many `super::` as lead there, or in that of
/// another of the library's.
pub(crate) fn own_references(file: &str, tokens: &[Token]) -> Vec<Reference> {
    let mut found = Vec::new();
    // For each open brace, whether it opens a module written in place.
    let mut braces: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => braces.push(at >= 2 && text(tokens, at - 2) == "mod"),
            "}" => {
                braces.pop();
            }
            _ if at > 0 && text(tokens, at - 1) == "::" => {} // the middle of a path
            word if (word == "crate" || ROOMS.contains(&word)) && text(tokens, at + 1) == "::" => {
                found.extend(segments(tokens, at + 2));
            }
            "crate" if text(tokens, at + 1) == "as" => found.extend(segments(tokens, at)),
            "super" => {
                let mut supers = 0;
                let mut behind = at;
                while text(tokens, behind) == "super" && text(tokens, behind + 1) == "::" {
                    (supers, behind) = (supers + 1, behind + 2);
                }
                let depth = depth_of(file) + braces.iter().filter(|module| **module).count();
                if supers == depth {
                    found.extend(segments(tokens, behind));
                }
            }
            _ => {}
        }
    }
    found
}

/// The first segments of the path, or of each path of the group, that begins here.
fn segments(tokens: &[Token], start: usize) -> Vec<Reference> {
    let reference = |token: &Token| {
        let name = if token.text == "self" { "crate" } else { &token.text };
        Reference { name: name.to_owned(), line: token.line }
    };
    let Some(first) = tokens.get(start) else { return Vec::new() };
    if first.text != "{" {
        return vec![reference(first)];
    }
    let mut found = Vec::new();
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "," => {}
            _ if depth == 1 && matches!(text(tokens, at - 1), "{" | ",") => found.push(reference(token)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}
