//! What goes on in a process: writers, readers and keepers of history, each going on for ever.

use std::time::Duration;

use timely::PartialOrder;
use timely_persist::{Appended, CriticalReaderId, ErrorKind, Listen, ListenEvent, SinceDowngrade};

use crate::random::Random;
use crate::record::{Attempt, Heard, Outcome, Row, Shared, Strings, at, time};

/// Something that a process does over and over, until it crashes.
pub struct Actor {
    pub shard: Strings,
    pub record: Shared,
    pub random: Random,
    /// Between two things that it does.
    pub rest_ms_max: usize,
}

/// The rows that every identical writer writes: they depend on the time only.
fn identical(time: u64) -> Row {
    (("same".to_owned(), u64::MAX), time, 1)
}

impl Actor {
    async fn rest(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.below(self.rest_ms_max) as u64)).await;
    }

    fn tell(&self, line: std::fmt::Arguments<'_>) {
        self.record.lock().unwrap().story.tell(line);
    }

    fn attempt(&self, rows: Vec<Row>, lower: u64, upper: u64, overlap: bool) -> usize {
        let mut record = self.record.lock().unwrap();
        let number = record.attempts.len();
        record.story.tell(format_args!("attempt {number} [{lower}, {upper})"));
        record.attempts.push(Attempt { rows, lower, upper, overlap, outcome: Outcome::Unknown });
        number
    }

    fn outcome(&self, attempt: usize, outcome: Outcome) {
        let mut record = self.record.lock().unwrap();
        record.story.tell(format_args!("attempt {attempt} {outcome:?}"));
        record.attempts[attempt].outcome = outcome;
    }

    /// Rows that no other attempt has.
    fn rows(&mut self, lower: u64, upper: u64) -> Vec<Row> {
        let number = {
            let mut record = self.record.lock().unwrap();
            record.next_value += 1;
            record.next_value
        };
        let count = self.random.below(8) as u64;
        let random = &mut self.random;
        (0..count).map(|row| ((format!("k{row}"), number), lower + random.word() % (upper - lower), 1)).collect()
    }

    pub async fn compete(mut self) {
        let mut writer = loop {
            self.rest().await;
            if let Ok(writer) = self.shard.open_writer("compete").await {
                break writer;
            }
        };
        loop {
            self.rest().await;
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(3) as u64;
            let rows = self.rows(lower, upper);
            let attempt = self.attempt(rows.clone(), lower, upper, false);
            let patience = Duration::from_millis(self.random.below(3_000) as u64);
            loop {
                let append = writer.compare_and_append(rows.clone(), at(lower), at(upper));
                // Sometimes the call is given up half-way and made again.
                match tokio::time::timeout(patience.max(Duration::from_millis(200)), append).await {
                    Ok(Ok(Appended::Committed)) => break self.outcome(attempt, Outcome::Committed),
                    Ok(Ok(Appended::UpperMismatch { current })) => {
                        self.tell(format_args!("attempt {attempt} met {current:?}"));
                        break self.outcome(attempt, Outcome::Refused);
                    }
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    Err(_gave_up) => {}
                }
            }
        }
    }

    pub async fn stage(mut self) {
        loop {
            self.rest().await;
            let Ok(mut writer) = self.shard.open_writer("stage").await else { continue };
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(5) as u64;
            let rows = self.rows(lower, upper);
            let mut builder = writer.batch_builder(at(lower));
            for ((key, value), time, diff) in &rows {
                builder.add(key, value, time, diff).await.unwrap();
            }
            let Ok(mut batch) = builder.finish(at(upper)).await else { continue };
            let attempt = self.attempt(rows, lower, upper, false);
            self.rest().await;
            loop {
                let mut offered = [&mut batch];
                let append = writer.compare_and_append_batch(&mut offered, at(lower), at(upper));
                match tokio::time::timeout(Duration::from_millis(900), append).await {
                    Ok(Ok(Appended::Committed)) => break self.outcome(attempt, Outcome::Committed),
                    Ok(Ok(Appended::UpperMismatch { .. })) => break self.outcome(attempt, Outcome::Refused),
                    Ok(Err(error)) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
                    Err(_gave_up) => {}
                }
            }
        }
    }

    pub async fn write_identically(mut self) {
        loop {
            self.rest().await;
            let Ok(mut writer) = self.shard.open_writer("identical").await else { continue };
            let lower = time(writer.upper());
            let upper = lower + 1 + self.random.below(4) as u64;
            let rows: Vec<_> = (lower..upper).map(identical).collect();
            let attempt = self.attempt(rows.clone(), lower, upper, true);
            // Others may take some of these times before.
            match writer.append(rows, at(lower), at(upper)).await {
                Ok(Appended::Committed) => self.outcome(attempt, Outcome::Committed),
                Ok(mismatch) => panic!("the upper was {lower} before: {mismatch:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
            }
        }
    }

    /// Whether the actor goes on with its reader after this error.
    fn bear(&self, error: &timely_persist::Error) -> bool {
        match error.kind() {
            ErrorKind::Unavailable => true,
            ErrorKind::LeaseExpired { .. } => {
                self.tell(format_args!("lost a lease"));
                self.record.lock().unwrap().lost += 1;
                false
            }
            kind => panic!("{kind:?}: {error}"),
        }
    }

    pub async fn snapshots(mut self) {
        loop {
            self.rest().await;
            let Ok(mut reader) = self.shard.open_reader("snapshots").await else { continue };
            for _ in 0..1 + self.random.below(6) {
                let upper = match self.shard.inspect().await {
                    Ok(info) => time(&info.upper),
                    Err(_) => continue,
                };
                let since = time(reader.since());
                let as_of = since + self.random.word() % (upper.max(since + 1) - since);
                let step = Duration::from_secs(30);
                let parts = match tokio::time::timeout(step, reader.snapshot(at(as_of))).await {
                    Ok(Ok(parts)) => parts,
                    Ok(Err(error)) if self.bear(&error) => continue,
                    Ok(Err(_)) => break,
                    Err(_waited) => continue,
                };
                // The parts are in other hands for a while, and the log goes on.
                for _ in 0..1 + self.random.below(4) {
                    self.rest().await;
                }
                let fetcher = reader.fetcher();
                let mut rows = Vec::new();
                let mut failed = None;
                for part in parts {
                    match self.random.percent(50) {
                        true => match fetcher.fetch(part).await {
                            Ok(part) => rows.extend(part.rows()),
                            Err(error) => failed = Some(error),
                        },
                        false => {
                            let part = part.into_exchangeable();
                            match fetcher.fetch(&part).await {
                                Ok(part) => rows.extend(part.rows()),
                                Err(error) => failed = Some(error),
                            }
                            reader.return_lease(part.lease_id()).unwrap();
                        }
                    }
                }
                match failed {
                    None => {
                        self.tell(format_args!("snapshot at {as_of}: {} rows", rows.len()));
                        self.record.lock().unwrap().snapshots.push((as_of, rows));
                    }
                    Some(error) if self.bear(&error) => continue,
                    Some(_) => break,
                }
                let forward = since + self.random.below(6) as u64;
                if let Err(error) = reader.downgrade_since(&at(forward.min(as_of))).await
                    && !self.bear(&error)
                {
                    break;
                }
            }
        }
    }

    pub async fn listen(mut self) {
        'open: loop {
            self.rest().await;
            let Ok(reader) = self.shard.open_reader("listen").await else { continue };
            let as_of = time(reader.since()) + self.random.below(4) as u64;
            let snapshot = self.random.percent(50);
            let opened = if snapshot { reader.subscribe(at(as_of)).await } else { reader.listen(at(as_of)).await };
            let mut listen = match opened {
                Ok(listen) => listen,
                Err(error) => {
                    self.bear(&error);
                    continue;
                }
            };
            let mut heard = Heard { as_of, snapshot, frontier: as_of, rows: Vec::new() };
            for _ in 0..1 + self.random.below(20) {
                match tokio::time::timeout(Duration::from_secs(20), hear(&mut listen, &mut heard)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => {
                        self.bear(&error);
                        // What it has heard up to its frontier stands.
                        heard.rows.retain(|(_, time, _)| *time < heard.frontier);
                        self.record.lock().unwrap().listens.push(heard);
                        continue 'open;
                    }
                    Err(_waited) => break,
                }
                self.tell(format_args!("listener of {as_of} at {}", heard.frontier));
                self.rest().await;
            }
            heard.rows.retain(|(_, time, _)| *time < heard.frontier);
            self.record.lock().unwrap().listens.push(heard);
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
            let Ok(mut handle) = self.shard.open_critical_since(id, opaque).await else { continue };
            for _ in 0..4 {
                let before = time(handle.since());
                let since = at(before + self.random.below(3) as u64);
                self.rest().await;
                loop {
                    match handle.compare_and_downgrade_since(opaque, (opaque + 1, &since)).await {
                        Ok(SinceDowngrade::Downgraded { since }) => {
                            assert!(before <= time(&since));
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
}

/// Takes one step of a listener and writes down what it shows.
pub async fn hear(listen: &mut Listen<String, u64, u64, i64>, heard: &mut Heard) -> Result<(), timely_persist::Error> {
    let events = listen.next().await?;
    let fetcher = listen.fetcher();
    for event in events {
        match event {
            ListenEvent::Updates(parts) => {
                for part in parts {
                    let rows = fetcher.fetch(part).await?;
                    heard.rows.extend(rows.rows());
                }
                let behind = heard.rows.iter().find(|(_, time, _)| *time < heard.as_of);
                assert_eq!(behind, None);
            }
            ListenEvent::Progress(frontier) => {
                assert!(PartialOrder::less_than(&at(heard.frontier), &frontier), "the frontier goes backwards");
                heard.frontier = time(&frontier);
            }
        }
    }
    Ok(())
}
