//! Timely dataflow operators that read `timely-persist` shards.
//!
//! [`persist_source`] reads a shard into a dataflow on all workers of a cluster: the contents as of a time, then every
//! change at its time. [`PersistSource`] is the same with options.
//!
//! ```
//! use timely::dataflow::operators::{Inspect, Probe};
//! use timely::progress::Antichain;
//! use timely_persist::{Client, Shard, ShardId};
//! use timely_persist_operators::persist_source;
//!
//! # let append = async {
//! let client = Client::open("memory:").await?;
//! let shard: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
//! let rows = [(("src/lib.rs".to_owned(), 30), 0, 1), (("README.md".to_owned(), 12), 0, 1)];
//! let _ = shard.open_writer("example").await?.append(rows, Antichain::from_elem(0), Antichain::from_elem(1)).await?;
//! # Ok::<_, timely_persist::Error>(shard) };
//! # let shard = futures::executor::block_on(append)?;
//!
//! timely::execute(timely::Config::process(2), move |worker| {
//!     let (probe, button) = worker.dataflow::<u64, _, _>(|scope| {
//!         let source = persist_source(scope, &shard, Antichain::from_elem(0));
//!         source.errors.inspect(|error| eprintln!("{error}"));
//!         let lines = source.updates.map(|(_path, lines)| lines).count();
//!         (lines.inner.probe().0, source.button)
//!     });
//!     while probe.less_equal(&0) {
//!         worker.step_or_park(None);
//!     }
//!     drop(button); // the source ends, and the dataflow with it
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Always: an operator neither waits nor blocks; storage work lives in tokio tasks on the client's runtime, and each task
//! belongs to a value that stops it. What goes wrong appears as a value on `errors`, and a source that cannot go on holds
//! its frontier: it never claims to be complete when it is not.
//!
//! [`bridge`] has what they are built of that another operator over storage needs, too.

#![warn(unreachable_pub)]

pub mod bridge;
mod common;
mod source;

pub use common::button::Button;
pub use common::error::SourceError;
pub use source::{MapSource, MappedSource, PersistSource, Source, persist_source};
