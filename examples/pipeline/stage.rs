//! Starts the three processes, kills them if that is wanted, waits for their end, and has the result compared.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::args::{Args, Part};
use crate::problem::Problem;
use crate::producer::STEP_EVERY;
use crate::rows::mixed;
use crate::say::{NOBODY_READS, say};
use crate::shards::{Shards, step_of};
use crate::truth;

const ROLES: [&str; 3] = ["producer", "middle", "follower"];

/// How often one of them is killed.
const KILL_EVERY: Duration = Duration::from_secs(1);

/// How often it is looked at whether one of them has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Steps that are still to come when the killing ends.
const STEPS_AFTER: u64 = 20;

/// Runs all of it.
pub(crate) fn direct(args: &Args) -> Result<(), Problem> {
    let from = wait(reached(&args.data))??;
    let steps = match args.kill {
        true => args.kill_for * (Duration::from_secs(1).as_millis() / STEP_EVERY.as_millis()) as u64 + STEPS_AFTER,
        false => args.steps,
    };
    let until = from.saturating_add(steps);
    say(format_args!("steps {from} to {} in {}", until.saturating_sub(1), args.data.display()));
    let mut stage = Stage { data: args.data.clone(), until, players: Vec::new() };
    for role in ROLES {
        let player = stage.start(role)?;
        stage.players.push(player);
    }
    if args.kill {
        stage.kill_for(Duration::from_secs(args.kill_for))?;
    }
    while !stage.is_over()? {
        std::thread::sleep(LOOK_EVERY);
    }
    wait(compare(&args.data, until))??;
    say(format_args!("equal: the third shard and a plain computation, at each of {until} steps"));
    Ok(())
}

/// What each of the three processes does: its role, on shards that it opens and closes.
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

async fn compare(data: &Path, until: u64) -> Result<(), Problem> {
    let shards = Shards::open(data).await?;
    let compared = truth::compare(&shards.revenue, until).await;
    shards.close().await?;
    compared
}

/// One of the three processes. It is killed with the value.
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
    fn start(&self, role: &'static str) -> Result<Player, Problem> {
        let cannot = |error| Problem::new(format!("cannot start the {role}: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.arg(role).arg(&self.data).arg(self.until.to_string()).stdin(Stdio::piped());
        Ok(Player { role, process: command.spawn().map_err(cannot)?, kills: 0 })
    }

    /// Kills one of those that still run, each second for so long, and starts it again.
    fn kill_for(&mut self, duration: Duration) -> Result<(), Problem> {
        let (seed, began) = (RandomState::new().hash_one(0), Instant::now());
        let mut next = began + KILL_EVERY;
        while next <= began + duration {
            self.is_over()?;
            std::thread::sleep(next.saturating_duration_since(Instant::now()).min(LOOK_EVERY));
            if Instant::now() >= next {
                self.kill(mixed(seed, (next - began).as_secs()), began)?;
                next += KILL_EVERY;
            }
        }
        let kills: Vec<_> = self.players.iter().map(|player| format!("the {} {}", player.role, player.kills)).collect();
        say(format_args!("killed {} times; now they may end", kills.join(", ")));
        Ok(())
    }

    /// Kills one of those that run, and starts it again.
    fn kill(&mut self, random: u64, began: Instant) -> Result<(), Problem> {
        let running = |player: &mut Player| matches!(player.process.try_wait(), Ok(None));
        let running: Vec<usize> =
            (0..self.players.len()).filter(|player| running(&mut self.players[*player])).collect();
        if running.is_empty() {
            return Ok(());
        }
        let victim = running[(random % running.len() as u64) as usize];
        let Player { role, process, kills } = &mut self.players[victim];
        let (role, kills) = (*role, *kills + 1);
        let ended = process.kill().and_then(|()| process.wait()); // SIGKILL
        ended.map_err(|error| Problem::new(format!("cannot kill the {role}: {error}")))?;
        say(format_args!("{:4.1} s: killed the {role}", began.elapsed().as_secs_f64()));
        let mut player = self.start(role)?;
        player.kills = kills;
        self.players[victim] = player;
        Ok(())
    }

    /// Whether all have done what they were to do.
    fn is_over(&mut self) -> Result<bool, Problem> {
        let mut over = true;
        for Player { role, process, .. } in &mut self.players {
            let looked = process.try_wait();
            match looked.map_err(|error| Problem::new(format!("cannot look at the {role}: {error}")))? {
                None => over = false,
                Some(status) if status.success() => {}
                Some(status) if status.code() == Some(NOBODY_READS) => std::process::exit(NOBODY_READS),
                Some(status) => {
                    return Err(Problem::new(format!("the {role} ended with {status}: see what it said above")));
                }
            }
        }
        Ok(over)
    }
}
