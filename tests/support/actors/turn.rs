//! The turn of a shard: the position of its log from which on its types are those of the newer program.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use timely_persist::{Error, ErrorKind, SchemaId, SeqNo, WriterId};
use tokio::time::Instant;

use super::Program;

/// What is known of it. Whoever sees the log says when it happens; actors ask whether they may have been refused for it.
#[derive(Debug, Default)]
pub struct Turn {
    /// 0 before it happens.
    seqno: AtomicU64,
    /// The first types that the shard ever had were the newer program's: to it the older is a stranger.
    skipped: AtomicBool,
    /// Both programs may have opened it before it had any types.
    races: AtomicBool,
    writers: Mutex<Writers>,
}

#[derive(Debug, Default)]
struct Writers {
    older: BTreeSet<WriterId>,
    heirs: BTreeSet<WriterId>,
    /// Those of the older program that have committed and were not told, and since when.
    untold: BTreeMap<WriterId, Instant>,
}

/// So long a writer has not been told that its commit stands before the turn is made to come in between, and at most.
const UNTOLD: Range<Duration> = Duration::from_millis(300)..Duration::from_secs(4);

impl Turn {
    fn writers(&self) -> MutexGuard<'_, Writers> {
        self.writers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It happens here.
    pub fn happen(&self, seqno: SeqNo) {
        self.seqno.store(seqno.0, Ordering::Relaxed);
    }

    /// There will be none.
    pub fn skip(&self) {
        self.skipped.store(true, Ordering::Relaxed);
    }

    /// Both programs may open the shard before it has any types.
    pub fn race(&self) {
        self.races.store(true, Ordering::Relaxed);
    }

    /// Where it happened.
    pub fn seqno(&self) -> Option<SeqNo> {
        Some(SeqNo(self.seqno.load(Ordering::Relaxed))).filter(|seqno| *seqno != SeqNo::ZERO)
    }

    /// Whether the shard's types are the newer program's, and none that the older ever had.
    pub fn is_skipped(&self) -> bool {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Whether the older program has nothing more to write.
    pub fn is_over(&self) -> bool {
        self.seqno().is_some() || self.is_skipped()
    }

    /// This writer is of the program `P`.
    pub fn enlist<P: Program>(&self, writer: WriterId) {
        if P::VERSION == 0 {
            self.writers().older.insert(writer);
        }
    }

    /// A commit of this writer stands.
    pub fn commits(&self, writer: WriterId) {
        let mut writers = self.writers();
        if writers.older.contains(&writer) {
            writers.untold.insert(writer, Instant::now());
        }
    }

    /// This writer was told what became of its commit.
    pub fn tell(&self, writer: WriterId) {
        self.writers().untold.remove(&writer);
    }

    /// Whether a writer of the older program has committed and will ask whether it has.
    pub fn is_anybody_untold(&self) -> bool {
        self.writers().untold.values().any(|since| UNTOLD.contains(&since.elapsed()))
    }

    /// This writer appends what a writer of the older program has staged.
    pub fn inherit(&self, writer: WriterId) {
        self.writers().heirs.insert(writer);
    }

    pub fn is_older(&self, writer: WriterId) -> bool {
        self.writers().older.contains(&writer)
    }

    pub fn is_heir(&self, writer: WriterId) -> bool {
        self.writers().heirs.contains(&writer)
    }

    /// Whether a program `P` that reads is refused because of its types. Panics if it must not be, or not like this.
    pub fn refuses<P: Program>(&self, error: &Error) -> bool {
        match error.kind() {
            ErrorKind::SchemaMismatch { latest, newer } => {
                let here = (P::VERSION, latest, newer, self.seqno().is_some());
                assert_eq!(here, (0, SchemaId(1), true, true), "refused out of turn: {error}");
                true
            }
            ErrorKind::CodecMismatch => {
                assert!(P::VERSION == 0 && self.is_skipped(), "refused as a stranger: {error}");
                true
            }
            _ => false,
        }
    }

    /// The same for one that writes. `turned`: whether it had happened when the program asked.
    pub fn refuses_writing<P: Program>(&self, error: &Error, turned: bool) -> bool {
        if let ErrorKind::SchemaMismatch { latest, newer: false } = error.kind() {
            // Rows that were staged before the shard had types are not those of its first.
            let early = self.races.load(Ordering::Relaxed) && latest == SchemaId(1);
            let here = (P::VERSION, latest, turned) == (1, SchemaId(0), false);
            assert!(here || P::VERSION == 1 && early, "refused out of turn: {error}");
            return true;
        }
        self.refuses::<P>(error)
    }
}
