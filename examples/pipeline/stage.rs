//! Starts the processes, kills them if that is wanted, and waits for their end.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::args::{Args, Part};
use crate::follower::AUDITOR;
use crate::problem::Problem;
use crate::producer::STEP_EVERY;
use crate::rows::mixed;
use crate::say::{NOBODY_READS, say};
use crate::shards::{Shards, step_of};

/// All but the first may be killed.
const ROLES: [&str; 4] = [AUDITOR, "producer", "middle", "follower"];

/// How often one of them is killed, and the longest time to a random moment.
const KILL_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked at whether one of them has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Steps that are still to come when the killing ends.
const STEPS_AFTER: u64 = 20;

/// Runs all of it.
pub(crate) fn direct(args: &Args) -> Result<(), Problem> {
    let from = wait(reached(&args.data))??;
    let seed = RandomState::new().hash_one(0);
    let pauses = pauses(args, seed);
    let steps = match args.kill {
        true => pauses.iter().sum::<Duration>().div_duration_f64(STEP_EVERY) as u64 + STEPS_AFTER,
        false => args.steps,
    };
    let until = from.saturating_add(steps);
    say(format_args!("steps {from} to {} in {}", until.saturating_sub(1), args.data.display()));
    let mut stage = Stage { data: args.data.clone(), until, players: Vec::new() };
    for role in ROLES {
        let player = stage.start(role, 0)?;
        stage.players.push(player);
        if role == AUDITOR {
            wait(stage.audited())??;
        }
    }
    if args.kill {
        stage.kill_after(&pauses, seed)?;
    }
    while !stage.is_over()? {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// The time to each kill from the one before.
fn pauses(args: &Args, seed: u64) -> Vec<Duration> {
    match args.moments {
        _ if !args.kill => Vec::new(),
        None => vec![KILL_EVERY; args.kill_for as usize],
        Some(moments) => {
            let part = |number| mixed(seed, 2 * number) % KILL_EVERY.as_micros() as u64;
            (0..moments).map(|number| Duration::from_micros(part(number))).collect()
        }
    }
}

/// What each process does: its role, on shards that it opens and closes.
pub(crate) fn play(part: Part, role: impl AsyncFnOnce(&Shards, u64) -> Result<(), Problem>) -> Result<(), Problem> {
    std::thread::spawn(end_with_the_parent);
    wait(async {
        let shards = Shards::open(&part.data).await?;
        let played = role(&shards, part.until).await;
        shards.close().await?;
        played
    })?
}

/// Ends this process when the one that started it has ended, however that was: its end of the pipe is closed then.
fn end_with_the_parent() {
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing); // closed or broken is the same here
    std::process::exit(1);
}

fn wait<F: Future>(work: F) -> Result<F::Output, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::new(format!("cannot start: {error}")))?;
    Ok(runtime.block_on(work))
}

/// The step that an earlier run came to.
async fn reached(data: &Path) -> Result<u64, Problem> {
    let shards = Shards::open(data).await?;
    let upper = shards.orders.inspect().await?.upper;
    shards.close().await?;
    Ok(step_of(&upper))
}

/// A process. It is killed with the value.
struct Player {
    role: &'static str,
    process: Child,
    kills: u64,
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait();
    }
}

struct Stage {
    data: PathBuf,
    until: u64,
    players: Vec<Player>,
}

impl Stage {
    fn start(&self, role: &'static str, kills: u64) -> Result<Player, Problem> {
        let cannot = |error| Problem::new(format!("cannot start the {role}: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.arg(role).arg(&self.data).arg(self.until.to_string()).stdin(Stdio::piped());
        Ok(Player { role, process: command.spawn().map_err(cannot)?, kills })
    }

    /// Waits until the auditor reads: it is to see what the others do from the beginning.
    async fn audited(&mut self) -> Result<(), Problem> {
        let shards = Shards::open(&self.data).await?;
        while !shards.revenue.holds().await?.iter().any(|hold| hold.purpose == AUDITOR) && !self.is_over()? {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        shards.close().await
    }

    /// Kills one of those that may be, after each of these pauses, and starts it again.
    fn kill_after(&mut self, pauses: &[Duration], seed: u64) -> Result<(), Problem> {
        let began = Instant::now();
        let mut next = began;
        for (number, pause) in (0..).zip(pauses) {
            next += *pause;
            while Instant::now() < next {
                self.is_over()?;
                std::thread::sleep(next.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
            }
            let victim = 1 + (mixed(seed, 2 * number + 1) % (ROLES.len() - 1) as u64) as usize;
            say(format_args!("{:4.1} s: killing the {}", began.elapsed().as_secs_f64(), ROLES[victim]));
            self.kill(victim)?;
        }
        let kills: Vec<_> =
            self.players[1..].iter().map(|player| format!("the {} {}", player.role, player.kills)).collect();
        say(format_args!("killed {} times; now they may end", kills.join(", ")));
        Ok(())
    }

    /// Kills a process, and starts it again.
    fn kill(&mut self, victim: usize) -> Result<(), Problem> {
        let Player { role, process, kills } = &mut self.players[victim];
        let (role, kills) = (*role, *kills + 1);
        let ended = process.kill().and_then(|()| process.wait()); // SIGKILL
        let status = ended.map_err(|error| Problem::new(format!("cannot kill the {role}: {error}")))?;
        if status.code().is_some() {
            check(role, status)?; // it had ended by itself
        }
        self.players[victim] = self.start(role, kills)?;
        Ok(())
    }

    /// Whether all have done what they were to do.
    fn is_over(&mut self) -> Result<bool, Problem> {
        let mut over = true;
        for Player { role, process, .. } in &mut self.players {
            let looked = process.try_wait();
            match looked.map_err(|error| Problem::new(format!("cannot look at the {role}: {error}")))? {
                None => over = false,
                Some(status) => check(role, status)?,
            }
        }
        Ok(over)
    }
}

/// Whether a process ended well.
fn check(role: &str, status: ExitStatus) -> Result<(), Problem> {
    match status.code() {
        Some(0) => Ok(()),
        Some(NOBODY_READS) => std::process::exit(NOBODY_READS),
        _ => Err(Problem::new(format!("the {role} ended with {status}: see what it said above"))),
    }
}
