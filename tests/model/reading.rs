//! What readers do, against the model.

use std::time::Duration;

use futures::TryStreamExt;
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{CriticalReaderId, ErrorKind, ExchangeablePart, LeasedPart, ListenEvent, SinceDowngrade};

use crate::times::{ModelTime, Row, is_complete, is_in_snapshot, join, seen_at, some_frontier, some_step, summed};
use crate::{Follower, Frontier, Kept, World, within};

impl<T: ModelTime> World<T> {
    /// What a reader from `as_of` on sees: of the snapshot, of what follows, or both.
    pub fn seen(&self, as_of: &Frontier<T>, snapshot: bool, updates: bool) -> Vec<Row<T>> {
        let wanted = |time: &T| if is_in_snapshot(time, as_of) { snapshot } else { updates };
        let rows = self.updates.iter().filter(|(_, time, _)| wanted(time));
        summed(rows.map(|(row, time, diff)| (row.clone(), seen_at(time, as_of), *diff)))
    }

    pub async fn open_reader(&mut self) {
        if self.readers.iter().flatten().count() >= 4 {
            return;
        }
        let process = self.process();
        let shard = &self.processes[process].shard;
        let reader = match self.random.below(3) {
            0 => {
                let as_of = join(&self.since, &some_frontier(&mut self.random));
                let as_of = if self.random.percent(50) { as_of } else { some_frontier(&mut self.random) };
                match shard.open_reader_at("model", as_of.clone()).await {
                    Ok(reader) => {
                        assert_eq!(*reader.since(), as_of);
                        reader
                    }
                    Err(error) => {
                        let since = shard.inspect().await.unwrap().since;
                        assert!(!PartialOrder::less_equal(&since, &as_of), "refused {as_of:?} for {since:?}: {error}");
                        assert_earliest(&error, &since);
                        return;
                    }
                }
            }
            1 if self.readers.iter().flatten().next().is_some() => {
                let known = self.readers.iter().flatten().next().unwrap();
                known.fork("fork").await.unwrap()
            }
            _ => shard.open_reader("model").await.unwrap(),
        };
        self.story.tell(format_args!("open reader {} since {:?}", self.readers.len(), reader.since()));
        self.readers.push(Some(reader));
    }

    /// The number of a reader that is open.
    fn reader(&mut self) -> Option<usize> {
        let open: Vec<usize> = (0..self.readers.len()).filter(|index| self.readers[*index].is_some()).collect();
        (!open.is_empty()).then(|| *self.random.pick(&open))
    }

    /// Where the reader can read now.
    fn readable(&mut self, since: &Frontier<T>) -> Option<Frontier<T>> {
        let tries: Vec<_> = (0..8).map(|_| join(since, &some_frontier(&mut self.random))).collect();
        let fits = |as_of: &Frontier<T>| is_complete(self.upper(), as_of);
        tries.into_iter().chain([since.clone()]).find(fits)
    }

    pub async fn snapshot(&mut self) {
        let Some(index) = self.reader() else { return };
        let since = self.readers[index].as_ref().unwrap().since().clone();
        let early = some_frontier(&mut self.random);
        let reader = self.readers[index].as_mut().unwrap();
        if !PartialOrder::less_equal(&since, &early) {
            let error = reader.snapshot(early).await.unwrap_err();
            assert_earliest(&error, &since);
        }
        let Some(as_of) = self.readable(&since) else { return };
        self.story.tell(format_args!("snapshot of reader {index} at {as_of:?}"));
        let expected = self.seen(&as_of, true, false);
        let reader = self.readers[index].as_mut().unwrap();
        match self.random.below(4) {
            0 => {
                let rows: Vec<Row<T>> =
                    reader.snapshot_and_stream(as_of.clone()).await.unwrap().try_collect().await.unwrap();
                assert_eq!(summed(rows), expected);
            }
            1 => {
                let mut parts = reader.snapshot(as_of).await.unwrap();
                let exchanged = parts.split_off(parts.len() / 2);
                let exchanged = exchanged.into_iter().map(through_bytes).collect();
                self.kept.push(Kept { parts, exchanged, reader: index, expected });
            }
            _ => {
                let rows = within(reader.snapshot_and_fetch(as_of)).await.unwrap();
                assert_eq!(rows, expected);
            }
        }
    }

    /// Fetches what was kept, by any process: it must still be there.
    pub async fn fetch_kept(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let index = self.random.below(self.kept.len());
        let kept = self.kept.swap_remove(index);
        self.story.tell(format_args!("fetch {} + {} kept parts", kept.parts.len(), kept.exchanged.len()));
        // What could be deleted is deleted before.
        if self.random.percent(60) {
            self.settle().await;
            // Two heartbeats of everybody: the first brings a process up to date, the second tells a hold of then.
            tokio::time::sleep(Duration::from_secs(600)).await;
            self.settle().await;
        }
        let process = self.process();
        let fetcher = self.processes[process].shard.fetcher().await.unwrap();
        let mut rows = Vec::new();
        for part in kept.parts {
            rows.extend(fetcher.fetch(part).await.unwrap().rows());
        }
        for part in kept.exchanged {
            rows.extend(fetcher.fetch(&part).await.unwrap().rows());
            if let Some(reader) = &self.readers[kept.reader] {
                reader.return_lease(part.lease_id()).unwrap();
                let again = reader.return_lease(part.lease_id()).unwrap_err();
                assert_eq!(again.kind(), ErrorKind::Invalid);
            }
        }
        assert_eq!(summed(rows), kept.expected);
    }

    pub async fn downgrade(&mut self) {
        let Some(index) = self.reader() else { return };
        let reader = self.readers[index].as_mut().unwrap();
        let since = match self.random.below(3) {
            0 => join(reader.since(), &some_frontier(&mut self.random)),
            1 => some_step(&mut self.random, &reader.since().clone()),
            _ => reader.since().clone(),
        };
        self.story.tell(format_args!("downgrade reader {index} to {since:?}"));
        reader.downgrade_since(&since).await.unwrap();
        assert_eq!(*reader.since(), since);
    }

    pub async fn close_reader(&mut self) {
        let Some(index) = self.reader() else { return };
        self.story.tell(format_args!("close reader {index}"));
        // What is leased holds the reader, what is exchanged is its owner's business.
        self.kept.retain(|kept| kept.reader != index);
        let reader = self.readers[index].take().unwrap();
        match self.random.below(3) {
            0 => reader.expire().await.unwrap(),
            _ => drop(reader),
        }
    }

    pub async fn follow(&mut self) {
        let Some(index) = self.reader() else { return };
        if self.followers.len() >= 4 || self.kept.iter().any(|kept| kept.reader == index) {
            return;
        }
        let reader = self.readers[index].take().unwrap();
        let as_of = match self.random.below(2) {
            0 => reader.since().clone(),
            _ => join(reader.since(), &some_frontier(&mut self.random)),
        };
        let snapshot = self.random.percent(50);
        self.story.tell(format_args!("reader {index} follows from {as_of:?}, snapshot {snapshot}"));
        let listen = if snapshot { reader.subscribe(as_of.clone()).await } else { reader.listen(as_of.clone()).await };
        let listen = listen.unwrap();
        let frontier = listen.frontier().clone();
        self.followers.push(Follower { listen, as_of, snapshot, shown: Vec::new(), frontier });
    }

    pub async fn step_follower(&mut self, index: usize) -> bool {
        let upper = self.upper().clone();
        let follower = &mut self.followers[index];
        let reachable: Frontier<T> = upper.elements().iter().map(|time| seen_at(time, &follower.as_of)).collect();
        let waits = follower.snapshot && !is_complete(&upper, &follower.as_of);
        if waits || *follower.listen.frontier() == reachable {
            return false;
        }
        self.story.tell(format_args!("step follower {index} of {:?} to {reachable:?}", follower.as_of));
        let events = match self.random.percent(50) {
            true => within(follower.listen.fetch_next()).await.unwrap(),
            false => {
                let fetcher = follower.listen.fetcher();
                let mut events = Vec::new();
                for event in within(follower.listen.next()).await.unwrap() {
                    events.push(match event {
                        ListenEvent::Progress(frontier) => ListenEvent::Progress(frontier),
                        ListenEvent::Updates(parts) => {
                            let mut rows = Vec::new();
                            for part in parts.into_iter().rev() {
                                let part = through_bytes(part);
                                rows.extend(fetcher.fetch(&part).await.unwrap().rows());
                                follower.listen.return_lease(part.lease_id()).unwrap();
                            }
                            ListenEvent::Updates(rows)
                        }
                    });
                }
                events
            }
        };
        assert!(!events.is_empty(), "a listener that is not at its end shows something");
        for event in events {
            match event {
                ListenEvent::Progress(frontier) => {
                    assert!(PartialOrder::less_than(&follower.frontier, &frontier), "the frontier goes backwards");
                    follower.frontier = frontier;
                }
                ListenEvent::Updates(rows) => {
                    for (row, time, _) in &rows {
                        let beyond = follower.frontier.less_equal(time);
                        assert!(beyond, "{row:?} at {time:?} was shown behind {:?}", follower.frontier);
                    }
                    follower.shown.extend(rows);
                }
            }
        }
        let follower = &self.followers[index];
        assert_eq!(follower.frontier, *follower.listen.frontier());
        let complete = |rows: Vec<Row<T>>| -> Vec<Row<T>> {
            rows.into_iter().filter(|(_, time, _)| !follower.frontier.less_equal(time)).collect()
        };
        let shown = complete(summed(follower.shown.iter().cloned()));
        let expected = complete(self.seen(&follower.as_of, follower.snapshot, true));
        assert_eq!(shown, expected, "follower {index} at {:?}", follower.frontier);
        true
    }

    pub async fn critical(&mut self) {
        if self.critical.is_empty() || (self.critical.len() < 2 && self.random.percent(20)) {
            let process = self.process();
            let id = CriticalReaderId::from_u128(self.random.word().into());
            let handle = self.processes[process].shard.open_critical_since(id, 0).await.unwrap();
            self.story.tell(format_args!("open critical since {:?}", handle.since()));
            self.critical.push((handle, 0));
            return;
        }
        let index = self.random.below(self.critical.len());
        let (handle, opaque) = &mut self.critical[index];
        let wrong = handle.compare_and_downgrade_since(*opaque + 7, (*opaque + 8, &Antichain::new())).await.unwrap();
        assert_eq!(wrong, SinceDowngrade::OpaqueMismatch { current: *opaque });
        let since = some_step(&mut self.random, &handle.since().clone());
        self.story.tell(format_args!("downgrade critical to {since:?}"));
        let downgraded = handle.compare_and_downgrade_since(*opaque, (*opaque + 1, &since)).await.unwrap();
        assert_eq!(downgraded, SinceDowngrade::Downgraded { since });
        *opaque += 1;
    }
}

fn assert_earliest<T: ModelTime>(error: &timely_persist::Error, since: &Frontier<T>) {
    match error.kind() {
        ErrorKind::Since { earliest } => assert_eq!(earliest.decode::<T>().as_ref(), Some(since), "{error}"),
        kind => panic!("{kind:?}: {error}"),
    }
}

fn through_bytes<T: ModelTime>(part: LeasedPart<T>) -> ExchangeablePart<T> {
    let part = part.into_exchangeable();
    let bytes = bincode::serialize(&part).unwrap();
    let back: ExchangeablePart<T> = bincode::deserialize(&bytes).unwrap();
    assert_eq!(back, part);
    back
}
