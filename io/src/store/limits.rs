//! The limits that a store keeps: what all processes on it have alike.
//!
//! One small object for each version of them, numbered from 1, made by create-if-absent and never changed or deleted: so a
//! change needs no conditional update, and of two that change at once one is second and builds on the first. The largest
//! number counts. Each version carries on what sweeps must still respect of those before it (`kept`).
//!
//! Not here: retries, and what is to be done where a client has other limits (`blobs/agreement.rs`).

use bytes::{BufMut, Bytes, BytesMut};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use crate::store::keys;
use timely_persist_types::clock::millis;
use timely_persist_types::config::StoreLimits;
use timely_persist_types::error::{Error, ErrorKind};

/// What begins the object: kind, and in the last byte the format's version. XXH3 of the message follows, then that.
const MAGIC: [u8; 8] = *b"tplimit1";
const KIND_BYTES: usize = 7;
const HEADER_BYTES: usize = 16;

/// A version of a store's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptLimits {
    /// Its number; the first is 1.
    pub version: u64,
    /// What processes must have that open the store.
    pub current: StoreLimits,
    /// The largest that a process may still run with: what is deleted is deleted by these.
    pub kept: StoreLimits,
}

/// The durable form, in milliseconds.
#[derive(Clone, PartialEq, Eq, Message)]
struct Proto {
    #[prost(uint64, tag = "1")]
    orphan_age_min_ms: u64,
    #[prost(uint64, tag = "2")]
    writer_retention_ms: u64,
    #[prost(uint64, tag = "3")]
    orphan_age_min_kept_ms: u64,
    #[prost(uint64, tag = "4")]
    writer_retention_kept_ms: u64,
}

impl KeptLimits {
    /// The first version of a store's limits.
    pub fn first(limits: StoreLimits) -> Self {
        Self { version: 1, current: limits, kept: limits }
    }

    /// The version behind this one, with other limits. What is kept for those who still run with earlier ones stays, unless
    /// there are none.
    pub fn changed(&self, limits: StoreLimits, alone: bool) -> Self {
        let kept = if alone { limits } else { self.kept.max(limits) };
        Self { version: self.version.saturating_add(1), current: limits, kept }
    }

    /// The bytes of the object.
    pub fn encode(&self) -> Bytes {
        let message = Proto {
            orphan_age_min_ms: millis(self.current.orphan_age_min),
            writer_retention_ms: millis(self.current.writer_retention),
            orphan_age_min_kept_ms: millis(self.kept.orphan_age_min),
            writer_retention_kept_ms: millis(self.kept.writer_retention),
        }
        .encode_to_vec();
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + message.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u64_le(xxh3_64(&message));
        bytes.put_slice(&message);
        bytes.freeze()
    }

    /// The limits of these bytes, which are those of this version.
    ///
    /// # Errors
    /// `Corrupt` for anything else; `Newer` for what a newer version of the library wrote.
    pub fn decode(version: u64, bytes: &Bytes) -> Result<Self, Error> {
        let Some((header, message)) = bytes.split_at_checked(HEADER_BYTES) else {
            return Err(Error::corrupt(format!("the limits of the store are only {} bytes", bytes.len())));
        };
        let (magic, checksum) = header.split_at(MAGIC.len());
        if magic[..KIND_BYTES] == MAGIC[..KIND_BYTES] && magic[KIND_BYTES] > MAGIC[KIND_BYTES] {
            return Err(Error::new(ErrorKind::Newer, "the version of the limits of the store is unknown"));
        }
        if magic != MAGIC || checksum != xxh3_64(message).to_le_bytes() {
            return Err(Error::corrupt("the limits of the store are not what was written there"));
        }
        let failed = |error| Error::corrupt("the limits of the store are no valid message").because(error);
        let message = Proto::decode(message).map_err(failed)?;
        let current = StoreLimits::from_millis(message.orphan_age_min_ms, message.writer_retention_ms);
        let kept = StoreLimits::from_millis(message.orphan_age_min_kept_ms, message.writer_retention_kept_ms);
        if kept != kept.max(current) {
            return Err(Error::corrupt("the limits of the store contradict each other"));
        }
        Ok(Self { version, current, kept })
    }
}

/// The newest version that stands, if there is one: `known`, or one behind it.
///
/// One listing. Where nothing is known, the first version is asked for beside it, which is the newest in most stores; and
/// a newer one is one request more.
///
/// # Errors
/// The inner one is about what stands there, and asking again does not help.
pub async fn newest(
    store: &dyn ObjectStore,
    known: Option<KeptLimits>,
) -> object_store::Result<Result<Option<KeptLimits>, Error>> {
    let first = async {
        match known {
            Some(_) => Ok(None),
            None => read(store, 1).await,
        }
    };
    let (listed, first) = futures::future::join(largest(store), first).await;
    let (version, first) = (listed?.max(known.map_or(0, |known| known.version)), first?);
    let (version, bytes) = match (version, known, first) {
        // Made after the listing, or in it: in most stores the only one.
        (0 | 1, _, Some(first)) => (1, Some(first)),
        (0, _, None) => return Ok(Ok(None)),
        (version, Some(known), _) if known.version == version => return Ok(Ok(Some(known))),
        (version, ..) => (version, read(store, version).await?),
    };
    let limits = bytes.ok_or_else(missing).and_then(|bytes| KeptLimits::decode(version, &bytes));
    Ok(limits.map(Some).map_err(|error| error.of_object(keys::limits(version).to_string())))
}

/// The error of limits that are not there, although they were.
pub fn missing() -> Error {
    Error::new(ErrorKind::Missing, "the limits of the store are missing")
}

/// The largest version that a listing shows, or 0.
async fn largest(store: &dyn ObjectStore) -> object_store::Result<u64> {
    let listing = store.list(Some(&keys::limits_folder()));
    let version = |object: object_store::ObjectMeta| object.location.filename().and_then(keys::parse_seqno);
    let larger = async |largest: u64, object| Ok(version(object).map_or(largest, |version| largest.max(version.0)));
    listing.try_fold(0, larger).await
}

/// The bytes of a version; `None` where it does not stand.
async fn read(store: &dyn ObjectStore, version: u64) -> object_store::Result<Option<Bytes>> {
    match store.get(&keys::limits(version)).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a version, if nobody has made it; an error says that nobody did, or somebody, or that it is not known.
pub async fn create(store: &dyn ObjectStore, limits: &KeptLimits) -> object_store::Result<()> {
    let (location, bytes) = (keys::limits(limits.version), limits.encode());
    store.put_opts(&location, bytes.into(), PutMode::Create.into()).await.map(|_| ())
}
