//! Times that cannot be stored, and those that just can: each call that is given one of the first refuses it, before
//! anything is written.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::{Appended, Client, CriticalReaderId, Error, ErrorKind, ListenEvent, SinceDowngrade};
use timely_persist::{Shard, ShardId};

use crate::stage::within;

type Ages = Shard<u8, (), Duration, isize>;

const LONGEST: Duration = Duration::from_nanos(u64::MAX);
const BEYOND: Duration = Duration::new(LONGEST.as_secs(), LONGEST.subsec_nanos() + 1);

fn at(time: Duration) -> Antichain<Duration> {
    Antichain::from_elem(time)
}

fn refused<R: Debug>(shard: &Ages, outcome: Result<R, Error>) {
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shard.id())), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("cannot be stored: the longest duration that can is 18446744073.709551615s"), "{said}");
}

async fn objects(store: &InMemory) -> Vec<String> {
    let mut names: Vec<_> = store.list(None).map(|object| object.unwrap().location.to_string()).collect().await;
    names.sort();
    names
}

#[tokio::test]
async fn a_time_that_cannot_be_stored_is_refused_before_anything_is_written() {
    for beyond in [BEYOND, Duration::MAX] {
        let store = Arc::new(InMemory::new());
        let client = Client::builder(Arc::clone(&store) as _).open().await.unwrap();
        let shard: Ages = client.shard(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        let mut reader = shard.open_reader("test").await.unwrap();
        let mut critical = shard.open_critical_since(CriticalReaderId::new(), 1).await.unwrap();
        let (zero, end, never) = (at(Duration::ZERO), at(beyond), Antichain::new());
        let mut batch = writer.batch_builder(zero.clone()).finish(at(LONGEST)).await.unwrap();
        let before = objects(&store).await;

        let row = || [((1, ()), beyond, 1)];
        refused(&shard, writer.compare_and_append([], zero.clone(), end.clone()).await);
        refused(&shard, writer.compare_and_append([], end.clone(), never.clone()).await);
        refused(&shard, writer.compare_and_append(row(), zero.clone(), never.clone()).await);
        refused(&shard, writer.append([], zero.clone(), end.clone()).await);
        refused(&shard, writer.append(row(), zero.clone(), never.clone()).await);
        refused(&shard, writer.compare_and_append_batch(&mut [&mut batch], zero.clone(), end.clone()).await);
        refused(&shard, writer.batch_builder(end.clone()).finish(never.clone()).await);
        refused(&shard, writer.batch_builder(zero.clone()).finish(end.clone()).await);
        refused(&shard, writer.batch_builder(zero.clone()).add(&1, &(), &beyond, &1).await);
        refused(&shard, writer.advance_upper(&end).await);
        refused(&shard, within(writer.wait_for_upper_past(&end)).await);
        refused(&shard, shard.open_reader_at("test", end.clone()).await);
        refused(&shard, reader.downgrade_since(&end).await);
        refused(&shard, reader.maybe_downgrade_since(&end).await);
        assert_eq!(*reader.since(), zero);
        refused(&shard, within(reader.snapshot(end.clone())).await);
        refused(&shard, within(reader.snapshot_and_fetch(end.clone())).await);
        refused(&shard, critical.compare_and_downgrade_since(1, (2, &end)).await);
        assert_eq!(objects(&store).await, before);

        // Nor is one waited for that never comes.
        refused(&shard, within(reader.fork("test").await.unwrap().listen(end.clone())).await);
        refused(&shard, within(reader.fork("test").await.unwrap().subscribe(end.clone())).await);
        let mut listen = reader.fork("test").await.unwrap().listen(zero.clone()).await.unwrap().until(end);
        refused(&shard, within(listen.next()).await);

        // What was refused is as it was before.
        let appended = writer.compare_and_append_batch(&mut [&mut batch], zero, at(LONGEST)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn the_last_time_that_can_be_stored_is_one_like_others() {
    let client = Client::builder(Arc::new(InMemory::new())).open().await.unwrap();
    let shard: Ages = client.shard(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let rows = [((1, ()), Duration::from_nanos(1), 2), ((1, ()), LONGEST, -1)];
    let appended = writer.compare_and_append(rows, at(Duration::ZERO), Antichain::new()).await.unwrap();
    assert_eq!(appended, Appended::Committed);
    let reader = shard.open_reader_at("test", at(Duration::from_nanos(1))).await.unwrap();
    let mut critical = shard.open_critical_since(CriticalReaderId::new(), 1).await.unwrap();
    let downgraded = critical.compare_and_downgrade_since(1, (1, &at(LONGEST))).await.unwrap();
    assert_eq!(downgraded, SinceDowngrade::Downgraded { since: at(LONGEST) });
    assert_eq!(reader.snapshot_and_fetch(at(LONGEST)).await.unwrap(), [((1, ()), LONGEST, 1)]);
    let mut listen = reader.subscribe(at(Duration::from_nanos(1))).await.unwrap().until(at(LONGEST));
    let heard = within(listen.fetch_next()).await.unwrap();
    assert_eq!(heard[0], ListenEvent::Updates(vec![((1, ()), Duration::from_nanos(1), 2)]));
    client.shutdown().await.unwrap();
}
