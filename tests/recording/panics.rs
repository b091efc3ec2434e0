//! A recorder that panics stops nothing of what it is told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use timely_persist::ShardId;
use timely_persist::record::{
    BatchAppended, Committed, Deleted, Fetched, LogRequest, Merged, ReaderExpired, ReaderOpened, Recorder, Renewed,
    RollupWritten, Stored, Swept,
};

use crate::stage::{Stage, at, fill, within};
use crate::{info, maintaining};

/// Panics whatever it is told; how often.
#[derive(Debug, Default)]
struct Panicking(AtomicU64);

impl Panicking {
    fn panic(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
        std::panic::resume_unwind(Box::new("a recorder that panics")); // without a word on the terminal
    }
}

impl Recorder for Panicking {
    fn appended(&self, _shard: ShardId, _fact: &BatchAppended) {
        self.panic();
    }

    fn committed(&self, _shard: ShardId, _fact: &Committed) {
        self.panic();
    }

    fn log_request(&self, _shard: ShardId, _fact: &LogRequest) {
        self.panic();
    }

    fn fetched(&self, _shard: ShardId, _fact: &Fetched) {
        self.panic();
    }

    fn stored(&self, _shard: ShardId, _fact: &Stored) {
        self.panic();
    }

    fn deleted(&self, _shard: ShardId, _fact: &Deleted) {
        self.panic();
    }

    fn merged(&self, _shard: ShardId, _fact: &Merged) {
        self.panic();
    }

    fn swept(&self, _shard: ShardId, _fact: &Swept) {
        self.panic();
    }

    fn rollup_written(&self, _shard: ShardId, _fact: &RollupWritten) {
        self.panic();
    }

    fn reader_opened(&self, _shard: ShardId, _fact: &ReaderOpened) {
        self.panic();
    }

    fn reader_expired(&self, _shard: ShardId, _fact: &ReaderExpired) {
        self.panic();
    }

    fn renewed(&self, _shard: ShardId, _fact: &Renewed) {
        self.panic();
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_takes_nothing_down() {
    let stage = Stage::new();
    let panicking = Arc::new(Panicking::default());
    let process = stage.recorded(maintaining(), panicking.clone()).await;
    fill(&process.shard, 0..20, 10).await;
    within(process.shard.settle()).await.unwrap();
    let mut reader = process.shard.open_reader("test").await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(19)).await.unwrap().len(), 200);
    reader.downgrade_since(&at(5)).await.unwrap();
    reader.expire().await.unwrap();
    let info = info(&process).await;
    assert_eq!((info.rows, info.garbage, info.readers), (200, 0, 0));
    assert!(info.rollup.0 > 0 && info.batches < 8, "{info:?}");
    let panics = panicking.0.load(Ordering::Relaxed);
    assert!(panics > info.seqno.0 * 2, "it is told also behind a panic: {panics}");
    process.client.shutdown().await.unwrap();
}
