//! The simulator: whole processes on one thread and one clock, on a store in which everything that can go wrong does.
//!
//! Writers that compete and writers that write identical rows, snapshots, listeners, critical readers, compaction,
//! sweeps and crashes of whole processes at any await, with clocks that are apart. The truth is what a listener without
//! faults hears, and that must be what the writers were told. Each seed runs twice and must give the same story.
//!
//! `SIM_SEEDS=1000 cargo test --release --test sim` runs more, `SIM_SEED=7` one.
#![allow(clippy::unwrap_used)]

#[path = "support/random.rs"]
mod random;
#[path = "support/sim_store.rs"]
mod sim_store;
#[path = "support/sim_truth.rs"]
mod sim_truth;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::clock::{Clock, Entropy};
use timely_persist::store::{ObjectLog, keys};
use timely_persist::{
    Appended, Client, Config, CriticalReaderId, ErrorKind, Listen, ListenEvent, SeqNo, Shard, ShardId, SinceDowngrade,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use random::{Random, Story, seeds};
use sim_store::{Crashed, SimStore, Trouble};
use sim_truth::{Attempt, Heard, Outcome, Record, Row, check};

type Strings = Shard<String, u64, u64, i64>;

/// How long things go wrong, in simulated time.
const TROUBLE: Duration = Duration::from_secs(120);
const SHARD: u128 = 1;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// The time of a frontier of totally ordered times.
fn time(frontier: &Antichain<u64>) -> u64 {
    frontier.elements().first().copied().unwrap_or(u64::MAX)
}

type Shared = Arc<Mutex<Record>>;

/// A wall clock some way off the others.
#[derive(Debug)]
struct SkewedClock {
    begun: Instant,
    ahead_ms: u64,
}

impl Clock for SkewedClock {
    fn wall_ms(&self) -> u64 {
        1_000_000 + self.begun.elapsed().as_millis() as u64 + self.ahead_ms
    }
}

#[derive(Debug)]
struct SimEntropy(Mutex<Random>, AtomicU64);

impl Entropy for SimEntropy {
    fn bits(&self) -> u128 {
        self.1.fetch_add(1, Ordering::Relaxed);
        let mut random = self.0.lock().unwrap();
        u128::from(random.word()) << 64 | u128::from(random.word())
    }
}

fn config(random: &mut Random) -> Config {
    let mut config = Config::default();
    // Objects or inline, never by way of a thread: threads do not replay.
    config.inline_part_bytes_max = *random.pick(&[800, 2_000, 8_192]);
    config.inline_total_bytes_max = *random.pick(&[4_000, 1 << 20]);
    config.rollup_interval = 3 + random.below(6) as u64;
    config.compaction_fan_in = 2 + random.below(2);
    config.scan_entries_max = 1 + random.below(8);
    config.listen_parts_max = 1 + random.below(5);
    config.sweep_step_objects_max = 1 + random.below(6);
    config.reader_lease = Duration::from_secs(14);
    config.lease_margin = Duration::from_secs(4);
    config.heartbeat_interval = Duration::from_secs(4);
    config.log_request_deadline = Duration::from_millis(500 + random.below(3_000) as u64);
    config.commit_deadline = Duration::from_secs(5);
    config.store_deadline = Duration::from_secs(10);
    config.watch_fallback = Duration::from_secs(1);
    config
}

/// A client with its actors.
struct Process {
    crashed: Crashed,
    trouble: Trouble,
    actors: JoinSet<()>,
    shard: Strings,
}

struct World {
    random: Random,
    store: Arc<dyn ObjectStore>,
    config: Config,
    begun: Instant,
    record: Shared,
}

impl World {
    async fn client(&mut self, trouble: Trouble, crashed: Crashed) -> Strings {
        let random = Random::new(self.random.word());
        let store: Arc<dyn ObjectStore> = Arc::new(SimStore::new(Arc::clone(&self.store), random, trouble, crashed));
        let clock = SkewedClock { begun: self.begun, ahead_ms: self.random.below(3_000) as u64 };
        let entropy = SimEntropy(Mutex::new(Random::new(self.random.word())), AtomicU64::new(0));
        let builder = Client::builder(Arc::clone(&store)).consensus(Arc::new(ObjectLog::new(store)));
        let builder = builder.config(self.config.clone()).clock(Arc::new(clock)).entropy(Arc::new(entropy));
        let client = builder.runtime(tokio::runtime::Handle::current()).open().await.unwrap();
        client.shard(ShardId::from_u128(SHARD))
    }

    async fn start(&mut self) -> Process {
        let crashed = Crashed::default();
        let trouble = Trouble::default();
        trouble.set(*self.random.pick(&[0, 3, 10, 25]));
        let shard = self.client(trouble.clone(), crashed.clone()).await;
        let mut actors = JoinSet::new();
        for _ in 0..2 + self.random.below(3) {
            let actor =
                Actor { shard: shard.clone(), record: self.record.clone(), random: Random::new(self.random.word()) };
            match self.random.below(6) {
                0 => drop(actors.spawn(actor.compete())),
                1 => drop(actors.spawn(actor.write_identically())),
                2 => drop(actors.spawn(actor.stage())),
                3 => drop(actors.spawn(actor.snapshots())),
                4 => drop(actors.spawn(actor.listen())),
                _ => drop(actors.spawn(actor.keep())),
            }
        }
        Process { crashed, trouble, actors, shard }
    }
}

struct Actor {
    shard: Strings,
    record: Shared,
    random: Random,
}

/// The rows that every identical writer writes: they depend on the time only.
fn identical(time: u64) -> Row {
    (("same".to_owned(), u64::MAX), time, 1)
}

impl Actor {
    async fn rest(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(2_000) as u64)).await;
    }

    fn tell(&self, line: std::fmt::Arguments<'_>) {
        self.record.lock().unwrap().story.tell(line);
    }

    fn attempt(&self, rows: Vec<Row>, lower: u64, upper: u64, overlap: bool) -> usize {
        let mut record = self.record.lock().unwrap();
        let number = record.attempts.len();
        record.story.tell(format_args!("attempt {number} [{lower}, {upper})"));
        record.attempts.push(Attempt { rows, lower, upper, overlap, outcome: Outcome::Unknown });
        number
    }

    fn outcome(&self, attempt: usize, outcome: Outcome) {
        let mut record = self.record.lock().unwrap();
        record.story.tell(format_args!("attempt {attempt} {outcome:?}"));
        record.attempts[attempt].outcome = outcome;
    }

    /// Rows that no other attempt has.
    fn rows(&mut self, lower: u64, upper: u64) -> Vec<Row> {
        let number = {
            let mut record = self.record.lock().unwrap();
            record.next_value += 1;
            record.next_value
        };
        let count = self.random.below(8) as u64;
        let random = &mut self.random;
        (0..count).map(|row| ((format!("k{row}"), number), lower + random.word() % (upper - lower), 1)).collect()
    }

    async fn compete(mut self) {
        let mut writer = loop {
            self.rest().await;
            if let Ok(writer) = self.shard.open_writer("compete").await {
                break writer;
            }
        };
        loop {
            self.rest().await;
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(3) as u64;
            let rows = self.rows(lower, upper);
            let attempt = self.attempt(rows.clone(), lower, upper, false);
            let patience = Duration::from_millis(self.random.below(3_000) as u64);
            loop {
                let append = writer.compare_and_append(rows.clone(), at(lower), at(upper));
                // Sometimes the call is given up half-way and made again.
                match tokio::time::timeout(patience.max(Duration::from_millis(200)), append).await {
                    Ok(Ok(Appended::Committed)) => break self.outcome(attempt, Outcome::Committed),
                    Ok(Ok(Appended::UpperMismatch { current })) => {
                        self.tell(format_args!("attempt {attempt} met {current:?}"));
                        break self.outcome(attempt, Outcome::Refused);
                    }
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    Err(_gave_up) => {}
                }
            }
        }
    }

    async fn stage(mut self) {
        loop {
            self.rest().await;
            let Ok(mut writer) = self.shard.open_writer("stage").await else { continue };
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(5) as u64;
            let rows = self.rows(lower, upper);
            let mut builder = writer.batch_builder(at(lower));
            for ((key, value), time, diff) in &rows {
                builder.add(key, value, time, diff).await.unwrap();
            }
            let Ok(mut batch) = builder.finish(at(upper)).await else { continue };
            let attempt = self.attempt(rows, lower, upper, false);
            self.rest().await;
            loop {
                let mut offered = [&mut batch];
                let append = writer.compare_and_append_batch(&mut offered, at(lower), at(upper));
                match tokio::time::timeout(Duration::from_millis(900), append).await {
                    Ok(Ok(Appended::Committed)) => break self.outcome(attempt, Outcome::Committed),
                    Ok(Ok(Appended::UpperMismatch { .. })) => break self.outcome(attempt, Outcome::Refused),
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    Err(_gave_up) => {}
                }
            }
        }
    }

    async fn write_identically(mut self) {
        loop {
            self.rest().await;
            let Ok(mut writer) = self.shard.open_writer("identical").await else { continue };
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(4) as u64;
            let rows: Vec<_> = (lower..upper).map(identical).collect();
            let attempt = self.attempt(rows.clone(), lower, upper, true);
            // Others may take some of these times before.
            match writer.append(rows, at(lower), at(upper)).await {
                Ok(Appended::Committed) => self.outcome(attempt, Outcome::Committed),
                Ok(mismatch) => panic!("the upper was {lower} before: {mismatch:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }

    /// Whether the actor goes on with its reader after this error.
    fn bear(&self, error: &timely_persist::Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::LeaseExpired { .. } => {
                self.tell(format_args!("lost a lease"));
                self.record.lock().unwrap().lost += 1;
                false
            }
            kind => panic!("{kind:?}: {error}"),
        }
    }

    async fn snapshots(mut self) {
        loop {
            self.rest().await;
            let Ok(mut reader) = self.shard.open_reader("snapshots").await else { continue };
            for _ in 0..1 + self.random.below(6) {
                let upper = match self.shard.inspect().await {
                    Ok(info) => time(&info.upper),
                    Err(_) => continue,
                };
                let since = time(reader.since());
                let as_of = since + self.random.word() % (upper.max(since + 1) - since);
                let step = Duration::from_secs(30);
                let parts = match tokio::time::timeout(step, reader.snapshot(at(as_of))).await {
                    Ok(Ok(parts)) => parts,
                    Ok(Err(error)) if self.bear(&error) => continue,
                    Ok(Err(_)) => break,
                    Err(_waited) => continue,
                };
                // The parts are in other hands for a while, and the log goes on.
                for _ in 0..1 + self.random.below(4) {
                    self.rest().await;
                }
                let fetcher = reader.fetcher();
                let mut rows = Vec::new();
                let mut failed = None;
                for part in parts {
                    match self.random.percent(50) {
                        true => match fetcher.fetch(part).await {
                            Ok(part) => rows.extend(part.rows()),
                            Err(error) => failed = Some(error),
                        },
                        false => {
                            let part = part.into_exchangeable();
                            match fetcher.fetch(&part).await {
                                Ok(part) => rows.extend(part.rows()),
                                Err(error) => failed = Some(error),
                            }
                            reader.return_lease(part.lease_id()).unwrap();
                        }
                    }
                }
                match failed {
                    None => {
                        self.tell(format_args!("snapshot at {as_of}: {} rows", rows.len()));
                        self.record.lock().unwrap().snapshots.push((as_of, rows));
                    }
                    Some(error) if self.bear(&error) => continue,
                    Some(_) => break,
                }
                let forward = since + self.random.below(6) as u64;
                if let Err(error) = reader.downgrade_since(&at(forward.min(as_of))).await
                    && !self.bear(&error)
                {
                    break;
                }
            }
        }
    }

    async fn listen(mut self) {
        'open: loop {
            self.rest().await;
            let Ok(reader) = self.shard.open_reader("listen").await else { continue };
            let as_of = time(reader.since()) + self.random.below(4) as u64;
            let snapshot = self.random.percent(50);
            let opened = if snapshot { reader.subscribe(at(as_of)).await } else { reader.listen(at(as_of)).await };
            let mut listen = match opened {
                Ok(listen) => listen,
                Err(error) => {
                    self.bear(&error);
                    continue;
                }
            };
            let mut heard = Heard { as_of, snapshot, frontier: as_of, rows: Vec::new() };
            for _ in 0..1 + self.random.below(20) {
                match tokio::time::timeout(Duration::from_secs(20), hear(&mut listen, &mut heard)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        self.bear(&error);
                        // What it has heard up to its frontier stands.
                        heard.rows.retain(|(_, time, _)| *time < heard.frontier);
                        self.record.lock().unwrap().listens.push(heard);
                        continue 'open;
                    }
                    Err(_waited) => break,
                }
                self.tell(format_args!("listener of {as_of} at {}", heard.frontier));
                self.rest().await;
            }
            heard.rows.retain(|(_, time, _)| *time < heard.frontier);
            self.record.lock().unwrap().listens.push(heard);
        }
    }

    /// A critical reader that moves on, and is fenced by nobody.
    async fn keep(mut self) {
        let number = {
            let mut record = self.record.lock().unwrap();
            record.next_critical += 1;
            record.next_critical
        };
        let id = CriticalReaderId::from_u128(number.into());
        let mut opaque = 0;
        loop {
            self.rest().await;
            let Ok(mut handle) = self.shard.open_critical_since(id, opaque).await else { continue };
            for _ in 0..4 {
                let before = time(handle.since());
                let since = at(before + self.random.below(3) as u64);
                self.rest().await;
                loop {
                    match handle.compare_and_downgrade_since(opaque, (opaque + 1, &since)).await {
                        Ok(SinceDowngrade::Downgraded { since }) => {
                            assert!(before <= time(&since));
                            opaque += 1;
                            break;
                        }
                        Ok(SinceDowngrade::OpaqueMismatch { current }) => panic!("{current} and not {opaque}"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    }
                }
            }
            if self.random.percent(60) && handle.expire().await.is_ok() {
                return;
            }
        }
    }
}

async fn hear(listen: &mut Listen<String, u64, u64, i64>, heard: &mut Heard) -> Result<(), timely_persist::Error> {
    let events = listen.next().await?;
    let fetcher = listen.fetcher();
    for event in events {
        match event {
            ListenEvent::Updates(parts) => {
                for part in parts {
                    let rows = fetcher.fetch(part).await?;
                    heard.rows.extend(rows.rows());
                }
                let behind = heard.rows.iter().find(|(_, time, _)| *time < heard.as_of);
                assert_eq!(behind, None);
            }
            ListenEvent::Progress(frontier) => {
                assert!(PartialOrder::less_than(&at(heard.frontier), &frontier), "the frontier goes backwards");
                heard.frontier = time(&frontier);
            }
        }
    }
    Ok(())
}

/// Hears everything that is ever committed, on a store without faults.
async fn tap(shard: Strings, truth: Arc<Mutex<Heard>>) {
    let reader = shard.open_reader("truth").await.unwrap();
    let mut listen = reader.subscribe(at(0)).await.unwrap();
    loop {
        let mut step = Heard { as_of: 0, snapshot: true, frontier: truth.lock().unwrap().frontier, rows: Vec::new() };
        hear(&mut listen, &mut step).await.unwrap();
        let mut truth = truth.lock().unwrap();
        truth.rows.extend(step.rows);
        truth.frontier = step.frontier;
    }
}

/// One run; its story, to be compared with another of the same seed.
async fn simulate(seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let command = format!("SIM_SEED={seed} cargo test --test sim");
    let record = Record {
        story: Story::new(command),
        attempts: Vec::new(),
        snapshots: Vec::new(),
        listens: Vec::new(),
        lost: 0,
        next_critical: 0,
        next_value: 0,
    };
    let config = config(&mut random);
    let record = Arc::new(Mutex::new(record));
    let mut world =
        World { random, store: Arc::new(InMemory::new()), config, begun: Instant::now(), record: record.clone() };

    let truth = Arc::new(Mutex::new(Heard { as_of: 0, snapshot: true, frontier: 0, rows: Vec::new() }));
    let observer = world.client(Trouble::default(), Crashed::default()).await;
    let listening = tokio::spawn(tap(observer.clone(), truth.clone()));
    tokio::time::sleep(Duration::from_secs(1)).await;

    let mut processes = Vec::new();
    for _ in 0..2 + world.random.below(3) {
        processes.push(world.start().await);
    }
    let mut last = (SeqNo::ZERO, at(0), at(0));
    while world.begun.elapsed() < TROUBLE {
        let most = if world.random.percent(20) { 100 } else { 20_000 };
        tokio::time::sleep(Duration::from_millis(world.random.below(most) as u64)).await;
        let info = observer.inspect().await.unwrap();
        let (seqno, since, upper) = &last;
        assert!(*seqno <= info.seqno && PartialOrder::less_equal(since, &info.since));
        assert!(PartialOrder::less_equal(upper, &info.upper));
        last = (info.seqno, info.since, info.upper);
        for process in &mut processes {
            while let Some(ended) = process.actors.try_join_next() {
                ended.unwrap(); // an actor that panicked has found something
            }
        }
        let index = world.random.below(processes.len());
        if world.random.percent(30) {
            let bad = *world.random.pick(&[0, 10, 50, Trouble::OUTAGE, Trouble::OUTAGE]);
            record.lock().unwrap().story.tell(format_args!("trouble {bad} for process {index}"));
            processes[index].trouble.set(bad);
            continue;
        }
        let process = processes.swap_remove(index);
        record.lock().unwrap().story.tell(format_args!("crash process {index} at {:?}", world.begun.elapsed()));
        process.crashed.crash();
        let mut actors = process.actors;
        drop(process.shard);
        actors.abort_all();
        while let Some(ended) = actors.join_next().await {
            assert!(!ended.is_err_and(|error| error.is_panic()), "an actor has found something");
        }
        processes.push(world.start().await);
    }
    // The last processes end in an orderly way.
    for mut process in processes {
        process.trouble.set(0);
        process.actors.abort_all();
        while let Some(ended) = process.actors.join_next().await {
            assert!(!ended.is_err_and(|error| error.is_panic()), "an actor has found something");
        }
    }
    // Long enough for every lease to lapse and every late request to land.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let upper = observer.inspect().await.unwrap().upper;
    while truth.lock().unwrap().frontier < time(&upper) {
        assert!(!listening.is_finished());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    listening.abort();
    let _ = listening.await;
    {
        let (record, truth) = (record.lock().unwrap(), truth.lock().unwrap());
        check(&record, &truth);
    }
    clean_up(&observer, &record, &*world.store).await;
    let record = record.lock().unwrap();
    record.story.lines().to_vec()
}

/// At the end nothing is left that somebody would have to keep, and nothing is missing.
async fn clean_up(observer: &Strings, record: &Shared, store: &dyn ObjectStore) {
    let number = record.lock().unwrap().next_critical;
    for id in 1..=number {
        observer.open_critical_since(CriticalReaderId::from_u128(id.into()), 0).await.unwrap().expire().await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(120)).await;
    observer.open_writer("end").await.unwrap().fetch_upper().await.unwrap();
    let reader = observer.open_reader("end").await.unwrap();
    let since = reader.since().clone();
    let upper = observer.inspect().await.unwrap().upper;
    if time(&since) < time(&upper) {
        reader.snapshot_and_fetch(since).await.unwrap();
    }
    reader.expire().await.unwrap();
    observer.settle().await.unwrap();
    let info = observer.inspect().await.unwrap();
    assert_eq!((info.readers, info.garbage), (0, 0), "{info:?}");
    let listed = store.list(Some(&keys::blob_folder(ShardId::from_u128(SHARD))));
    let objects: Vec<String> =
        listed.map_ok(|object| object.location.filename().unwrap().to_owned()).try_collect().await.unwrap();
    record.lock().unwrap().story.tell(format_args!("{} objects for {} parts", objects.len(), info.parts));
}

#[test]
fn processes_on_a_store_where_everything_goes_wrong() {
    let mut lost = 0;
    for seed in seeds("SIM", 8) {
        let stories: Vec<Vec<String>> = (0..2)
            .map(|_| {
                let builder = &mut tokio::runtime::Builder::new_current_thread();
                let runtime = builder.enable_time().start_paused(true).build().unwrap();
                runtime.block_on(simulate(seed))
            })
            .collect();
        let differs = stories[0].iter().zip(&stories[1]).position(|(one, other)| one != other);
        if let Some(line) = differs {
            panic!("seed {seed} does not replay: {} and {}", stories[0][line], stories[1][line]);
        }
        assert_eq!(stories[0].len(), stories[1].len(), "seed {seed} does not replay");
        lost += stories[0].iter().filter(|line| line.contains("lost a lease")).count();
    }
    assert!(lost > 0 || std::env::var_os("SIM_SEED").is_some(), "no seed lost a lease: that is too gentle");
}
