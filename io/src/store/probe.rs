//! Whether a store keeps the promises that a log in it stands on: tried out, not believed.
//!
//! Servers that speak the protocol of a bucket differ in what they guarantee; some let two creators win one name. So
//! creates are raced here, and what was written is read, listed and deleted. It takes some dozens of requests, once per
//! store: the verdict is kept in the store.
//!
//! What it does not do: a store that passes may still be unsafe, only less probably so. It does not try how a store
//! behaves under failures.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode};
use prost::Message;

use crate::store::keys;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::Token;

/// Names that are raced for. A server seen to let two creators win did so in four of five races.
pub const ROUNDS: usize = 8;

/// Creators that race for each name.
pub const CONTENDERS: usize = 16;

/// The longest a probe may take: many times what a distant bucket needs.
pub const PROBE_DEADLINE: Duration = Duration::from_secs(60);

/// Rises when the probe tries out more, so that verdicts of earlier ones count no longer.
pub const PROBE_VERSION: u32 = 1;

/// What a store that passed was found to do. Durable.
#[derive(Clone, PartialEq, Eq, Message, serde::Serialize)]
pub struct Verdict {
    /// The [`PROBE_VERSION`] that found it.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The store, as it calls itself: objects copied to another store take no verdict along.
    #[prost(string, tag = "2")]
    pub store: String,
    /// Races that had one winner each.
    #[prost(uint32, tag = "3")]
    pub races: u32,
}

/// Makes sure that `store` is safe to keep shards in: by the verdict it keeps, or else by [`probe`].
///
/// # Errors
/// As [`probe`].
pub async fn qualify(store: &dyn ObjectStore) -> Result<Verdict, Error> {
    match read_whole(store, &keys::verdict(&store.to_string())).await {
        Ok(bytes) => match Verdict::decode(bytes) {
            Ok(verdict) if verdict.version >= PROBE_VERSION && verdict.store == store.to_string() => Ok(verdict),
            _ => probe(store).await,
        },
        Err(object_store::Error::NotFound { .. }) => probe(store).await,
        Err(error) => Err(unavailable("reading the verdict of an earlier probe", error)),
    }
}

/// Tries `store` out, and keeps the verdict there if it passes. It leaves nothing else behind, unless it is cancelled:
/// then some small objects in a folder of their own, that nobody reads.
///
/// # Errors
/// [`ErrorKind::UnsafeStore`] if it breaks a promise, [`ErrorKind::Invalid`] if it lacks the bucket or the rights,
/// [`ErrorKind::Unavailable`] if it fails or does not answer within [`PROBE_DEADLINE`].
pub async fn probe(store: &dyn ObjectStore) -> Result<Verdict, Error> {
    let folder = keys::qualification_attempt(Token::new());
    let tried = tokio::time::timeout(PROBE_DEADLINE, try_out(store, &folder)).await;
    clean_up(store, &folder).await;
    tried.map_err(|_| Error::unavailable(format!("the probe of the store took longer than {PROBE_DEADLINE:?}")))??;
    let verdict = Verdict { version: PROBE_VERSION, store: store.to_string(), races: ROUNDS as u32 };
    let kept = store.put(&keys::verdict(&verdict.store), verdict.encode_to_vec().into()).await;
    kept.map_err(|error| unavailable("keeping the verdict of the probe", error))?;
    Ok(verdict)
}

async fn try_out(store: &dyn ObjectStore, folder: &Path) -> Result<(), Error> {
    let names = names(folder);
    absent(store, &names[0], "an object that was never written").await?;
    let mut written = Vec::new();
    for (round, name) in names.iter().enumerate() {
        written.push(race(store, name, round).await?);
    }
    listed(store, folder, &names).await?;
    ranges(store, &names[0], &written[0]).await?;
    for name in &names {
        store.delete(name).await.map_err(|error| unavailable("deleting an object", error))?;
    }
    absent(store, &names[0], "an object that was deleted").await?;
    listed(store, folder, &[]).await
}

/// The objects that are made, in the order of their names.
fn names(folder: &Path) -> Vec<Path> {
    (0..ROUNDS).map(|round| folder.clone().join(format!("{round:03}"))).collect()
}

/// Races creators for a name; gives what stands there afterwards.
async fn race(store: &dyn ObjectStore, name: &Path, round: usize) -> Result<Bytes, Error> {
    let body = |contender: usize| Bytes::from(format!("round {round:03} contender {contender:03}"));
    let create = |contender| store.put_opts(name, body(contender).into(), PutMode::Create.into());
    let outcomes = join_all((0..CONTENDERS).map(create)).await;
    let winners: Vec<usize> = (0..CONTENDERS).filter(|contender| outcomes[*contender].is_ok()).collect();
    if winners.len() > 1 {
        return Err(unsafe_store(format!("it let {} of {CONTENDERS} creators win one name", winners.len())));
    }
    // A conflict may be answered in other words, but the store must know the word, or it ignored the condition.
    let standing = match read_whole(store, name).await {
        Ok(bytes) => bytes,
        Err(object_store::Error::NotFound { .. }) if !winners.is_empty() => {
            return Err(unsafe_store("an object that was just created is not found"));
        }
        // Nobody won, so somebody was told why. That the name was taken is no reason, where it may be so: by one whose
        // answer was lost below here, and who asked again.
        Err(error) => {
            let is_absent = matches!(error, object_store::Error::NotFound { .. });
            let mut told = outcomes.into_iter().filter_map(Result::err);
            let told = told.find(|told| is_absent || !is_conflict(told)).unwrap_or(error);
            return Err(unavailable("creating an object if absent", told));
        }
    };
    // With no winner, one whose answer was lost may have won; with one, it is that one.
    let expected: Vec<Bytes> =
        if winners.is_empty() { (0..CONTENDERS).map(body).collect() } else { vec![body(winners[0])] };
    if !expected.contains(&standing) {
        return Err(unsafe_store("an object does not have the bytes of the creator that won"));
    }
    match create(CONTENDERS).await {
        Err(object_store::Error::AlreadyExists { .. }) => {}
        Ok(_) => return Err(unsafe_store("it creates an object that exists")),
        Err(error) => return Err(unavailable("creating an object that exists", error)),
    }
    match read_whole(store, name).await {
        Ok(bytes) if bytes == standing => Ok(bytes),
        Ok(_) => Err(unsafe_store("a refused creation changed the object")),
        Err(error) => Err(unavailable("reading an object", error)),
    }
}

/// Whether it says that the name was taken.
fn is_conflict(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

/// Checks that exactly `names` are listed, at once, and from an offset on.
async fn listed(store: &dyn ObjectStore, folder: &Path, names: &[Path]) -> Result<(), Error> {
    let failed = |error| unavailable("listing a folder", error);
    let mut all: Vec<Path> =
        store.list(Some(folder)).map_ok(|object| object.location).try_collect().await.map_err(failed)?;
    all.sort();
    if all != names {
        return Err(unsafe_store(format!("a listing shows {} objects where there are {}", all.len(), names.len())));
    }
    let Some((first, others)) = names.split_first() else { return Ok(()) };
    let listing = store.list_with_offset(Some(folder), first);
    let mut behind: Vec<Path> = listing.map_ok(|object| object.location).try_collect().await.map_err(failed)?;
    behind.sort();
    if behind != others {
        return Err(unsafe_store("a listing from an offset on shows other objects than those behind it"));
    }
    Ok(())
}

/// Checks that parts of an object can be read.
async fn ranges(store: &dyn ObjectStore, name: &Path, whole: &Bytes) -> Result<(), Error> {
    let failed = |error| unavailable("reading a range of an object", error);
    let one = store.get_range(name, 3..9).await.map_err(failed)?;
    let several = store.get_ranges(name, &[0..2, 4..5, 10..16]).await.map_err(failed)?;
    if one != whole[3..9] || several != [whole.slice(0..2), whole.slice(4..5), whole.slice(10..16)] {
        return Err(unsafe_store("a range of an object has other bytes than the object there"));
    }
    Ok(())
}

/// Checks that reading `name` says that there is no such object.
async fn absent(store: &dyn ObjectStore, name: &Path, what: &str) -> Result<(), Error> {
    for read in [store.get(name).await.map(|_| ()), store.head(name).await.map(|_| ())] {
        match read {
            Err(object_store::Error::NotFound { .. }) => {}
            Ok(()) => return Err(unsafe_store(format!("it finds {what}"))),
            Err(error) => return Err(unavailable("reading an object that does not exist", error)),
        }
    }
    Ok(())
}

async fn read_whole(store: &dyn ObjectStore, name: &Path) -> object_store::Result<Bytes> {
    store.get(name).await?.bytes().await
}

/// Deletes whatever stands in the folder. What it cannot delete stays: the verdict is more important.
async fn clean_up(store: &dyn ObjectStore, folder: &Path) {
    let deleted = tokio::time::timeout(PROBE_DEADLINE, async {
        // Not only what is listed: a store that fails may list too little.
        let all = stream::iter(names(folder).into_iter().map(Ok)).boxed();
        store.delete_stream(all).for_each(async |_| ()).await;
    });
    if deleted.await.is_err() {
        tracing::warn!(%folder, "could not remove the objects of a probe");
    }
}

fn unsafe_store(found: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::UnsafeStore, format!("the probe of the store failed: {found}"))
}

/// What the store answered instead of doing it: whose turn it is now.
fn unavailable(doing: &str, error: object_store::Error) -> Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotImplemented { .. } | Store::NotSupported { .. } => ErrorKind::UnsafeStore,
        // The objects themselves are accounted for, so it is the bucket that is missing.
        Store::NotFound { .. } | Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => ErrorKind::Invalid,
        other if refuses(&other.to_string()) => ErrorKind::Invalid,
        _ => ErrorKind::Unavailable,
    };
    let hint = match (&error, &kind) {
        (Store::NotFound { .. }, _) => "; is there such a bucket?",
        (Store::Generic { .. }, ErrorKind::Invalid) => {
            "; are its region and endpoint right, and does allow_http say true if that is meant to be http:?"
        }
        (_, ErrorKind::Invalid) => "; are the credentials right, and allow to read, write, list and delete?",
        _ => "",
    };
    Error::new(kind, format!("the probe of the store failed at {doing}{hint}")).because(error)
}

/// Whether the words of an error, which has no more of them than these, say that the request itself is wrong: a
/// redirect to another region, a status of 4xx that is none of those which asking later may change, or plain HTTP where
/// that is not allowed.
fn refuses(words: &str) -> bool {
    let status = words.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)?.parse::<u16>().ok());
    let refused = status.is_some_and(|status| (300..500).contains(&status) && ![408, 409, 425, 429].contains(&status));
    refused || words.contains("redirect without LOCATION") || words.contains("scheme is not allowed")
}
