//! The threads of a client: all that it cannot do without are there when it opens, and stay until it ends.
//!
//! Always: a system that gives no more threads makes an open fail with an error, and a client that is open slower.
//! `tokio` panics where it cannot start a thread and has none that could take the work. So each runtime has a thread for
//! work that blocks from the beginning, which does not end for being idle: it takes whatever no new thread can be had for.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;

use timely_persist_types::config::ThreadsConfig;
use timely_persist_types::error::Error;

use super::lock;

/// What helps where there are no more threads.
const MORE_THREADS: &str = "raise the limit of threads of this user or container (`ulimit -u`, `pids.max`) or its \
                                       memory, or lower `config.threads.work`";

/// What helps where a runtime cannot be set up: each needs some files of the system.
const MORE_FILES: &str = "raise the limit of open files of this process (`ulimit -n`)";

/// How long the threads of a runtime wait for each other. It passes only if one of them cannot be had although it could
/// a moment ago; the open holds up its caller for so long, and fails.
const START_LIMIT: Duration = Duration::from_secs(2);

/// Runtimes of a client's own. Dropped, they end without waiting for what they do.
#[derive(Debug, Default)]
pub struct Runtimes(Vec<Runtime>);

impl Runtimes {
    /// Stops them and waits for what they do, each for so long at most.
    ///
    /// `Unavailable` if no thread could be started that waits: they are stopped all the same. Cancelling only ends the wait.
    pub async fn stop(mut self, limit: Duration) -> Result<(), Error> {
        // Waiting for a runtime blocks: on a thread of its own.
        let (sender, receiver) = oneshot::channel();
        let stop = move || {
            for runtime in self.0.drain(..) {
                runtime.shutdown_timeout(limit);
            }
            let _ = sender.send(()); // nobody waits any more: fine
        };
        let stopping = std::thread::Builder::new().name("timely-persist-stop".to_owned()).spawn(stop);
        // If it was not started, its closure was dropped, and that stops them too.
        stopping.map_err(|error| {
            let message = "the client was stopped, but the system gave no thread that waits for its tasks: what was under way \
                           may still happen";
            Error::unavailable(message).advise(MORE_THREADS).because(error)
        })?;
        let _ = receiver.await;
        Ok(())
    }
}

impl Drop for Runtimes {
    fn drop(&mut self) {
        for runtime in self.0.drain(..) {
            runtime.shutdown_background(); // may be dropped inside another runtime, where waiting is not allowed
        }
    }
}

/// Where the tasks of a client go on.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Storage work and timers.
    pub(super) work: Handle,
    /// What keeps a thread busy for long.
    pub(super) upkeep: Handle,
    /// What must not wait for either.
    pub(super) pulse: Handle,
}

/// The threads of a client, unless a runtime is given to be used for all, and what stops them.
pub fn start_threads(given: Option<Handle>, config: &ThreadsConfig) -> Result<(Runtimes, Threads), Error> {
    if let Some(handle) = given {
        let threads = Threads { work: handle.clone(), upkeep: handle.clone(), pulse: handle };
        return Ok((Runtimes::default(), threads));
    }
    let (working, compacting) = (config.work.max(1), config.upkeep.max(1));
    let needed = working.saturating_add(compacting).saturating_add(1 + 3); // the pulse, and one to block for each
    find_room(needed)?;
    let mut runtimes = Runtimes::default();
    let mut started = |threads: usize, name| {
        let runtime = start(threads, name, config.blocking_max.max(1))?;
        let handle = runtime.handle().clone();
        runtimes.0.push(runtime);
        Ok::<Handle, Error>(handle)
    };
    let threads = Threads {
        work: started(working, "timely-persist")?,
        upkeep: started(compacting, "timely-persist-upkeep")?,
        pulse: started(1, "timely-persist-pulse")?,
    };
    Ok((runtimes, threads))
}

/// Whether the system gives so many threads at once: a runtime that lacks one can neither begin nor be dropped.
fn find_room(threads: usize) -> Result<(), Error> {
    let gate = Arc::new(Gate::default());
    let mut waiting: Vec<JoinHandle<bool>> = Vec::new();
    let mut refusal = None;
    while waiting.len() < threads && refusal.is_none() {
        let gate = Arc::clone(&gate);
        match std::thread::Builder::new().name("timely-persist-room".to_owned()).spawn(move || gate.is_passed()) {
            Ok(thread) => waiting.push(thread),
            Err(error) => refusal = Some(error),
        }
    }
    gate.open();
    let found = waiting.len();
    for thread in waiting {
        let _ = thread.join(); // it does nothing that could fail
    }
    refusal.map_or(Ok(()), |error| {
        let message = format!("the client needs {threads} threads and the system gives {found}");
        Err(Error::unavailable(message).advise(MORE_THREADS).because(error))
    })
}

/// A runtime with so many threads, and one more for work that blocks.
fn start(threads: usize, name: &'static str, blocking_threads_max: usize) -> Result<Runtime, Error> {
    let refused =
        || Error::unavailable("the system gave the client fewer threads than a moment ago").advise(MORE_THREADS);
    let gate = Arc::new(Gate::default());
    let passed = Arc::clone(&gate);
    let build = || {
        Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(blocking_threads_max)
            .thread_keep_alive(Duration::MAX)
            .thread_name(name)
            .on_thread_start(move || passed.pass())
            .enable_all()
            .build()
    };
    // It panics where a thread is refused, and waits for those that it has.
    let built = catch_unwind(AssertUnwindSafe(build)).map_err(|_| refused())?;
    let runtime = built.map_err(|error| {
        Error::unavailable(format!("the client's threads could not be set up: {error}"))
            .advise(MORE_FILES)
            .because(error)
    })?;
    // As above: the handle of the task is of no use, the thread that it was given stays.
    let blocking = || drop(runtime.spawn_blocking(|| ()));
    if gate.open() && catch_unwind(AssertUnwindSafe(blocking)).is_ok() {
        return Ok(runtime);
    }
    runtime.shutdown_background();
    Err(refused())
}

/// Where threads wait until all are there.
#[derive(Default)]
struct Gate {
    /// Whether it was opened, or given up.
    is_open: Mutex<Option<bool>>,
    settled: Condvar,
}

impl Gate {
    /// Waits for it to open, but not for ever; whether it did.
    fn is_passed(&self) -> bool {
        let closed = lock(&self.is_open);
        let waited = self.settled.wait_timeout_while(closed, START_LIMIT, |is_open| is_open.is_none());
        let (mut is_open, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *is_open.get_or_insert(false)
    }

    /// Ends this thread, without a word, if the gate was given up: the others of its runtime did not come.
    fn pass(&self) {
        if !self.is_passed() {
            resume_unwind(Box::new("the threads of a client could not be started"));
        }
    }

    /// Lets all pass; whether none has given up before.
    fn open(&self) -> bool {
        let is_open = *lock(&self.is_open).get_or_insert(true);
        self.settled.notify_all();
        is_open
    }
}
