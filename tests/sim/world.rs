//! The world: processes on one store and one log, and what befalls them.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::clock::{Clock, Entropy};
use timely_persist::store::{Consensus, ObjectLog};
use timely_persist::{Client, Config, ErrorKind, SchemaId, SeqNo, ShardId};
use timely_persist_io::store::keys;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::actors::{self, Actor, Program, ShardOf, Shared, SimTime};
use timely_persist_testing::HookedStore;

use crate::input::Input;
use crate::judge::{Judge, Judging};
use crate::random::Random;
use crate::setting::Setting;
use crate::sim_log::{SimLog, Table, Watcher};
use crate::sim_store::{Crashed, OUTAGE, Rates, Trouble, Way};
use crate::sinks::Role;

pub const SHARD: u128 = 1;

/// When objects are taken for lost: as soon as the slowest upload and commit allow, and later. Clocks differ by more.
pub const ORPHAN_AGES: [Duration; 3] = [Duration::from_secs(80), Duration::from_secs(160), Duration::from_secs(640)];

/// How often the observer looks for who has lapsed, each half a lease after the last.
const LOOKS: usize = 6;

/// The longest that an actor rests between two things that it does.
const REST_MS_MAX: usize = 2_000;

/// How long sinks may take to write what is there, once nothing goes wrong any more: a copy that waits for another does so
/// for twice as long as the others took at the most, and that was an outage.
const CATCH_UP: Duration = Duration::from_secs(600);

/// The rows of a sink's batch take fewer bytes than this: more are encoded on a thread.
const INLINE_OF_SINKS: usize = 1_000;

/// The same of rows that are structs.
const INLINE_OF_STRUCTS: usize = 2_000;

/// Where there are two versions of the program: how many of a hundred processes run the older, how many of the others evolve
/// the shard, and in how many runs the newer may be the first to see it.
const OLDER_PERCENT: usize = 45;
const EVOLVING_PERCENT: usize = 60;
const RACING_PERCENT: usize = 20;

/// By when they evolve it then: while some have opened it, and not yet written.
const RACES_MS: usize = 5_000;

/// How far clocks are apart that are wrong.
const DAYS_MS: usize = 3 * 24 * 3600 * 1000;

/// A lease, the same for all readers.
const LEASE: Duration = Duration::from_secs(8);

/// A wall clock some way off the others, which somebody may set.
#[derive(Debug)]
struct SkewedClock {
    begun: Instant,
    ahead_ms: Arc<AtomicU64>,
}

impl Clock for SkewedClock {
    fn wall_ms(&self) -> u64 {
        1_000_000 + self.begun.elapsed().as_millis() as u64 + self.ahead_ms.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct SimEntropy(Mutex<Random>);

impl Entropy for SimEntropy {
    fn bits(&self) -> u128 {
        let mut random = self.0.lock().unwrap();
        u128::from(random.word()) << 64 | u128::from(random.word())
    }
}

impl<T: SimTime> Watcher for Judge<T> {
    fn entry(&self, seqno: SeqNo, data: &bytes::Bytes) {
        self.entry(seqno, data);
    }

    fn truncated(&self, below: SeqNo) {
        self.truncated(below);
    }
}

/// Those who never crash, of either program.
struct Others<P: Program, T: SimTime> {
    older: ShardOf<P::Older, T>,
    observer: ShardOf<P, T>,
}

/// A client with its actors.
struct Process {
    crashed: Crashed,
    trouble: Trouble,
    ahead_ms: Arc<AtomicU64>,
    actors: JoinSet<()>,
    /// Its handle on the shard.
    shard: Box<dyn Any>,
}

pub struct World<T: SimTime, P: Program> {
    setting: Setting,
    random: Random,
    pub store: Arc<dyn ObjectStore>,
    /// The same, behind the judge's back.
    pub memory: Arc<InMemory>,
    table: Option<Arc<Mutex<Table>>>,
    pub config: Config,
    /// How far clocks are apart, in milliseconds.
    skew_ms: usize,
    /// How far the observer's is ahead.
    observer_ahead_ms: Arc<AtomicU64>,
    begun: Instant,
    pub record: Shared<T>,
    pub judge: Arc<Judge<T>>,
    /// What the sinks write, if they are those who write.
    pub input: Option<Arc<Input<T>>>,
    started: usize,
    turning: Turning,
    program: PhantomData<P>,
}

/// When and how types change, where they do.
struct Turning {
    /// When those evolve the shard who do.
    at: Instant,
    /// Whether the newer program may be the first.
    races: bool,
}

impl Turning {
    fn new(setting: &Setting, begun: Instant) -> Self {
        let mut random = setting.stream("turning", 0);
        let races = setting.evolves && random.percent(RACING_PERCENT);
        let most_ms = if races { RACES_MS } else { 1 + setting.seconds * 700 };
        Self { at: begun + Duration::from_millis(random.below(most_ms) as u64), races }
    }
}

fn config(random: &mut Random) -> Config {
    let mut config = Config::default();
    // Objects or inline, never by way of a thread, which a batch of more bytes takes: threads do not replay.
    config.write.inline_part_bytes_max = *random.pick(&[800, 800, 2_000, 8_192]);
    config.write.part_bytes_max = *random.pick(&[1_500, 12 << 20]);
    config.upkeep.inline_total_bytes_max = *random.pick(&[4_000, 1 << 20]);
    config.upkeep.rollup_interval = 3 + random.below(6) as u64;
    config.upkeep.collapse_bytes_min = 1;
    config.upkeep.compaction_fan_in = 2 + random.below(2);
    config.log.scan_entries_max = 1 + random.below(8);
    config.read.listen_parts_max = 1 + random.below(5);
    config.upkeep.sweep_step_objects_max = 1 + random.below(6);
    config.log.group_commits_max = *random.pick(&[1, 3, 64]);
    config.lease.duration = LEASE;
    config.lease.margin = Duration::from_secs(2);
    config.lease.heartbeat_interval = Duration::from_secs(2);
    config.log.request_deadline = Duration::from_millis(*random.pick(&[500, 1_500, 3_500, 20_000]));
    config.log.commit_deadline = Duration::from_secs(*random.pick(&[5, 5, 5, 30]));
    config.store.deadline = Duration::from_secs(10);
    config.log.watch_fallback = Duration::from_secs(1);
    config.limits.orphan_age_min = ORPHAN_AGES[0];
    config.upkeep.leak_sweep_interval = Duration::from_secs(20);
    config
}

impl<T: SimTime, P: Program> World<T, P> {
    pub fn new(setting: &Setting, record: Shared<T>, judge: Arc<Judge<T>>) -> Self {
        let mut random = setting.stream("world", 0);
        let skewed = random.percent(40) && setting.has("skew");
        let mut config = config(&mut random);
        if setting.sinks {
            // A sink's batches are larger.
            config.write.inline_part_bytes_max = config.write.inline_part_bytes_max.max(INLINE_OF_SINKS);
        }
        if setting.evolves {
            config.write.inline_part_bytes_max = config.write.inline_part_bytes_max.max(INLINE_OF_STRUCTS);
        }
        let begun = Instant::now();
        let memory = Arc::new(InMemory::new());
        let store: Arc<dyn ObjectStore> = memory.clone();
        Self {
            setting: setting.clone(),
            memory,
            store: Arc::new(HookedStore::with_hook(store, Judging { judge: Arc::clone(&judge), lie: setting.lie })),
            table: (random.percent(40) && setting.has("table")).then(Arc::default),
            config,
            skew_ms: if skewed { DAYS_MS } else { 3_000 },
            observer_ahead_ms: Arc::default(),
            begun,
            random,
            record,
            input: setting.sinks.then(|| Input::new(setting, Arc::clone(&judge), begun)),
            judge,
            started: 0,
            turning: Turning::new(setting, begun),
            program: PhantomData,
        }
    }

    /// A process, with the store's limits as they are, or with another age at which objects are taken for lost.
    pub async fn client<Q: Program>(
        &self,
        way: Way,
        ahead_ms: Arc<AtomicU64>,
        mut random: Random,
        maintain: bool,
        orphan_age_min: Option<Duration>,
    ) -> ShardOf<Q, T> {
        let store: Arc<dyn ObjectStore> = Arc::new(HookedStore::with_hook(Arc::clone(&self.store), way.clone()));
        let log: Arc<dyn Consensus> = match &self.table {
            Some(table) => Arc::new(SimLog::new(Arc::clone(table), self.judge.clone(), way)),
            None => Arc::new(ObjectLog::new(Arc::clone(&store))),
        };
        let clock = Arc::new(SkewedClock { begun: self.begun, ahead_ms });
        let entropy = Arc::new(SimEntropy(Mutex::new(Random::new(random.word()))));
        let mut config = self.config.clone();
        config.upkeep.maintain = maintain;
        config.limits.orphan_age_min = orphan_age_min.unwrap_or(config.limits.orphan_age_min);
        loop {
            let builder = Client::builder(Arc::clone(&store)).consensus(Arc::clone(&log)).config(config.clone());
            let builder = builder.clock(clock.clone()).entropy(entropy.clone());
            let builder = if orphan_age_min.is_some() { builder.change_limits() } else { builder.adopt_limits() };
            match builder.runtime(tokio::runtime::Handle::current()).open().await {
                Ok(client) => return client.shard(ShardId::from_u128(SHARD)),
                // It asks the store for its limits. Whoever starts a process starts it again.
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }

    /// A process without faults, whose clock is right for as long as others do something.
    pub async fn observer(&self) -> ShardOf<P, T> {
        self.bystander::<P>("observer").await
    }

    async fn bystander<Q: Program>(&self, name: &str) -> ShardOf<Q, T> {
        let mut random = self.setting.stream(name, 0);
        let way = Way::new(Random::new(random.word()), Trouble::default(), Crashed::default());
        self.client::<Q>(way, Arc::clone(&self.observer_ahead_ms), random, true, None).await
    }

    pub fn stream(&self, name: &str) -> Random {
        self.setting.stream(name, 0)
    }

    /// How bad things are, of the kinds that happen at all.
    fn rates(&self, random: &mut Random, rates: &[usize]) -> Rates {
        let mut bad = *random.pick(rates);
        if bad == OUTAGE && !self.setting.has("outage") {
            bad = 0;
        }
        let rate = |kind| if self.setting.has(kind) { bad } else { 0 };
        let late_ms = *random.pick(&[4_000, 4_000, 15_000]);
        Rates { before: rate("before"), after: rate("after"), late: rate("late"), late_ms }
    }

    fn ahead(&self, random: &mut Random) -> u64 {
        if self.setting.has("skew") { random.below(self.skew_ms) as u64 } else { 0 }
    }

    fn actor<Q: Program>(&self, shard: &ShardOf<Q, T>, elsewhere: &ShardOf<Q, T>, random: Random) -> Actor<T, Q> {
        let (shard, elsewhere, record) = (shard.clone(), elsewhere.clone(), Arc::clone(&self.record));
        Actor { shard, elsewhere, record, random, rest_ms_max: REST_MS_MAX }
    }

    /// Starts a process, of either program.
    async fn start(&mut self, others: &Others<P, T>) -> Process {
        let mut random = self.setting.stream("program", self.started);
        match self.setting.evolves && random.percent(OLDER_PERCENT) {
            true => self.start_as::<P::Older>(&others.older).await,
            false => self.start_as::<P>(&others.observer).await,
        }
    }

    async fn start_as<Q: Program>(&mut self, elsewhere: &ShardOf<Q, T>) -> Process {
        let mut random = self.setting.stream("process", self.started);
        self.started += 1;
        let (crashed, trouble) = (Crashed::default(), Trouble::default());
        trouble.set(self.rates(&mut random, &[0, 3, 10, 25]));
        let way = Way::new(Random::new(random.word()), trouble.clone(), crashed.clone());
        let ahead_ms = Arc::new(AtomicU64::new(self.ahead(&mut random)));
        let maintains = random.percent(80);
        let changes = random.percent(20) && self.setting.has("limits");
        let orphan_age_min = *random.pick(&ORPHAN_AGES);
        if changes {
            self.tell(format_args!("from here on objects are lost after {orphan_age_min:?}"));
        }
        let (clock, words) = (Arc::clone(&ahead_ms), Random::new(random.word()));
        let shard = self.client::<Q>(way, clock, words, maintains, changes.then_some(orphan_age_min)).await;
        let mut actors = JoinSet::new();
        let count = 2 + random.below(3);
        for number in 0..count {
            let kind = random.below(if maintains { 8 } else { 7 });
            let kind = match (number, self.setting.evolves && self.input.is_none()) {
                // Somebody of each program who writes, and somebody who reads.
                (0, true) => kind % 3,
                (1, true) => 3 + kind % 3,
                _ => kind,
            };
            let actor = self.actor::<Q>(&shard, elsewhere, Random::new(random.word()));
            if number >= self.setting.actors {
                continue;
            }
            let has = |kind: &str| self.setting.has(kind);
            if let Some(input) = self.input.as_ref().filter(|_| number == 0 || kind < Role::ALL.len()) {
                let role = Role::ALL[kind % Role::ALL.len()];
                if has(role.kind()) {
                    actors.spawn_local(actor.sinks(Arc::clone(input), role));
                }
                continue;
            }
            match kind {
                0 if has("compete") => drop(actors.spawn(actor.compete())),
                1 if has("identical") => drop(actors.spawn(actor.write_identically())),
                2 if has("stage") => drop(actors.spawn(actor.stage())),
                3 if has("snapshot") => drop(actors.spawn(actor.snapshots())),
                4 if has("listen") => drop(actors.spawn(actor.listen())),
                5 if has("source") => drop(actors.spawn_local(actor.sources())),
                6 if has("keep") => drop(actors.spawn(actor.keep())),
                7 if has("maintain") => drop(actors.spawn(actor.maintain())),
                _ => {}
            }
        }
        if self.setting.evolves && Q::VERSION > 0 && random.percent(EVOLVING_PERCENT) && self.setting.has("evolve") {
            // In a run of sinks nobody else writes.
            let bequeaths = self.setting.has("bequeath") && self.input.is_none();
            let actor = self.actor::<Q>(&shard, elsewhere, Random::new(random.word()));
            actors.spawn(actor.evolve(self.turning.at, bequeaths));
        }
        Process { crashed, trouble, ahead_ms, actors, shard: Box::new(shard) }
    }

    fn tell(&self, line: std::fmt::Arguments<'_>) {
        self.record.lock().unwrap().story.tell(line);
    }

    /// Everything that goes wrong, for as long as it does. Returns when the last process has ended.
    pub async fn go_wrong(&mut self, observer: &ShardOf<P, T>) {
        let mut hearing = JoinSet::new();
        if self.turning.races {
            self.record.lock().unwrap().turn.race();
        }
        let others = self.others(observer).await;
        if (self.random.percent(50) || self.input.is_some()) && !self.turning.races {
            hearing.spawn(self.actor::<P>(observer, observer, self.setting.stream("hear", 0)).hear_all());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let mut processes = Vec::new();
        for _ in 0..self.setting.processes {
            processes.push(self.start(&others).await);
        }
        let mut random = self.setting.stream("fate", 0);
        let mut last = (SeqNo::ZERO, Antichain::from_elem(T::minimum()), Antichain::from_elem(T::minimum()));
        let end = Duration::from_secs(self.setting.seconds as u64);
        while self.begun.elapsed() < end {
            let most = if random.percent(20) { 100 } else { 20_000 };
            tokio::time::sleep(Duration::from_millis(random.below(most) as u64)).await;
            let info = observer.inspect().await.unwrap();
            let (seqno, since, upper) = &last;
            assert!(*seqno <= info.seqno && PartialOrder::less_equal(since, &info.since));
            assert!(PartialOrder::less_equal(upper, &info.upper));
            self.input.iter().for_each(|input| input.check(&info.upper));
            last = (info.seqno, info.since, info.upper);
            for process in &mut processes {
                actors::look_after(&mut process.actors);
            }
            self.befall(&mut processes, &mut random, &others).await;
        }
        self.turn_at_last(observer).await;
        self.catch_up(&mut processes).await;
        // The last processes end in an orderly way.
        for mut process in processes {
            process.trouble.set(Rates::default());
            actors::end(&mut process.actors).await;
        }
        hearing.abort_all();
        while hearing.join_next().await.is_some() {}
    }

    /// Those who never crash. Where types change, the older program has a client of its own, and sees the shard first.
    async fn others(&self, observer: &ShardOf<P, T>) -> Others<P, T> {
        let observer = observer.clone();
        if !self.setting.evolves {
            return Others { older: observer.client().shard(observer.id()), observer };
        }
        let older = self.bystander::<P::Older>("older").await;
        if !self.turning.races {
            older.open_reader("first").await.unwrap().expire().await.unwrap();
        }
        Others { older, observer }
    }

    /// If nobody has changed the types by now, the observer does.
    async fn turn_at_last(&self, observer: &ShardOf<P, T>) {
        if self.setting.evolves {
            let mut actor = self.actor::<P>(observer, observer, self.setting.stream("turn", 0));
            while !actor.try_to_evolve(SchemaId(0)).await {}
        }
    }

    /// Nothing goes wrong any more: every sink writes all that is there, or sees that it was written.
    async fn catch_up(&self, processes: &mut [Process]) {
        let Some(input) = &self.input else { return };
        processes.iter().for_each(|process| process.trouble.set(Rates::default()));
        let limit = Instant::now() + CATCH_UP;
        while !input.behind().is_empty() {
            let behind = input.behind();
            assert!(Instant::now() < limit, "sinks hang at {behind:?}, all is there up to {:?}", input.goal());
            tokio::time::sleep(Duration::from_secs(1)).await;
            processes.iter_mut().for_each(|process| actors::look_after(&mut process.actors));
        }
        self.tell(format_args!("the sinks have written all, at {:?}", self.begun.elapsed()));
        if input.is_written() {
            assert_eq!(self.judge.upper(), input.goal(), "the sinks have written all");
        }
    }

    async fn befall(&mut self, processes: &mut Vec<Process>, random: &mut Random, others: &Others<P, T>) {
        let index = random.below(processes.len());
        match random.below(10) {
            0..3 => {
                let rates = self.rates(random, &[0, 10, 50, OUTAGE, OUTAGE]);
                self.tell(format_args!("trouble for process {index}: {rates:?}"));
                processes[index].trouble.set(rates);
            }
            3 => {
                let ahead_ms = self.ahead(random);
                self.tell(format_args!("the clock of process {index} is {ahead_ms} ms ahead"));
                processes[index].ahead_ms.store(ahead_ms, Ordering::Relaxed);
            }
            _ if self.setting.has("crash") => {
                let mut process = processes.swap_remove(index);
                self.tell(format_args!("crash process {index} at {:?}", self.begun.elapsed()));
                process.crashed.crash();
                drop(process.shard);
                actors::end(&mut process.actors).await;
                processes.push(self.start(others).await);
            }
            _ => {}
        }
    }

    /// Has the observer see all leases lapse, and every late request land. From here on its clock is right: the shard's
    /// time goes on.
    pub async fn wait_for_all_to_lapse(&self, observer: &ShardOf<P, T>) {
        self.observer_ahead_ms.store(self.skew_ms as u64, Ordering::Relaxed);
        for _ in 0..LOOKS {
            tokio::time::sleep(LEASE / 2 + Duration::from_secs(3)).await;
            observer.open_reader("looks").await.unwrap().expire().await.unwrap();
        }
    }

    /// Loses an entry of the log that no rollup covers: whoever comes then must say so, and neither write nor delete.
    pub async fn lose_an_entry(&self, observer: &ShardOf<P, T>) {
        let info = observer.inspect().await.unwrap();
        let mut random = self.setting.stream("lose", 0);
        let behind = info.seqno.0.saturating_sub(info.rollup.0 + 1);
        if !self.setting.has("lose") || self.table.is_some() || behind == 0 {
            return;
        }
        let lost = SeqNo(info.rollup.0 + 1 + random.below(behind as usize) as u64);
        let place = keys::log_entry(ShardId::from_u128(SHARD), lost);
        let bytes = self.memory.get(&place).await.unwrap().bytes().await.unwrap();
        self.memory.delete(&place).await.unwrap();
        let before = self.names().await;
        let way = Way::new(Random::new(random.word()), Trouble::default(), Crashed::default());
        let fresh = self.client::<P>(way, Arc::clone(&self.observer_ahead_ms), random, true, None).await;
        let refused = [
            fresh.inspect().await.map(drop),
            fresh.open_writer("late").await.map(drop),
            fresh.open_reader("late").await.map(drop),
            fresh.maintain().await.map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
            assert!(error.to_string().contains(&format!("log entry {} is missing", lost.0)), "{error}");
        }
        assert_eq!(self.names().await, before, "somebody wrote or deleted although log entry {lost} is missing");
        self.memory.put(&place, bytes.into()).await.unwrap();
        self.tell(format_args!("entry {lost} of {} was lost, and was put back", info.seqno));
    }

    async fn names(&self) -> Vec<String> {
        let listed: Vec<_> = self.memory.list(None).try_collect().await.unwrap();
        listed.into_iter().map(|object| object.location.to_string()).collect()
    }
}
