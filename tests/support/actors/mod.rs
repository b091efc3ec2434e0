//! What goes on in a process: writers, keepers of history and maintainers, each going on for ever, and those who read
//! (`readers`). They write down what they were told and shown (`record`), for whoever knows what happened.
#![allow(dead_code, unused_imports)] // each test takes what it needs

mod program;
pub mod readers;
mod record;
mod sim_time;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{Appended, Batch, CriticalReaderId, Error, ErrorKind, SinceDowngrade, WriterId};
use tokio::task::JoinSet;

use crate::random::Random;
use crate::times::Row;

pub use program::{FetcherOf, ListenOf, Plain, Program, ReaderOf, ShardOf, WriterOf, plain, typed};
pub use record::{Attempt, Evolving, Heard, Outcome, Record, SAME, Shared, Strings, identical};
pub use sim_time::SimTime;
pub use turn::Turn;

/// Something that a process does over and over, until it crashes.
pub struct Actor<T: SimTime, P: Program> {
    pub shard: ShardOf<P, T>,
    /// The same shard in another process, which never crashes and runs the same program.
    pub elsewhere: ShardOf<P, T>,
    pub record: Shared<T>,
    pub random: Random,
    /// Between two things that it does, at most.
    pub rest_ms_max: usize,
}

/// Whether nobody can say by now what became of an append: its objects grew too old while it was tried.
pub(crate) fn is_too_old(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid && error.to_string().contains("the batch was staged")
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Settled {
    /// Nobody knows: it is to be asked again.
    No,
    Yes,
    /// It was refused, as everything will be that its writer appends.
    Outdated,
}

impl<T: SimTime, P: Program> Actor<T, P> {
    pub async fn rest(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(self.rest_ms_max) as u64)).await;
    }

    pub fn tell(&self, line: std::fmt::Arguments<'_>) {
        self.record.lock().unwrap().story.tell(line);
    }

    /// The turn of the shard.
    pub fn turn(&self) -> Arc<Turn> {
        Arc::clone(&self.record.lock().unwrap().turn)
    }

    /// What was opened, if it was; then there are only so many reasons.
    pub(crate) fn opened<R>(&self, opened: Result<R, Error>) -> Option<R> {
        let refused = |error: &Error| error.kind() == ErrorKind::Unavailable || self.turn().refuses::<P>(error);
        opened.inspect_err(|error| assert!(refused(error), "it does not open: {error}")).ok()
    }

    pub(crate) async fn open_writer(&self, shard: &ShardOf<P, T>, purpose: &str) -> Option<WriterOf<P, T>> {
        let (turn, turned) = (self.turn(), self.turn().seqno().is_some());
        match shard.open_writer(purpose).await {
            Err(error) if turn.refuses_writing::<P>(&error, turned) => None,
            opened => self.opened(opened).inspect(|writer| turn.enlist::<P>(writer.writer_id())),
        }
    }

    pub(crate) fn attempt(
        &self,
        writer: WriterId,
        rows: Vec<Row<T>>,
        lower: &Antichain<T>,
        upper: &Antichain<T>,
        overlap: bool,
    ) -> usize {
        let mut record = self.record.lock().unwrap();
        let number = record.attempts.len();
        record.story.tell(format_args!("attempt {number} [{:?}, {:?})", lower.elements(), upper.elements()));
        let (lower, upper) = (lower.clone(), upper.clone());
        record.attempts.push(Attempt { writer, rows, lower, upper, overlap, outcome: Outcome::Unknown });
        number
    }

    fn outcome(&self, attempt: usize, outcome: Outcome) {
        let mut record = self.record.lock().unwrap();
        record.story.tell(format_args!("attempt {attempt} {outcome:?}"));
        record.attempts[attempt].outcome = outcome;
    }

    /// Whether an answer settles an attempt. `turned`: whether the turn had happened when it was asked for.
    fn settle(&self, attempt: usize, answer: Result<Appended<T>, Error>, turned: bool) -> Settled {
        let settled = self.note(attempt, answer, turned);
        if settled != Settled::No {
            let writer = self.record.lock().unwrap().attempts[attempt].writer;
            self.turn().tell(writer);
        }
        settled
    }

    fn note(&self, attempt: usize, answer: Result<Appended<T>, Error>, turned: bool) -> Settled {
        match answer {
            Ok(Appended::Committed) => {
                if P::VERSION == 0 && self.turn().seqno().is_some() {
                    self.tell(format_args!("attempt {attempt} was before the turn, and is told so behind it"));
                }
                self.outcome(attempt, Outcome::Committed);
            }
            Ok(Appended::UpperMismatch { .. }) => self.outcome(attempt, Outcome::Refused),
            Err(error) if is_too_old(&error) => {
                let mut record = self.record.lock().unwrap();
                record.too_old += 1;
                record.story.tell(format_args!("attempt {attempt} is too old"));
            }
            Err(error) if self.turn().refuses_writing::<P>(&error, turned) => {
                self.tell(format_args!("attempt {attempt} is of other types: {:?}", error.kind()));
                self.outcome(attempt, Outcome::Refused);
                return Settled::Outdated;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                return Settled::No;
            }
        }
        Settled::Yes
    }

    pub(crate) fn next_number(&self) -> u64 {
        let mut record = self.record.lock().unwrap();
        record.next_value += 1;
        record.next_value
    }

    /// Rows that no other attempt has.
    pub(crate) fn rows(&mut self, lower: &Antichain<T>, upper: &Antichain<T>) -> Vec<Row<T>> {
        let number = self.next_number();
        let number = P::fresh(&mut self.random, number);
        let count = self.random.below(8);
        let times = T::some(&mut self.random, lower, upper, count);
        times.into_iter().enumerate().map(|(row, time)| ((format!("k{row}"), number), time, 1)).collect()
    }

    pub async fn compete(mut self) {
        loop {
            self.rest().await;
            if let Some(writer) = self.open_writer(&self.shard, "compete").await {
                self.write(writer).await;
            }
        }
    }

    /// Writes, for as long as the shard's types are its own.
    async fn write(&mut self, mut writer: WriterOf<P, T>) {
        loop {
            self.rest().await;
            let lower = writer.upper().clone();
            let upper = T::step(&mut self.random, &lower);
            let rows = self.rows(&lower, &upper);
            let attempt = self.attempt(writer.writer_id(), rows.clone(), &lower, &upper, false);
            let patience = Duration::from_millis(200 + self.random.below(3_000) as u64);
            let settled = loop {
                let turned = self.turn().seqno().is_some();
                let append = writer.compare_and_append(typed::<P, T>(&rows), lower.clone(), upper.clone());
                // Sometimes the call is given up half-way and made again.
                let Ok(answer) = tokio::time::timeout(patience, append).await else { continue };
                match self.settle(attempt, answer, turned) {
                    Settled::No => {}
                    settled => break settled,
                }
            };
            if settled == Settled::Outdated {
                return;
            }
        }
    }

    /// Two batches in one commit, one of them from another process.
    pub async fn stage(mut self) {
        loop {
            self.rest().await;
            let Some(mut writer) = self.open_writer(&self.shard, "stage").await else { continue };
            let lower = writer.upper().clone();
            let upper = T::step(&mut self.random, &lower);
            let rows = self.rows(&lower, &upper);
            let mut batches = Vec::new();
            for half in 0..2 {
                let mut builder = writer.batch_builder(lower.clone());
                for ((key, value), time, diff) in typed::<P, T>(&rows).iter().skip(half).step_by(2) {
                    builder.add(key, value, time, diff).await.unwrap();
                }
                let Ok(batch) = builder.finish(upper.clone()).await else { break };
                batches.push(batch);
            }
            if batches.len() < 2 {
                continue;
            }
            if self.random.percent(50)
                && let Some(batch) = batches.pop()
            {
                let Some(other) = self.open_writer(&self.elsewhere, "stage elsewhere").await else { continue };
                batches.push(writer.batch_from_bytes(&batch.into_bytes()).unwrap());
                drop(other);
            }
            let attempt = self.attempt(writer.writer_id(), rows, &lower, &upper, false);
            self.rest().await;
            self.append_staged(&mut writer, attempt, &mut batches, &lower, &upper).await;
        }
    }

    pub(crate) async fn append_staged(
        &self,
        writer: &mut WriterOf<P, T>,
        attempt: usize,
        batches: &mut [Batch<T>],
        lower: &Antichain<T>,
        upper: &Antichain<T>,
    ) {
        loop {
            let turned = self.turn().seqno().is_some();
            let mut offered: Vec<_> = batches.iter_mut().collect();
            let append = writer.compare_and_append_batch(&mut offered, lower.clone(), upper.clone());
            let Ok(answer) = tokio::time::timeout(Duration::from_millis(900), append).await else { continue };
            if self.settle(attempt, answer, turned) != Settled::No {
                break;
            }
        }
    }

    pub async fn write_identically(mut self) {
        loop {
            self.rest().await;
            let Some(mut writer) = self.open_writer(&self.shard, "identical").await else { continue };
            let lower = writer.upper().clone();
            let upper = T::step(&mut self.random, &lower);
            let rows: Vec<_> = T::common(&lower, &upper).into_iter().map(identical).collect();
            let attempt = self.attempt(writer.writer_id(), rows.clone(), &lower, &upper, true);
            let turned = self.turn().seqno().is_some();
            let answer = writer.append(typed::<P, T>(&rows), lower, upper).await;
            if let Ok(Appended::UpperMismatch { current }) = &answer {
                // The upper was at the lower before: it can only have gone beside partially ordered times.
                assert!(current.len() > 1 || T::TEST != "u64", "a gap below {current:?}");
            }
            self.settle(attempt, answer, turned); // if it does not, nobody asks again
        }
    }

    /// A critical reader that moves on, and is fenced by nobody.
    pub async fn keep(mut self) {
        let number = {
            let mut record = self.record.lock().unwrap();
            record.next_critical += 1;
            record.next_critical
        };
        let id = CriticalReaderId::from_u128(number.into());
        let mut opaque = 0;
        loop {
            self.rest().await;
            let opened = self.shard.open_critical_since(id, opaque).await;
            let Some(mut handle) = self.opened(opened) else { continue };
            for _ in 0..4 {
                let before = handle.since().clone();
                let since = T::step(&mut self.random, &before);
                self.rest().await;
                loop {
                    match handle.compare_and_downgrade_since(opaque, (opaque + 1, &since)).await {
                        Ok(SinceDowngrade::Downgraded { since }) => {
                            assert!(PartialOrder::less_equal(&before, &since));
                            opaque += 1;
                            break;
                        }
                        Ok(SinceDowngrade::OpaqueMismatch { current }) => panic!("{current} and not {opaque}"),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    }
                }
            }
            if self.random.percent(60) && handle.expire().await.is_ok() {
                return;
            }
        }
    }

    /// Does the upkeep that others left.
    pub async fn maintain(mut self) {
        loop {
            self.rest().await;
            if self.shard.inspect().await.is_err() {
                continue;
            }
            if let Err(error) = self.shard.settle().await {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            }
        }
    }
}

/// Panics if an actor did: it has found something.
pub fn look_after(actors: &mut JoinSet<()>) {
    while let Some(ended) = actors.try_join_next() {
        ended.unwrap();
    }
}

/// Ends them wherever they are.
pub async fn end(actors: &mut JoinSet<()>) {
    actors.abort_all();
    while let Some(ended) = actors.join_next().await {
        assert!(!ended.is_err_and(|error| error.is_panic()), "an actor has found something");
    }
}
