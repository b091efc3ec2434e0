//! Reading: handles, leases, snapshots, listens, cursors.
//!
//! Always: an object that somebody may still fetch is held (the hold is taken under the same lock as the list of parts
//! it protects); snapshot at `as_of` and what a listen from there shows add up to the history at every later time; a
//! read that the cached state can answer asks the log nothing. Writing knows nothing of this layer, nor the other way.

mod ahead;
mod audit;
mod critical;
mod cursor;
mod fetched;
mod fetcher;
mod handle;
mod leased;
mod ledger;
mod listen;
mod pick;
mod pieces;
mod places;
mod roster;

pub(crate) use ahead::FetchAhead;
pub use audit::{FilterAudit, Sifted};
pub use critical::{SinceDowngrade, SinceHandle};
pub use cursor::Cursor;
pub use fetched::{Block, FetchedPart};
pub use fetcher::PartFetcher;
pub use handle::{PartsStats, ReadHandle};
pub use leased::{ExchangeablePart, LeasedPart, PartRef, Pin};
pub use listen::{Listen, ListenEvent, Subscribe};
pub use pieces::PartPieces;
pub(crate) use places::LookedAt;
pub(crate) use roster::Roster;
