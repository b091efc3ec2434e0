//! Files of a crate that refer to each other in a circle.
//!
//! A name counts for the file that defines it: re-exports are looked through, and they and `mod x;` are no references.
//! What is only built for tests does not count. What no path names (a method called on a value) is not seen, nor which
//! of two names in different blocks of one file is meant; a glob counts for the file of its module.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::tokens::Token;

/// Files each of which reaches each other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    pub(crate) files: Vec<String>,
    /// Who refers to whom among them: the file, the first line that does, and the file that it means.
    arrows: Vec<(String, usize, String)>,
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a circle of {}", self.files.join(", "))?;
        self.arrows.iter().try_for_each(|(file, line, to)| write!(f, "\n    {file}:{line} refers to {to}"))
    }
}

/// The circles of these files, each with its path under `src/`; the crate's root may name all and is in none.
pub(crate) fn circles(files: &[(&str, Vec<Token>)]) -> Vec<Circle> {
    let tree = Tree::of(files);
    let arrows: BTreeMap<&str, BTreeMap<&str, usize>> =
        tree.sources.values().map(|source| (source.file, tree.arrows(source))).collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = arrows.keys().map(|file| (*file, reached(file, &arrows))).collect();
    let mut found: Vec<Circle> = Vec::new();
    for (file, others) in &reached {
        if !others.contains(file) || found.iter().any(|circle| circle.files.iter().any(|known| known == file)) {
            continue;
        }
        let members: BTreeSet<&str> = others.iter().copied().filter(|other| reached[other].contains(file)).collect();
        let inner = members.iter().flat_map(|from| arrows[from].iter().map(move |(to, line)| (*from, *line, *to)));
        let inner = inner.filter(|(_, _, to)| members.contains(to));
        found.push(Circle {
            arrows: inner.map(|(from, line, to)| (from.to_owned(), line, to.to_owned())).collect(),
            files: members.iter().map(|member| (*member).to_owned()).collect(),
        });
    }
    found
}

/// All files that one leads to; itself only by way of others.
fn reached<'a>(from: &'a str, arrows: &BTreeMap<&'a str, BTreeMap<&'a str, usize>>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut ahead: Vec<&str> = vec![from];
    while let Some(file) = ahead.pop() {
        ahead.extend(arrows.get(file).into_iter().flat_map(BTreeMap::keys).filter(|next| found.insert(**next)));
    }
    found
}

/// A path of code, as far as its segments go.
struct Words {
    words: Vec<String>,
    line: usize,
}

/// One name that a `use` brings in.
struct Import {
    /// The name; `*` for all.
    name: String,
    path: Words,
    /// Whether it is there for others.
    public: bool,
}

/// A file, and what it names.
struct Source<'a> {
    file: &'a str,
    /// The segments of its module, from the root.
    module: Vec<String>,
    imports: Vec<Import>,
    /// The paths outside of imports, of one segment or more; those that begin in `super` and the like begin in `crate`.
    paths: Vec<Words>,
}

/// The files of a crate by their modules.
struct Tree<'a> {
    sources: BTreeMap<Vec<String>, Source<'a>>,
}

impl<'a> Tree<'a> {
    fn of(files: &[(&'a str, Vec<Token>)]) -> Self {
        let mut sources = BTreeMap::new();
        let mut tests: Vec<Vec<String>> = Vec::new();
        for (file, tokens) in files {
            let module = module_path(file);
            let (kept, left_out) = without_tests(tokens);
            tests.extend(left_out.into_iter().map(|name| [module.clone(), vec![name]].concat()));
            let source = Source::read(file, module, &kept);
            sources.insert(source.module.clone(), source);
        }
        sources.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { sources }
    }

    /// The files that one refers to, each with the first line.
    fn arrows(&self, source: &Source<'a>) -> BTreeMap<&'a str, usize> {
        let mut found = BTreeMap::new();
        if source.module.is_empty() {
            return found;
        }
        let used = |import: &Import| source.paths.iter().any(|path| path.words[0] == import.name);
        let imported = source.imports.iter().filter(|import| !import.public || used(import)).map(|import| &import.path);
        for path in imported.chain(&source.paths) {
            if let Some(file) = self.file_of(source, &path.words, 16)
                && file != source.file
            {
                let line = found.entry(file).or_insert(path.line);
                *line = path.line.min(*line);
            }
        }
        found
    }

    /// The file that defines what a path in a file names; nothing for a module, and for what is not of this crate.
    fn file_of(&self, source: &Source<'a>, path: &[String], hops: usize) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        let hops = hops.checked_sub(1)?; // names that lead to themselves do not compile
        if first == "crate" {
            return self.file_below(self.sources.get(&[][..])?, rest, hops);
        }
        if self.child(source, first).is_some() && !rest.is_empty() {
            return self.file_below(source, path, hops);
        }
        let import = source.imports.iter().find(|import| import.name == *first && import.path.words != path)?;
        self.file_of(source, &[&import.path.words, rest].concat(), hops)
    }

    /// The same for a path whose first segment is looked up in the module of this file.
    fn file_below(&self, source: &Source<'a>, path: &[String], hops: usize) -> Option<&'a str> {
        let (first, rest) = path.split_first()?;
        if first == "*" {
            return Some(source.file);
        }
        let import = source.imports.iter().find(|import| import.name == *first);
        match (self.child(source, first), import) {
            (Some(child), _) if !rest.is_empty() => self.file_below(child, rest, hops),
            (_, Some(import)) => self.file_of(source, &[&import.path.words, rest].concat(), hops),
            (Some(_), None) => None,
            (None, None) => Some(source.file),
        }
    }

    fn child(&self, source: &Source<'a>, name: &str) -> Option<&Source<'a>> {
        self.sources.get(&[&source.module[..], &[name.to_owned()]].concat())
    }
}

/// The segments of the module that a file under `src/` is.
fn module_path(file: &str) -> Vec<String> {
    let mut segments: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib")) {
        segments.pop();
    }
    segments
}

/// The tokens that are not of an item built for tests only, and the files that are so as a whole.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut files) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !["#", "[", "cfg", "("].iter().enumerate().all(|(ahead, word)| text(tokens, at + ahead) == *word) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = group_end(tokens, at + 1);
        let condition = &tokens[at..end];
        let says = |word: &str| condition.iter().any(|token| token.text == word);
        if !says("test") || says("not") {
            kept.extend_from_slice(condition);
            at = end;
            continue;
        }
        at = end;
        while at < tokens.len() {
            match text(tokens, at) {
                ";" => {
                    if text(tokens, at.saturating_sub(2)) == "mod" {
                        files.push(text(tokens, at - 1).to_owned());
                    }
                    at += 1;
                    break;
                }
                "{" => {
                    at = group_end(tokens, at);
                    // The group of a `use` is followed by its semicolon.
                    at += usize::from(text(tokens, at) == ";");
                    break;
                }
                "(" | "[" => at = group_end(tokens, at),
                _ => at += 1,
            }
        }
    }
    (kept, files)
}

/// Behind the bracket that closes the one that opens here.
fn group_end(tokens: &[Token], start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(start) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

impl<'a> Source<'a> {
    fn read(file: &'a str, module: Vec<String>, tokens: &[Token]) -> Self {
        let mut source = Self { file, module: module.clone(), imports: Vec::new(), paths: Vec::new() };
        // For each open brace, the module written in place that it opens, if it does.
        let mut braces: Vec<Option<String>> = Vec::new();
        let mut at = 0;
        while at < tokens.len() {
            let before = if at == 0 { "" } else { text(tokens, at - 1) };
            let inner = || module.iter().chain(braces.iter().flatten()).cloned().collect::<Vec<_>>();
            match text(tokens, at) {
                "{" => {
                    let named = at >= 2 && text(tokens, at - 2) == "mod";
                    braces.push(named.then(|| before.to_owned()));
                }
                "}" => drop(braces.pop()),
                "use" if text(tokens, at + 1) != "<" => {
                    let public = matches!(before, "pub" | ")");
                    let mut add = |name: &str, words: Vec<String>, line| {
                        let path = Words { words: absolute(&inner(), words), line };
                        source.imports.push(Import { name: name.to_owned(), path, public });
                    };
                    at = import_end(tokens, at + 1, Vec::new(), &mut add);
                }
                "in" if before == "(" => at += 1, // how far something is public
                word if is_word(word) && !matches!(before, "::" | "mod") && !is_member(tokens, at) => {
                    let (mut words, line) = (vec![word.to_owned()], tokens[at].line);
                    while text(tokens, at + 1) == "::" && is_word(text(tokens, at + 2)) {
                        words.push(text(tokens, at + 2).to_owned());
                        at += 2;
                    }
                    // Alone it is a value or a range of visibility.
                    if words.len() > 1 || !matches!(word, "crate" | "self" | "super") {
                        source.paths.push(Words { words: absolute(&inner(), words), line });
                    }
                }
                _ => {}
            }
            at += 1;
        }
        source
    }
}

/// Adds the names that a `use` brings in by the tree that begins here, below a path; where the tree ends.
fn import_end(
    tokens: &[Token],
    start: usize,
    mut path: Vec<String>,
    add: &mut impl FnMut(&str, Vec<String>, usize),
) -> usize {
    let mut at = start;
    loop {
        match text(tokens, at) {
            "::" => {}
            "{" => {
                let end = group_end(tokens, at);
                while at + 1 < end {
                    at = import_end(tokens, at + 1, path.clone(), add);
                }
                return end;
            }
            "as" => {
                add(text(tokens, at + 1), path, tokens[at].line);
                return at + 2;
            }
            "self" if !path.is_empty() => {}
            "," | "}" | ";" | "" => {
                if let Some(last) = path.last().cloned() {
                    add(&last, path, tokens[at - 1].line);
                }
                return at;
            }
            word => path.push(word.to_owned()),
        }
        at += 1;
    }
}

/// The path from the root for one that begins in `crate`, `self` or `super`; any other as it is.
fn absolute(module: &[String], words: Vec<String>) -> Vec<String> {
    let own = usize::from(words[0] == "self");
    let supers = words[own..].iter().take_while(|word| *word == "super").count();
    if own + supers == 0 {
        return words;
    }
    let kept = &module[..module.len().saturating_sub(supers)];
    [&["crate".to_owned()], kept, &words[own + supers..]].concat()
}

/// Whether the word at this place is a field or a method. (Behind two dots is the end of a range, or a value.)
fn is_member(tokens: &[Token], at: usize) -> bool {
    at >= 2 && text(tokens, at - 1) == "." && text(tokens, at - 2) != "."
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

fn text(tokens: &[Token], at: usize) -> &str {
    tokens.get(at).map_or("", |token| &token.text)
}
