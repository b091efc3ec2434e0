//! Programs that change the types of the shard, while all else goes on.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Batch, ErrorKind, Evolution, Evolved, SchemaId};
use tokio::time::Instant;

use crate::actors::{Actor, Evolving, Outcome, Program, Record, ShardOf, SimTime, typed};
use crate::times::Row;

/// How long an evolution is waited for, at most; then it is asked for again.
const PATIENCE_MS: usize = 3_000;

/// How long whoever has done it waits before it tries to do it again.
const AGAIN: Duration = Duration::from_secs(15);

/// How long the moment is waited for in which somebody has committed and does not know it.
const UNTOLD_MAX: Duration = Duration::from_secs(20);

/// How often a batch is offered that the program before has staged.
const OFFERS_MAX: usize = 8;

/// What the program before has staged, and this one is to append.
struct Estate<T: SimTime> {
    batch: Batch<T>,
    rows: Vec<Row<T>>,
}

impl<T: SimTime, P: Program> Actor<T, P> {
    /// Makes the program's types those of the shard, at a moment that others know as well. `bequeaths`: appends then what the
    /// program before had staged.
    pub async fn evolve(mut self, at: Instant, bequeaths: bool) {
        tokio::time::sleep_until(at).await;
        let mut estate = None;
        if bequeaths && self.random.percent(60) {
            estate = self.stage_as_older().await;
        }
        let mut expected = SchemaId(0);
        if self.random.percent(50) {
            self.wait_for_somebody_untold().await;
        } else {
            self.rest().await;
            expected = SchemaId(self.random.below(3) as u32);
        }
        loop {
            if self.try_to_evolve(expected).await {
                if let Some(estate) = estate.take() {
                    self.inherit(estate).await;
                }
                tokio::time::sleep(AGAIN).await;
            }
            self.rest().await;
            if self.random.percent(30) {
                self.check_standing().await;
            }
            expected = SchemaId(*self.random.pick(&[0, 0, 1, 2]));
        }
    }

    /// Until a writer of the older program has committed and does not know it yet, or for a while.
    async fn wait_for_somebody_untold(&self) {
        let limit = Instant::now() + UNTOLD_MAX;
        while !self.turn().is_anybody_untold() && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the shard is known to have the types of this program now.
    pub async fn try_to_evolve(&mut self, expected: SchemaId) -> bool {
        let turn = self.turn();
        let turned = turn.seqno().is_some();
        let number = {
            let mut record = self.record.lock().unwrap();
            record.evolutions.push(Evolving { expected, outcome: None });
            record.evolutions.len() - 1
        };
        let patience = Duration::from_millis(200 + self.random.below(PATIENCE_MS) as u64);
        let evolved = match tokio::time::timeout(patience, self.shard.evolve(expected)).await {
            Ok(Ok(evolved)) => evolved,
            Ok(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                return false;
            }
            Err(_waited) => return false,
        };
        match evolved {
            Evolved::Unchanged => assert!(turn.is_over(), "it has changed nothing, and nobody has"),
            Evolved::Added(id) => {
                assert_eq!((expected, id, turned), (SchemaId(0), SchemaId(1), false), "what it has added");
                assert!(turn.seqno().is_some(), "it says that it has added {id}, and has not");
            }
            Evolved::Mismatch { latest } => {
                assert!(expected != latest && latest == SchemaId(0) && !turned, "{expected} is not {latest}");
            }
        }
        let mut record = self.record.lock().unwrap();
        record.evolutions[number].outcome = Some(evolved);
        record.story.tell(format_args!("evolution {number} from {expected}: {evolved:?}"));
        evolved != Evolved::Mismatch { latest: SchemaId(0) }
    }

    fn older(&self) -> ShardOf<P::Older, T> {
        self.shard.client().shard(self.shard.id())
    }

    /// What both programs hear of their types.
    async fn check_standing(&self) {
        let (turn, turned) = (self.turn(), self.turn().seqno().is_some());
        match self.shard.check_evolution().await {
            Ok(Evolution::Fresh) => assert!(!turned),
            Ok(Evolution::Same) => assert!(turn.is_over()),
            Ok(Evolution::Possible { latest }) => assert_eq!((latest, turned), (SchemaId(0), false)),
            Ok(other) => panic!("the newer program hears {other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        match self.older().check_evolution().await {
            Ok(Evolution::Fresh | Evolution::Same) => assert!(!turned),
            Ok(Evolution::Older { program, latest }) => {
                assert_eq!((program, latest, turn.seqno().is_some()), (SchemaId(0), SchemaId(1), true));
            }
            Ok(Evolution::Impossible(_)) => assert!(turn.is_skipped()),
            Ok(other) => panic!("the older program hears {other:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
        match self.shard.schema().await {
            Ok(Some(schema)) => assert!(schema.id == SchemaId(u32::from(turn.seqno().is_some())) || !turned),
            Ok(None) => assert!(!turned),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}"),
        }
    }

    /// Stages rows that whoever comes later appends, in whatever interval.
    async fn stage_as_older(&mut self) -> Option<Estate<T>> {
        let (turn, turned) = (self.turn(), self.turn().seqno().is_some());
        let writer = match self.older().open_writer("bequeath").await {
            Ok(writer) => writer,
            Err(error) => {
                let refused =
                    error.kind() == ErrorKind::Unavailable || turn.refuses_writing::<P::Older>(&error, turned);
                assert!(refused, "{error}");
                return None;
            }
        };
        let lower = writer.upper().clone();
        let mut near = lower.clone();
        (0..6).for_each(|_| near = T::step(&mut self.random, &near));
        let number = self.next_number();
        let times = T::some(&mut self.random, &lower, &near, 8);
        let row = |(row, time)| ((format!("k{row}"), number), time, 1);
        let rows: Vec<Row<T>> = times.into_iter().enumerate().map(row).collect();
        let mut builder = writer.batch_builder(lower);
        for ((key, value), time, diff) in &typed::<P::Older, T>(&rows) {
            builder.add(key, value, time, diff).await.unwrap();
        }
        let batch = builder.finish(Antichain::new()).await.ok()?;
        Some(Estate { batch, rows })
    }

    /// Appends what the program before has staged, perhaps with rows of its own.
    async fn inherit(&mut self, estate: Estate<T>) {
        let Estate { mut batch, rows: left } = estate;
        for offer in 0..OFFERS_MAX {
            self.rest().await;
            let Some(mut writer) = self.open_writer(&self.shard, "inherit").await else { return };
            self.turn().inherit(writer.writer_id());
            if offer == 0 {
                batch = match writer.batch_from_bytes(&batch.into_bytes()) {
                    Ok(batch) => batch,
                    Err(error) => {
                        let stranger = error.kind() == ErrorKind::CodecMismatch && self.turn().is_skipped();
                        assert!(stranger, "what the older program staged is refused: {error}");
                        return;
                    }
                };
            }
            let lower = writer.upper().clone();
            let mut upper = T::step(&mut self.random, &lower);
            if self.random.percent(50) {
                upper = T::step(&mut self.random, &upper);
            }
            let mut batches = vec![batch];
            let mut rows = left.clone();
            if self.random.percent(50) {
                let own = self.rows(&lower, &upper);
                let mut builder = writer.batch_builder(lower.clone());
                for ((key, value), time, diff) in &typed::<P, T>(&own) {
                    builder.add(key, value, time, diff).await.unwrap();
                }
                if let Ok(more) = builder.finish(upper.clone()).await {
                    batches.push(more);
                    rows.extend(own);
                }
            }
            let attempt = self.attempt(writer.writer_id(), rows, &lower, &upper, false);
            self.append_staged(&mut writer, attempt, &mut batches, &lower, &upper).await;
            if self.record.lock().unwrap().attempts[attempt].outcome != Outcome::Refused {
                return;
            }
            batch = batches.swap_remove(0);
        }
    }
}

impl<T: SimTime> Record<T> {
    /// The types changed at most once, and because somebody asked for it who knew what they were.
    pub fn check_evolutions(&self) {
        let added = self.evolutions.iter().filter(|evolving| matches!(evolving.outcome, Some(Evolved::Added(_))));
        let added = added.count();
        assert!(added <= 1, "{added} have changed the types");
        let knew = |evolving: &&Evolving| {
            evolving.expected == SchemaId(0) && matches!(evolving.outcome, None | Some(Evolved::Added(_)))
        };
        let asked = self.evolutions.iter().filter(knew).count();
        assert!(added == 0 || self.turn.seqno().is_some(), "the types are said to have changed");
        assert!(asked > 0 || self.turn.seqno().is_none(), "nobody has changed the types: {:?}", self.evolutions);
    }
}
