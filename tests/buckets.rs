//! Clients of buckets over HTTP, on real servers: what works, which server is refused, and what each mistake is called.
#![cfg(all(feature = "aws", feature = "azure"))]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/servers.rs"]
#[allow(dead_code)] // some are for other tests
mod servers;

use servers::{Kind, Server};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, ListenEvent, Shard, ShardId};

type Row = ((String, u64), u64, i64);

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// One row in the log entry, one too large for it.
fn rows(time: u64) -> Vec<Row> {
    vec![((format!("small {time}"), time), time, 1), ((format!("{time} large").repeat(3_000), time), time, 1)]
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(1))
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

async fn write_listen_and_restart(kind: Kind) {
    let server = Server::start(kind).await;
    let (one, other) = (server.client().open().await.unwrap(), server.client().open().await.unwrap());
    let mut writer = shard(&one).open_writer("test").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    let mut listen = shard(&other).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    let mut heard = Vec::new();
    for time in 1..4 {
        assert_eq!(writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    while *listen.frontier() != at(4) {
        for event in listen.fetch_next().await.unwrap() {
            if let ListenEvent::Updates(updates) = event {
                heard.extend(updates);
            }
        }
    }
    assert_eq!(sorted(heard), sorted((1..4).flat_map(rows).collect()));
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();

    let again = server.client().open().await.unwrap();
    let reader = shard(&again).open_reader("test").await.unwrap();
    let found = sorted(reader.snapshot_and_fetch(at(3)).await.unwrap());
    let advanced = (0..4).flat_map(rows).map(|(row, _, diff)| (row, 3, diff)).collect();
    assert_eq!(found, sorted(advanced));
}

#[tokio::test]
async fn s3_is_written_listened_to_and_opened_again() {
    write_listen_and_restart(Kind::Moto).await;
}

#[tokio::test]
async fn azure_is_written_listened_to_and_opened_again() {
    write_listen_and_restart(Kind::Azurite).await;
}
