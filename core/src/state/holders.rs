//! Who keeps a shard's history where it is: leased readers, critical readers; and the writers' records.

use std::time::Duration;

use timely::progress::Antichain;

use timely_persist_types::ids::{SeqNo, Token};

/// A reader that expires when it is not renewed.
#[derive(Clone, Debug, PartialEq)]
pub struct LeasedReader<T> {
    /// It may read at times beyond this.
    pub since: Antichain<T>,
    /// Every object that the state at this position refers to is kept.
    pub hold: SeqNo,
    /// When it was renewed last: milliseconds of the shard's wall time. It grows with each renewal, also where that
    /// time stands still.
    pub heartbeat_ms: u64,
    /// How long it stays without renewal, in milliseconds.
    pub lease_ms: u64,
    /// When it was opened: milliseconds of the shard's wall time.
    pub opened_ms: u64,
    /// What it is for, in its owner's words.
    pub purpose: String,
}

impl<T> LeasedReader<T> {
    /// The lease.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }
}

/// A reader that never expires.
#[derive(Clone, Debug, PartialEq)]
pub struct CriticalReader<T> {
    /// It may read at times beyond this.
    pub since: Antichain<T>,
    /// The fencing token of its owner.
    pub opaque: u64,
    /// What it is for, in its owner's words.
    pub purpose: String,
}

/// What a writer's earlier attempts came to, kept so that a lost answer can be settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriterRecord {
    /// The tokens of its newest committed appends, the newest last.
    pub tokens: Vec<Token>,
    /// When it committed last: milliseconds of the shard's wall time.
    pub last_ms: u64,
}

impl WriterRecord {
    /// A writer has one append under way, and may have given up on a few.
    pub const TOKENS_MAX: usize = 4;

    /// Records a committed append.
    pub fn push(&mut self, token: Token, now_ms: u64) {
        if self.tokens.len() >= Self::TOKENS_MAX {
            self.tokens.remove(0);
        }
        self.tokens.push(token);
        self.last_ms = now_ms;
    }
}
