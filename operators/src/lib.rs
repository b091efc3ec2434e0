//! Timely dataflow operators that read `timely-persist` shards.
//!
//! [`persist_source`] reads a shard into a dataflow on all workers of a cluster: the contents as of a time, then every
//! change at its time. [`PersistSource`] is the same with options.
//!
//! Always: an operator neither waits nor blocks; storage work lives in tokio tasks on the client's runtime, and each task
//! belongs to a value that stops it. What goes wrong appears as a value on `errors`, and a source that cannot go on holds
//! its frontier: it never claims to be complete when it is not.

mod button;
mod credit;
mod emit;
mod error;
mod fetch;
mod fetching;
mod handout;
mod leader;
mod mailbox;
mod message;
mod settings;
mod source;

pub use button::Button;
pub use error::{SourceError, SourceErrorKind};
pub use source::{MapSource, MappedSource, PersistSource, Source, persist_source};
