//! The main example is killed at random moments, while it appends and while it reads: the next run completes, and the
//! table is right. The `pipeline` kills itself, and compares by itself.
//!
//! The moments are drawn from a seed, which is printed; `TIMELY_PERSIST_SEED=…` draws the same again. Where a kill landed
//! is read from what it left behind: an upper before the end of the history, or the lease of the dataflow's reader.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(clippy::disallowed_methods)] // kills at moments of the wall clock
#![allow(dead_code)] // of the scratch repository, not everything is needed here

mod scratch;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use scratch::program::{command, expected, json_of, program, table};
use scratch::{Edit, ScratchRepository};
use timely::progress::Antichain;
use timely_persist::{Client, Holder, Shard, ShardId};

/// Random numbers from a seed.
struct Random(u64);

impl Random {
    /// From the environment, or another one each time.
    fn seeded() -> Self {
        let given = std::env::var("TIMELY_PERSIST_SEED").ok().map(|seed| seed.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64);
        println!("to draw the same moments again: TIMELY_PERSIST_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }

    fn moment(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64))
    }
}

/// A history that takes several appends, over many files.
fn repository(commits: usize, files: usize) -> ScratchRepository {
    let mut scratch = ScratchRepository::new();
    let name = |number: usize| format!("directory {}/file {number}.{}", number % 13, ["rs", "md", "toml"][number % 3]);
    let lines = |number: usize| b"line\n".repeat(number * 7 % 40);
    let start: Vec<(String, Vec<u8>)> = (0..files).map(|number| (name(number), lines(number))).collect();
    scratch.commit(&start.iter().map(|(name, lines)| Edit::File(name.as_bytes(), lines)).collect::<Vec<_>>());
    for commit in 1..commits {
        let names = [name(commit * 31 % files), name(commit * 17 % files)];
        let lines = lines(commit);
        scratch.commit(&names.each_ref().map(|name| Edit::File(name.as_bytes(), &lines)));
    }
    scratch.write();
    scratch
}

/// What a killed run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// Nothing yet.
    Nothing,
    /// So many commits of the history.
    Commits(u64),
    /// All of it, and the lease of so many readers in dataflows.
    Readers(usize),
}

fn left(data: &Path, commits: usize) -> Left {
    let store = data.join("store");
    if !store.join("timely-persist").exists() {
        return Left::Nothing;
    }
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::open(&format!("file://{}", store.display())).await.unwrap();
        let files: Shard<String, u64, u64, i64> =
            client.shard(ShardId::from_u128(u128::from_be_bytes(*b"git_history file")));
        let upper = files.inspect().await.unwrap().upper;
        let holds = files.holds().await.unwrap();
        client.shutdown().await.unwrap();
        match upper.as_option() {
            Some(upper) if *upper < commits as u64 => Left::Commits(*upper),
            _ => Left::Readers(holds.iter().filter(|hold| hold.purpose == "git_history").count()),
        }
    })
}

/// Runs the program and kills it after a while; `false` if it was done before.
fn kill(repository: &Path, arguments: &[&str], after: Duration) -> bool {
    let mut command = command(repository, arguments);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    if let Some(ended) = child.try_wait().unwrap() {
        assert!(ended.success());
        return false;
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// How long an undisturbed run takes.
fn duration(repository: &Path, arguments: &[&str]) -> Duration {
    let began = Instant::now();
    json_of(repository, arguments);
    began.elapsed()
}

#[test]
fn killed_while_appending_the_next_run_completes() {
    const KILLS: usize = 30;
    let mut random = Random::seeded();
    let commits = 3500;
    let scratch = repository(commits, 500);
    let last = expected(&scratch, commits - 1, "HEAD");
    let middle = expected(&scratch, 2222, &scratch.ids()[2222]);
    let place = tempfile::tempdir().unwrap();
    let mut limit = duration(scratch.path(), &["--json", "--data", place.path().join("undisturbed").to_str().unwrap()]);

    let (mut kills, mut begun, mut between, mut attempts) = (0, 0, 0, 0);
    while kills < KILLS {
        let data = place.path().join(format!("life {attempts}"));
        let arguments = ["--json", "--data", data.to_str().unwrap()];
        // Some directories survive several kills in a row.
        for _ in 0..1 + random.below(3) / 2 {
            attempts += 1;
            assert!(attempts < 10 * KILLS, "{kills} kills only");
            let moment = random.moment(limit);
            if kill(scratch.path(), &arguments, moment) {
                kills += 1;
                let left = left(&data, commits);
                // The machine may have more to do than it had, or less.
                limit += if matches!(left, Left::Nothing | Left::Commits(0)) { limit / 10 } else { Duration::ZERO };
                begun += usize::from(matches!(left, Left::Commits(_)));
                between += usize::from(matches!(left, Left::Commits(1..)));
            } else {
                limit -= limit / 10;
            }
        }
        assert_eq!(table(&json_of(scratch.path(), &arguments)), last, "after {kills} kills");
        if random.below(4) == 0 {
            let as_of = [arguments.as_slice(), &["--as-of", "2222"]].concat();
            assert_eq!(table(&json_of(scratch.path(), &as_of)), middle, "after {kills} kills");
        }
        std::fs::remove_dir_all(&data).unwrap();
    }
    println!("{kills} kills: {begun} before all was appended, {between} of them between the first and the last append");
    assert!(between > 0 && begun > between);
}

#[test]
fn killed_while_reading_the_next_run_completes() {
    const KILLS: usize = 20;
    let mut random = Random::seeded();
    let commits = 40;
    let scratch = repository(commits, 40_000);
    let last = expected(&scratch, commits - 1, "HEAD");
    let place = tempfile::tempdir().unwrap();
    let arguments = ["--json", "--data", place.path().to_str().unwrap()];
    json_of(scratch.path(), &arguments);
    let mut limit = duration(scratch.path(), &arguments);

    let (mut kills, mut reading, mut readers, mut attempts) = (0, 0, 0, 0);
    while kills < KILLS {
        attempts += 1;
        assert!(attempts < 10 * KILLS, "{kills} kills only");
        let moment = random.moment(limit);
        if kill(scratch.path(), &arguments, moment) {
            kills += 1;
            let Left::Readers(now) = left(place.path(), commits) else { panic!("the collection is not complete") };
            reading += now - readers;
            readers = now;
        }
        // As long as it takes now: the machine may have more to do than it had, or less.
        let began = Instant::now();
        assert_eq!(table(&json_of(scratch.path(), &arguments)), last, "after {kills} kills");
        limit = began.elapsed();
    }
    println!("{kills} kills: {reading} while the dataflow had its reader");
    assert!(reading > 0);
}

/// Runs the example `pipeline`: its exit code, and what it says.
fn pipeline(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program("pipeline"));
    let output = command.arg("--data").arg(data).args(arguments).output().unwrap();
    let [said, complained] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(!complained.contains("panicked"), "{complained}");
    (output.status.code(), said, complained)
}

/// Appends a row to what the pipeline keeps, as nobody should.
fn add_a_row(data: &Path) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::in_directory(data).open().await.unwrap();
        let revenue: Shard<String, i64, u64, i64> =
            client.shard(ShardId::from_u128(u128::from_be_bytes(*b"pipeline revenue")));
        let mut writer = revenue.open_writer("test").await.unwrap();
        let upper = writer.fetch_upper().await.unwrap();
        let step = upper.first().copied().unwrap();
        let row = [(("Nobody".to_owned(), 1), step, 1)];
        let _ = writer.compare_and_append(row, upper, Antichain::from_elem(step + 1)).await.unwrap();
        client.shutdown().await.unwrap();
    });
}

/// Where the pipeline's holds on its inputs stand.
fn holds(data: &Path) -> Vec<u64> {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::in_directory(data).open().await.unwrap();
        let id = |name: &[u8; 16]| ShardId::from_u128(u128::from_be_bytes(*name));
        // Who holds a shard is known without its rows, whatever these are.
        let [orders, items] = [b"pipeline  orders", b"pipeline   items"].map(|name| client.shard(id(name)));
        let (orders, items): (Shard<u64, (), u64, i64>, Shard<u64, (), u64, i64>) = (orders, items);
        let holds = [orders.holds().await.unwrap(), items.holds().await.unwrap()].concat();
        client.shutdown().await.unwrap();
        let critical = holds.iter().filter(|hold| matches!(hold.holder, Holder::Critical(_)));
        critical.map(|hold| hold.since.first().copied().unwrap()).collect()
    })
}

#[test]
fn a_pipeline_whose_processes_are_killed_keeps_what_a_plain_computation_gives() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let (code, said, complained) = pipeline(&data, &["--kill", "--moments", "8"]);
    assert_eq!(code, Some(0), "{said}{complained}");
    assert_eq!(said.matches(" s: killing the ").count(), 8, "{said}");
    assert!(said.contains("equal: the third shard and a plain computation, at each step from 0 to "), "{said}");

    // Another run goes on, and may forget what is before it.
    let (code, said, complained) = pipeline(&data, &["--kill", "--kill-for", "1"]);
    assert_eq!(code, Some(0), "{said}{complained}");
    assert_eq!(said.matches(" s: killing the ").count(), 1, "{said}");
    let holds = holds(&data);
    assert!(holds.len() == 2 && holds.iter().all(|since| *since > 0), "one hold on each input: {holds:?}");

    // And a third one finds what is wrong.
    add_a_row(&data);
    let (code, said, complained) = pipeline(&data, &["--steps", "5"]);
    assert_eq!(code, Some(1), "{said}{complained}");
    let steps = said.strip_prefix("steps ").and_then(|said| said.split(' ').next()).expect("it says so");
    assert!(complained.contains(&format!("error: not equal at step {steps}: ")), "{complained}");
}

#[test]
fn a_pipeline_that_cannot_use_its_directory_says_so() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("notes");
    std::fs::write(&file, "mine").unwrap();
    for directory in [place.path(), &file] {
        let (code, said, complained) = pipeline(directory, &["--steps", "1"]);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{complained}");
        assert!(complained.starts_with("error: ") && complained.contains("--data"), "{complained}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);
}
