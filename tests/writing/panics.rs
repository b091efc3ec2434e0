//! Code of a shard's types that panics while rows are being written.

use std::cmp::Ordering;
use std::sync::Arc;

use object_store::memory::InMemory;
use serde::{Deserialize, Serialize};
use timely_persist::{Appended, Client, Config, ErrorKind, Serde, ShardId};

use crate::stage::at;

/// A number that does not compare with [`NEVER`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Fragile(u64);

const NEVER: u64 = 13;

impl Ord for Fragile {
    fn cmp(&self, other: &Self) -> Ordering {
        assert!(self.0 != NEVER && other.0 != NEVER, "13 has no order");
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Fragile {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[tokio::test]
async fn an_append_whose_rows_have_no_order_is_not_to_be_tried_again() {
    // In an object, and in several, of which some are there already.
    for run_bytes_max in [48 << 20, 100] {
        let mut config = Config::default();
        (config.write.inline_part_bytes_max, config.write.run_bytes_max, config.upkeep.maintain) =
            (0, run_bytes_max, false);
        let client = Client::builder(Arc::new(InMemory::new())).config(config).open().await.unwrap();
        let id = ShardId::new();
        let shard = client.shard::<Serde<Fragile>, u64, u64, i64>(id);
        let mut writer = shard.open_writer("test").await.unwrap();
        let row = |number| ((Serde(Fragile(number)), 0), 0, 1);
        let error = writer.compare_and_append((0..20).map(row), at(0), at(1)).await.unwrap_err();
        // Not `Unavailable`: whoever tries again would do so for ever.
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(id)), "{error:?}");
        assert!(error.to_string().contains("13 has no order"), "{error}");
        // Nothing was committed, and the writer goes on.
        let appended = writer.compare_and_append((0..10).map(row), at(0), at(1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        let reader = shard.open_reader("test").await.unwrap();
        let rows = reader.snapshot_and_fetch(at(0)).await.unwrap();
        assert_eq!(rows.len(), 10);
        reader.expire().await.unwrap();
        client.shutdown().await.unwrap();
    }
}
