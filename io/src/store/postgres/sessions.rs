//! Connections to the server: pooled, limited in number and in time, replaced when they break.
//!
//! A connection that did not answer in time is not used again: what it was asked may still be under way on it.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PostgresOptions, statements, tls};
use timely_persist_types::error::{Error, ErrorKind};

/// How often an idle connection is probed, so that a server that vanished is noticed.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);

/// How much longer than the server's own limit a statement is waited for: the way there and back.
const NETWORK_ALLOWANCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Sessions {
    pool: Pool,
    deadline: Duration,
}

/// Why a statement has no result.
#[derive(Debug)]
pub(super) struct Failure {
    /// The server may have done what it says, or may still do it.
    pub(super) may_have_happened: bool,
    pub(super) cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Reads a connection string and adds what every connection has. The text is never part of an error: it may hold a
/// password.
pub(super) fn configure(url: &str, options: &PostgresOptions) -> Result<Config, Error> {
    let malformed = || {
        Error::invalid("this is no PostgreSQL connection string; it looks like postgres://user:password@host/database")
    };
    let mut config: Config = url.parse().map_err(|_| malformed())?;
    config
        .connect_timeout(options.connect_timeout)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .tcp_user_timeout(options.statement_timeout + NETWORK_ALLOWANCE)
        // A standby would answer with the past.
        .target_session_attrs(TargetSessionAttrs::ReadWrite);
    if config.get_application_name().is_none() {
        config.application_name("timely-persist");
    }
    Ok(config)
}

impl Sessions {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, options: &PostgresOptions) -> Result<Self, Error> {
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let statement_timeout = options.statement_timeout.as_millis().to_string();
        let set_up = Hook::async_fn(move |client, _| {
            let statement_timeout = statement_timeout.clone();
            Box::pin(async move {
                client.batch_execute(statements::SESSION).await.map_err(HookError::Backend)?;
                let limit = client.query(statements::STATEMENT_TIMEOUT, &[&statement_timeout]).await;
                limit.map(|_| ()).map_err(HookError::Backend)
            })
        });
        let pool = Pool::builder(manager)
            .max_size(options.connections_max)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(options.statement_timeout),
                create: Some(options.connect_timeout.saturating_add(NETWORK_ALLOWANCE)),
                recycle: Some(NETWORK_ALLOWANCE),
            })
            .post_create(set_up)
            .build()
            .map_err(|error| Error::invalid("the pool of PostgreSQL connections cannot be set up").because(error))?;
        Ok(Self { pool, deadline: options.statement_timeout.saturating_add(NETWORK_ALLOWANCE) })
    }

    /// Runs one statement, a transaction of its own: one round trip, on a connection that has run it before.
    ///
    /// It returns only after the server has committed. Cancelling it leaves it done or not done.
    pub(super) async fn query(&self, statement: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
        let session = self.session().await?;
        let rows = async {
            let prepared = session.prepare_cached(statement).await.map_err(Failure::before)?;
            session.query(&prepared, parameters).await.map_err(Failure::of_statement)
        };
        match tokio::time::timeout(self.deadline, rows).await {
            Ok(result) => result,
            Err(elapsed) => {
                drop(Object::take(session));
                Err(Failure { may_have_happened: true, cause: elapsed.into() })
            }
        }
    }

    /// Runs statements without parameters or results.
    pub(super) async fn execute_batch(&self, statements: &str) -> Result<(), Failure> {
        let session = self.session().await?;
        match tokio::time::timeout(self.deadline, session.batch_execute(statements)).await {
            Ok(result) => result.map_err(Failure::of_statement),
            Err(elapsed) => {
                drop(Object::take(session));
                Err(Failure { may_have_happened: true, cause: elapsed.into() })
            }
        }
    }

    async fn session(&self) -> Result<Object, Failure> {
        self.pool.get().await.map_err(|error: PoolError| Failure::before(error))
    }
}

impl Failure {
    fn before(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { may_have_happened: false, cause: error.into() }
    }

    /// A statement is undone when the server says what was wrong with it. What it says of itself (shutting down, out of
    /// time) may come after it has committed.
    fn of_statement(error: tokio_postgres::Error) -> Self {
        let refused = error.code().is_some_and(|code| {
            let class = code.code().get(..2).unwrap_or_default();
            matches!(class, "22" | "23" | "25" | "40" | "42" | "53")
                && *code != SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
        });
        Self { may_have_happened: !refused, cause: error.into() }
    }

    /// What to tell a caller at open, where nothing is at stake yet.
    pub(super) fn into_error(self, doing: &'static str) -> Error {
        if let Some(refusal) = tls::refusal(&*self.cause) {
            return Error::invalid(refusal).because(self.cause);
        }
        let code = self.cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
        let code = code.cloned().or_else(|| match self.cause.downcast_ref::<PoolError>() {
            Some(PoolError::Backend(error)) => error.code().cloned(),
            _ => None,
        });
        // Wrong password or user, no such database, no rights.
        let invalid = code.is_some_and(|code| matches!(code.code().get(..2), Some("28" | "3D" | "42")));
        let kind = if invalid { ErrorKind::Invalid } else { ErrorKind::Unavailable };
        Error::new(kind, format!("{doing} in PostgreSQL failed: {}", self.cause)).because(self.cause)
    }
}
