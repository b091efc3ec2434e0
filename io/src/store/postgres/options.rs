//! The limits of a log in PostgreSQL.

use std::time::Duration;

use timely_persist_types::error::Error;

/// The limits of a [`PostgresLog`](super::PostgresLog).
#[derive(Clone, Copy, Debug)]
pub struct PostgresOptions {
    /// Connections at the same time, the one that listens not counted. Default 8: commits of a process to one shard
    /// come one at a time, and the server's own limit (100 by default) is shared by all processes.
    pub connections_max: usize,
    /// How long connecting may take. Default 5 s.
    pub connect_timeout: Duration,
    /// How long a statement may take, and how long it may wait for a connection. Default 10 s: a commit that is slower
    /// is better given up and settled.
    pub statement_timeout: Duration,
}

/// The longest timeout: PostgreSQL counts them in milliseconds, with 31 bits.
pub const POSTGRES_TIMEOUT_MAX: Duration = Duration::from_millis(i32::MAX as u64);

/// The most connections that a server takes.
pub const POSTGRES_CONNECTIONS_MAX: usize = 262_143;

impl PostgresOptions {
    /// Says which option cannot be, and what it may be.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { connections_max, connect_timeout, statement_timeout } = *self;
        if !(1..=POSTGRES_CONNECTIONS_MAX).contains(&connections_max) {
            let message =
                format!("connections_max is {connections_max}; it must be from 1 to {POSTGRES_CONNECTIONS_MAX}");
            return Err(Error::invalid(message));
        }
        for (name, timeout) in [("connect_timeout", connect_timeout), ("statement_timeout", statement_timeout)] {
            let least = Duration::from_millis(1);
            if !(least..=POSTGRES_TIMEOUT_MAX).contains(&timeout) {
                let message = format!("{name} is {timeout:?}; it must be from {least:?} to {POSTGRES_TIMEOUT_MAX:?}");
                return Err(Error::invalid(message));
            }
        }
        Ok(())
    }
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { connections_max: 8, connect_timeout: Duration::from_secs(5), statement_timeout: Duration::from_secs(10) }
    }
}
