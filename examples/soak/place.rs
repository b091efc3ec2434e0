//! Where a process of the attack stands: the store, the limits that all have, and how it comes to an end.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use timely_persist::{Client, Config, ShardId};
use tokio::sync::watch;

use crate::random::Random;
use crate::rows::Rows;
use crate::say;

/// The variables of the environment that say where the store is. The second has a password in it.
pub const URL: &str = "SOAK_URL";
pub const DATABASE: &str = "SOAK_DATABASE";

/// A process whose input has ended goes away by itself after this, whatever it waits for.
const END_LIMIT: Duration = Duration::from_secs(30);

/// What a process has been told of its part.
#[derive(Args, Clone)]
pub struct Part {
    /// The directory of the run
    #[arg(long)]
    pub directory: PathBuf,
    /// Its number among those of its role
    #[arg(long, default_value_t = 0)]
    pub number: u32,
    /// What its choices follow from
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// What the values of all rows follow from
    #[arg(long)]
    pub salt: u64,
    /// How many shards there are
    #[arg(long)]
    pub shards: u32,
}

impl Part {
    /// Of a checker of what a run has kept.
    pub fn of_kept(directory: PathBuf) -> Self {
        let order = std::fs::read_to_string(directory.join("order")).unwrap_or_default();
        let mut words = order.split_whitespace();
        let salt = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        let shards = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
        Self { directory, number: 0, seed: 0, salt, shards }
    }

    pub fn journals(&self) -> PathBuf {
        self.directory.join("journal")
    }

    pub fn notes(&self) -> PathBuf {
        self.directory.join("notes")
    }
}

/// The limits of all processes: small, so that everything that upkeep does happens all the time.
///
/// Between two orphan ages there must be time for a decision that is stopped (`attack::STOP_MAX`) just before its
/// commit, and for the commit: half the age is more than the sum of both. Everything else is as short as it can be.
pub fn config() -> Config {
    const KIB: usize = 1 << 10;
    let mut config = Config::default();
    config.write.inline_part_bytes_max = KIB;
    config.upkeep.inline_total_bytes_max = 32 * KIB;
    config.upkeep.inline_parts_max = 24;
    config.write.part_bytes_max = 64 * KIB;
    config.write.part_bytes_min = 8 * KIB;
    config.write.run_bytes_max = 256 * KIB;
    config.upkeep.rollup_interval = 16;
    config.log.scan_entries_max = 16;
    config.upkeep.compaction_fan_in = 3;
    config.upkeep.collapse_bytes_min = 16 * KIB;
    config.upkeep.sweep_interval = Duration::from_millis(100);
    config.upkeep.sweep_step_objects_max = 32;
    config.upkeep.leak_sweep_interval = Duration::from_secs(3);
    config.limits.orphan_age_min = Duration::from_secs(30);
    config.lease.duration = Duration::from_secs(3);
    config.lease.heartbeat_interval = Duration::from_millis(500);
    config.lease.margin = Duration::from_millis(700);
    config.limits.writer_retention = Duration::from_secs(60);
    config.log.commit_deadline = Duration::from_secs(5);
    config.log.request_deadline = Duration::from_secs(2);
    config.store.deadline = Duration::from_secs(5);
    config.bucket.request_deadline = Duration::from_secs(3);
    config.bucket.retry_limit = Duration::from_secs(2);
    config.store.retry_pause_max = Duration::from_millis(200);
    config.log.watch_fallback = Duration::from_secs(1);
    config
}

/// What a process works with.
pub struct Stage {
    pub part: Part,
    pub client: Client,
    /// True when it is to come to an end.
    ended: watch::Receiver<bool>,
}

impl Stage {
    pub fn shard(&self, number: u32) -> Rows {
        self.client.shard(ShardId::from_u128(u128::from(number) + 1))
    }

    pub fn random(&self) -> Random {
        Random::new(self.part.seed)
    }

    pub fn is_over(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits so long, or until the end.
    pub async fn rest(&self, time: Duration) {
        let mut ended = self.ended.clone();
        let _ = tokio::time::timeout(time, ended.wait_for(|ended| *ended)).await; // either
    }
}

/// A process of `run`: it ends when its input does, and dies with the thread that started it.
pub fn child<W: Future<Output = ()>>(part: Part, work: impl FnOnce(Stage) -> W) -> ExitCode {
    // A process that is stopped does not see the end of its input.
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let (sender, ended) = watch::channel(false);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = sender.send(true);
        std::thread::sleep(END_LIMIT);
        say::count("ended late");
        std::process::exit(1);
    });
    perform(part, ended, work)
}

/// The same without `run`.
pub fn alone<W: Future<Output = ()>>(part: Part, work: impl FnOnce(Stage) -> W) -> ExitCode {
    let (_sender, ended) = watch::channel(false);
    if part.shards == 0 {
        eprintln!("{} has no file `order`: it is not the directory of a run", part.directory.display());
        return ExitCode::FAILURE;
    }
    let code = perform(part, ended, work);
    if say::is_violated() { ExitCode::FAILURE } else { code }
}

fn perform<W: Future<Output = ()>>(
    part: Part,
    ended: watch::Receiver<bool>,
    work: impl FnOnce(Stage) -> W,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        let Some(client) = open(&part, &ended).await else { return };
        work(Stage { part, client: client.clone(), ended }).await;
        if let Err(error) = client.shutdown().await {
            say::judge(&error, "shutting down");
        }
    });
    ExitCode::SUCCESS
}

/// Opens the store, for as long as it takes.
async fn open(part: &Part, ended: &watch::Receiver<bool>) -> Option<Client> {
    let kept = format!("file://{}", part.directory.join("store").display());
    let url = std::env::var(URL).unwrap_or(kept);
    while !*ended.borrow() {
        let client = Client::at(&url).config(config());
        let client = match std::env::var(DATABASE) {
            Ok(database) => client.database(database),
            Err(_) => client,
        };
        match client.open().await {
            Ok(client) => return Some(client),
            Err(error) => say::judge(&error, "opening the store"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    None
}
