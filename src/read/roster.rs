//! The readers of one process on one shard, and their common heartbeat.
//!
//! All of them are renewed in one commit. The heartbeat runs on the client's pulse, a thread of its own, behind no data
//! I/O and no dataflow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use timely::progress::Antichain;
use tokio::time::Instant;

use crate::codec::Time;
use crate::config::PAUSE_MIN;
use crate::error::Error;
use crate::ids::LeasedReaderId;
use crate::machine::{Context, Machine, check_purpose, lock};
use crate::state::CodecNames;
use crate::state::transition::{Registration, Renewal, RenewalReply, register, renew};
use crate::supervisor::supervise;

use super::ledger::Ledger;

/// The readers that this process has open on one shard.
pub(crate) struct Roster<T: Time> {
    machine: Arc<Machine<T>>,
    members: Mutex<Members<T>>,
}

struct Members<T: Time> {
    ledgers: BTreeMap<LeasedReaderId, Weak<Ledger<T>>>,
    beating: bool,
}

impl<T: Time> Roster<T> {
    pub(crate) fn new(machine: Arc<Machine<T>>) -> Arc<Self> {
        let members = Members { ledgers: BTreeMap::new(), beating: false };
        Arc::new(Self { machine, members: Mutex::new(members) })
    }

    pub(crate) fn machine(&self) -> &Arc<Machine<T>> {
        &self.machine
    }

    /// Registers a reader and starts its heartbeat, in one step that no cancellation can split.
    pub(crate) async fn open(
        self: &Arc<Self>,
        codecs: Arc<CodecNames>,
        purpose: String,
        as_of: Option<Antichain<T>>,
    ) -> Result<(Arc<Ledger<T>>, Antichain<T>), Error> {
        check_purpose(self.machine.shard(), &purpose)?;
        let context = Arc::clone(self.machine.context());
        let roster = Arc::clone(self);
        let id = LeasedReaderId::from_u128(context.entropy.bits());
        let lease_ms = u64::try_from(context.config.reader_lease.as_millis()).unwrap_or(u64::MAX);
        let registration = Registration { id, codecs, purpose, lease_ms, as_of };
        let open = async move {
            let asked = Instant::now();
            let applied = roster.machine.apply(move |state, now_ms| register(state, now_ms, &registration)).await?;
            let reader = applied.reply?;
            let since = reader.since.clone();
            let ledger = Ledger::new(Arc::clone(&roster.machine), id, reader, asked);
            roster.enlist(&ledger);
            Ok((ledger, since))
        };
        context.carry(open).await
    }

    fn enlist(self: &Arc<Self>, ledger: &Arc<Ledger<T>>) {
        let mut members = lock(&self.members);
        members.ledgers.insert(ledger.id(), Arc::downgrade(ledger));
        if !members.beating {
            members.beating = true;
            let context = self.machine.context();
            let (roster, beating) = (Arc::downgrade(self), Arc::downgrade(context));
            let begin = move || beat(Weak::clone(&roster), Weak::clone(&beating));
            context.pulse.spawn(supervise(context.post("renewing leases"), begin, |_panic| ()));
        }
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
        members.beating = !present.is_empty();
        present
    }

    /// Tells the shard where these readers stand, in one commit.
    pub(crate) async fn renew(&self, ledgers: &[Arc<Ledger<T>>]) -> Result<(), Error> {
        let asked = Instant::now();
        // What a reader leases from here on is of this state or a newer one: the hold told now covers it too.
        let renewing: Vec<Renewal<T>> = ledgers.iter().filter_map(|ledger| ledger.renewal()).collect();
        if renewing.is_empty() {
            return Ok(());
        }
        let ids: Vec<LeasedReaderId> = renewing.iter().map(|renewal| renewal.id).collect();
        let applied = self.machine.apply(move |state, now_ms| renew(state, now_ms, &renewing)).await?;
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

async fn beat<T: Time>(roster: Weak<Roster<T>>, context: Weak<Context>) {
    let mut hurry = 1;
    loop {
        let Some(context) = context.upgrade() else {
            return;
        };
        let longest = context.config.heartbeat_interval.min(context.config.reader_lease / BEATS_PER_LEASE) / hurry;
        // Jittered, so that the processes of a fleet that restarted together do not beat together.
        let interval = longest.mul_f64(0.5 + 0.5 * context.entropy.fraction()).max(PAUSE_MIN);
        drop(context);
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
                tracing::warn!(shard = %roster.machine.shard(), %error, "renewing leases failed, trying again soon");
                HURRY
            }
        };
    }
}
