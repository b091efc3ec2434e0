//! The main example where something around it goes wrong while it runs: git, its environment, its directories, its user.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(dead_code)] // of the scratch repository, not everything is needed here

mod scratch;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use scratch::program::{Following, command, expected, json_of, printed, refusal, table};
use scratch::{Edit, ScratchRepository};
use timely_persist::{Client, Shard, ShardId};

fn small_repository() -> ScratchRepository {
    let mut scratch = ScratchRepository::new();
    scratch.commit(&[Edit::File(b"src/a.rs", b"1\n2\n"), Edit::File(b"README", b"1"), Edit::File(b"c.rs", b"3\n")]);
    scratch.commit(&[Edit::File(b"src/a.rs", b"1\n2\n3\n")]);
    scratch.commit(&[Edit::File(b"logo.png", b"\0\n"), Edit::File(b"README", b"\0")]);
    scratch.write();
    scratch
}

/// A history that takes a while to read: so many commits.
fn lengthen(scratch: &mut ScratchRepository, commits: usize) {
    for number in 0..commits {
        let content = b"line\n".repeat(1 + number % 40);
        let name = format!("d{}/{}.rs", number % 13, number * 31 % 997);
        scratch.commit(&[Edit::File(name.as_bytes(), &content)]);
    }
    scratch.write();
}

/// Whoever runs it from a hook or an alias of git has these in the environment, and others set them for good.
#[test]
fn what_git_finds_in_its_environment_does_not_change_what_is_read() {
    let scratch = small_repository();
    let expected = expected(&scratch, 2, &scratch.ids()[2]);
    let listed = String::from_utf8(scratch.git(&["rev-parse", "--local-env-vars"])).unwrap();
    let pathspecs = ["LITERAL", "GLOB", "NOGLOB", "ICASE"].map(|kind| format!("GIT_{kind}_PATHSPECS"));
    let others = ["GIT_ATTR_SOURCE", "GIT_EXTERNAL_DIFF", "GIT_DIFF_OPTS"].map(str::to_owned);
    let variables: Vec<String> = listed.lines().map(str::to_owned).chain(pathspecs).chain(others).collect();
    assert!(variables.iter().any(|name| name == "GIT_OBJECT_DIRECTORY"), "{variables:?}");
    let all: Vec<&[String]> = variables.chunks(1).chain([&variables[..]]).collect();
    for (number, set) in all.into_iter().enumerate() {
        for value in ["1", "/nowhere"] {
            // A directory each, so that all of the history is read.
            let data = format!(".git/data {number} {}", value.len());
            let mut command = command(scratch.path(), &["--json", "--data", &data]);
            set.iter().for_each(|name| _ = command.env(name, value));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{set:?}={value}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(table(&serde_json::from_slice(&output.stdout).unwrap()), expected, "{set:?}={value}");
        }
    }
}

/// The file of an object that git keeps alone.
fn object(scratch: &ScratchRepository, name: &str) -> (String, PathBuf) {
    let id = String::from_utf8(scratch.git(&["rev-parse", name])).unwrap().trim().to_owned();
    let path = scratch.path().join(".git/objects").join(&id[..2]).join(&id[2..]);
    (id, path)
}

#[test]
fn what_git_says_of_missing_and_damaged_objects_is_passed_on() {
    for name in ["HEAD~2:src/a.rs", "HEAD~1:src/a.rs", "HEAD:README", "HEAD~1:src", "HEAD~2^{tree}", "HEAD~1"] {
        for missing in [true, false] {
            let scratch = small_repository();
            let (id, path) = object(&scratch, name);
            let bytes = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap(); // it cannot be written to
            if !missing {
                fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            }
            let said = refusal(scratch.path(), &[]);
            assert!(said.contains(&id), "{name} missing: {missing}: git's own words are not there: {said}");
            assert!(said.contains("git fsck") && said.contains("git fetch --refetch"), "{said}");
            assert!(!said.contains("unexpected") && !said.contains("your version of git"), "{said}");
            // Once it is there again, all is well.
            let _ = fs::remove_file(&path);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(table(&json_of(scratch.path(), &["--json"])), expected(&scratch, 2, &scratch.ids()[2]));
        }
    }
}

/// Copies what is below a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => _ = fs::copy(entry.path(), to.join(entry.file_name())).unwrap(),
        }
    }
}

#[test]
fn following_ends_with_an_error_when_its_data_directory_goes_away() {
    let removed: fn(&Path) = |data| fs::remove_dir_all(data).unwrap();
    let renamed: fn(&Path) = |data| fs::rename(data, data.with_extension("old")).unwrap();
    let replaced: fn(&Path) = |data| {
        let old = data.with_extension("old");
        fs::rename(data, &old).unwrap();
        copy(&old, data);
    };
    for (what, gone) in [("removed", removed), ("renamed", renamed), ("replaced", replaced)] {
        for commits in [false, true] {
            let mut scratch = small_repository();
            let mut following = Following::start(scratch.path(), &[]);
            assert_eq!(following.next()["commit"], 2);
            gone(&scratch.path().join(".git/timely-persist"));
            if commits {
                scratch.commit(&[Edit::File(b"new.rs", b"1\n")]);
                scratch.write();
            }
            let (code, said) = following.ends_saying();
            assert_eq!(code, Some(1), "{what}: {said}");
            // A note may come first: the source says that it cannot read.
            let error = said.lines().find(|line| line.starts_with("error: "));
            assert!(error.is_some_and(|error| error.contains("timely-persist")), "{what}: {said}");
        }
    }
}

#[test]
fn following_ends_with_an_error_when_the_repository_goes_away() {
    let (scratch, place) = (small_repository(), tempfile::tempdir().unwrap());
    let data = place.path().join("data");
    let repository = place.path().join("repository");
    for part in ["", ".git", ".git/refs"] {
        copy(scratch.path(), &repository);
        let mut following = Following::start(&repository, &["--data", data.to_str().unwrap()]);
        assert_eq!(following.next()["commit"], 2);
        fs::remove_dir_all(repository.join(part)).unwrap();
        let (code, said) = following.ends_saying();
        assert_eq!(code, Some(1), "{part}: {said}");
        assert!(said.starts_with("error: ") && said.contains("repository"), "{part}: {said}");
        let _ = fs::remove_dir_all(&repository);
    }
}

/// How many commits are in the collection.
fn upper(scratch: &ScratchRepository) -> u64 {
    let url = format!("file://{}", scratch.path().join(".git/timely-persist/store").display());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::open(&url).await.unwrap();
        let files: Shard<String, u64, u64, i64> =
            client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history file")));
        let upper = files.inspect().await.unwrap().upper.first().copied().unwrap();
        client.shutdown().await.unwrap();
        upper
    })
}

fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap().success());
}

/// So many that reading them takes a debug build many seconds.
const MANY: usize = 60_000;

#[test]
fn an_interrupted_run_ends_in_the_middle_and_the_next_goes_on_from_there() {
    for name in ["INT", "TERM"] {
        let mut scratch = small_repository();
        json_of(scratch.path(), &["--json"]);
        lengthen(&mut scratch, MANY);
        let mut command = command(scratch.path(), &[]);
        let run = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        while upper(&scratch) <= 3 {
            std::thread::yield_now();
        }
        signal(run.id(), name);
        let output = run.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
        let reached = upper(&scratch);
        assert!(reached < MANY as u64, "{name}: it went on to the end");
        if name == "TERM" {
            let printed = printed(scratch.path(), &[]);
            let rest = MANY as u64 + 3 - reached;
            assert!(printed.contains(&format!("ingest: {rest} commits")), "{rest}: {printed}");
        }
    }
}

#[test]
fn following_is_interrupted_while_it_reads_what_is_new() {
    let interrupted = || {
        let mut scratch = small_repository();
        let mut following = Following::start(scratch.path(), &[]);
        assert_eq!(following.next()["commit"], 2);
        lengthen(&mut scratch, MANY);
        while upper(&scratch) <= 3 {
            std::thread::yield_now();
        }
        following.signal("INT");
        let (code, said) = following.ends_saying();
        assert_eq!((code, &*said), (Some(0), ""));
        upper(&scratch) < MANY as u64
    };
    // A busy machine may let it read all before this process comes to send the signal.
    assert!((0..3).any(|_| interrupted()), "it went on to the end");
}
