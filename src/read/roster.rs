//! The readers of one process on one shard, and their common heartbeat.
//!
//! All of them are renewed in one commit. The heartbeat runs on the client's pulse, a thread of its own, behind no data
//! I/O and no dataflow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use timely::progress::Antichain;
use tokio::time::Instant;

use crate::machine::{Machine, check_purpose};
use timely_persist_core::state::Types;
use timely_persist_core::state::command::{Register, Renew, Renewal, RenewalReply};
use timely_persist_io::life::{On, Supervised, lock};
use timely_persist_types::clock::millis;
use timely_persist_types::codec::Time;
use timely_persist_types::config::{LeaseConfig, PAUSE_MIN, ReadConfig};
use timely_persist_types::error::Error;
use timely_persist_types::ids::LeasedReaderId;
use timely_persist_types::record::{BackgroundWork, ReaderOpened, Renewed, Stalled};

use super::ledger::Ledger;

/// The readers that this process has open on one shard.
pub(crate) struct Roster<T: Time> {
    machine: Arc<Machine<T>>,
    read: ReadConfig,
    lease: LeaseConfig,
    members: Mutex<Members<T>>,
}

struct Members<T: Time> {
    ledgers: BTreeMap<LeasedReaderId, Weak<Ledger<T>>>,
    /// Renews them, while there are any.
    heartbeat: Option<Supervised>,
}

impl<T: Time> Roster<T> {
    pub(crate) fn new(machine: Arc<Machine<T>>, read: ReadConfig, lease: LeaseConfig) -> Arc<Self> {
        let members = Members { ledgers: BTreeMap::new(), heartbeat: None };
        Arc::new(Self { machine, read, lease, members: Mutex::new(members) })
    }

    pub(crate) fn machine(&self) -> &Arc<Machine<T>> {
        &self.machine
    }

    /// What each of the readers may take.
    pub(super) fn read(&self) -> &ReadConfig {
        &self.read
    }

    /// How long they are believed to live.
    pub(super) fn lease(&self) -> &LeaseConfig {
        &self.lease
    }

    /// Registers a reader and starts its heartbeat, in one step that no cancellation can split.
    pub(crate) async fn open(
        self: &Arc<Self>,
        types: Arc<Types>,
        purpose: String,
        as_of: Option<Antichain<T>>,
    ) -> Result<(Arc<Ledger<T>>, Antichain<T>), Error> {
        check_purpose(self.machine.shard(), &purpose)?;
        let roster = Arc::clone(self);
        let id = LeasedReaderId::from_u128(self.machine.fresh_bits());
        let lease_ms = millis(self.lease.duration);
        let register = Register { id, types, purpose, lease_ms, as_of };
        let open = async move {
            let asked = Instant::now();
            let applied = roster.machine.apply(register).await?;
            let reader = applied.reply?;
            let since = reader.since.clone();
            let ledger = Ledger::new(Arc::clone(&roster.machine), id, reader, asked, roster.lease.margin);
            roster.enlist(&ledger);
            roster.machine.life().tell(|to| to.reader_opened(roster.machine.shard(), &ReaderOpened { reader: id }));
            Ok((ledger, since))
        };
        self.machine.life().carry(open).await
    }

    fn enlist(self: &Arc<Self>, ledger: &Arc<Ledger<T>>) {
        let mut members = lock(&self.members);
        members.ledgers.insert(ledger.id(), Arc::downgrade(ledger));
        members.heartbeat.get_or_insert_with(|| {
            let roster = Arc::downgrade(self);
            let begin = move || beat(Weak::clone(&roster));
            self.machine.life().supervise(On::Pulse, "renewing leases", begin, |_panic| ())
        });
    }

    /// The readers that are open. Where there are none, the heartbeat is over.
    fn present(&self) -> Vec<Arc<Ledger<T>>> {
        let mut members = lock(&self.members);
        let mut present = Vec::with_capacity(members.ledgers.len());
        members.ledgers.retain(|_, ledger| match ledger.upgrade() {
            Some(ledger) => {
                present.push(ledger);
                true
            }
            None => false,
        });
        if present.is_empty() {
            members.heartbeat = None;
        }
        present
    }

    /// Tells the shard where these readers stand, in one commit.
    pub(crate) async fn renew(&self, ledgers: &[Arc<Ledger<T>>]) -> Result<(), Error> {
        let (life, shard, begun) = (self.machine.life(), self.machine.shard(), self.machine.life().stopwatch());
        let asked = Instant::now();
        // What a reader leases from here on is of this state or a newer one: the hold told now covers it too.
        let renewing: Vec<Renewal<T>> = ledgers.iter().filter_map(|ledger| ledger.renewal()).collect();
        if renewing.is_empty() {
            return Ok(());
        }
        let ids: Vec<LeasedReaderId> = renewing.iter().map(|renewal| renewal.id).collect();
        let applied = self.machine.apply(Renew(renewing)).await?;
        let lost = applied.reply.iter().filter(|reply| **reply == RenewalReply::Lost).count() as u64;
        let readers = applied.reply.len() as u64 - lost;
        life.tell(|to| to.renewed(shard, &Renewed { readers, lost, elapsed: begun.elapsed() }));
        for (id, reply) in ids.into_iter().zip(applied.reply) {
            let Some(ledger) = ledgers.iter().find(|ledger| ledger.id() == id) else {
                continue;
            };
            match reply {
                RenewalReply::Renewed => ledger.renewed(asked),
                RenewalReply::Lost => ledger.lost(),
            }
        }
        Ok(())
    }
}

/// A lease is tried to be renewed at least so often before it runs out.
const BEATS_PER_LEASE: u32 = 4;

/// After a beat that failed the next one comes so much sooner.
const HURRY: u32 = 8;

async fn beat<T: Time>(roster: Weak<Roster<T>>) {
    let mut hurry = 1;
    loop {
        let Some(interval) = roster.upgrade().map(|roster| {
            let lease = &roster.lease;
            let longest = lease.heartbeat_interval.min(lease.duration / BEATS_PER_LEASE) / hurry;
            // Jittered, so that the processes of a fleet that restarted together do not beat together.
            roster.machine.life().jittered(longest, 0.5).max(PAUSE_MIN)
        }) else {
            return;
        };
        tokio::time::sleep(interval).await;
        let Some(roster) = roster.upgrade() else {
            return;
        };
        let ledgers = roster.present();
        if ledgers.is_empty() {
            return;
        }
        hurry = match roster.renew(&ledgers).await {
            Ok(()) => 1,
            Err(error) => {
                let (life, shard) = (roster.machine.life(), roster.machine.shard());
                tracing::warn!(%shard, %error, "renewing leases failed, trying again soon");
                life.tell(|to| to.stalled(shard, &Stalled { work: BackgroundWork::Renewing }));
                HURRY
            }
        };
    }
}
