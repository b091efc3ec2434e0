//! Running a setting: once, or twice with the same story; and what a failure prints.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use timely_persist::ShardId;
use tokio::task::LocalSet;

use crate::actors::{Plain, Program, Record, Shared, SimTime};
use crate::judge::Judge;
use crate::random::Story;
use crate::schemas::Schemas;
use crate::setting::{Setting, shrink};
use crate::versions::Second;
use crate::world::{SHARD, World};

/// Simulated time after which a run that has not ended hangs.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// Runs that making a failure smaller may take, unless `SIM_SHRINKS` in the environment says another number.
const SHRINKS_MAX: usize = 60;

/// Lines of a story that are printed.
const LINES_SHOWN: usize = 60;

/// Why a run failed.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub story: Vec<String>,
}

thread_local! {
    /// Panics on this thread while a run listens: also those of tasks, which a runtime keeps to itself.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

fn listen_to_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let heard = PANICS.with_borrow_mut(|panics| match panics {
                Some(panics) => {
                    panics.push(info.to_string());
                    true
                }
                None => false,
            });
            if !heard {
                default(info);
            }
        }));
    });
}

/// Runs a setting once: its story.
pub fn attempt<T: SimTime>(setting: &Setting) -> Result<Vec<String>, Failure> {
    listen_to_panics();
    PANICS.set(Some(Vec::new()));
    let record: Shared<T> = Arc::new(Mutex::new(Record::new(Story::new(command::<T>(setting)))));
    match setting.evolves {
        false => attempt_as::<T, Plain>(setting, &record),
        true => attempt_as::<T, Second>(setting, &record),
    }
}

fn attempt_as<T: SimTime, P: Program>(setting: &Setting, record: &Shared<T>) -> Result<Vec<String>, Failure> {
    let turn = Arc::clone(&record.lock().unwrap().turn);
    let judge = Judge::new(ShardId::from_u128(SHARD), Schemas::of::<P>(turn));
    let run = || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        // A set of tasks of one thread: the protocol of a source's worker is no other thread's.
        runtime.block_on(LocalSet::new().run_until(async {
            tokio::select! {
                biased;
                violation = judge.found() => Some(violation),
                over = tokio::time::timeout(LIMIT, simulate::<T, P>(setting, record, &judge)) =>
                    over.err().map(|_| "it does not end".to_owned()),
            }
        }))
    };
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(run));
    let panics = PANICS.take().unwrap_or_default();
    let story = record.lock().unwrap_or_else(PoisonError::into_inner).story.lines().to_vec();
    // What was found first is why the rest went wrong.
    let message = judge.violation().or(panics.into_iter().next()).or(outcome.unwrap_or(None));
    match message {
        None => Ok(story),
        Some(message) => Err(Failure { message, story }),
    }
}

async fn simulate<T: SimTime, P: Program>(setting: &Setting, record: &Shared<T>, judge: &Arc<Judge<T>>) {
    let mut world = World::<T, P>::new(setting, Arc::clone(record), Arc::clone(judge));
    let observer = world.observer().await;
    world.go_wrong(&observer).await;
    world.account(&observer).await;
    world.clean_up(&observer).await;
}

/// Runs a setting twice, and makes it smaller if it fails. How many leases were lost.
pub fn check<T: SimTime>(setting: &Setting) -> usize {
    match twice::<T>(setting) {
        Ok(story) => story.iter().filter(|line| line.contains("lost a lease")).count(),
        Err(failure) => {
            // At once, because making it smaller takes its time.
            eprintln!("seed {} fails: {}", setting.seed, failure.message);
            let same = |other: &Failure| kind(&other.message) == kind(&failure.message);
            let fails = |setting: &Setting| twice::<T>(setting).err().filter(same).map(|failure| failure.message);
            let tries = std::env::var("SIM_SHRINKS").map_or(SHRINKS_MAX, |text| text.parse().unwrap());
            let (smallest, message) = shrink(setting.clone(), failure.message.clone(), tries, fails);
            let shown = attempt::<T>(&smallest).err().unwrap_or(failure);
            let start = shown.story.len().saturating_sub(LINES_SHOWN);
            for line in &shown.story[start..] {
                eprintln!("  {line}");
            }
            panic!(
                "seed {} fails: {}\nmade smaller: {message}\nrun it again:\n  SIM_SEED={} cargo test --test sim {}\n  {}",
                setting.seed,
                shown.message,
                setting.seed,
                T::TEST,
                command::<T>(&smallest),
            );
        }
    }
}

/// What runs it again.
fn command<T: SimTime>(setting: &Setting) -> String {
    format!("SIM_SETTING='{setting}' cargo test --test sim {}", T::TEST)
}

/// What went wrong, without the figures that differ from run to run.
fn kind(message: &str) -> &str {
    message.split(|c: char| c.is_ascii_digit()).next().unwrap_or(message)
}

fn twice<T: SimTime>(setting: &Setting) -> Result<Vec<String>, Failure> {
    let [one, other] = [attempt::<T>(setting)?, attempt::<T>(setting)?];
    if one == other {
        return Ok(one);
    }
    let differs = one.iter().zip(&other).position(|(one, other)| one != other);
    let line = differs.unwrap_or(one.len().min(other.len()));
    let message = format!("it does not replay: {:?} and {:?}", one.get(line), other.get(line));
    Err(Failure { message, story: one })
}
