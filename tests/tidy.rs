//! The rules of the source that a compiler does not know: who may import whom, and how a file looks.
//!
//! `ARCHITECTURE.md` explains the layer table and shows it as it stands here.
#![allow(clippy::unwrap_used)] // the helpers are tests too

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/imports.rs"]
mod imports;
#[path = "tidy/tokens.rs"]
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use circles::{Circle, circles};
use imports::{Reference, module_of, own_references};
use tokens::{Token, tokens};

/// The folders of the library's crates, from the bottom up. The tables and checks take them for one: which of them may name
/// which is the compiler's business.
const LIBRARY: [&str; 4] = ["types/src", "core/src", "io/src", "src"];

/// Each top-level module of the library, and those it may import. `lib` re-exports what is public and is imported by none.
///
/// A new arrow comes with its reason in the commit message, and stands in `ARCHITECTURE.md` too, line for line.
const LAYERS: &str = "\
ingest    client write read                                    life        error        codec ids
client    write read maintain fetch machine state blobs store part life config error record codec ids clock
write                             machine state blobs       part life config error record codec ids clock
read                        fetch machine state             part life config error record codec ids clock
maintain                    fetch machine state             part life config error record codec ids clock
fetch                                     state blobs       part life        error        codec ids
machine                                   state blobs store      life config error record codec ids clock
state                                                       part      config error        codec ids clock
blobs                                           store            life config error record       ids clock
store                                                            life config error              ids clock
part                                                                  config error        codec ids
life                                                                  config error record       ids clock
config                                                                                          ids clock
error                                                                                     codec ids
record                                                                                          ids
codec
ids
clock
";

/// Each top-level module of `operators/src/`, and those it may import: what operators share knows none of them.
const OPERATOR_LAYERS: &str = "\
arrange   source common
sink      common
bridge    common
source    common
common
";

/// Each top-level module of `derive/src/`, and those it may import: what is written, what of it holds, what is made of it.
const DERIVE_LAYERS: &str = "\
expand      model attributes
model       attributes
attributes
";

/// A file says one thing; one that is longer says several.
const LINES_MAX: usize = 600;

/// What only some files under `src/` say, as a sequence of tokens, and which those are.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("Uuid :: new_v4", &["ids.rs", "clock.rs"], "randomness is asked of a clock::Entropy"),
    ("SystemTime :: now", &["clock.rs"], "the wall time is asked of a clock::Clock"),
    ("Instant :: now ( ) +", &[], "an instant that overflows is a panic: use clock::deadline_after"),
    ("println !", &[], "the library never prints: use tracing"),
    ("eprintln !", &[], "the library never prints: use tracing"),
    ("dbg !", &[], "the library never prints: use tracing"),
    ("todo !", &[], "nothing is left for later"),
    ("unimplemented !", &[], "nothing is left for later"),
    ("# [ ignore", &[], "a test that is not run tests nothing"),
];

/// A rule that a line breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// A source file.
struct File {
    /// Its path under the `src/` of its package.
    name: String,
    text: String,
}

impl File {
    fn violation(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation { file: self.name.clone(), line, rule: rule.into() }
    }
}

/// A parsed layer table.
fn layers(table: &'static str) -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        (words.next().unwrap(), words.collect())
    };
    table.lines().map(row).collect()
}

/// How the file looks.
fn check_look(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    if !file.text.starts_with("//!") {
        found
            .push(file.violation(1, "a file opens with `//!`: what it is for, what always holds, what it does not do"));
    }
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        found
            .push(file.violation(lines, format!("{lines} lines are more than {LINES_MAX}: split the file by meaning")));
    }
    found
}

/// What the file says that only others say.
fn check_reserved(file: &File, tokens: &[Token]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (words, allowed, reason) in RESERVED {
        let words: Vec<&str> = words.split(' ').collect();
        for window in tokens.windows(words.len()) {
            if window.iter().map(|token| token.text.as_str()).eq(words.iter().copied())
                && !allowed.contains(&file.name.as_str())
            {
                found.push(file.violation(window[0].line, format!("`{}` here: {reason}", words.concat())));
            }
        }
    }
    found
}

/// The file's imports against a layer table.
fn check_layers(file: &File, tokens: &[Token], table: &'static str) -> Vec<Violation> {
    let layers = layers(table);
    let module = module_of(&file.name);
    let mut found = Vec::new();
    if module == "lib" {
        return found;
    }
    let Some(allowed) = layers.get(module) else {
        found.push(file.violation(1, format!("the layer table has no module `{module}`: add it with its imports")));
        return found;
    };
    for Reference { name, line } in own_references(&file.name, tokens) {
        if name == module || allowed.contains(name.as_str()) {
            continue;
        }
        let rule = match layers.contains_key(name.as_str()) {
            true => format!("`{module}` may not import `{name}`: the layer table has no such arrow"),
            false => format!("`{module}` imports `{name}` from the crate root: name the module that defines it"),
        };
        found.push(file.violation(line, rule));
    }
    found
}

/// Top-level modules that import each other, if some do: each the next, and the last the first.
fn cycle(files: &[File]) -> Option<Vec<String>> {
    let modules: BTreeSet<&str> = files.iter().map(|file| module_of(&file.name)).collect();
    let mut arrows: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for file in files.iter().filter(|file| module_of(&file.name) != "lib") {
        let module = module_of(&file.name);
        let names = own_references(&file.name, &tokens(&file.text)).into_iter().map(|reference| reference.name);
        let others = names.filter(|name| name != module && modules.contains(name.as_str()));
        arrows.entry(module).or_default().extend(others);
    }
    // Modules that import none but those taken away before cannot be in a cycle; what is left in the end has one.
    loop {
        let free = arrows.iter().find(|(_, to)| !to.iter().any(|name| arrows.contains_key(name.as_str())));
        match free.map(|(module, _)| *module) {
            Some(module) => arrows.remove(module),
            None => break,
        };
    }
    let mut walk = vec![arrows.keys().next()?.to_string()];
    loop {
        let next = arrows[walk.last()?.as_str()].iter().find(|name| arrows.contains_key(name.as_str()))?;
        if let Some(start) = walk.iter().position(|name| name == next) {
            return Some(walk.split_off(start));
        }
        walk.push(next.clone());
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files under a folder of the repository.
fn sources(folder: &str) -> Vec<File> {
    let folder = root().join(folder);
    let mut files = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(next) = folders.pop() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().replace('\\', "/");
                files.push(File { name, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(!files.is_empty(), "no source under {}", folder.display());
    files
}

/// Fails with all violations, in files under this folder.
fn report(folder: &str, violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(|violation| format!("{folder}/{violation}")).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// The circles of files under a folder.
fn circles_of(files: &[File]) -> Vec<Circle> {
    circles(&files.iter().map(|file| (file.name.as_str(), tokens(&file.text))).collect::<Vec<_>>())
}

#[test]
fn no_files_refer_to_each_other_in_a_circle() {
    for folder in LIBRARY.into_iter().chain(["operators/src", "testing/src", "derive/src"]) {
        let found: Vec<String> =
            circles_of(&sources(folder)).iter().map(|circle| format!("{folder}/: {circle}")).collect();
        assert!(found.is_empty(), "\n{}\n", found.join("\n"));
    }
}

#[test]
fn the_library_keeps_its_layers() {
    let check = |file: &File| {
        let tokens = tokens(&file.text);
        [check_look(file), check_reserved(file, &tokens), check_layers(file, &tokens, LAYERS)].concat()
    };
    for folder in LIBRARY {
        report(folder, &sources(folder).iter().flat_map(check).collect::<Vec<_>>());
    }
    let files: Vec<File> = LIBRARY.into_iter().flat_map(sources).collect();
    assert_eq!(cycle(&files), None, "these modules of the library import each other");
}

#[test]
fn the_operators_and_the_derive_keep_their_layers() {
    for (folder, layers) in [("operators/src", OPERATOR_LAYERS), ("derive/src", DERIVE_LAYERS)] {
        let files = sources(folder);
        let check = |file: &File| {
            let tokens = tokens(&file.text);
            [check_look(file), check_reserved(file, &tokens), check_layers(file, &tokens, layers)].concat()
        };
        report(folder, &files.iter().flat_map(check).collect::<Vec<_>>());
        assert_eq!(cycle(&files), None, "these modules of {folder}/ import each other");
    }
}

#[test]
fn examples_and_tests_look_alike() {
    for folder in ["examples", "tests", "core/tests", "derive/tests", "testing/src"] {
        report(folder, &sources(folder).iter().flat_map(check_look).collect::<Vec<_>>());
    }
}

/// Of the codecs that the tests, examples and doctests here derive or write by hand this shows that nobody else has to, either.
#[test]
fn programs_need_no_arrow_in_their_manifest() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let named: Vec<_> = manifest
        .split("\n[")
        .filter(|table| table.starts_with("dependencies]") || table.starts_with("dev-dependencies]"))
        .flat_map(str::lines)
        .inspect(|line| assert!(!line.starts_with("arrow"), "timely-persist re-exports what a program needs: {line}"))
        .collect();
    assert!(named.iter().any(|line| line.starts_with("timely-persist-derive")), "the manifest's tables are elsewhere");
}

#[test]
fn the_layer_table_points_down_and_is_the_one_that_is_explained() {
    let mut below: BTreeSet<&str> = BTreeSet::new();
    for line in LAYERS.lines().rev() {
        let mut words = line.split_whitespace();
        let module = words.next().unwrap();
        for name in words {
            assert!(below.contains(name), "`{module}` may import `{name}`, which is not below it in the table");
        }
        assert!(below.insert(module), "`{module}` is in the table twice");
    }
    let layers = layers(LAYERS);
    assert!(!layers["write"].contains("read") && !layers["read"].contains("write"));

    let explained = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let explained: BTreeSet<&str> = explained.lines().map(str::trim).collect();
    for line in LAYERS.lines() {
        assert!(explained.contains(line), "ARCHITECTURE.md lacks this line of the layer table:\n{line}");
    }
}

/// What the checks of `src/` say about a file with this text.
fn said(name: &str, text: &str) -> Vec<String> {
    let file = File { name: name.to_owned(), text: text.to_owned() };
    let tokens = tokens(text);
    let all = [check_reserved(&file, &tokens), check_layers(&file, &tokens, LAYERS)].concat();
    all.iter().map(Violation::to_string).collect()
}

#[test]
fn good_files_pass() {
    let good = [
        ("machine.rs", "use crate::state::State;\nuse crate::{store::{Consensus, keys}, blobs, ids::SeqNo};"),
        ("part/mod.rs", "mod reader;\nuse self::reader::Reader;\nuse super::codec::Codec;"),
        ("part/reader.rs", "use super::Part;\nuse super::super::codec;\nuse crate::part::Part;"),
        ("part.rs", "mod tests {\n    use super::*;\n    use super::super::codec::Codec;\n}"),
        ("lib.rs", "pub mod read;\npub use crate::read::ReadHandle;"),
        (
            "codec.rs",
            "//! [`crate::client`]\n/* use crate::read; /* crate::write */ */\nconst A: &str = \"crate::client\";",
        ),
        (
            "codec.rs",
            "const A: &str = r#\"\" crate::client\"#;\nconst B: &[u8] = b\"\\\" crate::client\";\nfn f<'a>(c: &'a u8) {}",
        ),
        ("codec.rs", "const A: char = '\"';\nconst B: char = '\\'';\nconst C: &str = \"crate::read\";"),
        (
            "store.rs",
            "pub(crate) fn f() {}\npub(in crate::store) struct A;\nmacro_rules! m { () => { $crate::ids::SeqNo } }",
        ),
        ("ids.rs", "fn new() { Uuid::new_v4(); }"),
    ];
    for (name, text) in good {
        assert_eq!(said(name, text), Vec::<String>::new(), "{name}:\n{text}");
    }
}

#[test]
fn bad_files_are_named_with_line_and_rule() {
    let bad = [
        ("part.rs", "\nuse crate::state::State;", "part.rs:2: `part` may not import `state`"),
        ("read.rs", "use crate::write::WriteHandle;", "read.rs:1: `read` may not import `write`"),
        ("write/mod.rs", "fn f() { crate::read::g() }", "write/mod.rs:1: `write` may not import `read`"),
        ("state/mod.rs", "use crate::{\n  ids,\n  store::keys,\n};", "state/mod.rs:3: `state` may not import `store`"),
        ("codec/word.rs", "use super::super::error::Error;", "codec/word.rs:1: `codec` may not import `error`"),
        ("codec.rs", "mod tests {\n use super::super::part;\n}", "codec.rs:2: `codec` may not import `part`"),
        ("codec.rs", "use super::{ids, part};", "codec.rs:1: `codec` may not import `ids`"),
        ("error.rs", "use crate::clock::Clock;", "error.rs:1: `error` may not import `clock`"),
        ("read.rs", "use crate::Error;", "read.rs:1: `read` imports `Error` from the crate root"),
        ("read.rs", "use crate::*;", "read.rs:1: `read` imports `*` from the crate root"),
        ("read.rs", "use crate::{self as all};", "read.rs:1: `read` imports `crate` from the crate root"),
        ("manager.rs", "", "manager.rs:1: the layer table has no module `manager`"),
        ("state.rs", "use timely_persist_io::store::keys;", "state.rs:1: `state` may not import `store`"),
        ("read.rs", "\n/* \" */ fn f() { println!(\"\") }", "read.rs:2: `println!` here"),
        ("read.rs", "fn f() { let id = uuid::Uuid::new_v4(); }", "read.rs:1: `Uuid::new_v4` here"),
        ("read.rs", "fn f() { let end = Instant::now() + limit; }", "read.rs:1: `Instant::now()+` here"),
        ("read.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", "read.rs:2: `#[ignore` here"),
    ];
    for (name, text, expected) in bad {
        let said = said(name, text);
        assert!(said.first().is_some_and(|first| first.starts_with(expected)), "{said:?} is not {expected:?}");
    }
}

#[test]
fn bad_looks_are_named() {
    let look = |text: &str| {
        let file = File { name: "a.rs".to_owned(), text: text.to_owned() };
        check_look(&file).iter().map(Violation::to_string).collect::<Vec<_>>()
    };
    assert!(look("//! A.\n").is_empty());
    assert!(look("// A.\n")[0].starts_with("a.rs:1: a file opens with `//!`"));
    let long = format!("//! A.\n{}", "\n".repeat(LINES_MAX));
    assert!(look(&long)[0].starts_with(&format!("a.rs:{}: ", LINES_MAX + 1)));
}

#[test]
fn cycles_are_found() {
    let line = [("lib.rs", "use crate::a;"), ("a.rs", "use crate::b;"), ("b/mod.rs", "use crate::c::C;"), ("c.rs", "")];
    assert_eq!(cycle(&files(&line)), None);
    let ring = [("a.rs", "use crate::b;"), ("b/x.rs", "use crate::c::C;"), ("c.rs", "use super::b::B;"), ("d.rs", "")];
    assert_eq!(cycle(&files(&ring)), Some(vec!["b".to_owned(), "c".to_owned()]));
}

/// The files with these texts, below a root that declares nothing.
fn files(sources: &[(&str, &str)]) -> Vec<File> {
    let root = [("lib.rs", "")];
    let all = root.iter().chain(sources);
    all.map(|(name, text)| File { name: (*name).to_owned(), text: (*text).to_owned() }).collect()
}

#[test]
fn files_that_refer_one_way_are_no_circle() {
    let good: [&[(&str, &str)]; 12] = [
        // A name behind a re-export is the defining file's, and a re-export or a declaration is no reference.
        &[
            ("a/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::{Y, Z as Else};"),
            ("a/x.rs", "use super::{Else, Y};\nfn f() { super::y::g() }"),
            ("a/y.rs", ""),
        ],
        &[("a/mod.rs", "mod x;\npub use self::x::X;"), ("a/x.rs", "use super::B;\nfn x() {}"), ("b.rs", "")],
        &[("a/mod.rs", "mod x;\nmod y;\nuse y::Y;"), ("a/x.rs", "use super::Y;"), ("a/y.rs", "")],
        // A child may implement what its parent defines.
        &[("a/mod.rs", "mod x;\npub struct A;"), ("a/x.rs", "use super::A;\nimpl A { pub(super) fn f() {} }")],
        &[("a.rs", "mod x;\nfn f() { x::g() }"), ("a/x.rs", "pub(in super::super) fn g() {}\npub(super) fn h() {}")],
        // A module is no reference, only what is named in it.
        &[("a/mod.rs", "mod x;\nmod y;\nstruct A;"), ("a/x.rs", "use super::y;"), ("a/y.rs", "use super::x::X;")],
        // What a method is called, or a field, is no name of a file's.
        &[("a.rs", "mod x;\npub use x::f;\nfn g(a: A) { a.f() }"), ("a/x.rs", "use super::g;")],
        // A value is no module, even if a function has the name of its file.
        &[
            ("a/mod.rs", "mod x;\nmod y;\nuse y::x;"),
            ("a/x.rs", "fn f(&self) { self.g() }"),
            ("a/y.rs", "use super::x::X;"),
        ],
        // Tests may name all.
        &[("a.rs", "mod x;\nuse x::X;\n#[cfg(test)]\nmod tests { use super::x::X; }"), ("a/x.rs", "")],
        &[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "#[cfg(all(test, unix))]\nmod tests { use super::super::A; }")],
        &[("a.rs", "#[cfg(test)]\nmod x;\n#[cfg(test)]\nuse x::{X};"), ("a/x.rs", "use super::A;")],
        // A name of another crate that is a file's too.
        &[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "use a::A;\nuse ::x::Y;\nfn f<'b>() -> impl T + use<'b> {}")],
    ];
    for sources in good {
        assert_eq!(circles_of(&files(sources)), Vec::new(), "{sources:?}");
    }
}

#[test]
fn files_in_a_circle_are_named_with_their_lines() {
    let said = |sources: &[(&str, &str)]| -> Vec<String> {
        circles_of(&files(sources)).iter().map(Circle::to_string).collect()
    };
    let siblings = [
        ("a/mod.rs", "mod x;\nmod y;\npub use x::X;\npub use y::Y;"),
        ("a/x.rs", "\nuse super::Y;\nuse crate::a::{self, y::Z};"),
        ("a/y.rs", "fn f() { super::X::new() }"),
    ];
    let expected = "a circle of a/x.rs, a/y.rs\n    a/x.rs:2 refers to a/y.rs\n    a/y.rs:1 refers to a/x.rs";
    assert_eq!(said(&siblings), vec![expected]);

    let bad: [(&[(&str, &str)], &str); 9] = [
        (&[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "use super::A;")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\npub use x::X;\nfn f(x: X) {}"), ("a/x.rs", "use super::A;")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\nfn f() { x::g() }"), ("a/x.rs", "use super::*;")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "fn f() { crate::a::g() }")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "mod m { use super::super::A; }")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "#[cfg(not(test))]\nuse super::A;")], "a circle of a.rs, a/x.rs"),
        (&[("a.rs", "mod x;\nuse x::X;"), ("a/x.rs", "fn f() { 0..super::MAX }")], "a circle of a.rs, a/x.rs"),
        // By the name of a module that is imported, and by a name that is passed on twice.
        (&[("a.rs", "use crate::b;\nfn f() { b::g() }"), ("b.rs", "use crate::a::A;")], "a circle of a.rs, b.rs"),
        (
            &[
                ("a/mod.rs", "mod x;\nmod y;\npub use x::T as U;"),
                ("a/x.rs", "use super::y::Y;\npub use super::y::T;"),
                ("a/y.rs", "mod z;\npub use z::T;\nuse super::x::X;"),
                ("a/y/z.rs", "use crate::a::{U, x::V};"),
            ],
            "a circle of a/x.rs, a/y.rs",
        ),
    ];
    for (sources, expected) in bad {
        let said = said(sources);
        assert!(said.len() == 1 && said[0].starts_with(&format!("{expected}\n")), "{said:?} is not {expected:?}");
    }
}

#[test]
fn what_operators_share_knows_no_source() {
    let said = |name: &str, text: &str| {
        let file = File { name: name.to_owned(), text: text.to_owned() };
        check_layers(&file, &tokens(text), OPERATOR_LAYERS).iter().map(Violation::to_string).collect::<Vec<_>>()
    };
    assert!(said("source/leader.rs", "use crate::common::error::SourceError;\nuse super::steps;").is_empty());
    let refused = said("common/button.rs", "use crate::source::settings::Settings;");
    assert!(refused[0].starts_with("common/button.rs:1: `common` may not import `source`"), "{refused:?}");
    let beside = said("sink/resume.rs", "use crate::source::settings::Settings;");
    assert!(beside[0].starts_with("sink/resume.rs:1: `sink` may not import `source`"), "{beside:?}");
    assert_eq!(said("metrics/mod.rs", "").len(), 1, "a new module comes with its row");
}
