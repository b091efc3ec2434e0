//! The run: it starts the store and the processes, attacks, checks again and again, and says how it went.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use tokio::runtime::Runtime;

use crate::attack::{Attack, Done, PROGRESS_LIMIT};
use crate::process::{Process, Starter, Tally, faketime, forget_the_dead, with};
use crate::random::Random;
use crate::stand::{Stand, Store};

/// Between two checks.
const CHECK_PAUSE: Duration = Duration::from_secs(8);

/// A check, or what comes after the attack, may take so long on a machine that is busy.
const CHECK_LIMIT: Duration = Duration::from_secs(600);

/// How long processes may take to come to their end.
const END_LIMIT: Duration = Duration::from_secs(40);

/// Between two lines that say how it goes.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Shards under attack.
const SHARDS: u32 = 3;

#[derive(Args, Clone)]
pub struct Order {
    /// What to attack
    #[arg(long, value_enum, default_value = "all")]
    store: Store,
    /// How long each store is attacked
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// How far clocks are stepped at most, back and forth; 0 leaves all on the right time
    #[arg(long, default_value_t = 2)]
    clock_days: u32,
    /// What the choices follow from [default: another each time]
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the directory of the run although nothing was found
    #[arg(long)]
    keep: bool,
}

/// Attacks the stores that are asked for.
pub fn run(order: &Order) -> ExitCode {
    let interrupted = Arc::new(AtomicBool::new(false));
    let runtime = match start_runtime(&interrupted) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("no runtime: {error}")),
    };
    if order.clock_days > 0 && faketime().is_none() {
        return fail("no libfaketime to step clocks with: apt-get install faketime, or --clock-days 0");
    }
    forget_the_dead();
    let stores = match order.store {
        Store::All => vec![Store::Directory, Store::Postgres, Store::S3],
        store => vec![store],
    };
    let mut code = ExitCode::SUCCESS;
    for store in stores {
        match attack(order, store, &runtime, &interrupted) {
            Ok(0) => {}
            Ok(_) => code = ExitCode::FAILURE,
            Err(error) => return fail(&format!("the attack could not go on: {error}")),
        }
        if interrupted.load(Ordering::Relaxed) {
            return fail("interrupted");
        }
    }
    code
}

fn fail(message: &str) -> ExitCode {
    eprintln!("soak: {message}");
    ExitCode::FAILURE
}

/// For the servers' way, and to hear that somebody wants it to end.
fn start_runtime(interrupted: &Arc<AtomicBool>) -> std::io::Result<Runtime> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
        let heard = Arc::clone(interrupted);
        let mut signals = runtime.block_on(async { signal(kind) })?;
        runtime.spawn(async move {
            while signals.recv().await.is_some() {
                heard.store(true, Ordering::Relaxed);
            }
        });
    }
    Ok(runtime)
}

/// Attacks one store; how many violations there were.
fn attack(order: &Order, store: Store, runtime: &Runtime, interrupted: &AtomicBool) -> std::io::Result<usize> {
    let seed = order.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64 >> 32);
    let directory = tempfile::Builder::new().prefix("timely-persist-soak-").tempdir()?;
    let stand = Stand::start(store, runtime);
    let guard = Guard::start(directory.path(), &stand)?;
    let minutes = order.minutes;
    let name = format!("{store:?}").to_lowercase();
    println!("soak: {name}, {minutes} minutes, --seed {seed} --clock-days {}", order.clock_days);
    let tally = Tally::default();
    let starter = Starter {
        directory: directory.path().to_owned(),
        salt: seed,
        shards: SHARDS,
        place: stand.place(directory.path()),
        faketime: faketime().filter(|_| order.clock_days > 0),
        tally: Arc::clone(&tally),
    };
    std::fs::create_dir(directory.path().join("journal"))?;
    std::fs::write(directory.path().join("order"), format!("{seed} {SHARDS}\n"))?;
    let mut round = Round { starter: &starter, stand: &stand, interrupted, begun: Instant::now(), troubles: 0 };
    // What is tried out at the first opening is tried in peace: a server that fails then is refused, not attacked.
    round.alone("checker")?;
    round.begun = Instant::now();
    let length = Duration::from_secs_f64(minutes.clamp(0., 1e6) * 60.);
    let done = round.fight(Random::new(seed), order.clock_days, round.begun + length)?;
    let is_over = interrupted.load(Ordering::Relaxed) || violations(&tally) > 0;
    if !is_over {
        // A healthy process can go on, and all is there; then the upkeep is done, and all is still there.
        round.alone("checker")?;
        round.alone("last")?;
        round.alone("checker")?;
    }
    println!("soak: {name}, {}", round.summary(done));
    let found = report(&tally, is_over);
    if found == 0 && !order.keep {
        guard.done(stand, directory);
    } else {
        stand.keep(directory.path(), runtime);
        println!("kept: {} (seed {seed})", directory.keep().display());
        guard.done(stand, ());
    }
    Ok(found)
}

/// Prints what was said; how many violations there were. An attack that was not cut short has got something done.
fn report(tally: &Tally, cut_short: bool) -> usize {
    with(tally, |said| {
        said.counts.iter().for_each(|(what, count)| println!("  {count} {what}"));
        if !cut_short && !said.counts.contains_key("appends acknowledged") {
            said.violations.push("nothing was ever acknowledged".to_owned());
        }
        said.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
        said.violations.len()
    })
}

fn violations(tally: &Tally) -> usize {
    with(tally, |said| said.violations.len())
}

/// One store under attack.
struct Round<'a> {
    starter: &'a Starter,
    stand: &'a Stand,
    interrupted: &'a AtomicBool,
    begun: Instant,
    troubles: u64,
}

impl Round<'_> {
    fn is_over(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) || violations(&self.starter.tally) > 0
    }

    /// Attacks until then, or until a violation.
    fn fight(&mut self, mut random: Random, clock_days: u32, end: Instant) -> std::io::Result<Done> {
        let pace = self.stand.pace(clock_days);
        let mut attack = Attack::start(self.starter, Random::new(random.word()), pace)?;
        let (mut next_check, mut next_told) = (Instant::now() + CHECK_PAUSE / 4, Instant::now() + TOLD_EVERY);
        let mut next_trouble = Instant::now() + self.stand.trouble_interval();
        let mut troubled_at = 0;
        let mut checker: Option<(Process, Instant)> = None;
        while Instant::now() < end && !self.is_over() {
            attack.step(self.starter)?;
            let now = Instant::now();
            let progress = with(&self.starter.tally, |said| said.progress());
            if next_trouble <= now && (progress > troubled_at || next_trouble + PROGRESS_LIMIT <= now) {
                troubled_at = progress;
                self.troubles += u64::from(self.stand.trouble(&mut random).is_some());
                let most = 2 * self.stand.trouble_interval().as_millis() as usize;
                next_trouble =
                    now + self.stand.trouble_interval() / 4 + Duration::from_millis(random.below(most) as u64);
            }
            match &mut checker {
                None if next_check <= now => {
                    checker = Some((self.starter.start("checker", 0, random.word(), None)?, now));
                }
                Some((process, since)) => {
                    if let Some(ended) = process.ended() {
                        self.expect_success("checker", ended);
                        checker = None;
                        next_check = now + CHECK_PAUSE;
                    } else if since.elapsed() > CHECK_LIMIT {
                        self.tell_violation(format!("a check is not done after {CHECK_LIMIT:?}"));
                    }
                }
                None => {}
            }
            if next_told <= now {
                next_told = now + TOLD_EVERY;
                println!("  {}", self.summary(attack.done));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stand.calm();
        attack.end(self.starter, END_LIMIT);
        Ok(attack.done)
    }

    /// Runs a process that nobody touches.
    fn alone(&self, role: &str) -> std::io::Result<()> {
        let (mut process, begun) = (self.starter.start(role, 1, 1, None)?, Instant::now());
        while !self.interrupted.load(Ordering::Relaxed) {
            if let Some(ended) = process.ended() {
                self.expect_success(role, ended);
                return Ok(());
            }
            if begun.elapsed() > CHECK_LIMIT {
                self.tell_violation(format!("the {role} after the attack is not done after {CHECK_LIMIT:?}"));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn expect_success(&self, role: &str, ended: std::process::ExitStatus) {
        if !ended.success() {
            self.tell_violation(format!("a {role} ended with {ended}; see {}", self.starter.directory.display()));
        }
    }

    fn tell_violation(&self, what: String) {
        with(&self.starter.tally, |said| said.violations.push(what));
    }

    fn summary(&self, Done { kills, stops, steps }: Done) -> String {
        with(&self.starter.tally, |said| {
            let count = |what: &str| said.counts.get(what).copied().unwrap_or_default();
            let [acknowledged, unknown, refused] =
                ["acknowledged", "unknown", "refused"].map(|what| count(&format!("appends {what}")));
            let reads = count("snapshots") + count("listens");
            let minutes = self.begun.elapsed().as_secs_f64() / 60.;
            let (troubles, checks, violations) = (self.troubles, count("checks"), said.violations.len());
            format!(
                "minutes {minutes:.1}, kills {kills}, stops {stops}, clock steps {steps}, server troubles {troubles}, \
                 appends acknowledged {acknowledged} (unknown {unknown}, refused {refused}), reads {reads}, \
                 checks {checks}, violations {violations}"
            )
        })
    }
}

/// Cleans up if this process dies.
struct Guard(Child);

impl Guard {
    fn start(directory: &Path, stand: &Stand) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("guard").stdin(Stdio::piped()).process_group(0).spawn()?;
        let mut lines = stand.to_guard();
        lines.push(format!("remove {}", directory.display()));
        if let Some(input) = &mut child.stdin {
            input.write_all(format!("{}\n", lines.join("\n")).as_bytes())?;
        }
        Ok(Self(child))
    }

    /// Cleans up here, servers first.
    fn done<D>(mut self, stand: Stand, directory: D) {
        drop((stand, directory));
        if let Some(mut input) = self.0.stdin.take() {
            let _ = input.write_all(b"done\n"); // else it finds nothing to clean up
        }
        let _ = self.0.wait();
    }
}
