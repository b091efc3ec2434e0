//! Backups of a store that is in use, made and restored with the commands that `ARCHITECTURE.md` names.
//!
//! A writer appends all the time, and its client merges and deletes as eagerly as it can. At time `t` it adds the row `t`
//! and removes `t - 5`, so that the contents tell exactly which state they are of.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "postgres")]
#[path = "support/postgres.rs"]
#[allow(dead_code)] // some is for other tests
mod server;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::store::Directory;
use timely_persist::{Appended, Client, Config, Pin, Shard, ShardId};
use tokio::sync::Mutex;

type Numbers = Shard<u64, (), u64, i64>;

/// How many rows there are at each time.
const ALIVE: u64 = 5;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// Everything is an object, and goes as soon as it may.
fn eager() -> Config {
    let mut config = Config::default();
    (config.write.inline_part_bytes_max, config.upkeep.compaction_fan_in, config.upkeep.rollup_interval) = (0, 2, 8);
    config.upkeep.sweep_interval = Duration::ZERO;
    config.lease.heartbeat_interval = Duration::from_millis(20);
    config
}

/// A writer at work, until it is stopped.
struct Busy {
    shard: Numbers,
    stop: Arc<AtomicBool>,
    /// Held for each append, and by whoever wants the writer to wait.
    turn: Arc<Mutex<()>>,
    writing: tokio::task::JoinHandle<()>,
}

impl Busy {
    async fn start(client: &Client) -> Self {
        let shard: Numbers = client.shard(ShardId::new());
        let stop = Arc::new(AtomicBool::new(false));
        let (mut writer, mut since) =
            (shard.open_writer("busy").await.unwrap(), shard.open_reader("busy").await.unwrap());
        let (stopped, turn) = (Arc::clone(&stop), Arc::new(Mutex::new(())));
        let turns = Arc::clone(&turn);
        let writing = tokio::spawn(async move {
            let mut time = 0u64;
            while !stopped.load(Ordering::SeqCst) {
                let _turn = turns.lock().await;
                let gone = time.checked_sub(ALIVE).map(|gone| ((gone, ()), time, -1));
                let rows = [((time, ()), time, 1)].into_iter().chain(gone);
                assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
                since.downgrade_since(&at(time)).await.unwrap();
                time += 1;
            }
        });
        let busy = Self { shard, stop, turn, writing };
        busy.go_on(30).await;
        busy
    }

    async fn upper(&self) -> u64 {
        *self.shard.inspect().await.unwrap().upper.as_option().unwrap()
    }

    /// Waits until the writer has committed so many times more, and what it left is merged and deleted as far as it may be.
    async fn go_on(&self, commits: u64) {
        let reached = self.upper().await + commits;
        let waiting = async {
            let mut watcher = self.shard.open_writer("watcher").await.unwrap();
            watcher.wait_for_upper_past(&at(reached - 1)).await.unwrap();
            // On a busy machine, upkeep would not catch up with a writer that goes on.
            let _turn = self.turn.lock().await;
            self.shard.settle().await.unwrap();
        };
        tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("the writer to go on");
    }

    async fn pin(&self) -> Pin<u64> {
        self.shard.open_reader("backup").await.unwrap().pin().unwrap()
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.writing.await.unwrap();
    }
}

fn backup_directory(source: &Path, target: &Path, half: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/backup_directory.sh");
    let output = Command::new("bash").arg(script).arg(source).arg(target).arg(half).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What was restored is one past state, within these uppers, and can be written on.
async fn check_restored(client: &Client, id: ShardId, uppers: std::ops::RangeInclusive<u64>) {
    let shard: Numbers = client.shard(id);
    let reader = shard.open_reader("restored").await.unwrap();
    let upper = *shard.inspect().await.unwrap().upper.as_option().unwrap();
    assert!(uppers.contains(&upper), "{upper} instead of one in {uppers:?}");
    let last = upper - 1;
    let rows = reader.snapshot_and_fetch(at(last)).await.unwrap();
    let expected: Vec<_> = (upper.saturating_sub(ALIVE)..upper).map(|row| ((row, ()), last, 1)).collect();
    assert_eq!(rows, expected);
    let mut writer = shard.open_writer("restored").await.unwrap();
    let added = writer.compare_and_append([((u64::MAX, ()), upper, 1)], at(upper), at(upper + 1)).await.unwrap();
    assert_eq!(added, Appended::Committed);
    shard.settle().await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(upper)).await.unwrap().len() as u64, ALIVE + 1);
}

async fn open(directory: &Path) -> Client {
    Client::builder(Arc::new(Directory::open(directory).unwrap())).config(eager()).open().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_use_is_copied_and_restored_to_a_past_state() {
    let temporary = tempfile::tempdir().unwrap();
    let (source, target) = (temporary.path().join("source"), temporary.path().join("target"));
    let client = open(&source).await;
    let busy = Busy::start(&client).await;
    let id = busy.shard.id();
    let pin = busy.pin().await;
    let first = busy.upper().await;
    backup_directory(&source, &target, "logs");
    let last = busy.upper().await;
    // All that the copied log refers to would be merged and gone by now, were it not for the pin.
    busy.go_on(40).await;
    backup_directory(&source, &target, "objects");
    pin.check().unwrap();
    drop(pin);
    // What the pin kept goes now.
    busy.go_on(1).await;
    busy.stop().await;
    client.shutdown().await.unwrap();
    check_restored(&open(&target).await, id, first..=last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_keeps_objects_and_lets_them_go() {
    let temporary = tempfile::tempdir().unwrap();
    let client = open(temporary.path()).await;
    let busy = Busy::start(&client).await;
    let pin = busy.pin().await;
    let pinned = busy.shard.inspect().await.unwrap().seqno;
    let mut garbage = 0;
    for _ in 0..3 {
        busy.go_on(20).await;
        let kept = busy.shard.inspect().await.unwrap();
        assert!(kept.seqno_hold <= pinned, "a heartbeat moved it: {kept:?}");
        assert!(kept.garbage > garbage, "something was deleted: {kept:?}");
        garbage = kept.garbage;
    }
    pin.check().unwrap();
    drop(pin);
    let shard = busy.shard.clone();
    busy.stop().await;
    let gone = async {
        while shard.inspect().await.unwrap().garbage > 0 {
            shard.settle().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("what was kept is deleted");
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_with_its_log_in_postgres_is_dumped_and_restored_to_a_past_state() {
    use server::{PASSWORD, Server};

    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let (source, target) = (temporary.path().join("source"), temporary.path().join("target"));
    let open = async |directory: &Path, database: &str| {
        let store = Arc::new(Directory::open(directory).unwrap());
        let url = server.url_as("tester", PASSWORD, database);
        Client::builder(store).database(url).config(eager()).open().await.unwrap()
    };
    let socket = server.directory().display().to_string();
    let run = |program: &str, arguments: &[&str]| {
        let connection = ["-h", &socket, "-U", "tester"];
        server.run(program, |command| command.env("PGPASSWORD", PASSWORD).args(connection).args(arguments));
    };
    let client = open(&source, "postgres").await;
    let busy = Busy::start(&client).await;
    let id = busy.shard.id();
    let pin = busy.pin().await;
    let first = busy.upper().await;
    let dump = server.directory().join("dump").display().to_string();
    run("pg_dump", &["-d", "postgres", "-n", "timely_persist", "-Fc", "-f", &dump]);
    let last = busy.upper().await;
    busy.go_on(40).await;
    backup_directory(&source, &target, "objects");
    pin.check().unwrap();
    drop(pin);
    busy.stop().await;
    client.shutdown().await.unwrap();
    run("createdb", &["restored"]);
    run("pg_restore", &["-d", "restored", "--exit-on-error", &dump]);
    check_restored(&open(&target, "restored").await, id, first..=last).await;
}
