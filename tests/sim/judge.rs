//! The judge: sees every effect on the store at the moment it happens, and knows what may not.
//!
//! It replays the shard's log entry by entry, asks each state for its invariants, and holds every deletion against the
//! states that somebody may still read. It never panics, because it runs inside requests of the library: what it finds
//! it writes down, and the run ends.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, PutResult, Result};
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{SeqNo, ShardId, Time, WriterId};
use timely_persist_core::state::{Change, Entry, State};
use timely_persist_io::store::keys;
use timely_persist_testing::{StoreAnswer, StoreHook, StoreRequest};
use tokio::sync::Notify;

use crate::schemas::Schemas;

/// What a store does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// It acknowledges parts that it does not keep, now and then.
    Forget,
    /// It lets whoever creates an entry that is there replace it.
    Overwrite,
}

impl Lie {
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Forget, Self::Overwrite].into_iter().find(|lie| lie.to_string() == text)
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forget => "forget",
            Self::Overwrite => "overwrite",
        })
    }
}

/// An append that stands in the log.
#[derive(Clone, Debug)]
pub struct Appended<T> {
    pub writer: WriterId,
    pub lower: Antichain<T>,
    pub upper: Antichain<T>,
}

/// What the judge knows of one shard.
#[derive(Debug)]
pub struct Judge<T: Time> {
    shard: ShardId,
    known: Mutex<Known<T>>,
    found: Notify,
}

#[derive(Debug)]
struct Known<T: Time> {
    /// The states from the oldest that somebody holds to the newest.
    states: VecDeque<State<T>>,
    /// The shard's objects, log apart.
    objects: BTreeSet<String>,
    deleted: BTreeSet<String>,
    boundary: SeqNo,
    appended: Vec<Appended<T>>,
    schemas: Schemas<T>,
    violations: Vec<String>,
}

impl<T: Time> Judge<T> {
    pub fn new(shard: ShardId, schemas: Schemas<T>) -> Arc<Self> {
        let known = Known {
            states: VecDeque::from([State::new(shard)]),
            objects: BTreeSet::new(),
            deleted: BTreeSet::new(),
            boundary: SeqNo::ZERO,
            appended: Vec::new(),
            schemas,
            violations: Vec::new(),
        };
        Arc::new(Self { shard, known: Mutex::new(known), found: Notify::new() })
    }

    fn known(&self) -> MutexGuard<'_, Known<T>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it found, if anything.
    pub fn violation(&self) -> Option<String> {
        self.known().violations.first().cloned()
    }

    /// Resolves when it has found something.
    pub async fn found(&self) -> String {
        loop {
            if let Some(violation) = self.violation() {
                return violation;
            }
            self.found.notified().await;
        }
    }

    /// The newest state.
    pub fn state(&self) -> State<T> {
        self.known().newest().clone()
    }

    /// Where the shard ends.
    pub fn upper(&self) -> Antichain<T> {
        self.known().newest().upper()
    }

    /// The appends in the log, in order.
    pub fn appended(&self) -> Vec<Appended<T>> {
        self.known().appended.clone()
    }

    /// The objects that no state knows.
    pub fn lost(&self) -> Vec<String> {
        let known = self.known();
        let used: BTreeSet<&str> = known.newest().blobs().collect();
        known.objects.iter().filter(|name| !used.contains(name.as_str())).cloned().collect()
    }

    fn judge(&self, verdict: impl FnOnce(&mut Known<T>) -> Result<(), String>) {
        let mut known = self.known();
        if let Err(violation) = verdict(&mut known) {
            known.violations.push(violation);
            self.found.notify_one();
        }
    }

    /// An entry was created.
    pub fn entry(&self, seqno: SeqNo, data: &Bytes) {
        self.judge(|known| known.entry(seqno, data).map_err(|violation| format!("entry {seqno}: {violation}")));
    }

    /// The log below this may go.
    pub fn truncated(&self, below: SeqNo) {
        self.judge(|known| {
            let covered = known.newest().rollup.as_ref().map_or(SeqNo::ZERO, |rollup| rollup.seqno);
            known.boundary = known.boundary.max(below);
            if below <= covered.next() {
                return Ok(());
            }
            Err(format!("the log is truncated below {below}, the newest rollup covers it up to {covered}"))
        });
    }

    fn entry_deleted(&self, seqno: SeqNo) {
        self.judge(|known| match seqno < known.boundary {
            true => Ok(()),
            false => Err(format!("entry {seqno} is deleted, the boundary is {}", known.boundary)),
        });
    }

    fn object_put(&self, name: &str, data: &PutPayload) {
        self.judge(|known| {
            known.schemas.object(name, data);
            known.objects.insert(name.to_owned());
            Ok(())
        });
    }

    fn object_deleted(&self, name: &str) {
        self.judge(|known| {
            known.objects.remove(name);
            known.deleted.insert(name.to_owned());
            known.in_use(name).map_or(Ok(()), |user| Err(format!("{name} was deleted, and is in use by {user}")))
        });
    }
}

impl<T: Time> Known<T> {
    fn newest(&self) -> &State<T> {
        &self.states[self.states.len() - 1]
    }

    fn entry(&mut self, seqno: SeqNo, data: &Bytes) -> Result<(), String> {
        let before = self.newest().clone();
        if seqno <= before.seqno {
            // A writer that stalled while its position was truncated: nobody reads that, and nobody is told of success.
            return if seqno < self.boundary { Ok(()) } else { Err("the position was taken before".to_owned()) };
        }
        let entry: Entry<T> = Entry::decode(data).map_err(|error| error.to_string())?;
        self.check_sweep(&before, &entry)?;
        let mut state = before.clone();
        state.apply(seqno, &entry).map_err(str::to_owned)?;
        state.check()?;
        if !PartialOrder::less_equal(&before.since, &state.since) {
            return Err(format!("the since goes from {:?} to {:?}", before.since, state.since));
        }
        if !PartialOrder::less_equal(&before.upper(), &state.upper()) {
            return Err(format!("the upper goes from {:?} to {:?}", before.upper(), state.upper()));
        }
        let rollup = state.rollup.iter().map(|rollup| rollup.name.as_str());
        let mut used = state.batches.iter().flat_map(|batch| batch.blobs()).chain(rollup);
        if let Some(missing) = used.find(|name| !self.objects.contains(*name)) {
            return Err(format!("{missing} is in use from here on, and is not there"));
        }
        drop(used);
        self.schemas.entry(seqno, &before, &entry)?;
        self.note_appends(&before, &entry);
        self.states.push_back(state);
        let hold = self.newest().hold();
        while self.states.len() > 1 && self.states[1].seqno <= hold {
            self.states.pop_front();
        }
        Ok(())
    }

    /// What is recorded as deleted was deleted before.
    fn check_sweep(&self, before: &State<T>, entry: &Entry<T>) -> Result<(), String> {
        for change in &entry.changes {
            let Change::GarbageDeleted { seqno, count } = change else { continue };
            let names = before.garbage.get(seqno).into_iter().flat_map(|names| names.iter());
            let mut recorded = names.take(usize::try_from(*count).unwrap_or(usize::MAX));
            if let Some(name) = recorded.find(|name| !self.deleted.contains(*name)) {
                return Err(format!("{name} is recorded as deleted, and is there"));
            }
        }
        Ok(())
    }

    fn note_appends(&mut self, before: &State<T>, entry: &Entry<T>) {
        let mut upper = before.upper();
        let mut pending = None;
        for change in &entry.changes {
            match change {
                Change::BatchAdded(batch) => pending = Some(batch.desc.upper.clone()),
                Change::EmptyExtended(new) => pending = Some(new.clone()),
                Change::WriterSet(writer, _) => {
                    let Some(new) = pending.take() else { continue };
                    let lower = std::mem::replace(&mut upper, new.clone());
                    self.appended.push(Appended { writer: *writer, lower, upper: new });
                }
                _ => {}
            }
        }
    }

    /// Who may still read the object.
    fn in_use(&self, name: &str) -> Option<String> {
        let refers = |state: &State<T>| state.batches.iter().flat_map(|batch| batch.blobs()).any(|used| used == name);
        let newest = self.newest();
        if refers(newest) || newest.rollup.as_ref().is_some_and(|rollup| rollup.name == name) {
            return Some(format!("the state at {}", newest.seqno));
        }
        let first = self.states[0].seqno;
        newest.readers.iter().find_map(|(id, reader)| {
            let held = self.states.get(reader.hold.0.checked_sub(first.0)? as usize)?;
            refers(held).then(|| format!("reader {id} ({}), which holds {}", reader.purpose, reader.hold))
        })
    }
}

/// Tells the judge what happens in a store.
#[derive(Clone, Debug)]
pub struct Judging<T: Time> {
    pub judge: Arc<Judge<T>>,
    pub lie: Option<Lie>,
}

impl<T: Time> Judging<T> {
    fn position(&self, folder: &Path, at: &Path) -> Option<SeqNo> {
        at.prefix_matches(folder).then(|| keys::parse_seqno(at.filename()?)).flatten()
    }

    fn saw_put(&self, at: &Path, data: &PutPayload) {
        let shard = self.judge.shard;
        if let Some(seqno) = self.position(&keys::log_folder(shard), at) {
            self.judge.entry(seqno, &data.clone().into());
        } else if let Some(below) = self.position(&keys::boundary_folder(shard), at) {
            self.judge.truncated(below);
        } else if let Some(name) = at.filename().filter(|_| at.prefix_matches(&keys::blob_folder(shard))) {
            self.judge.object_put(name, data);
        }
    }

    fn saw_delete(&self, at: &Path) {
        let shard = self.judge.shard;
        if let Some(seqno) = self.position(&keys::log_folder(shard), at) {
            self.judge.entry_deleted(seqno);
        } else if let Some(name) = at.filename().filter(|_| at.prefix_matches(&keys::blob_folder(shard))) {
            self.judge.object_deleted(name);
        }
    }
}

/// Of the parts that a forgetful store is given, it forgets one in so many.
const FORGETS_ONE_IN: usize = 8;

#[async_trait]
impl<T: Time> StoreHook for Judging<T> {
    fn name(&self) -> &'static str {
        "JudgedStore"
    }

    async fn ask(&self, store: &Arc<dyn ObjectStore>, request: StoreRequest) -> Result<StoreAnswer> {
        match request {
            StoreRequest::Put(at, data, options) => self.put(store, at, data, options).await.map(StoreAnswer::Put),
            StoreRequest::Delete(locations) => {
                let (this, store) = (self.clone(), Arc::clone(store));
                let deleted = locations.and_then(move |at| {
                    let (this, store) = (this.clone(), Arc::clone(&store));
                    async move {
                        store.delete(&at).await?;
                        this.saw_delete(&at);
                        Ok(at)
                    }
                });
                Ok(StoreAnswer::Deleted(deleted.boxed()))
            }
            request => request.send(store).await,
        }
    }
}

impl<T: Time> Judging<T> {
    async fn put(
        &self,
        store: &dyn ObjectStore,
        at: Path,
        data: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        if self.lie == Some(Lie::Overwrite) && at.prefix_matches(&keys::log_folder(self.judge.shard)) {
            options.mode = PutMode::Overwrite;
        }
        let is_part = at.filename().is_some_and(|name| name.starts_with("part"));
        let unlucky = at.as_ref().bytes().map(usize::from).sum::<usize>().is_multiple_of(FORGETS_ONE_IN);
        if self.lie == Some(Lie::Forget) && is_part && unlucky {
            return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        let result = store.put_opts(&at, data.clone(), options).await?;
        self.saw_put(&at, &data);
        Ok(result)
    }
}
