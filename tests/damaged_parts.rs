//! Objects that were damaged behind the library's back are told from a store that does not answer.
#![allow(clippy::unwrap_used)] // the helpers are tests too

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use timely::progress::Antichain;
use timely_persist::store::Directory;
use timely_persist::{Appended, Client, Config, ErrorKind, ShardId};

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// Stores differ in what they say of a range that begins behind the end of an object.
async fn a_part_cut_short_is_corrupt(store: Arc<dyn ObjectStore>) {
    let mut config = Config::default();
    config.write.inline_part_bytes_max = 0;
    config.store.deadline = Duration::from_secs(5);
    let client = Client::builder(Arc::clone(&store)).config(config).open().await.unwrap();
    let shard = client.shard::<String, u64, u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let rows = (0..100).map(|number| ((format!("row {number}"), number), 0, 1));
    assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
    let objects: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut parts = objects.iter().filter(|object| object.location.filename().is_some_and(|n| n.starts_with("part-")));
    let part = parts.next().unwrap().location.clone();
    let bytes = store.get(&part).await.unwrap().bytes().await.unwrap();
    let reader = shard.open_reader("test").await.unwrap();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        store.put(&part, bytes.slice(..length).into()).await.unwrap();
        let error = reader.snapshot_and_fetch(at(0)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{length} bytes left: {error:?}");
        assert!(error.object().is_some_and(|object| object.starts_with("part-")), "{error:?}");
    }
    store.put(&part, bytes.into()).await.unwrap();
    assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap().len(), 100);
    client.shutdown().await.unwrap();
}

#[tokio::test]
async fn in_memory() {
    a_part_cut_short_is_corrupt(Arc::new(InMemory::new())).await;
}

#[tokio::test]
async fn in_a_directory() {
    let place = tempfile::tempdir().unwrap();
    a_part_cut_short_is_corrupt(Arc::new(Directory::open(place.path()).unwrap())).await;
}
