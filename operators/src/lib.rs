//! Timely dataflow operators that read and write `timely-persist` shards.
//!
//! [`persist_source`] reads a shard into a dataflow on all workers of a cluster: the contents as of a time, then every
//! change at its time. [`persist_sink`] keeps a collection in a shard: each row once, whatever crashes, and although any number
//! of copies of the dataflow write. [`PersistSource`] and [`PersistSink`] are the same with options. [`Resume`] is where a
//! dataflow that writes what it computes into a shard begins when it starts again.
//!
//! Here a dataflow keeps the lines per file extension, and what it keeps is read back:
//!
//! ```
//! use differential_dataflow::operators::CountTotal;
//! use timely::dataflow::operators::{Inspect, Probe};
//! use timely::progress::Antichain;
//! use timely_persist::{Client, Shard, ShardId};
//! use timely_persist_operators::{persist_sink, persist_source};
//!
//! # let append = async {
//! let client = Client::open("memory:").await?;
//! let files: Shard<String, u64, u64, i64> = client.shard(ShardId::new());
//! let rows = [(("lib.rs".to_owned(), 30), 0, 1), (("main.rs".to_owned(), 5), 0, 1), (("README.md".to_owned(), 12), 0, 1)];
//! let _ = files.open_writer("example").await?.append(rows, Antichain::from_elem(0), Antichain::from_elem(1)).await?;
//! let table: Shard<String, i64, u64, i64> = client.shard(ShardId::new());
//! # Ok::<_, timely_persist::Error>((files, table)) };
//! # let (files, table) = futures::executor::block_on(append)?;
//!
//! let kept = table.clone();
//! timely::execute(timely::Config::process(2), move |worker| {
//!     let (progress, buttons) = worker.dataflow::<u64, _, _>(|scope| {
//!         let source = persist_source(scope, &files, Antichain::from_elem(0));
//!         source.errors.inspect(|error| eprintln!("{error}"));
//!         // Lines become the extension's difference; `count` would give diffs of `isize`, and shards store `i64`.
//!         let lines = source.updates.explode(|(path, lines)| {
//!             Some((path.rsplit('.').next().unwrap_or_default().to_owned(), lines as i64))
//!         });
//!         let sink = persist_sink(lines.count_total_core::<i64>(), &kept);
//!         sink.errors.inspect(|error| eprintln!("{error}"));
//!         (sink.progress.probe().0, [sink.button, source.button])
//!     });
//!     while progress.less_equal(&0) {
//!         worker.step_or_park(None); // until what comes of time 0 is durable
//!     }
//!     drop(buttons); // the sink ends, then the source, and the dataflow with them
//! })?;
//!
//! # let read = async {
//! let rows = table.open_reader("example").await?.snapshot_and_fetch(Antichain::from_elem(0)).await?;
//! # Ok::<_, timely_persist::Error>(rows) };
//! # let rows = futures::executor::block_on(read)?;
//! assert_eq!(rows, [(("md".to_owned(), 12), 0, 1), (("rs".to_owned(), 35), 0, 1)]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`PersistSink`] says where a restart begins, and how a dataflow reads its own output.
//!
//! Always: an operator neither waits nor blocks; storage work lives in tokio tasks on the client's runtime, and each task
//! belongs to a value that stops it. What goes wrong appears as a value on `errors`, and a source or a sink that cannot go
//! on holds its frontier: it never claims to be complete when it is not.
//!
//! [`bridge`] has what they are built of that another operator over storage needs, too.

#![warn(unreachable_pub)]

mod arrange;
pub mod bridge;
mod common;
mod sink;
mod source;

pub use arrange::{
    ArrangedSource, BatchCursorFlat, BatchFlat, Flat, FlatBuilder, FlatKeySpine, FlatLayout, FlatSpine, TraceFlat,
    arrange_flat, as_flat,
};
pub use common::button::Button;
pub use common::error::SourceError;
pub use sink::{Input, PersistSink, Resume, ResumeBuilder, Retention, Sink, SinkError, persist_sink};
pub use source::{MapSource, MappedSource, PersistSource, Source, persist_source};
