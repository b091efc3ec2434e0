//! What writers do, against the model.

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{AppendOutcome, Appended, Batch, ErrorKind, WriteHandle, digest};

use crate::times::{ModelTime, Row, between, some_step};
use crate::{Frontier, World};

impl<T: ModelTime> World<T> {
    async fn writer(&mut self) -> WriteHandle<String, u64, T, i64> {
        let process = self.process();
        let writers = &mut self.processes[process].writers;
        if !writers.is_empty() && self.random.percent(80) {
            let index = self.random.below(writers.len());
            return writers.swap_remove(index);
        }
        self.open_writer(process).await
    }

    async fn open_writer(&self, process: usize) -> WriteHandle<String, u64, T, i64> {
        self.processes[process].shard.open_writer_in("model", self.generation).await.unwrap()
    }

    fn give_back(&mut self, writer: WriteHandle<String, u64, T, i64>) {
        let process = self.process();
        // Also to the other process's drawer: a handle does not care.
        self.processes[process].writers.push(writer);
    }

    /// Rows at times of `[lower, upper)`.
    fn rows(&mut self, lower: &Frontier<T>, upper: &Frontier<T>) -> Vec<Row<T>> {
        let times = between(lower, upper);
        if times.is_empty() || self.random.percent(15) {
            return Vec::new();
        }
        let count = self.random.below(12);
        let random = &mut self.random;
        let row = |_| {
            let key = format!("k{}", random.below(6));
            ((key, random.below(4) as u64), random.pick(&times).clone(), random.below(4) as i64 - 2)
        };
        (0..count).map(row).collect()
    }

    fn commit(&mut self, rows: Vec<Row<T>>, upper: Frontier<T>) {
        self.updates.extend(rows);
        if *self.upper() != upper {
            self.uppers.push(upper);
        }
    }

    pub async fn append(&mut self) {
        let (lower, mut writer) = (self.upper().clone(), self.writer().await);
        let upper = some_step(&mut self.random, &lower);
        let rows = self.rows(&lower, &upper);
        self.story.tell(format_args!("append {} rows {lower:?} {upper:?}", rows.len()));
        let appended = writer.compare_and_append(rows.clone(), lower, upper.clone()).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        assert_eq!(*writer.upper(), upper);
        self.commit(rows, upper);
        self.give_back(writer);
    }

    pub async fn append_stale(&mut self) {
        let stale = self.random.pick(&self.uppers).clone();
        let upper = some_step(&mut self.random, &stale);
        if stale == *self.upper() {
            return;
        }
        let rows = self.rows(&stale, &upper);
        self.story.tell(format_args!("append stale {stale:?} {upper:?}"));
        let mut writer = self.writer().await;
        let appended = writer.compare_and_append(rows, stale, upper).await.unwrap();
        assert_eq!(appended, Appended::UpperMismatch { current: self.upper().clone() });
        self.give_back(writer);
    }

    /// As an identical writer would that began at another place.
    pub async fn append_overlapping(&mut self) {
        let lower = self.random.pick(&self.uppers).clone();
        let old = if self.random.percent(20) { self.random.pick(&self.uppers).clone() } else { self.upper().clone() };
        let old = if PartialOrder::less_equal(&lower, &old) { old } else { self.upper().clone() };
        let upper = some_step(&mut self.random, &old);
        if !PartialOrder::less_equal(self.upper(), &upper) && !PartialOrder::less_equal(&upper, self.upper()) {
            return;
        }
        let beyond = if PartialOrder::less_equal(self.upper(), &upper) { self.upper().clone() } else { upper.clone() };
        let fresh = self.rows(&beyond, &upper);
        let again = |(_, time, _): &&Row<T>| lower.less_equal(time) && !upper.less_equal(time);
        let mut rows: Vec<_> = self.updates.iter().filter(again).cloned().collect();
        rows.extend(fresh.iter().cloned());
        self.story.tell(format_args!(
            "append overlapping {} of which {} new {lower:?} {upper:?}",
            rows.len(),
            fresh.len()
        ));
        let mut writer = self.writer().await;
        let appended = writer.append(rows, lower, upper.clone()).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        if PartialOrder::less_equal(self.upper(), &upper) {
            self.commit(fresh, upper);
        }
        self.give_back(writer);
    }

    pub async fn append_staged(&mut self) {
        let (lower, mut writer) = (self.upper().clone(), self.writer().await);
        let upper = some_step(&mut self.random, &lower);
        if lower == upper {
            return self.give_back(writer);
        }
        let mut batches = Vec::new();
        let mut all = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let covers = self.random.percent(30);
            let rows = self.rows(&lower, &upper);
            let from = if covers { self.random.pick(&self.uppers).clone() } else { lower.clone() };
            let outside = if covers { self.rows(&from, &lower) } else { Vec::new() };
            let mut builder = writer.batch_builder(from);
            if self.random.percent(50) {
                builder = builder.digested();
            }
            for ((key, value), time, diff) in rows.iter().chain(&outside) {
                builder.add(key, value, time, diff).await.unwrap();
            }
            let mut batch = builder.finish(upper.clone()).await.unwrap();
            if self.random.percent(30) {
                let bytes = batch.into_bytes();
                let other = self.process();
                batch = self.open_writer(other).await.batch_from_bytes(&bytes).unwrap();
            }
            batches.push((batch, rows));
        }
        if self.random.percent(20) {
            self.story.tell("stage and keep a batch");
            self.staged.extend(batches.pop());
        }
        self.story.tell(format_args!("append {} staged batches {lower:?} {upper:?}", batches.len()));
        for (_, rows) in &batches {
            all.extend(rows.iter().cloned());
        }
        let mut offered: Vec<&mut Batch<T>> = batches.iter_mut().map(|(batch, _)| batch).collect();
        if self.uppers.len() > 1 && self.random.percent(30) {
            let stale = self.uppers[0].clone();
            let mismatch = writer.compare_and_append_batch(&mut offered, stale, upper.clone()).await;
            assert_eq!(mismatch.unwrap(), Appended::UpperMismatch { current: lower.clone() });
        }
        let appended = writer.compare_and_append_batch(&mut offered, lower, upper.clone()).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        self.commit(all, upper);
        self.give_back(writer);
    }

    /// As a copy of a sink would that is at another place: what is there already is left out, and a gap is said.
    pub async fn append_alike(&mut self) {
        let current = self.upper().clone();
        let lower = match self.random.below(10) {
            0 => some_step(&mut self.random, &current),
            1..5 => current.clone(),
            _ => self.random.pick(&self.uppers).clone(),
        };
        let upper = some_step(&mut self.random, &lower);
        let covered = PartialOrder::less_equal(&upper, &current);
        let fits = PartialOrder::less_equal(&lower, &current) && PartialOrder::less_equal(&current, &upper);
        let fresh = if fits && !covered { self.rows(&current, &upper) } else { Vec::new() };
        let again = |(_, time, _): &&Row<T>| lower.less_equal(time) && !upper.less_equal(time);
        let mut rows: Vec<_> = self.updates.iter().filter(again).cloned().collect();
        rows.extend(fresh.iter().cloned());
        self.story.tell(format_args!("append alike {} of which {} new {lower:?} {upper:?}", rows.len(), fresh.len()));
        let mut writer = self.writer().await;
        let (one, other) = rows.split_at(self.random.below(rows.len() + 1));
        let mut batches = [writer.batch_builder(lower.clone()), writer.batch_builder(lower.clone())];
        let digested = self.random.percent(70);
        if digested {
            batches = batches.map(|builder| builder.digested());
        }
        for (builder, rows) in batches.iter_mut().zip([one, other]) {
            for ((key, value), time, diff) in rows {
                builder.add(key, value, time, diff).await.unwrap();
            }
        }
        let [one, other] = batches;
        let (mut one, mut other) =
            (one.finish(upper.clone()).await.unwrap(), other.finish(upper.clone()).await.unwrap());
        let digest = self.digest(&lower, &upper).wrapping_add(digest_of(&fresh));
        if digested {
            assert_eq!(one.digest().unwrap().wrapping_add(other.digest().unwrap()), digest);
        }
        let outcome = writer.append_batches(&mut [&mut one, &mut other], lower, upper.clone()).await.unwrap();
        match outcome {
            AppendOutcome::Covered { digest: known } => assert!(covered && known.is_none_or(|known| known == digest)),
            AppendOutcome::Committed { from } => {
                assert!(fits && !covered && from == current);
                self.commit(fresh, upper);
            }
            AppendOutcome::Gap { current: found } => assert!(!fits && !covered && found == current),
            outcome => panic!("{outcome:?}"),
        }
        // Also what this process knows of older commits is what they were.
        let mut end = Antichain::from_elem(T::minimum());
        for interval in writer.commits_since(&end) {
            assert_eq!(interval.lower, end);
            end = interval.upper;
            assert!(interval.digest.is_none_or(|known| known == self.digest(&interval.lower, &end)));
        }
        self.give_back(writer);
    }

    /// The digest of what was appended at times in `[lower, upper)`.
    fn digest(&self, lower: &Frontier<T>, upper: &Frontier<T>) -> u64 {
        let within = |(_, time, _): &&Row<T>| lower.less_equal(time) && !upper.less_equal(time);
        digest_of(self.updates.iter().filter(within))
    }

    /// A newer version of the program takes over: from its first commit on the older one writes nothing more.
    pub async fn promote(&mut self) {
        let lower = self.upper().clone();
        let upper = some_step(&mut self.random, &lower);
        if lower == upper {
            return;
        }
        self.story.tell(format_args!("promote to {} with {upper:?}", self.generation + 1));
        let before = self.writer().await;
        self.give_back(before);
        self.generation += 1;
        let process = self.process();
        let mut writer = self.open_writer(process).await;
        writer.advance_upper(&upper).await.unwrap();
        self.commit(Vec::new(), upper.clone());
        let fenced = ErrorKind::Fenced { generation: self.generation };
        for mut older in self.processes.iter_mut().flat_map(|process| process.writers.drain(..)) {
            let zombie = older.append_batches(&mut [], lower.clone(), upper.clone()).await;
            assert_eq!(zombie.unwrap_err().kind(), fenced);
        }
        self.give_back(writer);
    }

    pub async fn advance(&mut self) {
        let lower = self.upper().clone();
        let upper = some_step(&mut self.random, &lower);
        self.story.tell(format_args!("advance upper {upper:?}"));
        let mut writer = self.writer().await;
        writer.advance_upper(&upper).await.unwrap();
        self.commit(Vec::new(), upper);
        self.give_back(writer);
    }
}

fn digest_of<'a, T: ModelTime>(rows: impl IntoIterator<Item = &'a Row<T>>) -> u64 {
    let each = rows.into_iter().map(|((key, value), time, diff)| digest::<_, _, _, i64>(key, value, time, diff));
    each.fold(0, |sum, digest| sum.wrapping_add(digest.unwrap()))
}
