//! Agreeing with the store on the limits that all processes on it have alike, and asking it for them again.
//!
//! Always: a client whose limits the store does not keep is not opened. What is deleted because it is old is deleted by the
//! largest limit that any process may still run with, which the store remembers; so it does no harm that a process knows of
//! a change only when it asks.

use tokio::time::timeout_at;

use crate::store::{KeptLimits, keys, limits};
use timely_persist_types::clock::millis;
use timely_persist_types::config::StoreLimits;
use timely_persist_types::error::Error;

use super::Blobs;
use super::request::{Tried, is_final};

/// What a client does whose limits are not the store's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Agreement {
    /// It is refused.
    #[default]
    Refuse,
    /// It takes the store's.
    Adopt,
    /// It changes the store's, where others may be running with those.
    Change,
    /// It changes the store's, where nobody is running.
    ChangeAlone,
}

impl Blobs {
    /// Agrees with the store on its limits, where the configuration wants these: the first process writes its own there,
    /// all others compare. What it gives counts from then on. Once, when the client opens.
    ///
    /// One listing and one get, at once; one create where something is written. `Invalid` if they differ and that is not
    /// to be mended; `Newer` if a later version of the library wrote them; `Corrupt` or `Missing` if they cannot be read;
    /// `Unavailable` if the store does not answer within `config.store.deadline`. Cancelling leaves them written, or not.
    pub async fn agree(&self, wanted: StoreLimits, agreement: Agreement) -> Result<StoreLimits, Error> {
        let agreed = self.agreed_limits(wanted, agreement).await?;
        self.agreed.heard(agreed);
        Ok(agreed.current)
    }

    async fn agreed_limits(&self, wanted: StoreLimits, agreement: Agreement) -> Result<KeptLimits, Error> {
        let limit = self.deadline;
        let mut retry = self.life.retry(limit);
        loop {
            let next = match self.newest_limits().await? {
                None => KeptLimits::first(wanted),
                Some(standing) => match settle(standing, wanted, agreement)? {
                    Settled::Stands => return Ok(standing),
                    Settled::Write(next) => next,
                },
            };
            let failed = match timeout_at(retry.request_deadline(limit), limits::create(&*self.store, &next)).await {
                Ok(Ok(())) => return Ok(next),
                Ok(Err(error)) if is_final(&error) => {
                    return Err(unanswered("could not be written", next.version, error));
                }
                Ok(Err(error)) => Some(error),
                Err(_elapsed) => None,
            };
            // Somebody else was first, or our own answer was lost: what stands there says.
            if !retry.pause().await {
                let error = Error::unavailable("the limits of the store could not be written");
                let error = error.of_object(keys::limits(next.version).to_string());
                return Err(failed.map_or(error, |cause| unanswered("could not be written", next.version, cause)));
            }
        }
    }

    /// What stands in the store now.
    async fn newest_limits(&self) -> Result<Option<KeptLimits>, Error> {
        let known = self.agreed.known();
        match self.persist(|| limits::newest(&*self.store, known)).await.answer {
            Ok(found) => found,
            Err(Tried::Failed(cause)) => {
                Err(unanswered("could not be read", known.map_or(1, |known| known.version), cause))
            }
            Err(Tried::NoAnswer) => {
                let error = Error::unavailable("the limits of the store could not be read");
                Err(error.of_object(keys::limits_folder().to_string()))
            }
        }
    }

    /// When an object must have been made, in milliseconds of a shard's time, to be taken for lost at the time `now_ms`, if
    /// no state knows it. The store is asked, with one listing, for the largest `orphan_age_min` that any process may run
    /// with. Errors as in [`Blobs::agree`].
    ///
    /// `now_ms` is the shard's time in a state that was read before this call, and that is what makes it safe to raise the
    /// limit while others sweep: a process that this call does not hear of opened after that, and names what it makes by
    /// the shard's time or later, so nothing of it is old by `now_ms`, however long the sweep takes from here on. (What it
    /// takes over from a process that opened before must not be older than the limit was then.) To lower it is safe
    /// because the store remembers the larger one.
    pub async fn lost_before_ms(&self, now_ms: u64) -> Result<u64, Error> {
        let missing = || limits::missing().of_object(keys::limits_folder().to_string());
        let kept = self.agreed.heard(self.newest_limits().await?.ok_or_else(missing)?);
        Ok(now_ms.saturating_sub(millis(kept.orphan_age_min)))
    }

    /// How old the record of a writer must be to be dropped, in milliseconds: the largest `writer_retention` that any process
    /// may run with, as far as this one has heard. For ever before it has agreed with the store.
    pub fn writer_retention_ms(&self) -> u64 {
        self.agreed.known().map_or(u64::MAX, |known| millis(known.kept.writer_retention))
    }
}

/// What is done with limits that were found.
enum Settled {
    /// They count.
    Stands,
    /// These count as soon as they are written.
    Write(KeptLimits),
}

fn settle(standing: KeptLimits, wanted: StoreLimits, agreement: Agreement) -> Result<Settled, Error> {
    let differences = standing.current.differences(&wanted);
    match agreement {
        Agreement::Adopt => Ok(Settled::Stands),
        Agreement::ChangeAlone if standing.current != wanted || standing.kept != wanted => {
            Ok(Settled::Write(standing.changed(wanted, true)))
        }
        _ if differences.is_empty() => Ok(Settled::Stands),
        Agreement::Change | Agreement::ChangeAlone => Ok(Settled::Write(standing.changed(wanted, false))),
        Agreement::Refuse => {
            let each = differences.iter().map(|(name, store, client)| {
                format!("{name} is {store:?} in this store, and {client:?} in the configuration")
            });
            let each = each.collect::<Vec<_>>().join("; ");
            let message = format!(
                "{each}: all processes on a store must have these alike. Open it with ClientBuilder::adopt_limits to take \
                 the store's, or with ClientBuilder::change_limits to change them"
            );
            Err(Error::invalid(message).of_object(keys::limits(standing.version).to_string()))
        }
    }
}

fn unanswered(what: &str, version: u64, cause: object_store::Error) -> Error {
    let error = Error::unavailable(format!("the limits of the store {what}"));
    error.of_object(keys::limits(version).to_string()).because(cause)
}
