//! Announcements of commits between processes, by `NOTIFY` and `LISTEN`.
//!
//! A commit does not announce itself: a transaction with a `NOTIFY` takes one lock of the whole server until it is on
//! disk, which would put all commits of all shards in one row. So they are collected, and announced by a task in
//! transactions that write nothing. A connection listens while somebody watches. Either may fail: a wake-up may be
//! lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::sessions::Sessions;
use super::statements;
use crate::life::{Post, Supervised, lock};
use crate::store::signals::Signals;
use timely_persist_types::ids::{SeqNo, ShardId};

/// Shards whose commits wait to be announced. More are left to be found by looking.
const ANNOUNCEMENTS_MAX: usize = 4096;

/// The wait before listening again after the connection broke; it doubles up to the second.
const LISTEN_BACKOFF_MIN: Duration = Duration::from_millis(100);
const LISTEN_BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Announces the commits of this process. Its task ends with it.
#[derive(Debug)]
pub(super) struct Announcer {
    pending: Arc<Pending>,
    _task: Supervised,
}

/// How these tasks are watched over.
fn post(name: &'static str) -> Post {
    Post { name, pause_min: LISTEN_BACKOFF_MIN, pause_max: LISTEN_BACKOFF_MAX }
}

#[derive(Debug, Default)]
struct Pending {
    newest: Mutex<HashMap<ShardId, SeqNo>>,
    added: Notify,
}

impl Announcer {
    pub(super) fn start(sessions: Arc<Sessions>) -> Self {
        let pending = Arc::<Pending>::default();
        let announced = Arc::clone(&pending);
        let begin = move || announce(Arc::clone(&announced), Arc::clone(&sessions));
        let task = Supervised::start(&Handle::current(), post("announcing commits"), begin, |_panic| ());
        Self { pending, _task: task }
    }

    /// Leaves a note that `seqno` was committed.
    pub(super) fn committed(&self, shard: ShardId, seqno: SeqNo) {
        let mut newest = lock(&self.pending.newest);
        if newest.len() < ANNOUNCEMENTS_MAX || newest.contains_key(&shard) {
            let known = newest.entry(shard).or_default();
            *known = seqno.max(*known);
        }
        self.pending.added.notify_one();
    }
}

async fn announce(pending: Arc<Pending>, sessions: Arc<Sessions>) {
    loop {
        pending.added.notified().await;
        let newest = std::mem::take(&mut *lock(&pending.newest));
        let news: Vec<String> = newest.iter().map(|(shard, seqno)| format!("{shard} {}", seqno.0)).collect();
        if !news.is_empty()
            && let Err(failure) = sessions.query(statements::ANNOUNCE, &[&news]).await
        {
            tracing::debug!(error = %failure.cause, "could not announce commits to other processes");
        }
    }
}

fn parse(news: &str) -> Option<(ShardId, SeqNo)> {
    let (shard, seqno) = news.split_once(' ')?;
    Some((shard.parse().ok()?, SeqNo(seqno.parse().ok()?)))
}

/// How it is reached.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// How long it may take until a connection listens.
    pub(super) limit: Duration,
}

/// Listens while somebody watches.
pub(super) struct Listener {
    server: Server,
    runtime: Handle,
    signals: Arc<Signals>,
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    watches: usize,
    task: Option<Supervised>,
}

impl Listener {
    /// Its tasks run on the current runtime.
    pub(super) fn new(server: Server, signals: Arc<Signals>) -> Self {
        Self { server, runtime: Handle::current(), signals, running: Mutex::default() }
    }

    /// Counts a watch, and begins to listen with the first.
    pub(super) fn watch(&self) {
        let mut running = lock(&self.running);
        running.watches += 1;
        if running.task.is_none() {
            let (server, signals) = (self.server.clone(), Arc::clone(&self.signals));
            let begin = move || listen(server.clone(), Arc::clone(&signals));
            running.task = Some(Supervised::start(&self.runtime, post("listening for commits"), begin, |_panic| ()));
        }
    }

    /// Takes back one [`Listener::watch`].
    pub(super) fn unwatch(&self) {
        let mut running = lock(&self.running);
        running.watches = running.watches.saturating_sub(1);
        if running.watches == 0 {
            running.task = None; // which stops it
        }
    }
}

/// Listens until it is stopped, again and again.
async fn listen(server: Server, signals: Arc<Signals>) {
    let mut wait = LISTEN_BACKOFF_MIN;
    loop {
        match tokio::time::timeout(server.limit, begin(&server, &signals)).await {
            Ok(Ok((_client, mut connection))) => {
                // Whatever was committed before is not announced to this connection.
                signals.wake_all();
                let mut messages = stream::poll_fn(|context| connection.poll_message(context));
                while let Some(Ok(message)) = messages.next().await {
                    hear(&signals, message);
                }
                wait = LISTEN_BACKOFF_MIN; // it worked for a while
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot listen for commits of other processes"),
            Err(_elapsed) => tracing::warn!("cannot listen for commits of other processes: the server does not answer"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LISTEN_BACKOFF_MAX);
    }
}

type Listening = (Client, Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>);

/// A connection that listens, and the client that keeps it open.
async fn begin(server: &Server, signals: &Signals) -> Result<Listening, tokio_postgres::Error> {
    let (client, mut connection) = server.config.connect(server.tls.clone()).await?;
    // The connection makes progress only while its messages are polled.
    let mut messages = stream::poll_fn(|context| connection.poll_message(context));
    let mut ready = Box::pin(client.batch_execute(statements::LISTEN));
    loop {
        tokio::select! {
            ready = &mut ready => break ready?,
            message = messages.next() => match message {
                Some(Ok(message)) => hear(signals, message),
                Some(Err(error)) => return Err(error),
                None => break ready.as_mut().await?, // it fails
            },
        }
    }
    drop((ready, messages));
    Ok((client, connection))
}

fn hear(signals: &Signals, message: AsyncMessage) {
    let AsyncMessage::Notification(notification) = message else { return };
    if notification.channel() != statements::CHANNEL {
        return;
    }
    match parse(notification.payload()) {
        Some((shard, seqno)) => signals.wake(shard, seqno),
        None => signals.wake_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read_as_they_were_written() {
        let shard = ShardId::from_u128(9);
        assert_eq!(parse(&format!("{shard} 12")), Some((shard, SeqNo(12))));
        for news in ["", "12", "s 12", &format!("{shard}"), &format!("{shard} -1"), &format!("{shard} 1 2")] {
            assert_eq!(parse(news), None, "{news:?}");
        }
    }
}
