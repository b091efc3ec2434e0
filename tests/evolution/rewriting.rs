//! Copies of shards, for changes that no lens allows.

use std::time::Duration;

use super::*;

type Narrow = Shard<String, u8, u64, i64>;

fn narrowed(key: String, value: u32) -> (String, u8) {
    (key.to_uppercase(), (value % 3) as u8)
}

fn all_narrowed(rows: &[((String, u32), u64, i64)], as_of: u64) -> Rows<u8> {
    let map = |((key, value), time, diff): &((String, u32), u64, i64)| (narrowed(key.clone(), *value), *time, *diff);
    let seen: Rows<u8> = rows.iter().filter(|row| row.1 <= as_of).map(map).collect();
    consolidated(&seen, as_of)
}

/// A shard of old rows at these times, some of which are taken back later.
async fn shard_of(client: &Client, times: u64) -> (Old, Vec<((String, u32), u64, i64)>) {
    let shard: Old = client.shard(ShardId::new());
    let mut all = Vec::new();
    for time in 0..times {
        let mut rows = old_rows(time);
        if time > 0 {
            let back = old_rows(time - 1).into_iter().take(15).map(|(data, _, diff)| (data, time, -diff));
            rows.extend(back);
        }
        append(&shard, time, rows.clone()).await;
        all.extend(rows);
    }
    (shard, all)
}

async fn move_since(shard: &Old, to: u64) {
    let mut reader = shard.open_reader("since").await.unwrap();
    reader.downgrade_since(&at(to)).await.unwrap();
    reader.expire().await.unwrap();
}

#[tokio::test]
async fn a_copy_has_the_history_of_the_shard_and_follows_it() {
    for (inline, compact, since) in [(0, true, 0), (64 << 10, false, 4), (0, true, 4)] {
        let place = Place::new(inline, compact);
        let client = place.client().await;
        let (old, mut all) = shard_of(&client, 9).await;
        move_since(&old, since).await;
        if compact {
            old.settle().await.unwrap();
        }
        let copy: Narrow = client.shard(ShardId::new());
        old.rewrite_into(&copy, narrowed).until(at(7)).await.unwrap();
        let info = copy.inspect().await.unwrap();
        assert_eq!((info.upper, info.since, info.readers), (at(7), at(since), 0));
        for as_of in since..7 {
            assert_eq!(read(&copy, as_of).await, all_narrowed(&all, as_of), "at {as_of}");
        }
        // It goes on where it was, and ends with the shard.
        let following = tokio::spawn(old.rewrite_into(&copy, narrowed).into_future());
        for time in 9..12 {
            append(&old, time, old_rows(time)).await;
            all.extend(old_rows(time));
        }
        let mut writer = copy.open_writer("waits").await.unwrap();
        writer.wait_for_upper_past(&at(11)).await.unwrap();
        for as_of in 7..12 {
            assert_eq!(read(&copy, as_of).await, all_narrowed(&all, as_of), "at {as_of}");
        }
        old.open_writer("end").await.unwrap().advance_upper(&Antichain::new()).await.unwrap();
        following.await.unwrap().unwrap();
        assert_eq!(copy.inspect().await.unwrap().upper, Antichain::new());
        drop(writer);
        client.shutdown().await.unwrap();
    }
}

/// Stopped anywhere, by two processes at once: each row is there once.
#[tokio::test]
async fn a_copy_that_is_stopped_goes_on() {
    let mut place = Place::new(0, false);
    place.1.read.listen_parts_max = 1; // one step, and one commit, for each batch
    let (client, other) = (place.client().await, place.client().await);
    let (old, all) = shard_of(&client, 12).await;
    let elsewhere: Old = other.shard(old.id());
    let copy: Narrow = client.shard(ShardId::new());
    let same: Narrow = other.shard(copy.id());
    for round in 0.. {
        let pause = tokio::time::sleep(Duration::from_micros(200 * round));
        let both = async {
            let one = old.rewrite_into(&copy, narrowed).until(at(12)).into_future();
            let two = elsewhere.rewrite_into(&same, narrowed).until(at(12)).into_future();
            let (one, two) = futures::join!(one, two);
            one.unwrap();
            two.unwrap();
        };
        tokio::select! {
            () = both => break,
            () = pause => {}
        }
    }
    for as_of in 0..12 {
        assert_eq!(read(&copy, as_of).await, all_narrowed(&all, as_of), "at {as_of}");
    }
    client.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_copy_that_would_differ_is_refused() {
    let place = Place::new(0, false);
    let client = place.client().await;
    let (old, all) = shard_of(&client, 9).await;
    let copy: Narrow = client.shard(ShardId::new());
    let refused = old.rewrite_into(&client.shard::<String, u32, u64, i64>(old.id()), |key, value| (key, value));
    assert_eq!(refused.await.unwrap_err().kind(), ErrorKind::Invalid);

    // A map that panics leaves what there was, and what is there is gone on with.
    let mut calls = 0;
    let panics = old.rewrite_into(&copy, move |key, value| {
        calls += 1;
        assert!(calls < 100, "the hundredth");
        narrowed(key, value)
    });
    let refused = panics.until(at(5)).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.to_string().contains("the hundredth"), "{refused}");
    old.rewrite_into(&copy, narrowed).until(at(5)).await.unwrap();
    assert_eq!(read(&copy, 4).await, all_narrowed(&all, 4));

    // What follows is merged with what was copied: it cannot go on. Nor can one begin that would know more than the shard.
    move_since(&old, 4).await;
    old.rewrite_into(&copy, narrowed).until(at(6)).await.unwrap();
    move_since(&old, 6).await;
    let refused = old.rewrite_into(&copy, narrowed).until(at(8)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Since { .. }), "{refused}");
    let fresh: Narrow = client.shard(ShardId::new());
    let refused = old.rewrite_into(&fresh, narrowed).until(at(5)).await.unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Since { .. }), "{refused}");
    let early = fresh.open_reader("early").await.unwrap();
    let refused = old.rewrite_into(&fresh, narrowed).until(at(8)).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.shard() == Some(fresh.id()), "{refused}");
    early.expire().await.unwrap();
    old.rewrite_into(&fresh, narrowed).until(at(8)).await.unwrap();
    assert_eq!(read(&fresh, 7).await, all_narrowed(&all, 7));

    // Rows that are nobody's copy.
    let other: Narrow = client.shard(ShardId::new());
    other.open_writer("other").await.unwrap().advance_upper(&at(20)).await.unwrap();
    let refused = old.rewrite_into(&other, narrowed).await.unwrap_err();
    assert!(refused.kind() == ErrorKind::Invalid && refused.shard() == Some(other.id()), "{refused}");
    client.shutdown().await.unwrap();
}
