//! The leader's task: opens the reader, follows the shard and tells the handout operator what it hears.
//!
//! It lives on the client's runtime and ends with its mailbox. Whatever it holds, it holds by value: cancelled at any
//! point, the reader is removed as soon as the last of its leased parts has come home.

use std::future::Future;
use std::pin::Pin;

use timely::progress::Antichain;
use timely_persist::state::glb;
use timely_persist::{
    Data, Diff, ErrorKind, Health, LeasedPart, Listen, ListenEvent, PartStats, ReadHandle, Shard, Time,
};

use crate::error::{SourceError, SourceErrorKind};
use crate::mailbox::{Closed, Sender};
use crate::settings::{Pauses, Settings};

/// What the leader's operator hears.
#[derive(Debug)]
pub(crate) enum Heard<T: Time> {
    /// The reader is there: the collection begins at this `as_of`.
    Opened(Antichain<T>),
    /// Parts, and where the collection stands behind them; a frontier that is empty ends it.
    Step {
        /// The parts.
        parts: Vec<Offered<T>>,
        /// `None` if it stands where it stood.
        progress: Option<Antichain<T>>,
    },
    /// Something to pass on.
    Notice(SourceError),
    /// The end, before the collection's.
    Failed(SourceError),
}

/// A part to hand out. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Offered<T: Time> {
    pub(crate) part: LeasedPart<T>,
    /// Whether the filter discarded it.
    pub(crate) audit: bool,
}

/// Which parts are wanted, by their statistics.
pub(crate) type Filter = Box<dyn Fn(&PartStats) -> bool + Send>;

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
    tokio::select! {
        biased;
        () = mailbox.closed() => {}
        ended = run(&shard, &settings, leading, &mailbox) => {
            if let Err(End::Failed(error)) = ended {
                let _ = mailbox.send(Heard::Failed(error.of_shard(settings.shard))).await;
            }
        }
    }
}

/// Why following ended early.
enum End {
    Failed(SourceError),
    Closed,
}

impl From<Closed> for End {
    fn from(_: Closed) -> Self {
        End::Closed
    }
}

impl From<timely_persist::Error> for End {
    fn from(error: timely_persist::Error) -> Self {
        End::Failed(SourceError::of(&error))
    }
}

async fn run<K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    leading: Leading,
    mailbox: &Sender<Heard<T>>,
) -> Result<(), End> {
    let reader = open(shard, settings, mailbox).await?;
    let as_of = settings.as_of.clone().unwrap_or_else(|| reader.since().clone());
    mailbox.send(Heard::Opened(as_of.clone())).await?;
    if let Some(start) = leading.start {
        start.await;
    }
    let listen = match settings.snapshot {
        true => reader.subscribe(as_of).await?,
        false => reader.listen(as_of).await?,
    };
    follow(listen.until(settings.until.clone()), settings, leading.filter, mailbox).await
}

/// Opens the reader; tries again for as long as the log does not answer.
async fn open<K: Data, V: Data, T: Time, D: Diff>(
    shard: &Shard<K, V, T, D>,
    settings: &Settings<T>,
    mailbox: &Sender<Heard<T>>,
) -> Result<ReadHandle<K, V, T, D>, End> {
    let mut pauses = Pauses::of(settings);
    let mut stalled = false;
    loop {
        let opened = match &settings.as_of {
            Some(as_of) => shard.open_reader_at(&settings.name, as_of.clone()).await,
            None => shard.open_reader(&settings.name).await,
        };
        match opened {
            Ok(reader) => {
                if stalled {
                    mailbox.send(Heard::Notice(recovered(settings))).await?;
                }
                return Ok(reader);
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                if !std::mem::replace(&mut stalled, true) {
                    let notice = SourceError::of(&error).of_kind(SourceErrorKind::Stalled).of_shard(settings.shard);
                    mailbox.send(Heard::Notice(notice)).await?;
                }
                pauses.pause().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn follow<K: Data, V: Data, T: Time, D: Diff>(
    mut listen: Listen<K, V, T, D>,
    settings: &Settings<T>,
    filter: Option<Filter>,
    mailbox: &Sender<Heard<T>>,
) -> Result<(), End> {
    let mut health = listen.health();
    let mut well = true;
    let mut discarded = 0;
    loop {
        let events = tokio::select! {
            events = listen.next() => events?,
            reason = change(&mut health, well) => {
                well = reason.is_none();
                let notice = match reason {
                    Some(reason) => SourceError::new(SourceErrorKind::Stalled, reason, settings.shard),
                    None => recovered(settings),
                };
                mailbox.send(Heard::Notice(notice)).await?;
                continue;
            }
        };
        let ended = events.is_empty();
        let (mut parts, mut progress) = (Vec::new(), ended.then(Antichain::new));
        for event in events {
            match event {
                ListenEvent::Updates(leased) => {
                    let wanted = leased.into_iter().filter_map(|part| {
                        let keep = match (&filter, part.stats()) {
                            (Some(filter), Some(stats)) => filter(&stats),
                            _ => true, // when in doubt, keep it
                        };
                        discarded += u64::from(!keep);
                        let audit = !keep && settings.audit_one_in > 0 && discarded % settings.audit_one_in == 0;
                        (keep || audit).then_some(Offered { part, audit })
                    });
                    parts.extend(wanted);
                }
                ListenEvent::Progress(frontier) => progress = Some(shown(&frontier, &settings.until)),
            }
        }
        let ended = ended || progress.as_ref().is_some_and(|frontier| frontier.is_empty());
        if ended && !well {
            mailbox.send(Heard::Notice(recovered(settings))).await?; // nobody looks at the health any more
        }
        if !parts.is_empty() || progress.is_some() {
            mailbox.send(Heard::Step { parts, progress }).await?;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Waits until following does not work any more (why), or works again (`None`).
async fn change(health: &mut tokio::sync::watch::Receiver<Health>, well: bool) -> Option<String> {
    let changed = health.wait_for(|health| (*health == Health::Well) != well).await;
    let seen = changed.map(|health| health.clone());
    match seen {
        Ok(Health::Stalled(reason)) => Some(reason),
        Ok(Health::Well) => None,
        // Nobody follows the log any more; the listener says why.
        Err(_) => std::future::pending().await,
    }
}

fn recovered<T: Time>(settings: &Settings<T>) -> SourceError {
    SourceError::new(SourceErrorKind::Recovered, "the log answers again", settings.shard)
}

/// The frontier without what lies beyond `until`, where nothing comes: so none is shown between `until` and the end.
pub(crate) fn shown<T: Time>(frontier: &Antichain<T>, until: &Antichain<T>) -> Antichain<T> {
    frontier.elements().iter().filter(|time| !until.less_equal(time)).cloned().collect()
}

/// The one time at which a collection from `as_of` on may begin, if it begins at all: advancing a time by an `as_of` of
/// several elements may move it to before each of them, but not to before their greatest lower bound.
pub(crate) fn beginning<T: Time>(as_of: &Antichain<T>) -> Antichain<T> {
    glb(as_of).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    #[test]
    fn frontiers_between_until_and_the_end_are_not_shown() {
        let until = Antichain::from_elem(5u64);
        assert_eq!(shown(&Antichain::from_elem(4), &until), Antichain::from_elem(4));
        for beyond in [5, 6, 9] {
            assert!(shown(&Antichain::from_elem(beyond), &until).is_empty());
        }
        assert!(!shown(&Antichain::from_elem(9u64), &Antichain::new()).is_empty(), "no until");
        let until = Antichain::from_elem(Product::new(5u32, 5u32));
        let frontier = Antichain::from(vec![Product::new(0, 9), Product::new(6, 6)]);
        assert_eq!(shown(&frontier, &until), Antichain::from_elem(Product::new(0, 9)));
    }

    #[test]
    fn a_collection_begins_at_the_meet_of_its_as_of() {
        let as_of = Antichain::from(vec![Product::new(0u32, 5u32), Product::new(5, 1)]);
        assert_eq!(beginning(&as_of), Antichain::from_elem(Product::new(0, 1)));
        assert!(beginning(&Antichain::<u64>::new()).is_empty());
    }
}
