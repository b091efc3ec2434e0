//! In a longer run nothing is told twice and nothing is missed: what was told adds up to what was asked for, and to what
//! is there.

use std::sync::Arc;
use std::time::Duration;

use timely_persist::record::{MergeOutcome, ObjectKind};
use timely_persist::{Appended, Config};
use timely_persist_testing::{Fault, LogCounts, Operation, OperationCounts, Rule};

use crate::random::{Random, Story, seeds};
use crate::stage::{Process, Stage, Writer, at, quiesce, row, within};
use crate::told::{self, Facts, Told};
use crate::{info, maintaining, recorded};

/// A process, and what it had asked for before anything was told.
struct Player {
    process: Process,
    told: Arc<Told>,
    writer: Writer,
    opening: (LogCounts, OperationCounts),
}

impl Player {
    async fn new(stage: &Stage, config: Config) -> Self {
        let (process, told) = recorded(stage, config).await;
        let opening = process.counts();
        let writer = process.writer().await;
        Self { process, told, writer, opening }
    }

    /// Breaks something that is tried again.
    fn break_something(&self, random: &mut Random) {
        let log = [Operation::LogCompareAndSet, Operation::LogHead, Operation::LogScan, Operation::LogTruncate];
        let objects = [Operation::Put, Operation::Get, Operation::Delete];
        let fault = if random.percent(50) { Fault::FailBefore } else { Fault::FailAfter };
        match random.percent(50) {
            true => self.process.log_faults.add(Rule::next(*random.pick(&log), fault).times(2)),
            false => self.process.object_faults.add(Rule::next(*random.pick(&objects), fault).times(2)),
        }
    }

    async fn append(&mut self, random: &mut Random) {
        let upper = self.writer.fetch_upper().await.unwrap();
        let time = upper.elements()[0];
        let rows =
            (0..random.below(40)).map(|_| row("key", random.word() % 20, time, 1 - random.word() as i64 % 2 * 2));
        let rows: Vec<_> = rows.collect();
        match self.writer.compare_and_append(rows, upper, at(time + 1)).await.unwrap() {
            Appended::Committed => {}
            mismatch @ Appended::UpperMismatch { .. } => panic!("nobody else writes now: {mismatch:?}"),
        }
    }

    async fn read(&self, upper: u64) {
        let mut reader = self.process.shard.open_reader("run").await.unwrap();
        if upper > 0 {
            reader.snapshot_and_fetch(at(upper - 1)).await.unwrap();
            reader.downgrade_since(&at(upper - 1)).await.unwrap();
        }
        reader.expire().await.unwrap();
    }

    /// What it was told is what it asked for.
    fn check(&self, facts: &Facts) {
        let log = self.process.log.counts();
        assert_eq!(facts.log_counts(), LogCounts { watches: 0, ..log }, "the log's requests");
        assert_eq!(facts.tries(), log.compare_and_sets, "the tries of commits");
        let objects = self.process.objects.counts() - self.opening.1;
        // After a get that failed it is asked how long the object is, to know which error it is.
        assert_eq!(facts.object_counts(), OperationCounts { heads: 0, ..objects }, "the store's requests");
        assert_eq!(facts.gave_up.len(), 0);
        let told: u64 = facts.log_requests.iter().map(|request| request.entries).sum();
        assert_eq!(told, log.entries_read + log.committed + log.entries_truncated);
    }
}

/// Waits for the upkeep, which does not try everything again by itself: whoever asks for it hears of an error.
async fn settle(player: &Player) {
    while within(player.process.shard.settle()).await.is_err() {}
}

async fn run(seed: u64, story: &mut Story) {
    let stage = Stage::new();
    let mut random = Random::new(seed);
    let mut writing = maintaining();
    writing.upkeep.maintain = false;
    writing.write.inline_part_bytes_max = 0;
    let mut players = [Player::new(&stage, maintaining()).await, Player::new(&stage, writing).await];
    for _ in 0..60 {
        let player = random.below(2);
        let choice = random.below(10);
        story.tell(format!("{player} {choice}"));
        let player = &mut players[player];
        match choice {
            0..5 => player.append(&mut random).await,
            5..7 => {
                let upper = info(&player.process).await.upper.elements()[0];
                player.read(upper).await;
            }
            7 => player.break_something(&mut random),
            8 => settle(&players[0]).await,
            _ => tokio::time::sleep(Duration::from_secs(random.word() % 60)).await,
        }
    }
    settle(&players[0]).await;
    quiesce().await;
    let last = info(&players[0].process).await;

    let all = players.each_ref().map(|player| player.told.facts());
    players.iter().zip(&all).for_each(|(player, facts)| player.check(facts));
    // Each entry was told once, by who wrote it.
    let mut entries: Vec<u64> = all.iter().flat_map(|facts| &facts.committed).map(|fact| fact.seqno.0).collect();
    entries.sort_unstable();
    assert!(entries.into_iter().eq(1..=last.seqno.0), "each entry once");
    // Each append and each merge was.
    let [maintaining, writing] = &all;
    assert!(writing.merged.is_empty() && writing.swept.is_empty() && writing.rollups_written.is_empty());
    let mut contents = maintaining.clone();
    contents.appended.extend(&writing.appended);
    assert_eq!(contents.contents(), told::contents(&last), "what the shard has");
    let replaced = maintaining.merged.iter().filter(|merged| merged.outcome == MergeOutcome::Replaced);
    let parts: u64 = replaced.map(|merged| merged.parts_in).sum();
    let rollups = maintaining.rollups_written.iter().filter(|written| written.used).count() as u64;
    let gone: u64 = maintaining.swept.iter().map(|swept| swept.objects).sum();
    assert_eq!(gone + last.garbage, parts + rollups.saturating_sub(1), "what nobody refers to any more");
    let stored = maintaining.stored.iter().filter(|stored| stored.object == ObjectKind::Rollup);
    assert_eq!(stored.map(|stored| stored.bytes).sum::<u64>(), {
        maintaining.rollups_written.iter().map(|written| written.bytes).sum::<u64>()
    });
    let readers = all.iter().map(|facts| facts.readers_opened.len()).sum::<usize>();
    assert_eq!(all.iter().map(|facts| facts.readers_expired.len()).sum::<usize>(), readers);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_adds_up_to_what_was_asked_for() {
    for seed in seeds("RECORDING", 12) {
        let command = format!("RECORDING_SEED={seed} cargo nextest run --test recording what_is_told_adds_up");
        run(seed, &mut Story::new(command)).await;
    }
}
