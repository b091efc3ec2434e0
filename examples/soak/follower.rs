//! A process that reads: it looks at each row, and notes what it saw up to each frontier.
//!
//! It subscribes, listens, and takes snapshots, each from some `as_of` that the shard still keeps, in turn with others
//! that stand elsewhere.

use std::time::Duration;

use futures::StreamExt;
use timely::progress::Antichain;
use timely_persist::{Error, ListenEvent};
use tokio::time::Instant;

use crate::notes::{Note, Notes};
use crate::place::Stage;
use crate::random::Random;
use crate::rows::{Digest, Name, Update};
use crate::say;

/// One reader follows for at most so long, then another begins.
const FOLLOW_MS_MAX: usize = 15_000;

/// Reads until the end.
pub async fn follow(stage: Stage) {
    let name = format!("follower {}", stage.part.number);
    let notes = match Notes::open(&stage.part.notes(), &name) {
        Ok(notes) => notes,
        Err(error) => return say::violation(&format!("the notes of {name} cannot be written: {error}")),
    };
    let mut follower = Follower { random: stage.random(), stage, notes };
    while !follower.stage.is_over() {
        if let Err(error) = follower.read().await {
            say::judge(&error, "reading");
            follower.stage.rest(Duration::from_millis(50)).await;
        }
    }
}

struct Follower {
    stage: Stage,
    notes: Notes,
    random: Random,
}

impl Follower {
    /// Reads a shard in one of the ways there are.
    async fn read(&mut self) -> Result<(), Error> {
        let number = self.random.below(self.stage.part.shards as usize) as u32;
        let shard = self.stage.shard(number);
        let info = shard.inspect().await?;
        let (Some(since), Some(upper)) = (info.since.as_option(), info.upper.as_option()) else { return Ok(()) };
        if since >= upper {
            self.stage.rest(Duration::from_millis(20)).await;
            return Ok(());
        }
        let as_of = since + self.random.below((upper - since) as usize) as u64;
        let frontier = Antichain::from_elem(as_of);
        let reader = shard.open_reader_at("soak", frontier.clone()).await?;
        match self.random.below(4) {
            0 => {
                let rows = reader.snapshot_and_fetch(frontier).await?;
                self.snapshot(number, as_of, &rows);
            }
            1 => {
                let mut rows = Vec::new();
                let mut stream = std::pin::pin!(reader.snapshot_and_stream(frontier).await?);
                while let Some(row) = stream.next().await {
                    rows.push(row?);
                }
                self.snapshot(number, as_of, &rows);
            }
            2 => {
                let listen = reader.listen(frontier).await?;
                self.hear(number, listen, as_of, false).await?;
            }
            _ => {
                let subscribe = reader.subscribe(frontier).await?;
                self.hear(number, subscribe, as_of, true).await?;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, shard: u32, as_of: u64, rows: &[Update]) {
        let mut digest = Digest::default();
        self.look(shard, as_of, rows, &mut digest);
        say::count("snapshots");
        self.note(Note { shard, from: 0, upto: as_of + 1, digest });
    }

    /// Hears what happens after `as_of`, and if it subscribes what is there.
    async fn hear(
        &mut self,
        shard: u32,
        mut listen: timely_persist::Listen<String, u64, u64, i64>,
        as_of: u64,
        subscribes: bool,
    ) -> Result<(), Error> {
        let from = if subscribes { 0 } else { as_of + 1 };
        let end = Instant::now() + Duration::from_millis(self.random.below(FOLLOW_MS_MAX) as u64);
        let mut digest = Digest::default();
        say::count("listens");
        while !self.stage.is_over() {
            let Ok(events) = tokio::time::timeout_at(end, listen.fetch_next()).await else { return Ok(()) };
            for event in events? {
                match event {
                    ListenEvent::Updates(rows) => self.look(shard, as_of, &rows, &mut digest),
                    ListenEvent::Progress(frontier) => {
                        let Some(upto) = frontier.as_option().copied().filter(|upto| *upto > as_of) else { continue };
                        say::count("steps heard");
                        self.note(Note { shard, from, upto, digest });
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether these rows were ever written, and stand at their times as a reader from `as_of` on sees them.
    fn look(&self, shard: u32, as_of: u64, rows: &[Update], digest: &mut Digest) {
        for ((key, value), time, diff) in rows {
            digest.add(*value, *diff);
            let at_its_time = |name: Name| {
                let earliest = name.time.max(as_of);
                *time == earliest || (*diff < 0 && *time > earliest)
            };
            if !Name::of(self.stage.part.salt, key, *value).is_some_and(at_its_time) {
                say::violation(&format!(
                    "a reader of shard {shard} from {as_of} on sees ({key:?}, {value}) {diff} times at {time}"
                ));
            }
        }
    }

    fn note(&mut self, note: Note) {
        if let Err(error) = self.notes.note(&note) {
            say::violation(&format!("the notes of a follower cannot be written: {error}"));
        }
    }
}
