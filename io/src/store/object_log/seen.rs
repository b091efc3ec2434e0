//! What this process knows of each shard's log: the newest position it saw committed.
//!
//! It only saves requests and wake-ups. Forgetting a shard is always safe, remembering is never wrong: what was
//! committed once stays so, though it may be truncated by now.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::life::lock;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Shards that are remembered. Forgetting one costs a request at its next commit, so this only keeps a process that
/// walks over very many shards from growing.
pub const SEEN_SHARDS_MAX: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Seen {
    shards: Mutex<HashMap<ShardId, SeqNo>>,
}

impl Seen {
    /// The newest position known to have been committed.
    pub(super) fn newest(&self, shard: ShardId) -> SeqNo {
        let shards = lock(&self.shards);
        shards.get(&shard).copied().unwrap_or(SeqNo::ZERO)
    }

    /// Remembers that `seqno` was committed.
    pub(super) fn saw(&self, shard: ShardId, seqno: SeqNo) {
        let mut shards = lock(&self.shards);
        if shards.len() >= SEEN_SHARDS_MAX && !shards.contains_key(&shard) {
            shards.clear();
        }
        let newest = shards.entry(shard).or_default();
        *newest = seqno.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_only_rise_and_shards_are_bounded() {
        let seen = Seen::default();
        let shard = ShardId::from_u128(0);
        seen.saw(shard, SeqNo(5));
        seen.saw(shard, SeqNo(3));
        assert_eq!(seen.newest(shard), SeqNo(5));
        for other in 1..=SEEN_SHARDS_MAX as u128 {
            seen.saw(ShardId::from_u128(other), SeqNo(1));
        }
        assert!(seen.shards.lock().expect("no test panics with it").len() <= SEEN_SHARDS_MAX);
        assert_eq!(seen.newest(ShardId::from_u128(SEEN_SHARDS_MAX as u128)), SeqNo(1));
    }
}
