//! Staged objects that grow old get other names.
//!
//! What no commit refers to is taken for lost when it is old, by its name, and a commit refuses it from half of that age on
//! (`orphan_age_min`). A batch may be built for longer than that, and its rows are in storage alone by then. So an object is
//! copied to a fresh name in time: by the store where it copies, else through this process.
//!
//! Always: a run refers to objects that are there. The copy is looked at before it takes the place of the old one, which is
//! removed after that; whatever is cancelled or fails in between leaves an object that nobody refers to, and a sweep finds
//! that.

use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::machine::Machine;
use timely_persist_core::part::{PartMeta, PartTail};
use timely_persist_core::state::{Location, Part, Run};
use timely_persist_io::blobs::Copied;
use timely_persist_types::codec::Time;
use timely_persist_types::error::{Error, ErrorKind};

/// Objects of one batch that are copied at once. Where the store does not copy, each passes through memory.
const COPIES_MAX: usize = 4;

/// Whether an object of these runs is old enough. No I/O.
pub(super) fn is_due<T: Time>(machine: &Machine<T>, runs: &[Run<T>]) -> bool {
    runs.iter().flatten().any(|part| machine.renewal_due(part))
}

/// Gives all objects of these runs that are old enough fresh names. What stood there before is removed, unless it `stays`,
/// because a commit that nobody knows the outcome of refers to it.
///
/// `Unavailable` where an object could not be copied, `Invalid` where one is gone: the rest keeps the names that it has, and
/// the same call goes on from there. So does cancelling.
pub(super) async fn renew<T: Time>(machine: &Arc<Machine<T>>, runs: &mut [Run<T>], stays: bool) -> Result<(), Error> {
    let mut copies = stream::iter(due(machine, runs))
        .map(|(place, name, meta)| async move { (place, copy(machine, &name, &meta).await) })
        .buffer_unordered(COPIES_MAX);
    while let Some(((run, part), copied)) = copies.next().await {
        let fresh = Location::Blob(copied?);
        let Some(part) = runs.get_mut(run).and_then(|run| run.get_mut(part)) else { continue };
        let old = std::mem::replace(&mut part.location, fresh);
        if let Location::Blob(old) = old
            && !stays
        {
            machine.blobs().delete_later(machine.shard(), vec![old]);
        }
    }
    Ok(())
}

/// Where the parts stand whose objects are old, with what they are called and what is known of them.
fn due<T: Time>(machine: &Machine<T>, runs: &[Run<T>]) -> Vec<((usize, usize), String, PartMeta<T>)> {
    let places = runs.iter().enumerate().flat_map(|(run, parts)| {
        let place = move |(part, it): (usize, &Part<T>)| ((run, part), it.blob().map(str::to_owned), it.meta.clone());
        parts.iter().enumerate().filter(|(_, part)| machine.renewal_due(part)).map(place)
    });
    places.filter_map(|(place, name, meta)| Some((place, name?, meta))).collect()
}

/// The name of a copy that is there, and is what was staged.
async fn copy<T: Time>(machine: &Machine<T>, name: &str, meta: &PartMeta<T>) -> Result<String, Error> {
    let (blobs, shard) = (machine.blobs(), machine.shard());
    let gone = || {
        let error = Error::invalid("an object of a staged batch is gone: it was staged too long ago, or was deleted");
        error.of_shard(shard).of_object(name.to_owned()).advise("stage its rows again, and renew the batch in time")
    };
    let fresh = machine.part_name();
    match blobs.copy(shard, name, &fresh).await? {
        Copied::Missing => return Err(gone()),
        Copied::Done if is_whole(machine, &fresh, meta).await? => return Ok(fresh),
        Copied::Done => blobs.delete_later(shard, vec![fresh]), // a copy that is not there yet
        Copied::Unsupported => {}
    }
    let bytes = blobs.read(shard, name, 0..meta.encoded_bytes, meta.encoded_bytes).await?.ok_or_else(gone)?;
    let tail = meta.tail_range()?.start as usize;
    PartTail::parse(bytes.slice(tail..), meta).map_err(|error| error.of_shard(shard).of_object(name.to_owned()))?;
    let fresh = machine.part_name();
    blobs.write(shard, &fresh, bytes).await?;
    Ok(fresh)
}

/// Whether the object of this name is as long as the part, and ends as it does: the end has the sums of all its blocks.
async fn is_whole<T: Time>(machine: &Machine<T>, name: &str, meta: &PartMeta<T>) -> Result<bool, Error> {
    let read = machine.blobs().read(machine.shard(), name, meta.tail_range()?, meta.encoded_bytes).await;
    match read {
        Ok(tail) => Ok(tail.is_some_and(|tail| PartTail::parse(tail, meta).is_ok())),
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false), // it is shorter
        Err(error) => Err(error),
    }
}
