//! The main example on a data directory that was damaged: it never prints a wrong table, it never panics, and where it
//! cannot go on it says what to do and leaves the directory as it was.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(dead_code)] // of the scratch repository, not everything is needed here

mod scratch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use scratch::program::{expected, json_of, run, table};
use scratch::{Edit, ScratchRepository};
use serde_json::Value;
use timely_persist::{Client, Shard, ShardId};

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit is another, in the middle.
    Flip,
    /// The second half is gone.
    Truncate,
    /// Nothing is left in it.
    Empty,
    /// It is gone.
    Delete,
}

impl Damage {
    const ALL: [Damage; 4] = [Damage::Flip, Damage::Truncate, Damage::Empty, Damage::Delete];

    fn apply(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        match self {
            Damage::Flip => {
                bytes[middle] ^= 0x10;
                fs::write(file, bytes).unwrap();
            }
            Damage::Truncate => fs::write(file, &bytes[..middle]).unwrap(),
            Damage::Empty => fs::write(file, b"").unwrap(),
            Damage::Delete => fs::remove_file(file).unwrap(),
        }
    }
}

/// A repository and a data directory made from it, with parts of several appends, a long log and rollups.
fn stored() -> (ScratchRepository, PathBuf) {
    let mut scratch = ScratchRepository::new();
    for round in 0..3 {
        for number in 0..300 {
            let content = b"line\n".repeat((number * 7 + round) % 40);
            let names =
                [number, number * 31 % 97].map(|name| format!("directory/of some length/file number {name}.rs"));
            scratch.commit(&names.each_ref().map(|name| Edit::File(name.as_bytes(), &content)));
        }
        scratch.write();
        json_of(scratch.path(), &["--json"]);
    }
    let data = scratch.path().join(".git/timely-persist");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = Client::open(&format!("file://{}", data.join("store").display())).await.unwrap();
        let files: Shard<String, u64, u64, i64> =
            client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history file")));
        for _ in 0..80 {
            files.open_reader("makes the log longer").await.unwrap().expire().await.unwrap();
        }
        files.settle().await.unwrap();
        client.shutdown().await.unwrap();
    });
    (scratch, data)
}

/// All files below a directory and their contents.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                all.insert(path.strip_prefix(directory).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    all
}

fn write(directory: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    for (name, bytes) in files {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The files to damage: all but the middle of the logs, which is long and all of one kind.
fn candidates(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&Path> {
    let mut logs: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    let mut chosen = Vec::new();
    for name in files.keys() {
        let folder = name.parent().unwrap();
        if folder.ends_with("log") { logs.entry(folder).or_default().push(name) } else { chosen.push(name.as_path()) }
    }
    for entries in logs.values() {
        let count = entries.len();
        chosen.extend(
            entries.iter().enumerate().filter(|(i, _)| *i < 4 || i + 6 > count || i * 2 == count).map(|e| *e.1),
        );
    }
    chosen
}

/// Whether a file that was deleted is the newest entry of its log: without it the log is an older one, and nothing in it
/// says otherwise.
fn is_gone_head(files: &BTreeMap<PathBuf, Vec<u8>>, name: &Path, damage: Damage) -> bool {
    let folder = name.parent().unwrap();
    let newest = files.keys().filter(|other| other.parent() == Some(folder)).max();
    matches!(damage, Damage::Delete) && folder.ends_with("log") && newest.is_some_and(|newest| newest == name)
}

/// What a run on the damaged directory did. Panics if that is not allowed.
fn check(repository: &Path, expected: &Value, files: &BTreeMap<PathBuf, Vec<u8>>, name: &Path, damage: Damage) -> bool {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), files);
    damage.apply(&place.path().join(name));
    let before = contents(place.path());
    let arguments = ["--json", "--data", place.path().to_str().unwrap()];
    let output = run(repository, &arguments);
    let what = format!("{damage:?} {}", name.display());
    if output.status.success() {
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(&table(&printed), expected, "{what}");
        return true;
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(output.stdout.is_empty(), "{what}");
    let advice = ["or delete it", "ame another directory with --data", "Name an empty directory"];
    assert!(advice.iter().any(|advice| said.contains(advice)), "{what}: {said}");
    let after = contents(place.path());
    // Before it reads parts, a run registers as a reader, in the log. It touches nothing that was there.
    for (path, bytes) in &before {
        assert!(path.ends_with("git_history.format") || after.get(path) == Some(bytes), "{what}: {path:?} was changed");
    }
    let is_log = |path: &PathBuf| path.parent().unwrap().ends_with("log");
    let written = after.keys().find(|path| !before.contains_key(*path) && !is_log(path));
    assert!(written.is_none() || is_gone_head(files, name, damage), "{what}: {written:?}: {said}");
    false
}

#[test]
fn a_damaged_directory_gives_the_right_table_or_a_message_that_says_what_to_do() {
    let (scratch, data) = stored();
    let last = scratch.ids().len() - 1;
    let expected = expected(&scratch, last, &scratch.ids()[last]);
    let files = contents(&data);
    let candidates = candidates(&files);
    assert!(candidates.iter().any(|name| name.extension().is_some_and(|extension| extension == "arrow")));
    assert!(candidates.iter().any(|name| name.to_str().unwrap().contains("rollup")), "{candidates:?}");
    let cases: Vec<_> = candidates.iter().flat_map(|name| Damage::ALL.map(|damage| (*name, damage))).collect();
    let survived = Mutex::new(Vec::new());
    let todo = Mutex::new(cases.iter());
    let next = || todo.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, damage)) = next() {
                    if check(scratch.path(), &expected, &files, name, *damage) {
                        survived.lock().unwrap().push((*name, *damage));
                    }
                }
            });
        }
    });
    for (name, damage) in survived.into_inner().unwrap() {
        // A boundary is its name; it says nothing. Everything else that is there is needed.
        // Without its limits a store is one of a version before them: it takes those of whoever opens it next.
        let no_limits = matches!(damage, Damage::Delete) && name.parent().unwrap().ends_with("limits");
        let harmless = name.parent().unwrap().ends_with("boundary") || is_gone_head(&files, name, damage) || no_limits;
        assert!(harmless, "{damage:?} {} was not noticed", name.display());
    }
}
