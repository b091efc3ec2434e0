//! A type that changed behind its name: its shard is refused, by every way to open it, and says what differs.

use bytes::Bytes;

use super::*;

/// Rows of `Before` are stored; then `After` is refused, and the message says why. Both are called the same.
async fn is_another<Before: Stored, After: Stored>(value: Before, says: &[&str]) {
    let store = Arc::new(InMemory::new());
    let id = ShardId::new();
    {
        let client = client(&store, Config::default()).await;
        let mut writer = client.shard::<Serde<Before>, (), u64, i64>(id).open_writer("test").await.unwrap();
        let row = ((Serde(value.clone()), ()), 0, 1);
        assert_eq!(writer.compare_and_append([row], at(0), at(1)).await.unwrap(), Appended::Committed);
        client.shutdown().await.unwrap();
    }
    let before = objects(&store).await;
    let changed = client(&store, Config::default()).await;
    let shard = changed.shard::<Serde<After>, (), u64, i64>(id);
    let refusals = [
        shard.open_writer("test").await.err(),
        shard.open_reader("test").await.err(),
        shard.open_critical_since(CriticalReaderId::new(), 0).await.err(),
        shard.maintain().await.err(),
    ];
    for refusal in refusals {
        let error = refusal.expect("a type of another shape");
        assert_eq!(error.kind(), ErrorKind::CodecMismatch, "{error:?}");
        let text = error.to_string();
        assert!(says.iter().all(|word| text.contains(word)), "{text}");
    }
    assert_eq!(objects(&store).await, before, "something was written");
    changed.shutdown().await.unwrap();
    // Whoever has the right type reads on.
    let client = client(&store, Config::default()).await;
    let reader = client.shard::<Serde<Before>, (), u64, i64>(id).open_reader("test").await.unwrap();
    let rows = reader.snapshot_and_fetch(at(0)).await.unwrap();
    assert_eq!(rows, vec![((Serde(value), ()), 0, 1)]);
    client.shutdown().await.unwrap();
}

/// Types of one name before and after they were changed.
macro_rules! changed {
    ($before:item $after:item) => {
        pub mod before {
            use super::*;
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
            $before
        }
        pub mod after {
            use super::*;
            #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
            $after
        }
    };
}

mod swapped_fields {
    use super::*;
    changed! { pub struct Row { pub a: u32, pub b: u32 } pub struct Row { pub b: u32, pub a: u32 } }

    #[tokio::test]
    async fn two_fields_that_are_swapped_are_refused() {
        let says = ["fields 1 and 2, `a` and `b`, are swapped", "Row"];
        is_another::<before::Row, after::Row>(before::Row { a: 1, b: 2 }, &says).await;
        is_another::<Vec<before::Row>, Vec<after::Row>>(Vec::new(), &says).await;
    }
}

mod signed {
    use super::*;
    changed! { pub struct Row { pub x: Inner } pub struct Row { pub x: Inner } }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct Inner {
        pub a: u32,
    }

    mod other {
        use super::*;
        changed! { pub struct Row { pub a: u32, pub b: u8 } pub struct Row { pub a: i32, pub b: u8 } }

        #[tokio::test]
        async fn an_integer_that_became_signed_is_refused() {
            let says = ["field `a`: u32 as stored, i32 here"];
            is_another::<before::Row, after::Row>(before::Row { a: 1, b: 2 }, &says).await;
        }
    }

    /// What changed may be far inside.
    #[tokio::test]
    async fn a_type_that_did_not_change_is_not_refused_for_where_it_lies() {
        let store = Arc::new(InMemory::new());
        let client = client(&store, Config::default()).await;
        let id = ShardId::new();
        let mut writer = client.shard::<Serde<before::Row>, (), u64, i64>(id).open_writer("test").await.unwrap();
        let row = ((Serde(before::Row { x: Inner { a: 1 } }), ()), 0, 1);
        assert_eq!(writer.compare_and_append([row], at(0), at(1)).await.unwrap(), Appended::Committed);
        let reader = client.shard::<Serde<after::Row>, (), u64, i64>(id).open_reader("test").await.unwrap();
        let rows = reader.snapshot_and_fetch(at(0)).await.unwrap();
        assert_eq!(rows, vec![((Serde(after::Row { x: Inner { a: 1 } }), ()), 0, 1)]);
        client.shutdown().await.unwrap();
    }
}

mod inner {
    use super::*;
    changed! {
        pub struct Row { pub list: Vec<Option<(u8, Point)>> }
        pub struct Row { pub list: Vec<Option<(u8, super::after_point::Point)>> }
    }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct Point {
        pub x: u8,
    }

    #[tokio::test]
    async fn a_change_far_inside_is_named_by_its_path() {
        let says = ["field `list.1.x`: u8 as stored, str here"];
        is_another::<before::Row, after::Row>(before::Row { list: Vec::new() }, &says).await;
    }
}
mod after_point {
    use super::*;
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub struct Point {
        pub x: String,
    }
}

mod variant_in_front {
    use super::*;
    changed! { pub enum Kind { Old(u8) } pub enum Kind { New(u8), Old(u8) } }

    #[tokio::test]
    async fn a_variant_put_in_front_is_refused() {
        let says = ["variant 1 is `Old` as stored, `New` here"];
        is_another::<before::Kind, after::Kind>(before::Kind::Old(1), &says).await;
    }
}

mod variant_behind {
    use super::*;
    changed! { pub enum Kind { Old(u8) } pub enum Kind { Old(u8), New { of: u8 } } }

    #[tokio::test]
    async fn a_variant_put_behind_is_refused() {
        is_another::<before::Kind, after::Kind>(before::Kind::Old(1), &["variant `New` is here only"]).await;
    }
}

mod a_bool {
    use super::*;
    changed! { pub struct Row { pub a: Either } pub struct Row { pub a: bool } }
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
    pub enum Either {
        No,
        Yes,
    }

    #[tokio::test]
    async fn an_enum_that_became_a_bool_is_refused() {
        let says = ["field `a`: an enum of 2 variants as stored, bool here"];
        is_another::<before::Row, after::Row>(before::Row { a: Either::Yes }, &says).await;
    }
}

mod fewer {
    use super::*;
    changed! { pub struct Row { pub a: u8, pub b: u8 } pub struct Row { pub a: u8 } }

    #[tokio::test]
    async fn a_field_that_is_gone_is_refused() {
        is_another::<before::Row, after::Row>(before::Row { a: 1, b: 2 }, &["field `b` is stored only"]).await;
    }
}

/// A shard of the changed type that is open in this process already, and what it fetches, exchanges or staged.
#[tokio::test]
async fn a_part_and_a_batch_of_another_shape_are_refused() {
    use swapped_fields::{after, before};
    let store = Arc::new(InMemory::new());
    let client = client(&store, Config::default()).await;
    let id = ShardId::new();
    let shard = client.shard::<Serde<before::Row>, (), u64, i64>(id);
    let mut writer = shard.open_writer("test").await.unwrap();
    let row = ((Serde(before::Row { a: 1, b: 2 }), ()), 0, 1);
    assert_eq!(writer.compare_and_append([row.clone()], at(0), at(1)).await.unwrap(), Appended::Committed);
    let reader = shard.open_reader("test").await.unwrap();
    let part = reader.snapshot(at(0)).await.unwrap().pop().unwrap();
    let other = client.shard::<Serde<after::Row>, (), u64, i64>(id).fetcher();
    let error = other.fetch(&part).await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::CodecMismatch, Some(id)), "{error:?}");
    let error = other.fetch_pieces(&part).next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CodecMismatch, "{error:?}");
    assert_eq!(shard.fetcher().fetch(&part).await.unwrap().rows().collect::<Vec<_>>(), vec![row]);

    let other = client.shard::<Serde<after::Row>, (), u64, i64>(ShardId::new());
    let mut builder = other.open_writer("test").await.unwrap().batch_builder(at(1));
    builder.add(&Serde(after::Row { a: 1, b: 2 }), &(), &1, &1).await.unwrap();
    let bytes = builder.finish(at(2)).await.unwrap().into_bytes();
    let error = writer.batch_from_bytes(&bytes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "of another shard, in the first place: {error:?}");
    client.shutdown().await.unwrap();
}

/// The log of a shard that was made before names had shapes: a row `Row { a: 1, b: 2 }` at 0, and a reader.
const BY_NAME: [&[u8]; 2] =
    [include_bytes!("../golden/serde_by_name_v1/1.bin"), include_bytes!("../golden/serde_by_name_v1/2.bin")];
const BY_NAME_SHARD: &str = "s00000000-0000-0000-0000-0000000000aa";

/// It stays readable, and writable, by the name alone, for every type of that name.
#[tokio::test]
async fn a_shard_that_was_made_by_name_alone_stays_readable() {
    use swapped_fields::before;
    let store = Arc::new(InMemory::new());
    for (index, bytes) in BY_NAME.into_iter().enumerate() {
        let path = format!("shards/{BY_NAME_SHARD}/log/{:020}", index + 1);
        store.put(&path.into(), Bytes::from_static(bytes).into()).await.unwrap();
    }
    let id: ShardId = BY_NAME_SHARD.parse().unwrap();
    let row = |a, b, time| ((Serde(before::Row { a, b }), ()), time, 1);
    for time in 1..3 {
        let mut config = Config::default();
        (config.upkeep.compaction_fan_in, config.upkeep.inline_parts_max) = (2, 1);
        let client = client(&store, config).await;
        let shard = client.shard::<Serde<before::Row>, (), u64, i64>(id);
        let mut writer = shard.open_writer("test").await.unwrap();
        let appended = writer.compare_and_append([row(7, 8, time)], at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        let reader = shard.open_reader("test").await.unwrap();
        shard.settle().await.unwrap();
        let rows = reader.snapshot_and_fetch(at(time)).await.unwrap();
        assert_eq!((rows.len(), &rows[0].0), (2, &row(1, 2, 0).0));
        // Another name is another type, as ever.
        let other = client.shard::<Serde<after_point::Point>, (), u64, i64>(id);
        assert_eq!(other.open_reader("test").await.unwrap_err().kind(), ErrorKind::CodecMismatch);
        reader.expire().await.unwrap();
        client.shutdown().await.unwrap();
    }
}
