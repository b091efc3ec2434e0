//! What a sink says on its `errors` output.
//!
//! Plain data that travels between workers and processes. Where [`SinkError::is_final`], the sink commits nothing more and
//! holds its `progress`; all else are notices.

use std::fmt;

use serde::{Deserialize, Serialize};
use timely_persist::{EncodedFrontier, Error, ShardId};

/// Something that a sink has to say about itself.
///
/// A program ends the dataflow where one is final, and matches on it:
///
/// ```
/// # use std::time::Duration;
/// # use timely::dataflow::operators::{Inspect, Probe};
/// # use timely::progress::Antichain;
/// # use timely_persist::{Client, Shard, ShardId};
/// # use timely_persist_operators::{PersistSink, SinkError, persist_source};
/// # let client = futures::executor::block_on(Client::open("memory:"))?;
/// # let [input, output]: [Shard<String, u64, u64, i64>; 2] = [(); 2].map(|()| client.shard(ShardId::new()));
/// # let fill = async {
/// #     for shard in [&input, &output] {
/// #         shard.open_writer("example").await?.advance_upper(&Antichain::from_elem(5)).await?;
/// #     }
/// #     Ok::<_, timely_persist::Error>(())
/// # };
/// # futures::executor::block_on(fill)?;
/// let error = timely::execute_directly(move |worker| {
///     let (tell, told) = std::sync::mpsc::channel();
///     let buttons = worker.dataflow::<u64, _, _>(|scope| {
///         // The output ends at 5, so this is one too late: old rows would be taken for new ones.
///         let source = persist_source(scope, &input, Antichain::from_elem(5));
///         let sink = PersistSink::new(&output).as_of(Antichain::from_elem(5)).build(source.updates);
///         sink.errors.inspect(move |error| match error.is_final() {
///             true => tell.send(error.clone()).unwrap_or_default(),
///             false => eprintln!("{error}"), // storage does not answer, or does again: it goes on by itself
///         });
///         [sink.button, source.button]
///     });
///     let error = loop {
///         worker.step_or_park(Some(Duration::from_millis(20)));
///         if let Ok(error) = told.try_recv() {
///             break error;
///         }
///     };
///     drop(buttons); // the sink's first
///     error
/// });
/// match error {
///     // Begin again, strictly before this.
///     SinkError::Gap { upper, .. } => assert_eq!(upper.decode(), Some(Antichain::from_elem(5_u64))),
///     // Its `kind` says what to do.
///     SinkError::Failed(error) => return Err(error.into()),
///     // The others say it in their text.
///     error => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SinkError {
    /// Storage does not answer, for this reason. The sink keeps trying; it says `Recovered` when it goes on. A notice.
    Stalled(Error),
    /// Storage answers again. A notice.
    Recovered(ShardId),
    /// The sink has rows only from `lower` on, and the shard ends before: at `upper`. An older store was restored, say, or the
    /// dataflow's `as_of` is not strictly before the shard's upper. Begin again, at an `as_of` that is. Final.
    Gap {
        /// The shard that is written.
        shard: ShardId,
        /// Where the sink's rows begin.
        lower: EncodedFrontier,
        /// Where the shard ends.
        upper: EncodedFrontier,
    },
    /// Another copy of the dataflow committed other rows for these times: it is not deterministic. A notice, of a mistake in
    /// the program.
    Diverged {
        /// The shard that is written.
        shard: ShardId,
        /// From here on,
        lower: EncodedFrontier,
        /// and to here.
        upper: EncodedFrontier,
    },
    /// The input ended (or its handle was dropped) at a time that was not complete: these rows at that time and later were
    /// not committed, as nobody said that they are all. Move the input beyond its last time before it is dropped; or, where
    /// the end says that all rows are there, as that of sources with an `until` does, build the sink with
    /// [`close_at_end`](crate::PersistSink::close_at_end). Final.
    Uncommitted {
        /// The shard that is written.
        shard: ShardId,
        /// How many rows, before consolidation.
        rows: u64,
    },
    /// A source of this dataflow was stopped before its end: what comes from then on may be made of rows that are not all
    /// there, so nothing of it was committed. Final.
    InputStopped(ShardId),
    /// The sink has stopped here, for this reason. What to do says the error's [`kind`](Error::kind). Final.
    Failed(Error),
}

impl SinkError {
    /// Tells the log of the program, if it is more than a passing trouble.
    pub(crate) fn trace(&self) {
        if self.is_final() || matches!(self, Self::Diverged { .. }) {
            tracing::error!(error = %self, shard = ?self.shard(), "a sink");
        }
    }

    /// What the library said, if that is why.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Stalled(error) | Self::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the sink commits nothing more, and holds its `progress` until its buttons are released.
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Stalled(_) | Self::Recovered(_) | Self::Diverged { .. })
    }

    /// The shard concerned.
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::Stalled(error) | Self::Failed(error) => error.shard(),
            Self::Recovered(shard)
            | Self::InputStopped(shard)
            | Self::Gap { shard, .. }
            | Self::Diverged { shard, .. }
            | Self::Uncommitted { shard, .. } => Some(*shard),
        }
    }
}

impl fmt::Display for SinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled(error) | Self::Failed(error) => f.write_str(&error.with_causes()),
            Self::Recovered(_) => f.write_str("storage answers again"),
            Self::InputStopped(shard) => write!(
                f,
                "a source of the dataflow was stopped before its end, so nothing more is written into shard {shard}; stop the \
                 sink, too, or first"
            ),
            Self::Gap { shard, lower, upper } => write!(
                f,
                "the sink begins at {lower}, and shard {shard} ends at {upper}: rows between would be missing, or old ones \
                 be written twice, so nothing was; begin again at an `as_of` strictly before the shard's upper"
            ),
            Self::Diverged { shard, lower, upper } => write!(
                f,
                "another copy of this dataflow wrote other rows into shard {shard} for [{lower}, {upper}): the dataflow is \
                 not deterministic; look for a clock, randomness, or the order of rows in it"
            ),
            Self::Uncommitted { shard, rows } => write!(
                f,
                "the input of shard {shard} ended with {rows} rows at times that are not complete; they were not \
                 committed: advance the input beyond its last time before it is dropped, or build the sink with \
                 `close_at_end` if its end says that all rows are there"
            ),
        }
    }
}

impl std::error::Error for SinkError {}
