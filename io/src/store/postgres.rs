//! A log in PostgreSQL: one row per entry, one round trip per commit.
//!
//! Connections are encrypted as the string's `sslmode` and `sslrootcert` say, in libpq's words: `disable`, `prefer`
//! (the default), `require`, `verify-ca`, `verify-full`; `require` alone trusts whoever answers.
//!
//! Blobs stay in the object store. The tables lie in a schema of their own, `timely_persist`, created at first use.
//!
//! # Why READ COMMITTED is enough
//!
//! A commit is one statement, so one transaction: it moves the shard's row in `head` from `expected` to `expected + 1`
//! and inserts the entry of that number.
//!
//! * *One winner.* Two commits of one shard update one row, so the second waits for the first one's row lock. When the
//!   first commits, PostgreSQL evaluates the second's condition `seqno = expected` again on the row as it is then,
//!   finds it false, and the second changes nothing: a conflict. When the first is undone, the second goes on as if
//!   alone. So of all commits that expect `n`, one moves the head to `n + 1`. The first of a shard inserts the row
//!   instead; there the primary key does the same.
//! * *Dense.* An entry's number is what its own transaction made of the head, and both become visible at once.
//! * *Truncated positions are not won again.* The head's row is never deleted and only rises. No boundary is needed.
//! * *The head stays.* A truncation removes entries below a head that it read; that head only rises meanwhile.
//! * *Linearizable.* A commit is acknowledged when it is visible and on disk (`synchronous_commit` is set by every
//!   session), on the one server that writes. Each read is one statement, so one snapshot, taken after it was asked
//!   for.
//!
//! Nothing is decided on what a statement read before it waited, which is what a stricter level would protect. It would
//! cost much: under SERIALIZABLE the second of the two above fails instead of learning that it lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::life::unfinished;
use crate::store::consensus::{CompareAndSet, Consensus, LogEntry, LogError, LogWatch};
use crate::store::signals::{Signals, Subscription};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{SeqNo, ShardId};

mod notices;
mod options;
mod sessions;
mod statements;
mod tls;

pub use options::{POSTGRES_CONNECTIONS_MAX, POSTGRES_TIMEOUT_MAX, PostgresOptions};

use notices::{Announcer, Listener, Server};
use sessions::{Failure, Sessions};

/// Digests of truncated entries that are kept per shard, so that a writer whose answer was lost can still be told
/// whether it won: about 100 bytes each.
pub const TRUNCATED_DIGESTS_MAX: i64 = 4096;

/// A [`Consensus`] in a PostgreSQL database, for any number of processes.
///
/// Operations: each call is one statement in one round trip, a conflict two. Broken connections are replaced; an
/// operation that met one fails, and the caller asks again.
pub struct PostgresLog {
    sessions: Arc<Sessions>,
    signals: Arc<Signals>,
    announcer: Announcer,
    listener: Arc<Listener>,
    server: String,
}

impl PostgresLog {
    /// Connects to the database of a connection string (`postgres://user:password@host:port/database`), with the
    /// default limits. Called in a tokio runtime, where its tasks run until it is dropped.
    ///
    /// # Errors
    /// See [`PostgresLog::open_with`].
    pub async fn open(url: &str) -> Result<Self, Error> {
        Self::open_with(url, PostgresOptions::default()).await
    }

    /// The same, with these limits. Creates the tables if they are not there.
    ///
    /// # Errors
    /// `Invalid` for a malformed connection string, wrong credentials, a missing database or rights, a certificate that
    /// is not to be trusted, and a server without the encryption asked for; `Newer` for tables of a later version;
    /// `Unavailable` for a server that does not answer. No error holds the connection string. `Invalid` for options that
    /// cannot be.
    pub async fn open_with(url: &str, options: PostgresOptions) -> Result<Self, Error> {
        options.check()?;
        let (url, asked) = tls::split(url);
        let config = sessions::configure(&url, &options)?;
        let connector = tokio::task::spawn_blocking(move || tls::connector(&asked)).await;
        let tls = connector.map_err(|error| unfinished(error, "opening the log was stopped"))??;
        let server = format!("{:?}, database {:?}", config.get_hosts(), config.get_dbname());
        let sessions = Arc::new(Sessions::new(config.clone(), tls.clone(), &options)?);
        let failed = |failure: Failure| failure.into_error("opening the log");
        if !one(sessions.query(statements::IS_CREATED, &[]).await.map_err(failed)?).unwrap_or(false) {
            sessions.execute_batch(statements::CREATE).await.map_err(failed)?;
        }
        let layout: Option<i32> = one(sessions.query(statements::LAYOUT, &[]).await.map_err(failed)?);
        match layout {
            Some(statements::LAYOUT_VERSION) => {}
            Some(version) if version > statements::LAYOUT_VERSION => {
                let known = statements::LAYOUT_VERSION;
                let message =
                    format!("the tables in PostgreSQL have layout {version}; this version knows up to {known}");
                return Err(Error::new(ErrorKind::Newer, message));
            }
            _ => {
                return Err(Error::corrupt("the tables in PostgreSQL do not say which layout they have")
                    .advise("restore the table timely_persist.layout from a backup, or name another database"));
            }
        }
        let signals = Arc::<Signals>::default();
        Ok(Self {
            announcer: Announcer::start(Arc::clone(&sessions)),
            listener: Arc::new(Listener::new(
                Server { config, tls, limit: options.connect_timeout + options.statement_timeout },
                Arc::clone(&signals),
            )),
            sessions,
            signals,
            server,
        })
    }

    /// Asks for something that changes nothing.
    async fn read(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
        doing: impl Fn() -> String,
    ) -> Result<Vec<Row>, LogError> {
        let rows = self.sessions.query(statement, parameters).await;
        rows.map_err(|failure| LogError::failed(doing()).because(failure.cause))
    }

    /// What became of an entry that this call did not write.
    async fn settle(&self, shard: ShardId, seqno: i64, data: &Bytes) -> Result<CompareAndSet, LogError> {
        let doing = || format!("settling entry v{seqno} of shard {shard}");
        let parameters: [&(dyn ToSql + Sync); 3] = [&key(shard), &seqno, &&data[..]];
        // An earlier call with these bytes may have written it.
        let rows = self.sessions.query(statements::SETTLE, &parameters).await;
        let rows = rows.map_err(|failure| LogError::unknown(doing()).because(failure.cause))?;
        match rows.first().map(|row| row.try_get::<_, Option<bool>>(0)) {
            None | Some(Ok(Some(false))) => Ok(CompareAndSet::Conflict),
            Some(Ok(Some(true))) => Ok(CompareAndSet::Committed),
            Some(Ok(None)) => Err(LogError::unknown(format!(
                "entry v{seqno} of shard {shard} is truncated, and no longer known whose it was"
            ))),
            Some(Err(error)) => Err(LogError::unknown(doing()).because(error)),
        }
    }
}

impl fmt::Debug for PostgresLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLog").field("server", &self.server).finish_non_exhaustive()
    }
}

#[async_trait]
impl Consensus for PostgresLog {
    async fn head(&self, shard: ShardId) -> Result<Option<LogEntry>, LogError> {
        let doing = || format!("reading the head of shard {shard}");
        let rows = self.read(statements::HEAD, &[&key(shard)], doing).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        if let (Ok(seqno), Ok(None)) = (row.try_get::<_, i64>(0), row.try_get::<_, Option<Vec<u8>>>(1)) {
            return Err(LogError::missing(SeqNo(u64::try_from(seqno).unwrap_or_default()), SeqNo::ZERO));
        }
        entry(row).map(Some).map_err(|error| LogError::failed(doing()).because(error))
    }

    async fn scan(&self, shard: ShardId, from: SeqNo, limit: usize) -> Result<Vec<LogEntry>, LogError> {
        let Ok(first) = i64::try_from(from.0) else { return Ok(Vec::new()) };
        let limit = i64::try_from(limit.max(1)).unwrap_or(i64::MAX);
        let doing = || format!("scanning the log of shard {shard} from {from}");
        let rows = self.read(statements::SCAN, &[&key(shard), &first, &limit], doing).await?;
        rows.iter().map(|row| entry(row).map_err(|error| LogError::failed(doing()).because(error))).collect()
    }

    async fn compare_and_set(&self, shard: ShardId, expected: SeqNo, data: Bytes) -> Result<CompareAndSet, LogError> {
        // No log is longer than a `bigint` counts.
        let Some((head, seqno)) = i64::try_from(expected.0).ok().and_then(|head| Some((head, head.checked_add(1)?)))
        else {
            return Ok(CompareAndSet::Conflict);
        };
        let statement = if head == 0 { statements::COMMIT_FIRST } else { statements::COMMIT };
        let rows =
            self.sessions.query(statement, &[&key(shard), &head, &&data[..]]).await.map_err(|failure| LogError {
                may_have_happened: failure.may_have_happened,
                damaged: None,
                message: format!("committing entry {} of shard {shard}", expected.next()),
                source: Some(failure.cause),
            })?;
        if rows.is_empty() {
            return self.settle(shard, seqno, &data).await;
        }
        self.signals.wake(shard, expected.next());
        self.announcer.committed(shard, expected.next());
        Ok(CompareAndSet::Committed)
    }

    async fn truncate(&self, shard: ShardId, below: SeqNo) -> Result<usize, LogError> {
        let first_kept = i64::try_from(below.0).unwrap_or(i64::MAX);
        let parameters: [&(dyn ToSql + Sync); 3] = [&key(shard), &first_kept, &TRUNCATED_DIGESTS_MAX];
        let rows = self.sessions.query(statements::TRUNCATE, &parameters).await.map_err(|failure| LogError {
            may_have_happened: failure.may_have_happened,
            damaged: None,
            message: format!("truncating the log of shard {shard} below {below}"),
            source: Some(failure.cause),
        })?;
        Ok(one::<i64>(rows).and_then(|found| usize::try_from(found).ok()).unwrap_or(0))
    }

    fn watch(&self, shard: ShardId) -> Box<dyn LogWatch> {
        let subscription = self.signals.subscribe(shard);
        self.listener.watch();
        Box::new(PostgresWatch { subscription, listener: Arc::clone(&self.listener) })
    }
}

struct PostgresWatch {
    subscription: Subscription,
    listener: Arc<Listener>,
}

impl LogWatch for PostgresWatch {
    fn changed(&mut self) -> BoxFuture<'_, Option<SeqNo>> {
        self.subscription.changed().boxed()
    }

    fn ignore(&mut self, known: Arc<AtomicU64>) {
        self.subscription.ignore(known);
    }
}

impl Drop for PostgresWatch {
    fn drop(&mut self) {
        self.listener.unwatch();
    }
}

fn key(shard: ShardId) -> Uuid {
    Uuid::from_u128(shard.as_u128())
}

/// The single value of a single row, if that is what there is.
fn one<R: tokio_postgres::types::FromSqlOwned>(rows: Vec<Row>) -> Option<R> {
    rows.first().and_then(|row| row.try_get(0).ok())
}

fn entry(row: &Row) -> Result<LogEntry, Box<dyn std::error::Error + Send + Sync>> {
    let seqno: i64 = row.try_get(0)?;
    let data: Vec<u8> = row.try_get(1)?;
    Ok(LogEntry { seqno: SeqNo(u64::try_from(seqno)?), data: data.into() })
}
