//! Types stored by their serde implementation: what does not read back is refused before it is stored, and a shard opens
//! for the shape of type it was made with and for no other.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Codec, Config, CriticalReaderId, Error, ErrorKind, Serde, ShardId};

#[path = "serde_types/changed.rs"]
mod changed;
#[path = "serde_types/traced.rs"]
mod traced;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// What a type must be to be stored.
trait Stored: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + Sync + 'static {}
impl<T: Serialize + DeserializeOwned + Ord + Clone + Debug + Send + Sync + 'static> Stored for T {}

async fn client(store: &Arc<InMemory>, config: Config) -> Client {
    Client::builder(Arc::clone(store) as Arc<dyn ObjectStore>).config(config).open().await.unwrap()
}

/// How many objects there are.
async fn objects(store: &InMemory) -> usize {
    use futures::StreamExt;
    store.list(None).filter(|object| std::future::ready(is_of_a_shard(object))).count().await
}

fn is_of_a_shard(object: &object_store::Result<object_store::ObjectMeta>) -> bool {
    object.as_ref().unwrap().location.as_ref().starts_with("shards/")
}

/// Opening a new shard of the type is refused, before anything is written.
async fn is_not_opened<T: Stored>(says: &[&str]) {
    let store = Arc::new(InMemory::new());
    let client = client(&store, Config::default()).await;
    let shard = client.shard::<Serde<T>, (), u64, i64>(ShardId::new());
    let nested = client.shard::<u64, (Option<Serde<T>>, u8), u64, i64>(ShardId::new());
    let refusals = [
        shard.open_writer("test").await.err(),
        shard.open_reader("test").await.err(),
        shard.open_critical_since(CriticalReaderId::new(), 0).await.err(),
        shard.maintain().await.err(),
        nested.open_writer("test").await.err(),
    ];
    for refusal in refusals {
        let error = refusal.unwrap();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        let text = error.to_string();
        assert!(says.iter().all(|word| text.contains(word)), "{text}");
    }
    assert_eq!(objects(&store).await, 0);
    client.shutdown().await.unwrap();
}

/// A row with the bad value is refused however it is appended, and nothing is stored; one with the good one is not.
async fn is_refused<T: Stored>(good: T, bad: T, says: &[&str]) {
    let check = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        let text = format!("{error:?}");
        assert!(says.iter().all(|word| text.contains(word)), "{text}");
    };
    // Inline; as one object; as several, of which some would be stored before.
    for (inline_part_bytes_max, run_bytes_max) in [(1 << 20, 1 << 20), (0, 1 << 20), (0, 64)] {
        let store = Arc::new(InMemory::new());
        let mut config = Config::default();
        (config.write.inline_part_bytes_max, config.write.run_bytes_max) = (inline_part_bytes_max, run_bytes_max);
        config.upkeep.maintain = false;
        let client = client(&store, config).await;
        let shard = client.shard::<(u64, Serde<T>), Option<Serde<T>>, u64, i64>(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        let row = |number, value: &T| (((number, Serde(value.clone())), Some(Serde(good.clone()))), 0, 1);
        let rows = || (0..50).map(|number| row(number, if number == 49 { &bad } else { &good }));
        check(writer.compare_and_append(rows(), at(0), at(1)).await.unwrap_err());
        check(writer.append(rows(), at(0), at(1)).await.unwrap_err());
        // The row is left out and the builder goes on.
        let mut builder = writer.batch_builder(at(0));
        for number in 0..50 {
            builder.add(&(number, Serde(good.clone())), &None, &0, &1).await.unwrap();
        }
        check(builder.add(&(50, Serde(bad.clone())), &None, &0, &1).await.unwrap_err());
        check(builder.add(&(50, Serde(good.clone())), &Some(Serde(bad.clone())), &0, &1).await.unwrap_err());
        let mut batch = builder.finish(at(1)).await.unwrap();
        let appended = writer.compare_and_append_batch(&mut [&mut batch], at(0), at(1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap().len(), 50);
        client.shutdown().await.unwrap();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Sparse {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<u32>,
    b: u64,
}

#[tokio::test]
async fn a_field_that_is_left_out_is_refused_with_its_row() {
    let (good, bad) = (Sparse { a: Some(1), b: 7 }, Sparse { a: None, b: 7 });
    is_refused(good, bad, &["Sparse { a: None, b: 7 }", "skip_serializing_if", "does not read back"]).await;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Skipping {
    #[serde(skip)]
    #[allow(dead_code)]
    Gone,
    First(u32),
    Second(u32),
    Third,
}

/// `First` is written as 1 and read as the first that is not skipped but one, `Second`.
#[tokio::test]
async fn a_variant_behind_a_skipped_one_is_not_stored_as_another() {
    let store = Arc::new(InMemory::new());
    let client = client(&store, Config::default()).await;
    let shard = client.shard::<Serde<Skipping>, (), u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    for (value, cause) in
        [(Skipping::First(5), "Second(5)"), (Skipping::Second(5), "bytes remaining"), (Skipping::Third, "variant")]
    {
        let row = ((Serde(value.clone()), ()), 0, 1);
        let error = writer.compare_and_append([row], at(0), at(1)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error:?}");
        assert!(format!("{error:?}").contains(cause), "{value:?}: {error:?}");
    }
    let reader = shard.open_reader("test").await.unwrap();
    assert_eq!(*writer.upper(), at(0));
    drop(reader);
    client.shutdown().await.unwrap();
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum LastSkipped {
    Kept(u32),
    #[serde(skip)]
    Gone,
}

#[tokio::test]
async fn a_skipped_variant_is_refused_with_its_row() {
    is_refused(LastSkipped::Kept(1), LastSkipped::Gone, &["Gone"]).await;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Forgetful {
    kept: u8,
    #[serde(skip)]
    forgotten: u8,
}

#[tokio::test]
async fn a_field_that_is_forgotten_is_refused_with_its_row() {
    let (good, bad) = (Forgetful { kept: 1, forgotten: 0 }, Forgetful { kept: 1, forgotten: 9 });
    is_refused(good, bad, &["forgotten: 9", "reads back as Forgetful { kept: 1, forgotten: 0 }"]).await;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type")]
enum Tagged {
    Number { number: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Flat {
    a: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

#[tokio::test]
async fn a_type_that_asks_what_it_was_stored_as_is_not_opened() {
    is_not_opened::<Untagged>(&["Untagged", "untagged", "deserialize_any", "implement Codec"]).await;
    is_not_opened::<Vec<Option<Untagged>>>(&["deserialize_any"]).await;
    is_not_opened::<Tagged>(&["deserialize_any"]).await;
    is_not_opened::<Flat>(&["deserialize_any"]).await;
    is_not_opened::<Decimal>(&["Decimal", "deserialize_any"]).await;
}

/// As decimal types do by default: written as text, read as whatever is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Decimal(i64);

impl Serialize for Decimal {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl serde::de::Visitor<'_> for Read {
            type Value = Decimal;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a decimal")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map(Decimal).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A value may say a gigabyte of itself.
#[tokio::test]
async fn a_refused_value_is_named_in_few_words() {
    let store = Arc::new(InMemory::new());
    let client = client(&store, Config::default()).await;
    let shard = client.shard::<Serde<(String, Forgetful)>, (), u64, i64>(ShardId::new());
    let mut writer = shard.open_writer("test").await.unwrap();
    let value = Serde(("é".repeat(1 << 20), Forgetful { kept: 0, forgotten: 1 }));
    let error = writer.compare_and_append([((value, ()), 0, 1)], at(0), at(1)).await.unwrap_err();
    assert!(format!("{error:?}").len() < 2_000, "{}", error.to_string().len());
    client.shutdown().await.unwrap();
}
