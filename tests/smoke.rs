//! The first path through the library: append, snapshot, listen, reopen.
#![allow(clippy::unwrap_used)]

use timely::progress::Antichain;
use timely_persist::{Appended, Client, ErrorKind, ListenEvent, ShardId};

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn row(key: &str, value: u64, time: u64, diff: i64) -> ((String, u64), u64, i64) {
    ((key.to_owned(), value), time, diff)
}

async fn exercise(client: &Client, shard: ShardId, from: u64, to: u64) {
    let shard = client.shard::<String, u64, u64, i64>(shard);
    let mut writer = shard.open_writer("test").await.unwrap();
    for time in from..to {
        let rows = vec![row("all", time, time, 1), row("last", time, time, 1)];
        let retract = (time > 0).then(|| row("last", time - 1, time, -1));
        let rows = rows.into_iter().chain(retract);
        assert_eq!(writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    let stale = writer.compare_and_append(vec![], at(0), at(to + 1)).await.unwrap();
    assert_eq!(stale, Appended::UpperMismatch { current: at(to) });
    let reader = shard.open_reader("test").await.unwrap();
    for as_of in [0, to / 2, to - 1] {
        let rows = reader.snapshot_and_fetch(at(as_of)).await.unwrap();
        let mut expected: Vec<_> = (0..=as_of).map(|time| row("all", time, as_of, 1)).collect();
        expected.push(row("last", as_of, as_of, 1));
        assert_eq!(rows, expected);
    }
    let mut listen = reader.listen(at(to / 2)).await.unwrap();
    let mut seen = Vec::new();
    while *listen.frontier() != at(to) {
        for event in listen.fetch_next().await.unwrap() {
            if let ListenEvent::Updates(rows) = event {
                seen.extend(rows);
            }
        }
    }
    assert_eq!(seen.len() as u64, 3 * (to - 1 - to / 2));
    listen.expire().await.unwrap();
}

#[tokio::test]
async fn memory() {
    let client = Client::open("memory:").await.unwrap();
    let shard = ShardId::new();
    exercise(&client, shard, 0, 300).await;
    let info = client.shard::<String, u64, u64, i64>(shard).inspect().await.unwrap();
    assert_eq!(info.upper, at(300));
    client.shard::<String, u64, u64, i64>(shard).settle().await.unwrap();
    let error = client.shard::<String, String, u64, i64>(shard).open_writer("x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CodecMismatch);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn directory_reopened() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("data").display());
    let shard = ShardId::new();
    for (from, to) in [(0, 150), (150, 300)] {
        let client = Client::open(&url).await.unwrap();
        exercise(&client, shard, from, to).await;
        client.shutdown().await.unwrap();
    }
}
