//! A part in pieces, for who makes something of its first rows while the last are being read.

use std::sync::Arc;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::fetch::{Pieces, Plan};

use super::{FetchedPart, PartFetcher, PartRef};

/// A part that is fetched a piece at a time. Nothing is asked of the store before the first piece is.
#[derive(Debug)]
pub struct PartPieces<K: Data, V: Data, T: Time, D: Diff> {
    fetcher: PartFetcher<K, V, T, D>,
    part: PartRef<T>,
    plan: Plan<T>,
    /// Those that its reader sees.
    pieces: Option<Pieces<K, V, T, D>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> PartFetcher<K, V, T, D> {
    /// Fetches a part as [`PartFetcher::fetch`] does, but a piece at a time, of about a megabyte each: its first rows are
    /// there before the last are read.
    pub fn fetch_pieces(&self, part: impl Into<PartRef<T>>) -> PartPieces<K, V, T, D> {
        let part: PartRef<T> = part.into();
        let plan = part.plan();
        let pieces = (plan != Plan::Nothing).then(|| Pieces::new(self.source(&part)));
        PartPieces { fetcher: self.clone(), part, plan, pieces }
    }
}

impl<K: Data, V: Data, T: Time, D: Diff> PartPieces<K, V, T, D> {
    /// Whether every row was given out.
    pub fn is_finished(&self) -> bool {
        self.pieces.as_ref().is_none_or(Pieces::is_finished)
    }

    /// The next rows, verified and in order; none behind the last. One request to the store for all pieces, none if
    /// the part is inline or its reader sees none of it.
    ///
    /// Errors are those of [`PartFetcher::fetch`], and may come when other pieces were given out. Asked again, it goes on
    /// where it failed. Cancelling leaves nothing undone that cannot be asked for again; dropping it ends the fetch.
    pub async fn next(&mut self) -> Result<FetchedPart<K, V, T, D>, Error> {
        let life = Arc::clone(self.fetcher.life());
        life.within(self.read()).await
    }

    async fn read(&mut self) -> Result<FetchedPart<K, V, T, D>, Error> {
        self.fetcher.check(&self.part)?;
        let chunks = match &mut self.pieces {
            None => Vec::new(),
            Some(pieces) => match pieces.next().await {
                Ok(chunks) => chunks,
                Err(error) => return Err(self.fetcher.explain(&self.part, error).await),
            },
        };
        Ok(FetchedPart::new(chunks, &self.plan))
    }
}
