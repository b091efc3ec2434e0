//! The main example's reading of a repository: its collection is what `git diff --numstat` counts, at every commit.
//!
//! The example's modules are part of this program, so that their own tests run here too: the example itself is built
//! as the program that users run, which has none.
#![allow(dead_code)] // the modules of the example are used in part
#![allow(clippy::unwrap_used)] // the helpers are tests too

#[path = "../examples/git_history/args.rs"]
mod args;
#[path = "../examples/git_history/board.rs"]
mod board;
#[path = "../examples/git_history/data_directory.rs"]
mod data_directory;
#[path = "../examples/git_history/history.rs"]
mod history;
#[path = "../examples/git_history/interrupt.rs"]
mod interrupt;
#[path = "../examples/git_history/path_text.rs"]
mod path_text;
#[path = "../examples/git_history/problem.rs"]
mod problem;
#[path = "../examples/git_history/report.rs"]
mod report;
#[path = "../examples/git_history/repository.rs"]
mod repository;
mod scratch;
#[path = "../examples/git_history/shards.rs"]
mod shards;
#[path = "../examples/git_history/store.rs"]
mod store;
#[path = "../examples/git_history/table.rs"]
mod table;

use std::collections::HashMap;

use history::{Change, Commit, History};
use path_text::path_text;
use repository::Repository;
use scratch::{Edit, ScratchRepository};

/// The rows of a collection, in order.
type Rows = Vec<(String, u64)>;

/// Applies a commit's changes and checks that they are changes to what is there.
fn apply(collection: &mut HashMap<String, u64>, commit: &Commit) {
    // Retractions first: a changed file is both.
    for Change { path, lines, .. } in commit.changes.iter().filter(|change| change.diff == -1) {
        assert_eq!(collection.remove(path), Some(*lines), "commit {} retracts {path:?}", commit.number);
    }
    for Change { path, lines, .. } in commit.changes.iter().filter(|change| change.diff == 1) {
        assert_eq!(collection.insert(path.clone(), *lines), None, "commit {} adds {path:?}", commit.number);
    }
    assert!(commit.changes.iter().all(|change| change.diff.abs() == 1));
}

fn rows(collection: &HashMap<String, u64>) -> Rows {
    let mut rows: Rows = collection.iter().map(|(path, lines)| (path.clone(), *lines)).collect();
    rows.sort();
    rows
}

fn expected(repository: &ScratchRepository, commit: &str) -> Rows {
    let mut rows: Rows =
        repository.numstat(commit).into_iter().map(|(path, lines)| (path_text(&path), lines)).collect();
    rows.sort();
    rows
}

/// Reads `[from, to)` of the history on top of a collection.
fn read(repository: &Repository, ids: &[String], from: usize, collection: &mut HashMap<String, u64>) -> Vec<Commit> {
    let history = History::new(repository, ids.to_vec(), from, collection.clone()).unwrap();
    let commits: Vec<Commit> = history.map(Result::unwrap).collect();
    commits.iter().for_each(|commit| apply(collection, commit));
    commits
}

/// Compares the collection with git at every commit; then once more for a run that stops and goes on at each commit.
fn compare_at_every_commit(scratch: &ScratchRepository) {
    let repository = Repository::at(scratch.path()).unwrap();
    let ids = repository.commits().unwrap();
    assert_eq!(ids, scratch.ids());
    let mut collection = HashMap::new();
    let mut states = Vec::new();
    for (number, commit) in History::new(&repository, ids.clone(), 0, HashMap::new()).unwrap().enumerate() {
        let commit = commit.unwrap();
        assert_eq!((commit.number, &commit.id), (number as u64, &ids[number]));
        apply(&mut collection, &commit);
        assert_eq!(rows(&collection), expected(scratch, &commit.id), "after commit {number}");
        states.push(collection.clone());
    }
    assert_eq!(states.len(), ids.len());
    for stop in 1..ids.len() {
        // A history that ends at one commit and another that begins behind it are the whole.
        let mut resumed = states[stop - 1].clone();
        let next = read(&repository, &ids[..=stop], stop, &mut resumed);
        assert_eq!(next.len(), 1);
        assert_eq!(rows(&resumed), rows(&states[stop]), "resumed behind commit {}", stop - 1);
    }
    assert!(History::new(&repository, ids.clone(), ids.len(), collection).unwrap().next().is_none());
}

fn numbered_lines(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("line {line}\n").into_bytes()).collect()
}

#[test]
fn additions_edits_renames_and_deletions() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"a.rs", &numbered_lines(10)), File(b"dir/b.rs", &numbered_lines(3)), File(b"empty", b"")]);
    scratch.commit(&[File(b"a.rs", &numbered_lines(12))]);
    scratch.commit(&[]);
    scratch.commit(&[Rename(b"a.rs", b"dir/c.rs")]);
    scratch.commit(&[Rename(b"dir/c.rs", b"d.md"), File(b"d.md", &numbered_lines(11))]);
    scratch.commit(&[File(b"empty", b"no longer"), Delete(b"dir/b.rs")]);
    scratch.commit(&[File(b"empty", b"")]);
    scratch.commit(&[Delete(b"empty"), Delete(b"d.md")]);
    scratch.commit(&[File(b"again", b"one\ntwo\n")]);
    // A file becomes a directory, and a directory a file.
    scratch.commit(&[Delete(b"again"), File(b"again/inside", b"one\n")]);
    scratch.commit(&[Delete(b"again"), File(b"again", b"1\n2\n3\n")]);
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn last_lines_without_newline_and_other_line_ends() {
    let mut scratch = ScratchRepository::new();
    for content in ["a", "a\n", "a\nb", "b", "", "\n", "\n\n", "\r\n\r", "a\rb\rc", "a\nb\nc\n", "c\nb\na", "a\n \n\n"]
    {
        scratch.commit(&[Edit::File(b"file", content.as_bytes())]);
    }
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn binary_files_come_and_go() {
    let mut scratch = ScratchRepository::new();
    let late_nul = [numbered_lines(2000), b"\0".to_vec()].concat();
    let contents: [&[u8]; 10] =
        [b"\0", b"\0\n\n", b"text\ntext", b"\0again\n", b"", b"\0", b"a\nb\n", &late_nul, b"\xff\xfe\nlatin\n", b"\0"];
    for (number, content) in contents.iter().enumerate() {
        let also = format!("steady {number}\n");
        scratch.commit(&[Edit::File(b"changing.bin", content), Edit::File(b"other", also.as_bytes())]);
    }
    scratch.commit(&[Edit::Rename(b"changing.bin", b"moved.bin")]);
    scratch.commit(&[Edit::Delete(b"moved.bin")]);
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn many_binary_changes_in_one_commit() {
    // More than one command's worth of paths.
    let names: Vec<Vec<u8>> = (0..450).map(|number| format!("files/{number}.bin").into_bytes()).collect();
    let mut scratch = ScratchRepository::new();
    for content in [b"\0".as_slice(), b"text\ntext\n", b"\0\0"] {
        let edits: Vec<Edit<'_>> = names.iter().map(|name| Edit::File(name, content)).collect();
        scratch.commit(&edits);
    }
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn odd_names() {
    let names: [&[u8]; 14] = [
        b"with space",
        b"tab\there",
        b"new\nline",
        b"\"quoted\"",
        b"back\\slash",
        b":colon",
        b":(glob)*",
        b"*",
        b"[a-z]?",
        b"-rf",
        b"caf\xe9.txt",
        b"\"caf\\351.txt\"",
        "größe/中文.rs".as_bytes(),
        b"1\t2\tnumstat",
    ];
    let mut scratch = ScratchRepository::new();
    // Each name changes kind, so each is also asked for by name.
    for content in [b"one\n".as_slice(), b"\0", b"one\ntwo\n", b"one\n"] {
        let edits: Vec<Edit<'_>> = names.iter().map(|name| Edit::File(name, content)).collect();
        scratch.commit(&edits);
    }
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn modes_links_and_submodules() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"run.sh", b"#!/bin/sh\ntrue\n"), Link(b"link", b"run.sh"), Submodule(b"sub", 1)]);
    scratch.commit(&[Executable(b"run.sh", b"#!/bin/sh\ntrue\n")]);
    scratch.commit(&[File(b"run.sh", b"#!/bin/sh\nfalse\n:\n"), Submodule(b"sub", 2)]);
    scratch.commit(&[Link(b"link", b"elsewhere")]);
    scratch.commit(&[Link(b"run.sh", b"link"), File(b"link", b"a\nb\nc\n")]);
    scratch.commit(&[File(b"sub", b"a file\nnow\n"), Submodule(b"link", 3)]);
    scratch.commit(&[File(b"run.sh", b"link"), Submodule(b"sub", 1), Link(b"link", b"sub")]);
    scratch.commit(&[File(b"run.sh", b"\0"), Link(b"sub", b"a\nb\nc")]);
    scratch.commit(&[Link(b"run.sh", b"\0"), Delete(b"sub"), Delete(b"link")]);
    // Nothing left at all.
    scratch.commit(&[Delete(b"run.sh")]);
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn merges_count_on_the_first_parent_only() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"a", b"1\n"), File(b"b", b"1\n")]);
    scratch.merge(&[File(b"c", b"1\n2\n"), Delete(b"a")], &[File(b"c", b"1\n2\n"), Delete(b"a")]);
    // A merge that takes nothing, and one that makes something of its own.
    scratch.merge(&[File(b"b", b"theirs\n2\n")], &[]);
    scratch.merge(&[File(b"d", b"\0")], &[File(b"d", b"x\ny\nz\n"), File(b"e", b"")]);
    scratch.commit(&[File(b"b", b"1\n2\n")]);
    scratch.write();
    assert_eq!(scratch.ids().len(), 5);
    compare_at_every_commit(&scratch);
}

#[test]
fn attributes_decide_what_is_binary() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    let attributes = b"*.golden binary\n*.force diff\nsub/* -diff\n";
    scratch.commit(&[File(b"x.golden", b"1\n2\n"), File(b"y.force", b"\0\n\0\n"), File(b"sub/z", b"1\n")]);
    scratch.commit(&[File(b"x.golden", b"1\n"), File(b"y.force", b"\0\n"), File(b".gitattributes", attributes)]);
    scratch.commit(&[File(b"x.golden", b"1\n2\n3\n"), File(b"y.force", b"1\n"), Link(b"sub/z", b"../x")]);
    scratch.commit(&[Rename(b"x.golden", b"x.txt"), File(b"sub/z", b"../x")]);
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn a_resumed_history_follows_new_attributes() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"x.golden", b"1\n2\n"), File(b"y", b"1\n")]);
    scratch.write();
    let repository = Repository::at(scratch.path()).unwrap();
    let mut collection = HashMap::new();
    read(&repository, &repository.commits().unwrap(), 0, &mut collection);
    assert_eq!(collection["x.golden"], 2);

    scratch.commit(&[File(b".gitattributes", b"*.golden binary\n")]);
    scratch.commit(&[File(b"y", b"1\n2\n")]);
    scratch.write();
    let ids = repository.commits().unwrap();
    read(&repository, &ids, 1, &mut collection);
    assert_eq!(collection["x.golden"], 0, "nobody touched it, but it is binary now");
    assert_eq!(rows(&collection), expected(&scratch, &ids[2]));
}

#[test]
fn attributes_that_are_only_in_the_index_do_not_count() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"x.golden", b"1\n2\n"), File(b".gitattributes", b"*.golden binary\n")]);
    scratch.commit(&[File(b"x.golden", b"1\n")]);
    scratch.write();
    std::fs::remove_file(scratch.path().join(".gitattributes")).unwrap();
    assert!(expected(&scratch, "main").contains(&("x.golden".to_owned(), 1)));
    compare_at_every_commit(&scratch);
}

#[test]
fn submodules_are_ignored_where_git_diff_ignores_them() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"a", b"1\n"), Submodule(b"sub", 1)]);
    scratch.commit(&[Submodule(b"sub", 2)]);
    scratch.commit(&[File(b"sub", b"1\n2\n")]);
    scratch.commit(&[Submodule(b"sub", 3)]);
    scratch.write();
    for setting in ["none", "dirty", "untracked", "all"] {
        scratch.git(&["config", "diff.ignoreSubmodules", setting]);
        assert_eq!(scratch.numstat("main").len(), if setting == "all" { 1 } else { 2 });
        compare_at_every_commit(&scratch);
    }
}

#[test]
fn user_settings_change_nothing() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"a", b"1\n2\n"), File(b"dir/b", b"1\n")]);
    scratch.commit(&[Rename(b"a", b"dir/c"), File(b"dir/b", b"  1\n\n")]);
    scratch.write();
    let before = expected(&scratch, "main");
    for setting in [
        ["diff.renames", "copies"],
        ["diff.external", "false"],
        ["diff.relative", "true"],
        ["diff.orderFile", "/nonexistent"],
        ["diff.noprefix", "true"],
        ["color.ui", "always"],
        ["core.quotePath", "false"],
        ["log.showRoot", "false"],
        ["core.abbrev", "7"],
    ] {
        scratch.git(&["config", setting[0], setting[1]]);
    }
    let repository = Repository::at(scratch.path()).unwrap();
    let mut collection = HashMap::new();
    read(&repository, &repository.commits().unwrap(), 0, &mut collection);
    assert_eq!(rows(&collection), before);
}

#[test]
fn a_long_random_history() {
    let mut scratch = ScratchRepository::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let mut present: Vec<Vec<u8>> = Vec::new();
    for commit in 0..120 {
        for _ in 0..draw(4) {
            let path = format!("d{}/f{}.{}", draw(3), draw(12), ["rs", "md", "bin"][draw(3) as usize]).into_bytes();
            let known = present.contains(&path);
            let content: Vec<u8> = match draw(5) {
                0 => [b"\0".to_vec(), numbered_lines(draw(5) as usize)].concat(),
                _ => (0..draw(30)).flat_map(|_| [b'a' + draw(3) as u8, b'\n'].repeat(1 + draw(2) as usize)).collect(),
            };
            match draw(6) {
                0 if known => {
                    present.retain(|other| *other != path);
                    scratch.commit(&[Edit::Delete(&path)]);
                }
                1 if known => {
                    let to = format!("moved/{commit}").into_bytes();
                    present.retain(|other| *other != path);
                    scratch.commit(&[Edit::Rename(&path, &to)]);
                }
                2 => scratch.merge(&[Edit::File(b"side", &content)], &[Edit::File(b"side", &content)]),
                _ => {
                    scratch.commit(&[Edit::File(&path, &content)]);
                    if !known {
                        present.push(path);
                    }
                }
            }
        }
    }
    scratch.write();
    compare_at_every_commit(&scratch);
}

#[test]
fn bare_detached_and_shallow_repositories_are_read() {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    for lines in 1..5 {
        scratch.commit(&[File(b"a", &numbered_lines(lines))]);
    }
    scratch.write();
    let ids = scratch.ids();
    let place = tempfile::tempdir().unwrap();
    let clone_of = |options: &[&str], name: &str| {
        let (from, to) = (format!("file://{}", scratch.path().display()), place.path().join(name));
        let to_text = to.to_str().unwrap();
        scratch.git(&[&["clone", "-q"], options, &[from.as_str(), to_text]].concat());
        Repository::at(&to).unwrap()
    };
    let bare = clone_of(&["--bare"], "bare");
    assert_eq!(bare.commits().unwrap(), ids);
    assert_eq!(read(&bare, &ids, 0, &mut HashMap::new()).len(), 4);

    let shallow = clone_of(&["--depth", "2"], "shallow");
    assert!(shallow.is_shallow() && !bare.is_shallow());
    assert_eq!(shallow.commits().unwrap(), ids[2..]);
    let mut collection = HashMap::new();
    read(&shallow, &ids[2..], 0, &mut collection);
    assert_eq!(rows(&collection), expected(&scratch, &ids[3]));

    scratch.git(&["checkout", "-q", "--detach", &ids[1]]);
    assert_eq!(Repository::at(scratch.path()).unwrap().commits().unwrap(), ids[..2]);
    // Its git directory names a repository too.
    assert_eq!(Repository::at(&scratch.path().join(".git")).unwrap().commits().unwrap(), ids[..2]);
}

#[test]
fn what_cannot_be_read_is_said() {
    let scratch = ScratchRepository::new();
    let problem = Repository::at(scratch.path()).unwrap().commits().unwrap_err().to_string();
    assert!(problem.contains("has no commit yet"), "{problem}");

    let nowhere = scratch.path().join("nowhere");
    let problem = Repository::at(&nowhere).unwrap_err().to_string();
    assert!(problem.starts_with("Cannot read") && problem.contains("nowhere"), "{problem}");

    std::fs::create_dir(&nowhere).unwrap();
    let problem = Repository::at(&nowhere).unwrap_err().to_string();
    assert!(problem.contains("lies inside the one at"), "{problem}");

    let plain = tempfile::tempdir().unwrap();
    let problem = Repository::at(plain.path()).unwrap_err().to_string();
    assert!(problem.contains("is not in a git repository"), "{problem}");
}

#[test]
fn a_damaged_repository_is_an_error_with_gits_own_words() {
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[Edit::File(b"a", b"1\n")]);
    scratch.commit(&[Edit::File(b"a", b"1\n2\n")]);
    scratch.write();
    let repository = Repository::at(scratch.path()).unwrap();
    let mut ids = repository.commits().unwrap();
    // A commit that is not there, as after a failed fetch.
    ids[1] = "0123456789012345678901234567890123456789".to_owned();
    let results: Vec<_> = History::new(&repository, ids, 0, HashMap::new()).unwrap().collect();
    assert!(results[0].is_ok());
    assert!(results[1].is_err());
    assert_eq!(results.len(), 2, "nothing follows an error");

    std::fs::remove_dir_all(scratch.path().join(".git/objects")).unwrap();
    std::fs::create_dir(scratch.path().join(".git/objects")).unwrap();
    let problem = repository.commits().unwrap_err().to_string();
    assert!(problem.contains("git fsck") || problem.contains("no commit"), "{problem}");
}
