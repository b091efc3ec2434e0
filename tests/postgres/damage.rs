//! Rows of the log that are gone, and a server that is set back to an older copy, under processes that know the newer.

use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Config, Consensus, Error, ErrorKind, Shard, ShardId};
use timely_persist_testing::CountingLog;
use uuid::Uuid;

use crate::{open, server::Server, session, start};

type Strings = Shard<String, u64, u64, i64>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// A server, and objects beside it.
struct Stage {
    server: Server,
    store: Arc<InMemory>,
    shard: ShardId,
}

impl Stage {
    /// A shard with so many appends, each an entry of its own.
    async fn with(appends: u64) -> (Self, Client) {
        let stage = Self { server: start().await, store: Arc::new(InMemory::new()), shard: ShardId::from_u128(1) };
        let (client, shard) = stage.open(open(&stage.server).await).await;
        append(&shard, 0, appends).await.unwrap();
        (stage, client)
    }

    async fn open(&self, log: Arc<dyn Consensus>) -> (Client, Strings) {
        let mut config = Config::default();
        config.upkeep.maintain = false;
        let client = Client::builder(self.store.clone()).consensus(log).config(config).open().await.unwrap();
        let shard = client.shard(self.shard);
        (client, shard)
    }

    async fn run(&self, statement: &str) {
        let key = Uuid::from_u128(self.shard.as_u128());
        session(&self.server).await.execute(statement, &[&key]).await.unwrap();
    }

    async fn count(&self) -> i64 {
        let rows = session(&self.server).await.query_one("SELECT count(*) FROM timely_persist.entry", &[]).await;
        rows.unwrap().get(0)
    }
}

async fn append(shard: &Strings, from: u64, to: u64) -> Result<(), Error> {
    let mut writer = shard.open_writer("writer").await?;
    for time in from..to {
        let rows = vec![(("a".to_owned(), time), time, 1)];
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await?, Appended::Committed);
    }
    Ok(())
}

/// Whichever rows are gone, a process that comes then names the first, and writes nothing.
#[tokio::test]
async fn lost_rows_are_neither_the_end_of_the_log_nor_an_empty_shard() {
    let (stage, _client) = Stage::with(10).await;
    stage.run("CREATE TABLE kept AS SELECT * FROM timely_persist.entry WHERE shard = $1").await;
    for (lost, missing) in [("seqno = 6", 6), ("seqno < 4", 1), ("seqno = 10", 10), ("seqno > 0", 10)] {
        stage.run(&format!("DELETE FROM timely_persist.entry WHERE shard = $1 AND {lost}")).await;
        let before = stage.count().await;
        let (client, shard) = stage.open(open(&stage.server).await).await;
        for refused in [shard.inspect().await.map(drop), append(&shard, 5, 6).await] {
            let error = refused.expect_err(lost);
            assert_eq!(error.kind(), ErrorKind::Missing, "{lost}: {error}");
            assert!(error.to_string().contains(&format!("log entry {missing} is missing")), "{lost}: {error}");
        }
        assert_eq!(stage.count().await, before, "{lost}: nothing is written");
        client.shutdown().await.unwrap();
        stage.run(&format!("INSERT INTO timely_persist.entry SELECT * FROM kept WHERE shard = $1 AND {lost}")).await;
    }
    let (_client, shard) = stage.open(open(&stage.server).await).await;
    append(&shard, 10, 12).await.unwrap();
}

/// Hazard 50: the database is restored to an older copy while a process runs that has read further.
#[tokio::test]
async fn a_log_that_went_back_is_said_at_once_and_costs_no_storm() {
    let (stage, _client) = Stage::with(4).await;
    let log = CountingLog::new(open(&stage.server).await);
    let (_running, shard) = stage.open(Arc::new(log.clone())).await;
    append(&shard, 4, 10).await.unwrap();
    let mut writer = shard.open_writer("writer").await.unwrap();
    stage.run("DELETE FROM timely_persist.entry WHERE shard = $1 AND seqno > 6").await;
    stage.run("UPDATE timely_persist.head SET seqno = 6 WHERE shard = $1").await;
    let before = log.counts();
    let refused = writer.compare_and_append(vec![], at(10), at(11));
    let error = tokio::time::timeout(Duration::from_secs(30), refused).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    assert!(error.to_string().contains("ends at entry 6") && error.to_string().contains("up to entry 10"), "{error}");
    let asked = log.counts() - before;
    assert_eq!(
        (asked.compare_and_sets, asked.scans, asked.heads),
        (1, 1, 1),
        "a commit, what it conflicts with, and the head"
    );
    // A process that knows nothing goes on with what is there; the other is told that this is not its log.
    let (_fresh, elsewhere) = stage.open(open(&stage.server).await).await;
    append(&elsewhere, 6, 12).await.unwrap();
    let error = shard.inspect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}
