//! The data directory goes away under a running process, and comes back or does not: what was acknowledged is what a
//! fresh process reads there, nothing that stood is made anew, and errors say what happened.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Error, ErrorKind, Shard, ShardId, WriteHandle};

/// What every error of a directory that is gone says.
const SAYS: &str = "the data directory was replaced or removed under this process";

type Rows = Vec<((String, u64), u64, i64)>;

fn id() -> ShardId {
    ShardId::from_u128(1)
}

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// One row for each time, of so many bytes.
fn rows(times: std::ops::Range<u64>, bytes: usize) -> Rows {
    times.map(|time| ((format!("{time:0bytes$}"), time), time, 1)).collect()
}

/// A directory that is gone does not answer for ever: tests need not wait for a minute.
fn impatient() -> Config {
    let mut config = Config::default();
    config.log.commit_deadline = Duration::from_secs(1);
    config.log.request_deadline = Duration::from_secs(1);
    config.store.deadline = Duration::from_secs(1);
    config
}

/// A directory named `data` in a place of its own.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.named("data")
    }

    fn named(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.named(from), self.named(to)).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

async fn open(data: &Path) -> Client {
    Client::in_directory(data).config(impatient()).open().await.unwrap()
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(id())
}

/// A process that appends, and knows what was acknowledged.
struct Process {
    client: Client,
    writer: WriteHandle<String, u64, u64, i64>,
    acknowledged: u64,
    row_bytes: usize,
}

impl Process {
    async fn start(data: &Path) -> Self {
        let client = open(data).await;
        let mut tries = 0..30;
        let writer = loop {
            match shard(&client).open_writer("test").await {
                Ok(writer) => break writer,
                Err(error) => assert!(tries.next().is_some(), "{error:?}"),
            }
        };
        let acknowledged = writer.upper().elements()[0];
        Self { client, writer, acknowledged, row_bytes: 6 }
    }

    /// Appends once.
    async fn try_append(&mut self) -> Result<(), Error> {
        let next = self.acknowledged + 1;
        let rows = rows(self.acknowledged..next, self.row_bytes);
        let appended = self.writer.compare_and_append(rows, at(self.acknowledged), at(next)).await?;
        assert_eq!(appended, Appended::Committed);
        self.acknowledged = next;
        Ok(())
    }

    /// Appends so often, also where the machine is busy, or the directory has come back only now.
    async fn append(&mut self, count: u64) {
        for end in self.acknowledged + 1..=self.acknowledged + count {
            for attempt in 0.. {
                match self.try_append().await {
                    Ok(()) => break,
                    Err(error) => assert!(attempt < 30, "{error:?}"),
                }
            }
            assert_eq!(self.acknowledged, end);
        }
    }

    /// Neither writes nor reads are answered, and both say why.
    async fn is_refused(&mut self) {
        let shard = shard(&self.client);
        let new = self.client.shard::<String, u64, u64, i64>(ShardId::new());
        says_why(async || self.try_append().await).await;
        says_why(async || self.writer.fetch_upper().await.map(drop)).await;
        says_why(async || shard.inspect().await.map(drop)).await;
        says_why(async || new.open_writer("test").await.map(drop)).await;
    }
}

/// What is tried is never answered, and the error says that the directory is gone: perhaps not at once, where the machine
/// is so busy that the deadline cuts the first request off.
async fn says_why(mut attempt: impl AsyncFnMut() -> Result<(), Error>) -> String {
    for _ in 0..30 {
        let error = attempt().await.expect_err("an answer of another directory");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
        let error = format!("{error:?}");
        if error.contains(SAYS) {
            return error;
        }
    }
    panic!("it does not say why");
}

/// What a fresh process reads in `data` is what was acknowledged.
async fn has(data: &Path, acknowledged: u64, row_bytes: usize) {
    let client = Client::in_directory(data).open().await.unwrap();
    let reader = shard(&client).open_reader("test").await.unwrap();
    assert_eq!(shard(&client).inspect().await.unwrap().upper, at(acknowledged));
    let read = reader.snapshot_and_fetch(at(acknowledged - 1)).await.unwrap();
    let read: Vec<_> = read.into_iter().map(|(data, ..)| data).collect();
    let written: Vec<_> = rows(0..acknowledged, row_bytes).into_iter().map(|(data, ..)| data).collect();
    assert_eq!(read, written);
    reader.expire().await.unwrap();
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_renamed_away_is_not_made_again_and_goes_on_when_it_is_back() {
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    for _ in 0..2 {
        place.rename("data", "away");
        process.is_refused().await;
        assert!(!place.data().exists(), "made again");
        has(&place.named("away"), process.acknowledged, 6).await;
        place.rename("away", "data");
        process.append(3).await;
    }
    has(&place.data(), 11, 6).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_is_not_made_again() {
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    fs::remove_dir_all(place.data()).unwrap();
    process.is_refused().await;
    assert!(!place.data().exists(), "made again");
}

#[tokio::test]
async fn a_directory_that_is_replaced_by_an_empty_one_is_not_written_to() {
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    place.rename("data", "away");
    fs::create_dir(place.data()).unwrap();
    process.is_refused().await;
    assert_eq!(fs::read_dir(place.data()).unwrap().count(), 0, "written to");
    // Somebody else makes it theirs.
    let mut other = Process::start(&place.data()).await;
    other.append(2).await;
    process.is_refused().await;
    has(&place.data(), 2, 6).await;
    has(&place.named("away"), 5, 6).await;
}

#[tokio::test]
async fn a_link_that_is_switched_to_another_directory_is_noticed() {
    let place = Place::new();
    fs::create_dir(place.named("one")).unwrap();
    symlink("one", place.data()).unwrap();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    copy(&place.named("one"), &place.named("two"));
    let switch = |to| {
        symlink(to, place.named("link")).unwrap();
        place.rename("link", "data");
    };
    switch("two");
    process.is_refused().await;
    has(&place.data(), 5, 6).await;
    switch("one");
    process.append(3).await;
    has(&place.data(), 8, 6).await;
    // The directory moves, and the link with it: what it names is the same.
    place.rename("one", "three");
    switch("three");
    process.is_refused().await;
    assert!(!place.named("one").exists(), "made again");
}

/// Of what the process has seen, or would have to make.
#[tokio::test]
async fn a_folder_that_is_removed_alone_is_not_made_again() {
    for (name, row_bytes) in [("log", 6), ("blob", 10_000)] {
        for replaced in [false, true] {
            let place = Place::new();
            let mut process = Process::start(&place.data()).await;
            process.row_bytes = row_bytes;
            process.append(5).await;
            let folder = place.data().join(format!("shards/{}/{name}", id()));
            fs::rename(&folder, place.named("away")).unwrap();
            if replaced {
                fs::create_dir(&folder).unwrap();
            }
            let error = says_why(async || process.try_append().await).await;
            assert!(error.contains(folder.to_str().unwrap()), "{error}");
            match replaced {
                true => fs::remove_dir(&folder).expect("an empty folder"),
                false => assert!(!folder.exists(), "made again"),
            }
            fs::rename(place.named("away"), &folder).unwrap();
            process.append(1).await;
            has(&place.data(), 6, row_bytes).await;
        }
    }
}

#[tokio::test]
async fn an_older_copy_that_is_restored_in_place_is_noticed() {
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    copy(&place.data(), &place.named("copy"));
    process.append(5).await;
    // In the same folder, so that its inode stays.
    for entry in fs::read_dir(place.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    copy(&place.named("copy/."), &place.data());
    process.is_refused().await;
    has(&place.data(), 5, 6).await;
    // A process that is started then goes on with what is there.
    let mut process = Process::start(&place.data()).await;
    process.append(1).await;
    has(&place.data(), 6, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_while_the_directory_comes_and_goes() {
    let place = Place::new();
    let (data, stop) = (place.data(), std::sync::Arc::new(AtomicBool::new(false)));
    let mut process = Process::start(&data).await;
    process.append(1).await;
    let coming_and_going = {
        let (stop, place) = (std::sync::Arc::clone(&stop), place.0.path().to_owned());
        tokio::task::spawn_blocking(move || {
            for round in 0..300 {
                fs::rename(place.join("data"), place.join("away")).unwrap();
                std::thread::yield_now();
                // Fails if it was made again meanwhile.
                fs::rename(place.join("away"), place.join("data")).unwrap_or_else(|error| panic!("{round}: {error}"));
                let deadline = tokio::time::Instant::now() + Duration::from_millis(round % 7);
                while tokio::time::Instant::now() < deadline {
                    std::thread::yield_now();
                }
            }
            stop.store(true, Ordering::Release);
        })
    };
    while !stop.load(Ordering::Acquire) {
        process.append(1).await;
        tokio::task::yield_now().await;
        assert!(!coming_and_going.is_finished() || stop.load(Ordering::Acquire), "made again");
    }
    coming_and_going.await.unwrap();
    process.append(1).await;
    has(&data, process.acknowledged, 6).await;
    assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 1);
}

/// A process that follows takes no other directory for the truth: it would see an empty shard, or an older one.
#[tokio::test]
async fn a_follower_waits_until_the_directory_is_back() {
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(5).await;
    let follower = open(&place.data()).await;
    let mut listen = shard(&follower).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    while *listen.frontier() != at(5) {
        listen.next().await.unwrap();
    }
    place.rename("data", "away");
    let other = Process::start(&place.data()).await;
    drop(other);
    says_why(async || shard(&follower).inspect().await.map(drop)).await;
    fs::remove_dir_all(place.data()).unwrap();
    place.rename("away", "data");
    process.append(1).await;
    while *listen.frontier() != at(6) {
        listen.next().await.unwrap();
    }
}

/// No listing shows what a kill leaves under a temporary name.
#[tokio::test]
async fn what_kills_left_long_ago_goes_when_somebody_writes() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let place = Place::new();
    let mut process = Process::start(&place.data()).await;
    process.append(1).await;
    process.client.shutdown().await.unwrap();
    let folder = place.data().join(format!("shards/{}", id()));
    fs::create_dir_all(folder.join("blob")).unwrap();
    let now = fs::metadata(place.data().join("timely-persist")).unwrap().modified().unwrap();
    let leave = |name: &str, age| {
        let file = fs::File::create(folder.join(name)).unwrap();
        file.set_modified(now - age).unwrap();
        folder.join(name)
    };
    let old = [
        leave("log/00000000000000000002#1", 2 * DAY),
        leave("log/00000000000000000002#2", 2 * DAY),
        leave("blob/part-1700000000000-6a8b4c5e-0000-4000-8000-000000000000.arrow#1", 2 * DAY),
        leave("../../timely-persist#17", 2 * DAY),
    ];
    let young = [leave("log/00000000000000000002#3", DAY / 2), leave("../../timely-persist#18", DAY / 2)];
    let mut process = Process::start(&place.data()).await;
    process.append(1).await;
    tokio::time::timeout(Duration::from_secs(60), async {
        while old.iter().any(|path| path.exists()) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("they go");
    young.iter().for_each(|path| assert!(path.exists(), "{}", path.display()));
    has(&place.data(), 2, 6).await;
}

/// Mounts a file system in a namespace of its own, and runs the test of this name there.
fn in_a_namespace(test: &str, data: &Path) -> std::process::Output {
    let mut script = String::new();
    let program = std::env::current_exe().unwrap();
    write!(script, "mount -t tmpfs none {} && exec {} --exact {test} --nocapture", data.display(), program.display())
        .unwrap();
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script]).env("DATA_DIRECTORY", data);
    unshare.output().unwrap()
}

#[tokio::test]
async fn a_directory_that_is_unmounted_is_noticed() {
    if let Some(data) = std::env::var_os("DATA_DIRECTORY") {
        let data = PathBuf::from(data);
        let mut process = Process::start(&data).await;
        process.append(5).await;
        assert!(Command::new("umount").arg("-l").arg(&data).status().unwrap().success());
        process.is_refused().await;
        assert_eq!(fs::read_dir(&data).unwrap().count(), 0, "written to what was below");
        println!("noticed");
        return;
    }
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let output = in_a_namespace("a_directory_that_is_unmounted_is_noticed", &place.data());
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("noticed"), "{said}");
}
