//! What goes on in a process: those who read, each going on for ever.

use std::time::Duration;

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{Error, ErrorKind, Holder, LeasedPart, ListenEvent};

use super::{Actor, Heard, ListenOf, Program, ReaderOf, SimTime, plain};
use crate::times::Row;

impl<T: SimTime, P: Program> Actor<T, P> {
    /// Whether the actor goes on with its reader after this error.
    pub(crate) fn bear(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::LeaseExpired { .. } => {
                self.tell(format_args!("lost a lease"));
                false
            }
            _ if self.turn().refuses::<P>(error) => {
                self.tell(format_args!("meets rows of newer types"));
                true
            }
            kind => panic!("{kind:?}: {error}"),
        }
    }

    /// A reader that was refused, and has nothing out, holds nothing any more of before the turn.
    async fn check_hold(&self, reader: &mut ReaderOf<P, T>) {
        let since = reader.since().clone();
        let renewed = reader.downgrade_since(&since).await;
        let (Ok(()), Ok(holds)) = (renewed, self.elsewhere.holds().await) else { return };
        let ours = holds.iter().find(|hold| hold.holder == Holder::Leased(reader.reader_id()));
        if let Some(seqno) = ours.and_then(|hold| hold.seqno) {
            assert!(Some(seqno) >= self.turn().seqno(), "a reader that was refused holds {seqno}");
            self.tell(format_args!("holds nothing of before the turn"));
        }
    }

    pub async fn snapshots(mut self) {
        loop {
            self.rest().await;
            let opened = self.shard.open_reader("snapshots").await;
            let Some(mut reader) = self.opened(opened) else { continue };
            for _ in 0..1 + self.random.below(6) {
                let Ok(info) = self.shard.inspect().await else { continue };
                let as_of = T::as_of(&mut self.random, reader.since(), &info.upper);
                let limit = Duration::from_secs(30);
                let rows = match tokio::time::timeout(limit, self.snapshot(&mut reader, &as_of)).await {
                    Ok(Ok(rows)) => rows,
                    Ok(Err(error)) if self.bear(&error) => {
                        if self.turn().refuses::<P>(&error) {
                            self.check_hold(&mut reader).await;
                        }
                        continue;
                    }
                    Ok(Err(_)) => break,
                    Err(_waited) => continue,
                };
                self.tell(format_args!("snapshot at {:?}: {} rows", as_of.elements(), rows.len()));
                self.record.lock().unwrap().snapshots.push((as_of.clone(), rows));
                if self.random.percent(40)
                    && let Err(error) = reader.downgrade_since(&as_of).await
                    && !self.bear(&error)
                {
                    break;
                }
            }
        }
    }

    async fn snapshot(&mut self, reader: &mut ReaderOf<P, T>, as_of: &Antichain<T>) -> Result<Vec<Row<T>>, Error> {
        if self.random.percent(20) {
            return Ok(plain::<P, T>(reader.snapshot_and_fetch(as_of.clone()).await?));
        }
        let parts = reader.snapshot(as_of.clone()).await?;
        // The parts are in other hands for a while; the log goes on, and the reader renews and moves its hold.
        let slowly = self.random.percent(50);
        for _ in 0..if slowly { 6 } else { self.random.below(3) } {
            self.rest().await;
            if self.random.percent(30) {
                let since = reader.since().clone();
                reader.downgrade_since(&since).await?;
            }
        }
        let mut rows = Vec::new();
        for part in parts {
            rows.extend(self.fetch(reader, part).await?);
            if slowly && self.random.percent(50) {
                self.rest().await;
            }
        }
        Ok(rows)
    }

    /// A part's rows: fetched here, or sent to another process and its lease returned from there.
    async fn fetch(&mut self, reader: &ReaderOf<P, T>, part: LeasedPart<T>) -> Result<Vec<Row<T>>, Error> {
        if self.random.percent(50) {
            return Ok(plain::<P, T>(reader.fetcher().fetch(part).await?.rows()));
        }
        let part = part.into_exchangeable();
        let fetcher = if self.random.percent(50) { self.elsewhere.fetcher() } else { reader.fetcher() };
        let fetched = fetcher.fetch(&part).await;
        reader.return_lease(part.lease_id()).unwrap();
        Ok(plain::<P, T>(fetched?.rows()))
    }

    pub async fn listen(mut self) {
        loop {
            self.rest().await;
            let opened = self.shard.open_reader("listen").await;
            let Some(reader) = self.opened(opened) else { continue };
            let Ok(info) = self.shard.inspect().await else { continue };
            let as_of = T::as_of(&mut self.random, reader.since(), &info.upper);
            let snapshot = self.random.percent(50);
            let steps = 1 + self.random.below(20);
            self.follow(reader, as_of, snapshot, steps).await;
        }
    }

    /// Hears everything that ever happens, if nobody takes its lease.
    pub async fn hear_all(mut self) {
        loop {
            let opened = self.shard.open_reader("all").await;
            if let Some(reader) = self.opened(opened) {
                let as_of = reader.since().clone();
                self.follow(reader, as_of, true, usize::MAX).await;
            }
            self.rest().await;
        }
    }

    async fn follow(&mut self, reader: ReaderOf<P, T>, as_of: Antichain<T>, snapshot: bool, steps: usize) {
        let begin = as_of.clone();
        let opened = if snapshot { reader.subscribe(begin).await } else { reader.listen(begin).await };
        let mut listen = match opened {
            Ok(listen) => listen,
            Err(error) => {
                self.bear(&error);
                return;
            }
        };
        let heard = Heard { as_of, snapshot, frontier: listen.frontier().clone(), rows: Vec::new() };
        let number = {
            let mut record = self.record.lock().unwrap();
            record.listens.push(heard);
            record.listens.len() - 1
        };
        for _ in 0..steps {
            match tokio::time::timeout(Duration::from_secs(20), self.hear(&mut listen, number)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    self.bear(&error);
                    return;
                }
                Err(_waited) => return,
            }
            self.rest().await;
        }
    }

    async fn hear(&self, listen: &mut ListenOf<P, T>, number: usize) -> Result<(), Error> {
        let step = step::<T, P>(listen).await?;
        let progresses = step.frontier.is_some();
        let mut record = self.record.lock().unwrap();
        let heard = &mut record.listens[number];
        heard.hear(step);
        if progresses {
            let (at, as_of) = (heard.frontier.clone(), heard.as_of.clone());
            record.story.tell(format_args!("listener of {:?} at {:?}", as_of.elements(), at.elements()));
        }
        Ok(())
    }
}

/// What one step of a listener shows.
#[derive(Debug)]
pub struct Step<T> {
    rows: Vec<Row<T>>,
    frontier: Option<Antichain<T>>,
}

/// Takes one step of a listener, all of it: one that fails shows nothing.
pub async fn step<T: SimTime, P: Program>(listen: &mut ListenOf<P, T>) -> Result<Step<T>, Error> {
    let events = listen.next().await?;
    let fetcher = listen.fetcher();
    let mut step = Step { rows: Vec::new(), frontier: None };
    for event in events {
        match event {
            ListenEvent::Updates(parts) => {
                for part in parts {
                    step.rows.extend(plain::<P, T>(fetcher.fetch(part).await?.rows()));
                }
            }
            ListenEvent::Progress(frontier) => step.frontier = Some(frontier),
        }
    }
    Ok(step)
}

impl<T: SimTime> Heard<T> {
    /// Writes down what a step shows.
    pub fn hear(&mut self, step: Step<T>) {
        let early = step.rows.iter().find(|(_, time, _)| !self.frontier.less_equal(time));
        assert_eq!(early, None, "a row at a time that was over, at {:?}", self.frontier);
        self.rows.extend(step.rows);
        if let Some(frontier) = step.frontier {
            assert!(PartialOrder::less_than(&self.frontier, &frontier), "the frontier goes backwards");
            self.frontier = frontier;
        }
    }
}
