//! A process that checks all shards once: what a fresh client reads there, against the journals and the notes.
//!
//! Writers may go on meanwhile. What was acknowledged before the check began must be there; what is there must have
//! been tried before the check was done.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt;
use timely::progress::Antichain;
use timely_persist::Error;
use tokio::time::Instant;

use crate::journal::{self, Attempt, Outcome};
use crate::notes::{self, Note, Notes};
use crate::place::Stage;
use crate::rows::Digest;
use crate::say;
use crate::truth::Snapshot;

/// How long a store may not answer a process that nobody touches.
const LIMIT: Duration = Duration::from_secs(120);

/// What the checker read.
struct Read {
    upper: u64,
    snapshot: Snapshot,
    /// And at some earlier time.
    earlier: Option<(u64, Digest)>,
}

/// Checks all shards.
pub async fn check(stage: Stage) {
    for shard in 0..stage.part.shards {
        let end = Instant::now() + LIMIT;
        let acknowledged = acknowledged(&stage, shard);
        let read = loop {
            match read(&stage, shard).await {
                Ok(read) => break read,
                Err(error) => say::judge(&error, &format!("checking shard {shard}")),
            }
            if stage.is_over() || say::is_violated() {
                return;
            }
            if Instant::now() > end {
                return say::violation(&format!("shard {shard} cannot be read for {LIMIT:?}"));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        compare(&stage, shard, &acknowledged, read);
    }
    say::count("checks");
}

fn attempts(stage: &Stage) -> Vec<Attempt> {
    journal::read_all(&stage.part.journals()).unwrap_or_else(|error| {
        say::violation(&format!("the journals cannot be read: {error}"));
        Vec::new()
    })
}

/// What writers of this shard have been told so far.
fn acknowledged(stage: &Stage, shard: u32) -> Vec<Attempt> {
    let mut attempts = attempts(stage);
    attempts.retain(|attempt| attempt.shard == shard && attempt.outcome == Outcome::Acknowledged);
    attempts
}

async fn read(stage: &Stage, number: u32) -> Result<Read, Error> {
    let shard = stage.shard(number);
    let upper = shard.inspect().await?.upper.as_option().copied().unwrap_or(u64::MAX);
    let mut snapshot = Snapshot::default();
    let Some(as_of) = upper.checked_sub(1) else {
        return Ok(Read { upper, snapshot, earlier: None });
    };
    let salt = stage.part.salt;
    // From the shard's since on, so that an earlier time can be read too.
    let reader = shard.open_reader("soak check").await?;
    let since = reader.since().as_option().copied().unwrap_or(as_of);
    let mut cursor = reader.snapshot_cursor(Antichain::from_elem(as_of), |_| true).await?;
    while let Some(rows) = cursor.next().await? {
        for ((key, value), _, diff) in rows {
            snapshot.add(salt, &key, value, diff);
        }
    }
    if since > as_of {
        return Ok(Read { upper, snapshot, earlier: None });
    }
    let earlier = since + stage.random().below((as_of - since + 1) as usize) as u64;
    let mut digest = Digest::default();
    let mut stream = std::pin::pin!(reader.snapshot_and_stream(Antichain::from_elem(earlier)).await?);
    while let Some(row) = stream.next().await {
        let ((_, value), _, diff) = row?;
        digest.add(value, diff);
    }
    Ok(Read { upper, snapshot, earlier: Some((earlier + 1, digest)) })
}

/// Says what is wrong, and notes what was read.
fn compare(stage: &Stage, shard: u32, acknowledged: &[Attempt], read: Read) {
    let Read { upper, snapshot, earlier } = read;
    for attempt in acknowledged.iter().filter(|attempt| attempt.time >= upper) {
        say::violation(&format!("shard {shard}: the upper is {upper}, and {attempt:?} was acknowledged"));
    }
    let after = attempts(stage);
    let mut digests: HashMap<u64, Digest> = earlier.into_iter().collect();
    digests.insert(upper, snapshot.digest);
    let (history, wrong) = snapshot.compare(shard, upper, &after, stage.part.salt);
    for wrong in wrong {
        say::violation(&format!("shard {shard} before {upper}: {wrong}"));
    }
    let noted = digests.into_iter().map(|(upto, digest)| Note { shard, from: 0, upto, digest });
    let noted = Notes::open(&stage.part.notes(), "checker")
        .and_then(|mut notes| noted.into_iter().try_for_each(|note| notes.note(&note)));
    match noted.and_then(|()| notes::read_all(&stage.part.notes())) {
        Ok(notes) => {
            let (compared, wrong) = history.compare(shard, upper, &notes);
            for wrong in wrong {
                say::violation(&format!("shard {shard} before {upper}: {wrong}"));
            }
            eprintln!("shard {shard}: {} rows before {upper}, {compared} notes", history.before(upper).rows);
        }
        Err(error) => say::violation(&format!("the notes cannot be kept: {error}")),
    }
}
