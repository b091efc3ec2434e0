//! The main example as a user meets it: its output, and its answers to what it cannot do.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(dead_code)] // of the scratch repository, not everything is needed here

mod scratch;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use scratch::{Edit, ScratchRepository};
use serde_json::{Value, json};

/// The example's program: built beside this test's.
fn program() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let path =
        this.ancestors().nth(2).unwrap().join("examples").join(format!("git_history{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is not there: run `cargo build --examples` first", path.display());
    path
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).current_dir(directory).args(arguments).output().unwrap()
}

/// The JSON that a run prints.
fn json_of(directory: &Path, arguments: &[&str]) -> Value {
    let output = run(directory, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The message of a run that fails with exit code 1 and prints nothing else.
fn refusal(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

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
        assert!(said.starts_with("error: ") && said.contains(expected), "{said}");
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
