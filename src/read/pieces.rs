//! A part in pieces, for who makes something of its first rows while the last are being read.
//!
//! Always: each row is given out once, also where the object had to be opened again in between.

use std::sync::Arc;

use crate::fetch::{OpenPart, Plan};
use timely_persist_core::part::Chunk;
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::{FetchedPart, PartFetcher, PartRef};

/// A part that is fetched a piece at a time. Nothing is asked of the store before the first piece is.
#[derive(Debug)]
pub struct PartPieces<K: Data, V: Data, T: Time, D: Diff> {
    fetcher: PartFetcher<K, V, T, D>,
    part: PartRef<T>,
    plan: Plan<T>,
    /// The blocks that were given out.
    given: usize,
    finished: bool,
    /// Where it goes on.
    open: Option<OpenPart<T>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> PartFetcher<K, V, T, D> {
    /// Fetches a part as [`PartFetcher::fetch`] does, but a piece at a time, of about a megabyte each: its first rows are
    /// there before the last are read.
    pub fn fetch_pieces(&self, part: impl Into<PartRef<T>>) -> PartPieces<K, V, T, D> {
        let part: PartRef<T> = part.into();
        let plan = part.plan();
        let finished = plan == Plan::Nothing;
        PartPieces { fetcher: self.clone(), part, plan, given: 0, finished, open: None }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> PartPieces<K, V, T, D> {
    /// Whether every row was given out.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// The next rows, verified and in order; none behind the last. One request to the store for all pieces, none if
    /// the part is inline or its reader sees none of it.
    ///
    /// Errors are those of [`PartFetcher::fetch`], and may come when other pieces were given out. Asked again, it goes on
    /// where it failed. Cancelling leaves nothing undone that cannot be asked for again; dropping it ends the fetch.
    pub async fn next(&mut self) -> Result<FetchedPart<K, V, T, D>, Error> {
        let life = Arc::clone(self.fetcher.life());
        let piece = async {
            self.fetcher.check(&self.part)?;
            match self.read().await {
                Ok(chunks) => Ok(FetchedPart::new(chunks, &self.plan)),
                Err(error) => Err(self.fetcher.explain(&self.part, error).await),
            }
        };
        life.within(piece).await
    }

    async fn read(&mut self) -> Result<Vec<Chunk<K, V, T, D>>, Error> {
        if self.finished {
            return Ok(Vec::new());
        }
        let open = match self.open.take() {
            Some(open) => open,
            None => OpenPart::new(self.fetcher.source(&self.part)?, self.given).await?,
        };
        let (chunks, open) = open.next().await?;
        self.given += chunks.len();
        self.finished = open.is_finished();
        self.open = Some(open).filter(|_| !self.finished);
        Ok(chunks)
    }
}
