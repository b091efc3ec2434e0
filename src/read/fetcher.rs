//! Fetching parts, also in a process that has no reader.

use std::sync::Arc;

use crate::fetch::{Plan, Source};
use crate::machine::Machine;
use timely_persist_core::state::Types;
use timely_persist_io::life::{KeepAlive, Life};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::{EncodedFrontier, Error, ErrorKind};

use super::{FetchedPart, PartRef};

/// Fetches the parts of one shard. It holds nothing: whoever gave the part out does.
pub struct PartFetcher<K: Data, V: Data, T: Time, D: Diff> {
    machine: Arc<Machine<T>>,
    client: KeepAlive,
    types: Arc<Types>,
    marker: std::marker::PhantomData<fn() -> (K, V, D)>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Clone for PartFetcher<K, V, T, D> {
    fn clone(&self) -> Self {
        let (machine, client) = (Arc::clone(&self.machine), Arc::clone(&self.client));
        Self { machine, client, types: Arc::clone(&self.types), marker: std::marker::PhantomData }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> PartFetcher<K, V, T, D> {
    pub(crate) fn new(machine: Arc<Machine<T>>, client: KeepAlive, types: Arc<Types>) -> Self {
        Self { machine, client, types, marker: std::marker::PhantomData }
    }

    /// Fetches and decodes a part: one request to the store, none if the part is inline or its reader sees none of it.
    ///
    /// Errors name the object: `Missing` if it is gone, `Corrupt` if it is foreign or damaged; `LeaseExpired` if that is
    /// because the reader's lease was lost; `Unavailable` if the store did not answer within `config.store.deadline`; `Invalid`
    /// for a part of another shard, and where the codec of a type of the rows panicked; `CodecMismatch` for one that was given out by a reader of other types, or of types of
    /// another shape. Cancelling leaves nothing.
    pub async fn fetch(&self, part: impl Into<PartRef<T>>) -> Result<FetchedPart<K, V, T, D>, Error> {
        let part: PartRef<T> = part.into();
        self.life().within(self.fetch_ref(part)).await
    }

    pub(super) fn life(&self) -> &Arc<Life> {
        self.machine.life()
    }

    /// Where the part's bytes are to be had.
    pub(super) fn source(&self, part: &PartRef<T>) -> Result<Source<T>, Error> {
        let reading = &part.reading;
        let source = Source::new(Arc::clone(self.machine.blobs()), reading.shard, Arc::clone(&reading.part));
        Ok(source.through(reading.lens_to(&self.types)?))
    }

    /// What is wrong with fetching this part, before the store is asked.
    pub(super) fn check(&self, part: &PartRef<T>) -> Result<(), Error> {
        let reading = &part.reading;
        if reading.shard != self.machine.shard() {
            let message = format!("a part of {} was given to a fetcher of another shard", reading.shard);
            return Err(Error::invalid(message).of_shard(self.machine.shard()));
        }
        if reading.types != self.types.digest {
            let here = &self.types.names;
            let known = self.machine.state().codecs.as_ref().and_then(|known| known.difference(here));
            let difference = known.map(|difference| format!(": the {difference}")).unwrap_or_default();
            let message = format!("a part of rows of other types than those that are fetched{difference}");
            return Err(Error::new(ErrorKind::CodecMismatch, message).of_shard(self.machine.shard()));
        }
        if let Some(lease) = &part.lease {
            lease.ledger().check()?;
        }
        Ok(())
    }

    async fn fetch_ref(&self, part: PartRef<T>) -> Result<FetchedPart<K, V, T, D>, Error> {
        self.check(&part)?;
        let plan = part.plan();
        let chunks = match plan {
            Plan::Nothing => Vec::new(),
            _ => match self.source(&part)?.decode_all().await {
                Ok(chunks) => chunks,
                Err(error) => return Err(self.explain(&part, error).await),
            },
        };
        Ok(FetchedPart::new(chunks, &plan))
    }

    /// A missing object is a lost lease, if the shard does not know the reader any more.
    pub(super) async fn explain(&self, part: &PartRef<T>, error: Error) -> Error {
        if !matches!(error.kind(), ErrorKind::Missing | ErrorKind::Corrupt) {
            return error;
        }
        if let Some(lease) = &part.lease {
            return lease.ledger().explain(error).await;
        }
        if error.kind() != ErrorKind::Missing {
            return error;
        }
        let state = match self.machine.refresh().await {
            Ok(state) => state,
            // Nobody can say yet whether it is damage or a lost lease.
            Err(unavailable) => return unavailable.because(error),
        };
        if state.readers.contains_key(&part.reader) {
            return error;
        }
        let kind = ErrorKind::LeaseExpired { earliest: EncodedFrontier::new(&state.since) };
        let message = format!("reader {} is gone, and so is what it held", part.reader);
        Error::new(kind, message).of_shard(self.machine.shard()).because(error)
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> std::fmt::Debug for PartFetcher<K, V, T, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PartFetcher of {}", self.machine.shard())
    }
}

/// Awaiting a fetcher gives itself: `shard.fetcher().await?` may stand where the other handles are opened.
impl<K: Data, V: Data, T: Time, D: Diff> IntoFuture for PartFetcher<K, V, T, D> {
    type Output = Result<Self, Error>;
    type IntoFuture = std::future::Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        std::future::ready(Ok(self))
    }
}
