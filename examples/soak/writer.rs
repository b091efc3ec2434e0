//! A process that appends, and writes down what it tried and what it was told.
//!
//! Small appends that stay in the log, larger ones with objects, batches that are staged first and committed later, and
//! appends that take away what an acknowledged one brought. An append of unknown outcome is tried again as it was, a
//! few times; then nobody knows.

use std::collections::VecDeque;
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Appended, Batch, Error, ErrorKind, WriteHandle};
use tokio::time::Instant;

use crate::journal::{Attempt, Journal, Outcome};
use crate::place::Stage;
use crate::random::Random;
use crate::rows::Update;
use crate::say;

type Handle = WriteHandle<String, u64, u64, i64>;

/// The writer that appends after the attack.
const LAST: u32 = 1_000;

/// How often an append of unknown outcome is tried.
const TRIES: usize = 4;

/// A staged batch is for a time so far beyond the upper.
const STAGED_AHEAD: u64 = 30;

/// It is committed after at most so long.
const STAGED_MS_MAX: usize = 3_000;

/// So many acknowledged appends are remembered, to be taken away again.
const LIVE_MAX: usize = 200;

/// How long a healthy process may take to append once, or to do all upkeep, after the attack.
const LAST_LIMIT: Duration = Duration::from_secs(120);

/// How large an append is: rows, and bytes that each is filled up with.
#[derive(Clone, Copy)]
struct Size {
    rows: u32,
    padding: u32,
}

impl Size {
    fn small(random: &mut Random) -> Self {
        Self { rows: 1 + random.below(4) as u32, padding: random.below(20) as u32 }
    }

    fn large(random: &mut Random) -> Self {
        let large = random.percent(10);
        let (rows, padding) = if large { (300, 600) } else { (20, 1_000) };
        Self { rows: 2 + random.below(rows) as u32, padding: 60 + random.below(padding) as u32 }
    }
}

/// A batch that waits to be committed.
struct Staged {
    batch: Batch<u64>,
    attempt: Attempt,
    due: Instant,
}

struct Writer {
    stage: Stage,
    number: u32,
    journal: Journal,
    /// The number of the next append.
    next: u64,
    random: Random,
    /// Of each shard.
    handles: Vec<Option<Handle>>,
    staged: Vec<Option<Staged>>,
    /// Acknowledged, and not yet taken away.
    live: Vec<VecDeque<Attempt>>,
}

/// Appends until the end.
pub async fn write(stage: Stage) {
    let number = stage.part.number;
    let Some(mut writer) = Writer::open(stage, number) else { return };
    while !writer.stage.is_over() {
        if let Err(error) = writer.step().await {
            say::judge(&error, "writing");
        }
        let pause = writer.random.below(60) as u64;
        writer.stage.rest(Duration::from_millis(pause)).await;
    }
}

/// What a healthy process can do with the shards after the attack: append, and do all upkeep.
pub async fn last(stage: Stage) {
    let shards = stage.part.shards;
    let Some(mut writer) = Writer::open(stage, LAST) else { return };
    for shard in 0..shards {
        for rows in [3, 40] {
            let appended = writer.append_at_last(shard, Size { rows, padding: 400 });
            if tokio::time::timeout(LAST_LIMIT, appended).await.is_err() {
                return say::violation(&format!(
                    "after the attack shard {shard} takes no {rows} rows for {LAST_LIMIT:?}"
                ));
            }
        }
        match tokio::time::timeout(LAST_LIMIT, writer.stage.shard(shard).settle()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => say::violation(&format!("upkeep of shard {shard} after the attack: {error:?}")),
            Err(_) => say::violation(&format!("after the attack shard {shard} has upkeep for {LAST_LIMIT:?}")),
        }
    }
}

impl Writer {
    /// Goes on where its journal ends.
    fn open(stage: Stage, number: u32) -> Option<Self> {
        let opened = Journal::open(&stage.part.journals(), number);
        let (journal, attempts) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                say::violation(&format!("the journal of writer {number} cannot be opened: {error}"));
                return None;
            }
        };
        let shards = stage.part.shards;
        let next = attempts.iter().map(|attempt| attempt.number + 1).max().unwrap_or(0);
        let live = (0..shards).map(|shard| live(&attempts, shard)).collect();
        let (handles, staged) = ((0..shards).map(|_| None).collect(), (0..shards).map(|_| None).collect());
        Some(Self { random: stage.random(), stage, number, journal, next, handles, staged, live })
    }

    async fn step(&mut self) -> Result<(), Error> {
        let shard = self.random.below(self.handles.len()) as u32;
        if self.staged[shard as usize].as_ref().is_some_and(|staged| staged.due <= Instant::now()) {
            return self.commit_staged(shard).await;
        }
        match self.random.below(100) {
            0..45 => {
                let size = Size::small(&mut self.random);
                self.append(shard, size, false).await.map(|_| ())
            }
            45..65 => {
                let size = Size::large(&mut self.random);
                self.append(shard, size, false).await.map(|_| ())
            }
            65..85 => {
                let size = Size::small(&mut self.random);
                self.append(shard, size, true).await.map(|_| ())
            }
            85..97 => self.stage_batch(shard).await,
            _ => self.advance(shard).await,
        }
    }

    async fn handle(&mut self, shard: u32) -> Result<&mut Handle, Error> {
        let slot = &mut self.handles[shard as usize];
        let handle = match slot.take() {
            Some(handle) => handle,
            None => self.stage.shard(shard).open_writer("soak").await?,
        };
        Ok(slot.insert(handle))
    }

    /// The upper as it is now.
    async fn upper(&mut self, shard: u32) -> Result<u64, Error> {
        let upper = self.handle(shard).await?.fetch_upper().await?;
        upper.as_option().copied().ok_or_else(|| Error::invalid("nobody closes a shard here"))
    }

    /// A new attempt, with a number of its own.
    fn attempt(&mut self, shard: u32, time: u64, size: Size) -> Attempt {
        let number = self.next;
        self.next += 1;
        let Size { rows, padding } = size;
        let (writer, retracts, outcome) = (self.number, None, Outcome::Unknown);
        Attempt { writer, number, shard, time, rows, padding, retracts, outcome }
    }

    /// Appends at the upper; what became of it.
    async fn append(&mut self, shard: u32, size: Size, retracts: bool) -> Result<Outcome, Error> {
        let upper = self.upper(shard).await?;
        let mut attempt = self.attempt(shard, upper, size);
        let salt = self.stage.part.salt;
        let mut rows: Vec<Update> = (0..attempt.rows).map(|index| (attempt.row(salt, index), upper, 1)).collect();
        if retracts && let Some(taken) = self.take_live(shard) {
            attempt.retracts = Some(taken.number);
            rows.extend(taken.rest(salt).map(|row| (row, upper, -1)));
        }
        self.offer(attempt, Offer::Rows(rows), upper).await
    }

    /// An acknowledged append, which is nobody else's from now on: an unknown outcome is not tried again with another.
    fn take_live(&mut self, shard: u32) -> Option<Attempt> {
        let live = &mut self.live[shard as usize];
        let count = live.len();
        if count == 0 { None } else { live.remove(self.random.below(count)) }
    }

    /// Tries it, writes down what it is told.
    async fn offer(&mut self, attempt: Attempt, mut offer: Offer, expected: u64) -> Result<Outcome, Error> {
        self.note(|journal| journal.intend(&attempt));
        let new = attempt.time + 1;
        let mut outcome = Outcome::Unknown;
        for _ in 0..TRIES {
            let handle = self.handle(attempt.shard).await?;
            match offer.make(handle, expected, new).await {
                Ok(Appended::Committed) => outcome = Outcome::Acknowledged,
                Ok(Appended::UpperMismatch { .. }) => outcome = Outcome::Refused,
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    say::judge(&error, "appending");
                    if !self.stage.is_over() {
                        continue;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Invalid => {
                    // Stale objects, or clocks that differ. A try before this one may still come to be there.
                    say::count(&format!("refused with: {}", first_words(&error)));
                    say::count("appends invalid");
                }
                Err(error) => say::judge(&error, "appending"),
            }
            break;
        }
        self.note(|journal| journal.settle(&attempt, outcome));
        match outcome {
            Outcome::Unknown => say::count("appends unknown"),
            Outcome::Acknowledged => say::count("appends acknowledged"),
            Outcome::Refused => say::count("appends refused"),
        }
        if outcome == Outcome::Acknowledged {
            let live = &mut self.live[attempt.shard as usize];
            live.push_back(attempt);
            if live.len() > LIVE_MAX {
                live.pop_front();
            }
        }
        Ok(outcome)
    }

    fn note(&mut self, write: impl FnOnce(&mut Journal) -> std::io::Result<()>) {
        if let Err(error) = write(&mut self.journal) {
            say::violation(&format!("the journal of writer {} cannot be written: {error}", self.number));
        }
    }

    /// Stages a batch for a time ahead; it is committed later, if others do not pass that time before.
    async fn stage_batch(&mut self, shard: u32) -> Result<(), Error> {
        if self.staged[shard as usize].is_some() {
            return Ok(());
        }
        let upper = self.upper(shard).await?;
        let time = upper + STAGED_AHEAD;
        let size = Size::large(&mut self.random);
        let attempt = self.attempt(shard, time, size);
        let salt = self.stage.part.salt;
        let through_bytes = self.random.percent(30);
        let due = Instant::now() + Duration::from_millis(self.random.below(STAGED_MS_MAX) as u64);
        let handle = self.handle(shard).await?;
        let mut builder = handle.batch_builder(Antichain::from_elem(upper));
        for index in 0..attempt.rows {
            let (key, value) = attempt.row(salt, index);
            builder.add(&key, &value, &time, &1).await?;
        }
        let mut batch = builder.finish(Antichain::from_elem(time + 1)).await?;
        if through_bytes {
            batch = handle.batch_from_bytes(&batch.into_bytes())?;
        }
        say::count("batches staged");
        self.staged[shard as usize] = Some(Staged { batch, attempt, due });
        Ok(())
    }

    async fn commit_staged(&mut self, shard: u32) -> Result<(), Error> {
        let Some(Staged { batch, attempt, .. }) = self.staged[shard as usize].take() else { return Ok(()) };
        let upper = self.upper(shard).await?;
        if upper > attempt.time {
            say::count("batches dropped");
            return Ok(()); // too late for its time: its objects are removed with it
        }
        self.offer(attempt, Offer::Batch(Box::new(batch)), upper).await.map(|_| ())
    }

    /// Moves the upper on without rows.
    async fn advance(&mut self, shard: u32) -> Result<(), Error> {
        let upper = self.upper(shard).await?;
        let new = Antichain::from_elem(upper + 1);
        let handle = self.handle(shard).await?;
        let _ = handle.compare_and_append(Vec::new(), Antichain::from_elem(upper), new).await?; // either
        Ok(())
    }

    /// Appends until it is acknowledged.
    async fn append_at_last(&mut self, shard: u32, size: Size) {
        loop {
            match self.append(shard, size, false).await {
                Ok(Outcome::Acknowledged) => return,
                Ok(_) => {}
                Err(error) => say::judge(&error, "appending after the attack"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// What is offered to a shard, again and again the same.
enum Offer {
    Rows(Vec<Update>),
    Batch(Box<Batch<u64>>),
}

impl Offer {
    async fn make(&mut self, handle: &mut Handle, expected: u64, new: u64) -> Result<Appended<u64>, Error> {
        let (expected, new) = (Antichain::from_elem(expected), Antichain::from_elem(new));
        match self {
            Self::Rows(rows) => handle.compare_and_append(rows.clone(), expected, new).await,
            Self::Batch(batch) => handle.compare_and_append_batch(&mut [&mut **batch], expected, new).await,
        }
    }
}

/// The appends of a shard that can be taken away: acknowledged, and never tried to be taken away before.
fn live(attempts: &[Attempt], shard: u32) -> VecDeque<Attempt> {
    let taken: std::collections::HashSet<u64> = attempts.iter().filter_map(|attempt| attempt.retracts).collect();
    let of_shard = attempts.iter().filter(|attempt| attempt.shard == shard);
    let live = of_shard.filter(|attempt| attempt.outcome == Outcome::Acknowledged && !taken.contains(&attempt.number));
    let mut live: VecDeque<Attempt> = live.cloned().collect();
    live.drain(..live.len().saturating_sub(LIVE_MAX));
    live
}

/// What kind of refusal it was, without what differs each time.
fn first_words(error: &Error) -> String {
    let text = error.to_string();
    let message = text.split_once(": ").map_or(text.as_str(), |(_, message)| message);
    message
        .split(' ')
        .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
        .take(12)
        .collect::<Vec<_>>()
        .join(" ")
}
