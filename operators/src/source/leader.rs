//! The leader's task: opens the reader, takes the first step, hands the listener over to the hand-out operator, and tells
//! it from then on whether the log answers.
//!
//! It lives on the client's runtime and ends with its mailbox. Whatever it holds, it holds by value: cancelled at any
//! point, the reader is removed as soon as the last of its leased parts has come home.

use std::future::{Future, poll_fn};
use std::pin::Pin;

use timely_persist::{Data, Diff, Error, ErrorKind, Health, ReadHandle, Shard, Time};
use tokio::sync::watch;

use crate::common::end::{End, until_closed};
use crate::common::error::SourceError;
use crate::common::foreign::finish;
use crate::common::frontier::shown;
use crate::common::mailbox::{Closed, Sender};
use crate::source::closures::START_AFTER;
use crate::source::handout::Event;
use crate::source::settings::Settings;
use crate::source::steps::{Filter, ListenSteps, Steps};

/// What waits at once for the leader's operator to hear it. More would only wait there.
pub(crate) const LETTERS_MAX: usize = 4;

/// What the leader's operator hears.
#[derive(Debug)]
pub(crate) enum Heard<T: Time> {
    /// Something that happened.
    Event(Event<T>),
    /// Where the steps behind the first come from.
    Steps(Box<dyn Steps<T>>),
}

/// What to wait for before the shard is read.
pub(crate) type Start = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What only the leader's task needs.
pub(crate) struct Leading {
    pub(crate) filter: Option<Filter>,
    pub(crate) start: Option<Start>,
}

/// Follows the shard until its end, an error, or until nobody listens any more.
pub(crate) async fn lead<K: Data, V: Data, T: Time, D: Diff>(
    shard: Shard<K, V, T, D>,
    settings: Settings<T>,
    leading: Leading,
    mailbox: Sender<Heard<T>>,
) {
    let failed = |error| Heard::Event(Event::Failed(error));
    until_closed(settings.shard, &mailbox, run(&shard, &settings, leading, &mailbox), failed).await;
}

async fn run<K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    leading: Leading,
    mailbox: &Sender<Heard<T>>,
) -> Result<(), End> {
    let reader = open(shard, settings, mailbox).await?;
    let as_of = settings.as_of.clone().unwrap_or_else(|| reader.since().clone());
    mailbox.send(Heard::Event(Event::Opened(as_of.clone()))).await?;
    if let Some(start) = leading.start {
        finish(START_AFTER, start).await.map_err(|panic| End::Failed(panic.of_shard(settings.shard)))?;
    }
    let audit = reader.filter_audit();
    let listen = match settings.snapshot {
        true => reader.subscribe(as_of).await?,
        false => reader.listen(as_of).await?,
    };
    let health = listen.health();
    follow(ListenSteps::new(listen, settings.clone(), leading.filter, audit), health, settings, mailbox).await
}

/// Opens the reader; tries again for as long as the log does not answer.
async fn open<K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    mailbox: &Sender<Heard<T>>,
) -> Result<ReadHandle<K, V, T, D>, End> {
    let mut stalled = false;
    loop {
        let opened = match &settings.as_of {
            Some(as_of) => shard.open_reader_at(&settings.name, as_of.clone()).await,
            None => shard.open_reader(&settings.name).await,
        };
        match opened {
            Ok(reader) => {
                if stalled {
                    notify(SourceError::recovered("log", settings.shard), mailbox).await?;
                }
                return Ok(reader);
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut stalled, true) {
                    notify(SourceError::Stalled(error.of_shard(settings.shard)), mailbox).await?;
                }
                tokio::time::sleep(settings.pause).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the first step, which may be long, and leaves the others to the operator.
async fn follow<T: Time>(
    mut steps: impl Steps<T> + 'static,
    mut health: watch::Receiver<Health>,
    settings: &Settings<T>,
    mailbox: &Sender<Heard<T>>,
) -> Result<(), End> {
    let mut well = true;
    let first = loop {
        tokio::select! {
            step = poll_fn(|task| steps.poll_step(task)) => break step.map_err(End::Failed)?,
            reason = change(&mut health, well) => tell(reason, &mut well, settings, mailbox).await?,
        }
    };
    let end = first.progress.as_ref().map(|frontier| shown(frontier, &settings.until));
    mailbox.send(Heard::Event(Event::Step(first))).await?;
    if end.is_some_and(|end| end.is_empty()) {
        return Ok(()); // a listener that lived on would follow the log for nobody
    }
    mailbox.send(Heard::Steps(Box::new(steps))).await?;
    loop {
        let reason = change(&mut health, well).await;
        tell(reason, &mut well, settings, mailbox).await?;
    }
}

async fn tell<T: Time>(
    reason: Option<Error>,
    well: &mut bool,
    settings: &Settings<T>,
    mailbox: &Sender<Heard<T>>,
) -> Result<(), Closed> {
    *well = reason.is_none();
    let notice = match reason {
        Some(reason) => SourceError::Stalled(reason.of_shard(settings.shard)),
        None => SourceError::recovered("log", settings.shard),
    };
    notify(notice, mailbox).await
}

async fn notify<T: Time>(notice: SourceError, mailbox: &Sender<Heard<T>>) -> Result<(), Closed> {
    mailbox.send(Heard::Event(Event::Notice(notice))).await
}

/// Waits until following does not work any more (why), or works again (`None`).
async fn change(health: &mut watch::Receiver<Health>, well: bool) -> Option<Error> {
    let changed = health.wait_for(|health| (*health == Health::Well) != well).await;
    let seen = changed.map(|health| health.clone());
    match seen {
        Ok(Health::Stalled(reason)) => Some(reason),
        Ok(Health::Well) => None,
        // Nobody follows the log any more; the listener says why.
        Err(_) => std::future::pending().await,
    }
}
