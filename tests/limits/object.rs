//! The durable form of a store's limits: pinned by a golden file, and safe against any bytes.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use timely_persist::{Config, ErrorKind};
use timely_persist_io::store::{KeptLimits, keys};

use crate::agreement::{hours, on};

/// Four values, so that none stands for another.
fn limits() -> KeptLimits {
    let mut config = Config::default();
    (config.limits.orphan_age_min, config.limits.writer_retention) = (hours(2), hours(3));
    let mut before = config.clone();
    (before.limits.orphan_age_min, before.limits.writer_retention) = (hours(4), hours(5));
    KeptLimits { version: 1, current: config.limits, kept: before.limits }
}

#[test]
fn limits_keep_their_first_form() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/limits_v1.bin");
    let bytes = limits().encode();
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), *bytes, "the durable form changed: make a new version");
    assert_eq!(KeptLimits::decode(1, &bytes).unwrap(), limits());
}

/// Whatever happens to the object is an error that names it, and nothing is written in its place.
#[tokio::test(start_paused = true)]
async fn damaged_limits_are_named_and_stay_as_they_are() {
    let bytes = limits().encode();
    let truncated = (0..bytes.len()).map(|length| bytes[..length].to_vec());
    let flipped = (0..bytes.len() * 8).map(|bit| {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    for damaged in truncated.chain(flipped) {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        store.put(&keys::limits(1), damaged.clone().into()).await.unwrap();
        for builder in [on(&store, Config::default()), on(&store, Config::default()).adopt_limits()] {
            let error = builder.open().await.unwrap_err();
            assert_eq!(error.object(), Some("limits/00000000000000000001"), "{error}");
            let newer = damaged.len() > 16 && damaged[..7] == bytes[..7] && damaged[7] > bytes[7];
            let expected = if newer { ErrorKind::Newer } else { ErrorKind::Corrupt };
            assert_eq!(error.kind(), expected, "{error}");
        }
        on(&store, Config::default()).change_limits().open().await.unwrap_err();
        assert_eq!(store.get(&keys::limits(1)).await.unwrap().bytes().await.unwrap(), damaged);
        assert!(store.get(&keys::limits(2)).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_newer_version_are_refused_with_the_reason() {
    let mut bytes = limits().encode().to_vec();
    bytes[7] = b'2';
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&keys::limits(1), bytes.into()).await.unwrap();
    let error = on(&store, Config::default()).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Newer);
    assert!(error.to_string().contains("newer version"), "{error}");
}

/// The newest version counts, and one that a listing shows and that is gone is no empty store.
#[tokio::test(start_paused = true)]
async fn only_the_newest_version_counts() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    store.put(&keys::limits(1), "damaged".into()).await.unwrap();
    let newest = KeptLimits { version: 12, ..limits() };
    store.put(&keys::limits(12), newest.encode().into()).await.unwrap();
    store.put(&keys::limits_folder().join("of-somebody-else"), "x".into()).await.unwrap();
    let client = on(&store, Config::default()).adopt_limits().open().await.unwrap();
    assert_eq!(client.config().limits, newest.current);
}

proptest! {
    /// With a checksum that matches, whatever the message says: a value or an error, and never a panic.
    #[test]
    fn forged_limits_do_not_panic(message in proptest::collection::vec(any::<u8>(), 0..60), version in any::<u64>()) {
        let checksum = xxhash_rust::xxh3::xxh3_64(&message).to_le_bytes();
        let bytes = [b"tplimit1".as_slice(), &checksum, &message].concat().into();
        if let Ok(limits) = KeptLimits::decode(version, &bytes) {
            let _ = limits.changed(Config::default().limits, false).encode();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
                store.put(&keys::limits(1), bytes.into()).await.unwrap();
                let _ = on(&store, Config::default()).open().await;
            });
        }
    }
}
