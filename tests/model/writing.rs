//! What writers do, against the model.

use timely::PartialOrder;
use timely_persist::{Appended, Batch, WriteHandle};

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
        self.processes[process].shard.open_writer("model").await.unwrap()
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
            for ((key, value), time, diff) in rows.iter().chain(&outside) {
                builder.add(key, value, time, diff).await.unwrap();
            }
            let mut batch = builder.finish(upper.clone()).await.unwrap();
            if self.random.percent(30) {
                let bytes = batch.into_bytes();
                let other = self.process();
                let process = &self.processes[other];
                batch = process.shard.open_writer("stager").await.unwrap().batch_from_bytes(&bytes).unwrap();
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
