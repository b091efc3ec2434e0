//! The main example as a user meets it: its output, and its answers to what it cannot do.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(dead_code)] // of the scratch repository, not everything is needed here

mod scratch;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use scratch::program::{Following, command, expected, json_of, printed, refusal, run, table};
use scratch::{Edit, ScratchRepository};
use serde_json::json;
use timely::progress::Antichain;
use timely_persist::{Client, CriticalReaderId, Holder, Shard, ShardId};

fn small_repository() -> ScratchRepository {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"src/a.rs", b"1\n2\n"), File(b"README", b"1"), File(b"logo.png", b"\0\n")]);
    scratch.commit(&[File(b"src/a.rs", b"1\n2\n3\n"), File(b"src/b.rs", b"1\n")]);
    scratch.commit(&[Delete(b"README"), Rename(b"src/b.rs", b"notes.md")]);
    scratch.write();
    scratch
}

#[test]
fn json_of_each_commit() {
    let scratch = small_repository();
    let count = |files: u64, lines: u64| json!({ "files": files, "lines": lines });
    let expected = [
        json!({ "": count(1, 1), "rs": count(1, 2), "png": count(1, 0) }),
        json!({ "": count(1, 1), "rs": count(2, 4), "png": count(1, 0) }),
        json!({ "md": count(1, 1), "rs": count(1, 3), "png": count(1, 0) }),
    ];
    for workers in ["1", "2", "4"] {
        for (number, extensions) in expected.iter().enumerate() {
            let as_of = number.to_string();
            let printed = json_of(scratch.path(), &["--json", "--as-of", &as_of, "--workers", workers]);
            assert_eq!(printed["commit"], number);
            assert_eq!(&printed["extensions"], extensions);
            assert_eq!(printed["workers"].to_string(), workers);
            let sum =
                |field: &str| extensions.as_object().unwrap().values().map(|c| c[field].as_u64().unwrap()).sum::<u64>();
            assert_eq!((&printed["files"], &printed["lines"]), (&json!(sum("files")), &json!(sum("lines"))));
            for field in ["rows", "ingest_s", "hydrate_s"] {
                assert!(printed[field].is_number(), "{field}: {printed}");
            }
        }
    }
    assert_eq!(json_of(scratch.path(), &["--json"])["commit"], 2);
}

#[test]
fn the_work_tree_stays_as_it_is_and_the_table_is_printed() {
    let scratch = small_repository();
    // From below the top, as a person would.
    let output = run(&scratch.path().join("src"), &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("total          3      4\n"), "{printed}");
    assert!(output.stderr.is_empty(), "no progress bar where nobody looks");
    assert!(scratch.git(&["status", "--porcelain", "--ignored"]).is_empty());
    assert!(scratch.path().join(".git/timely-persist").is_dir());
}

#[test]
fn refusals_say_what_to_do_and_write_nothing() {
    let scratch = small_repository();
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let data_option = data.to_str().unwrap();
    let nowhere = place.path().join("nowhere");
    let plain = place.path().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let cases: [(&Path, &[&str], &str); 4] = [
        (&plain, &[], "is not in a git repository"),
        (&plain, &[nowhere.to_str().unwrap()], "Cannot read"),
        (scratch.path(), &["src"], "lies inside the one at"),
        (scratch.path(), &["--as-of", "3"], "Choose --as-of from 0 to 2"),
    ];
    for (directory, arguments, expected) in cases {
        let said = refusal(directory, &[arguments, &["--data", data_option]].concat());
        assert!(said.contains(expected), "{said}");
        assert!(!data.exists());
    }
    let empty = ScratchRepository::new();
    assert!(refusal(empty.path(), &["--data", data_option]).contains("has no commit yet"));

    std::fs::write(plain.join("notes.txt"), "mine").unwrap();
    let said = refusal(scratch.path(), &["--data", plain.to_str().unwrap()]);
    assert!(said.contains("not this program's") && said.contains("--data"), "{said}");
    assert_eq!(std::fs::read_dir(&plain).unwrap().count(), 1);
    assert!(!data.exists() && !scratch.path().join(".git/timely-persist").exists());
}

/// Additions, edits, renames, deletions, binary and empty files, merges and commits that change nothing.
fn eventful_repository() -> ScratchRepository {
    use Edit::*;
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[File(b"src/a.rs", b"1\n2\n3\n"), File(b"empty.md", b""), File(b"logo.png", b"\0\n\n")]);
    scratch.commit(&[File(b"src/a.rs", b"1\n2\n"), File(b"Makefile", b"all:\n"), File(b".gitignore", b"/target")]);
    scratch.commit(&[]);
    scratch.commit(&[Rename(b"src/a.rs", b"lib/a.rs"), File(b"lib/b.rs", b"x\n")]);
    scratch.commit(&[Rename(b"lib/a.rs", b"notes.md"), File(b"notes.md", b"1\n2\n3\n4")]);
    scratch.commit(&[File(b"logo.png", b"text now\n"), File(b"empty.md", b"\0")]);
    scratch.merge(&[File(b"side.toml", b"a = 1\n")], &[File(b"side.toml", b"a = 1\n"), Delete(b"Makefile")]);
    scratch.commit(&[Delete(b"lib/b.rs"), Delete(b"logo.png"), Link(b"link", b"notes.md")]);
    scratch.commit(&[Executable(b"run.sh", b"#!/bin/sh\n"), File(b"empty.md", b"")]);
    scratch.commit(&[Delete(b"notes.md"), Delete(b"side.toml"), Delete(b"empty.md")]);
    scratch.commit(&[Delete(b"run.sh"), Delete(b"link"), Delete(b".gitignore")]);
    scratch.commit(&[File(b"again.rs", b"1\n")]);
    scratch.write();
    scratch
}

/// A history of so many commits, each of which changes a few of many files.
fn long_repository(commits: usize) -> ScratchRepository {
    let mut scratch = ScratchRepository::new();
    for number in 0..commits {
        let content = b"line\n".repeat(number * 7 % 40);
        let extension = ["rs", "md", "toml", "c"][number % 4];
        let names = [number * 31 % 997, number * 17 % 499, number % 11]
            .map(|name| format!("d{}/{name}.{extension}", name % 13));
        let edits: Vec<Edit<'_>> = names.iter().map(|name| Edit::File(name.as_bytes(), &content)).collect();
        scratch.commit(&edits);
    }
    scratch.write();
    scratch
}

#[test]
fn the_table_is_what_git_counts_at_every_commit_with_1_2_and_4_workers() {
    let scratch = eventful_repository();
    for (number, id) in scratch.ids().iter().enumerate() {
        let expected = expected(&scratch, number, id);
        for workers in ["1", "2", "4"] {
            let as_of = number.to_string();
            let printed = json_of(scratch.path(), &["--json", "--as-of", &as_of, "--workers", workers]);
            assert_eq!(table(&printed), expected, "commit {number} with {workers} workers");
        }
    }
}

#[test]
fn the_table_of_a_long_history_is_what_git_counts() {
    let scratch = long_repository(3000);
    let ids = scratch.ids();
    for (number, workers) in [(2999, "2"), (0, "1"), (1, "4"), (998, "2"), (999, "1"), (1000, "2"), (2500, "4")] {
        let as_of = number.to_string();
        let printed = json_of(scratch.path(), &["--json", "--as-of", &as_of, "--workers", workers]);
        assert_eq!(table(&printed), expected(&scratch, number, &ids[number]), "commit {number} with {workers} workers");
    }
}

#[test]
fn a_second_run_appends_only_what_is_new_and_prints_the_same() {
    let mut scratch = small_repository();
    let table_of = |printed: &str| printed.split("ingest:").next().unwrap().to_owned();
    let first = printed(scratch.path(), &[]);
    assert!(first.contains("ingest: 3 commits, 9 rows"), "{first}");
    let second = printed(scratch.path(), &[]);
    assert!(second.contains("ingest: no new commits"), "{second}");
    assert_eq!(table_of(&first), table_of(&second));

    scratch.commit(&[Edit::File(b"src/a.rs", b"1\n")]);
    scratch.write();
    let third = printed(scratch.path(), &[]);
    assert!(third.contains("ingest: 1 commit, 2 rows"), "{third}");
    assert!(third.contains("total          3      2\n"), "{third}");
    assert_eq!(json_of(scratch.path(), &["--json", "--as-of", "2"])["lines"], 4, "as before");
}

/// The part objects of a shard in the repository's data directory.
fn parts(scratch: &ScratchRepository, shard: ShardId) -> Vec<PathBuf> {
    let parts = scratch.path().join(format!(".git/timely-persist/store/shards/{shard}/blob"));
    std::fs::read_dir(parts).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_kept_table_is_what_git_counts_at_every_commit() {
    let scratch = eventful_repository();
    let ids = scratch.ids();
    // Each run computes one commit more, from what is kept. The last of them compute nothing.
    for (round, number) in (0..ids.len()).chain([0, 4, ids.len() - 1]).enumerate() {
        let (as_of, workers) = (number.to_string(), ["1", "2", "4"][round % 3]);
        let printed = json_of(scratch.path(), &["--json", "--keep", "--as-of", &as_of, "--workers", workers]);
        let expected = expected(&scratch, number, &ids[number]);
        assert_eq!(table(&printed), expected, "commit {number} with {workers} workers");
    }
}

/// What is kept is not computed again: the history it was computed from is not even there.
#[test]
fn a_kept_table_is_printed_without_reading_the_history() {
    let scratch = long_repository(600);
    let ids = scratch.ids();
    let files = ShardId::from_u128(u128::from_be_bytes(*b"git_history file"));
    let kept = |number: usize| json_of(scratch.path(), &["--json", "--keep", "--as-of", &number.to_string()]);
    assert_eq!(table(&kept(599)), expected(&scratch, 599, &ids[599]));
    let parts = parts(&scratch, files);
    assert!(!parts.is_empty());
    parts.iter().for_each(|part| std::fs::remove_file(part).unwrap());
    for number in [599, 0, 300] {
        assert_eq!(table(&kept(number)), expected(&scratch, number, &ids[number]), "commit {number}");
    }
    let printed = printed(scratch.path(), &["--keep"]);
    assert!(printed.contains("\nkept table read on 2 workers: "), "{printed}");
    assert!(refusal(scratch.path(), &[]).contains("is damaged"));
}

#[test]
fn a_kept_table_is_followed() {
    let mut scratch = small_repository();
    json_of(scratch.path(), &["--json", "--keep", "--as-of", "1"]);
    let mut following = Following::start(scratch.path(), &["--keep"]);
    assert_eq!(table(&following.next()), expected(&scratch, 2, &scratch.ids()[2]));
    scratch.commit(&[Edit::File(b"src/a.rs", b"1\n"), Edit::File(b"new.toml", b"a\n")]);
    scratch.write();
    let change = following.next();
    assert_eq!(table(&change), expected(&scratch, 3, &scratch.ids()[3]));
    assert_eq!(change["changed"]["rs"], json!({ "files": 0, "lines": -2 }));
    following.signal("INT");
    assert_eq!(following.ends_with(), Some(0));
}

#[test]
fn following_shows_each_new_commit_until_interrupted() {
    let mut scratch = small_repository();
    let mut following = Following::start(scratch.path(), &[]);
    assert_eq!(following.next()["commit"], 2);
    scratch.commit(&[Edit::File(b"src/a.rs", b"1\n"), Edit::File(b"new.toml", b"a\n")]);
    scratch.commit(&[]);
    scratch.write();
    let ids = scratch.ids();
    let change = following.next();
    assert_eq!(table(&change), expected(&scratch, 3, &ids[3]));
    let changed = json!({ "rs": { "files": 0, "lines": -2 }, "toml": { "files": 1, "lines": 1 } });
    assert_eq!(change["changed"], changed);
    let nothing = following.next();
    assert_eq!((&nothing["commit"], &nothing["changed"]), (&json!(4), &json!({})));

    // Another run appends the next one; the dataflow hears of it all the same, and shows it once.
    scratch.commit(&[Edit::Delete(b"new.toml")]);
    scratch.write();
    assert_eq!(json_of(scratch.path(), &["--json"])["commit"], 5);
    assert_eq!(table(&following.next()), expected(&scratch, 5, &scratch.ids()[5]));
    following.signal("INT");
    assert_eq!(following.ends_with(), Some(0));
    assert_eq!(json_of(scratch.path(), &["--json", "--as-of", "0"])["commit"], 0, "following lets go of no history");
}

#[test]
fn following_ends_when_nobody_reads_it() {
    let mut scratch = small_repository();
    let mut following = Following::start(scratch.path(), &[]);
    assert_eq!(following.next()["commit"], 2);
    let mut child = following.stop_reading();
    scratch.commit(&[Edit::Delete(b"src/a.rs")]);
    scratch.write();
    assert!(child.wait().unwrap().success());
}

#[test]
fn following_ends_with_an_error_when_the_history_is_rewritten() {
    let mut scratch = small_repository();
    let mut following = Following::start(scratch.path(), &[]);
    following.next();
    scratch.git(&["reset", "-q", "--hard", "HEAD^"]);
    scratch.commit(&[Edit::File(b"other", b"")]);
    scratch.write();
    assert_eq!(following.ends_with(), Some(1));
}

#[test]
fn runs_at_once_share_the_work_and_print_the_same() {
    let scratch = long_repository(2500);
    let last = scratch.ids().len() - 1;
    let mut runs = Vec::new();
    for workers in ["1", "2", "2"] {
        let mut command = command(scratch.path(), &["--workers", workers]);
        runs.push(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    }
    let mut appended = 0;
    let mut tables = Vec::new();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let (table, rest) = printed.split_once("ingest: ").unwrap();
        tables.push(table.to_owned());
        if !rest.starts_with("no new commits") {
            appended += rest.split_once(" commit").unwrap().0.parse::<usize>().unwrap();
        }
    }
    assert_eq!(appended, last + 1, "each commit was appended once");
    tables.dedup();
    assert_eq!(tables.len(), 1);
    let printed = json_of(scratch.path(), &["--json"]);
    assert_eq!(table(&printed), expected(&scratch, last, &scratch.ids()[last]));
}

/// The shard of the collection, for a library user who looks at it from outside.
fn with_files<F: Future>(
    scratch: &ScratchRepository,
    work: impl FnOnce(Shard<String, u64, u64, i64>) -> F,
) -> F::Output {
    let url = format!("file://{}", scratch.path().join(".git/timely-persist/store").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::open(&url).await.unwrap();
        let done = work(client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history file")))).await;
        client.shutdown().await.unwrap();
        done
    })
}

#[test]
fn history_that_was_let_go_is_refused_with_the_earliest_commit() {
    let scratch = small_repository();
    json_of(scratch.path(), &["--json"]);
    with_files(&scratch, async |files| {
        let keeper = CriticalReaderId::from_u128(u128::from_be_bytes(*b"git_history keep"));
        let mut keeper = files.open_critical_since(keeper, 0).await.unwrap();
        let _ = keeper.compare_and_downgrade_since(0, (0, &Antichain::from_elem(1))).await.unwrap();
    });
    let said = refusal(scratch.path(), &["--as-of", "0"]);
    assert!(said.contains("The earliest possible one is 1: --as-of 1"), "{said}");
    assert_eq!(json_of(scratch.path(), &["--json", "--as-of", "1"])["lines"], 5);
}

#[test]
fn a_run_leaves_no_reader_behind() {
    let scratch = small_repository();
    for _ in 0..5 {
        json_of(scratch.path(), &["--json"]);
        let holds = with_files(&scratch, async |files| files.holds().await.unwrap());
        assert!(holds.iter().all(|hold| matches!(hold.holder, Holder::Critical(_))), "{holds:#?}");
        assert_eq!(holds.len(), 1);
    }
}

#[test]
fn data_of_another_kind_or_history_is_refused_and_left_alone() {
    let scratch = small_repository();
    let place = tempfile::tempdir().unwrap();
    let files_in = |directory: &Path| std::fs::read_dir(directory).unwrap().count();
    // Another program's directory of the same library.
    let foreign = place.path().join("foreign");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        Client::open(&format!("file://{}", foreign.display())).await.unwrap().shutdown().await.unwrap();
    });
    let said = refusal(scratch.path(), &["--data", foreign.to_str().unwrap()]);
    assert!(said.contains("not this program's") && said.contains("--data"), "{said}");
    assert_eq!(files_in(&foreign), 2, "the marker and the limits");

    // Another repository's history.
    let data = place.path().join("data");
    let data_option = ["--data", data.to_str().unwrap(), "--json"];
    let before = table(&json_of(scratch.path(), &data_option));
    let other = eventful_repository();
    let said = refusal(other.path(), &data_option);
    assert!(said.contains("Commit 2 of") && said.contains("--data"), "{said}");
    assert_eq!(table(&json_of(scratch.path(), &data_option)), before);
}

#[test]
fn an_unusual_data_directory_is_used() {
    let scratch = small_repository();
    let data = scratch.path().join(".git/a %41 #name? größe/deeper");
    for _ in 0..2 {
        let printed = json_of(scratch.path(), &["--json", "--data", data.to_str().unwrap()]);
        assert_eq!(printed["lines"], 4);
        assert!(data.join("store").is_dir());
    }
    // Relative to where the program stands.
    assert_eq!(json_of(scratch.path(), &["--json", "--data", ".git/relative"])["lines"], 4);
    assert!(scratch.path().join(".git/relative/store").is_dir());
}
