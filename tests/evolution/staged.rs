//! What was staged before a shard's types changed, and fields that are retired.

use timely_persist::{AppendOutcome, Codec, ShardId, WriteHandle};

use super::*;

/// An order that has nobody's note any more.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order", retired(id = 3, type = "String"))]
struct Plain {
    #[codec(id = 1)]
    count: u64,
    #[codec(id = 2)]
    paid: Option<second::Paid>,
}

async fn stage<V: Data>(
    writer: &WriteHandle<String, V, u64, i64>,
    rows: Rows<V>,
    lower: u64,
    upper: u64,
) -> timely_persist::Batch<u64> {
    let mut builder = writer.batch_builder(at(lower)).digested();
    builder.add_rows(rows).await.unwrap();
    builder.finish(at(upper)).await.unwrap()
}

#[tokio::test]
async fn what_was_staged_before_an_evolution_is_appended_behind_it() {
    for (inline, compact) in [(0, false), (64 << 10, true)] {
        let place = Place::new(inline, compact);
        let (before, client) = (place.client().await, place.client().await);
        let id = ShardId::new();
        let (old, new): (Old, New) = (before.shard(id), client.shard(id));
        append(&old, 0, old_rows(0)).await;
        let writer = old.open_writer("old").await.unwrap();
        let sent = stage(&writer, old_rows(1), 1, 2).await.into_bytes();
        let same = stage(&old.open_writer("copy").await.unwrap(), old_rows(1), 1, 2).await.into_bytes();
        let own = (client.shard(id) as Old).open_writer("here").await.unwrap();
        let mut here = stage(&own, old_rows(1), 1, 2).await;
        assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));

        let mut writer = new.open_writer("new").await.unwrap();
        let mut sent = writer.batch_from_bytes(&sent).unwrap();
        let fresh = vec![(("new".to_owned(), None), 1, 1)];
        let mut staged = stage(&writer, fresh.clone(), 1, 2).await;
        let mut batches = [&mut sent, &mut here, &mut staged];
        assert_eq!(writer.compare_and_append_batch(&mut batches, at(1), at(2)).await.unwrap(), Appended::Committed);
        let twice = [upgraded(&old_rows(1)), upgraded(&old_rows(1))].concat();
        let all = [upgraded(&old_rows(0)), twice, fresh].concat();
        if compact {
            new.settle().await.unwrap();
        }
        assert_eq!(read(&new, 1).await, consolidated(&all, 1));
        // A copy that has staged the same hears that it is there, and nothing of digests, which are of other rows.
        let mut same = writer.batch_from_bytes(&same).unwrap();
        let covered = writer.append_batches(&mut [&mut same], at(1), at(2)).await.unwrap();
        assert_eq!(covered, AppendOutcome::Covered { digest: None });

        // Not the other way, and not what is of other types.
        let later = stage(&writer, upgraded(&old_rows(2)), 2, 3).await.into_bytes();
        let refused = own.batch_from_bytes(&later).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
        let other: Shard<String, String, u64, i64> = client.shard(ShardId::new());
        let other = stage(&other.open_writer("other").await.unwrap(), Vec::new(), 0, 1).await.into_bytes();
        assert_eq!(writer.batch_from_bytes(&other).unwrap_err().kind(), ErrorKind::Invalid);
        drop((same, here, sent));
        before.shutdown().await.unwrap();
        client.shutdown().await.unwrap();
    }
}

/// A writer of a fresh shard, before which another program gave the shard older types, and these then became the writer's.
#[tokio::test]
async fn rows_are_of_the_schema_that_the_shard_has_under_that_number() {
    let place = Place::new(0, false);
    let (one, two) = (place.client().await, place.client().await);
    let id = ShardId::new();
    let (old, new): (Old, New) = (one.shard(id), two.shard(id));
    let mut early = new.open_writer("early").await.unwrap();
    let sent = stage(&early, upgraded(&old_rows(1)), 1, 2).await.into_bytes();
    append(&old, 0, old_rows(0)).await;
    assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));

    let mismatch = ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: false };
    let refused = early.compare_and_append(upgraded(&old_rows(1)), at(1), at(2)).await.unwrap_err();
    assert_eq!(refused.kind(), mismatch, "{refused}");
    let mut writer = new.open_writer("new").await.unwrap();
    let mut sent = writer.batch_from_bytes(&sent).unwrap();
    let refused = writer.compare_and_append_batch(&mut [&mut sent], at(1), at(2)).await.unwrap_err();
    assert_eq!(refused.kind(), mismatch, "{refused}");
    append(&new, 1, upgraded(&old_rows(1))).await;
    assert_eq!(read(&new, 1).await, consolidated(&upgraded(&[old_rows(0), old_rows(1)].concat()), 1));
    drop(sent);
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_field_is_retired_where_every_row_holds_its_default() {
    for (inline, with_a_note) in [(0, false), (64 << 10, false), (0, true), (64 << 10, true)] {
        let place = Place::new(inline, false);
        let client = place.client().await;
        let id = ShardId::new();
        let noted: Shard<String, second::Order, u64, i64> = client.shard(id);
        let plain: Shard<String, Plain, u64, i64> = client.shard(id);
        let row = |note: &str, time| {
            let order = second::Order { note: note.to_owned(), count: 7, paid: None };
            (("key".to_owned(), order), time, 1)
        };
        append(&noted, 0, vec![row("none", 0)]).await;
        append(&noted, 1, vec![row("none", 1)]).await;
        let sent = stage(&noted.open_writer("noted").await.unwrap(), vec![row("late", 2)], 2, 3).await.into_bytes();
        let latest = SchemaId(0);
        assert_eq!(plain.check_evolution().await.unwrap(), Evolution::Possible { latest });
        if with_a_note {
            append(&noted, 2, vec![row("some", 2)]).await;
            let refused = plain.evolve(latest).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
            assert!(refused.to_string().contains("order.note"), "{refused}");
            assert_eq!(noted.schema().await.unwrap().unwrap().id, latest);
            assert_eq!(plain.inspect().await.unwrap().readers, 0);
        } else {
            assert_eq!(plain.evolve(latest).await.unwrap(), Evolved::Added(SchemaId(1)));
            let info = plain.inspect().await.unwrap();
            assert_eq!((info.readers, info.bytes_of_older_schemas), (0, info.bytes));
            let seen = ("key".to_owned(), Plain { count: 7, paid: None });
            assert_eq!(read(&plain, 1).await, [(seen, 1, 2)]);
            // Nobody has looked at what is not in the shard.
            let refused = plain.open_writer("plain").await.unwrap().batch_from_bytes(&sent).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
            append(&plain, 2, vec![(("key".to_owned(), Plain { count: 7, paid: None }), 2, -1)]).await;
            let info = plain.inspect().await.unwrap();
            assert!(0 < info.bytes_of_older_schemas && info.bytes_of_older_schemas < info.bytes, "{info:?}");
            assert_eq!(read(&plain, 2).await, [(("key".to_owned(), Plain { count: 7, paid: None }), 2, 1)]);
        }
        client.shutdown().await.unwrap();
    }
}
