//! Faults to inject into a store or a log: for tests of what is built upon them.
//!
//! Scripted rules say exactly which operation goes wrong and how; beside them every operation may go wrong at random,
//! from an [`Entropy`] that a test seeds. Nothing here waits for real time unless a rule says so: a [`Gate`] holds an
//! operation until the test lets it go.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use timely_persist_io::life::lock;
use timely_persist_types::clock::Entropy;

/// What is asked of a store or of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// An object put with any mode but create, or a multipart upload begun.
    Put,
    /// An object put if absent.
    Create,
    /// An object, its metadata or some ranges of it read.
    Get,
    /// An object deleted.
    Delete,
    /// A listing of any kind.
    List,
    /// An object copied or renamed.
    Copy,
    /// A log's head read.
    LogHead,
    /// A log scanned.
    LogScan,
    /// A log's compare-and-set.
    LogCompareAndSet,
    /// A log truncated.
    LogTruncate,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It has no effect, and fails. Nobody is told that it had none.
    FailBefore,
    /// It has its effect, and fails.
    FailAfter,
    /// It has no effect, and is told that the object exists. For all but [`Operation::Create`] the same as
    /// [`Fault::FailBefore`].
    ClaimExists,
    /// It begins only after this time.
    Delay(Duration),
    /// It begins only when the gate opens, also if its caller has given up by then.
    HoldBefore(Gate),
    /// It has its effect, and returns only when the gate opens.
    HoldAfter(Gate),
}

/// Which operations a fault befalls.
#[derive(Clone, Debug)]
pub struct Rule {
    operation: Operation,
    fault: Fault,
    name_part: String,
    skip: u64,
    times: u64,
}

impl Rule {
    /// The next operation of this kind, once.
    pub fn next(operation: Operation, fault: Fault) -> Self {
        Self { operation, fault, name_part: String::new(), skip: 0, times: 1 }
    }

    /// Every operation of this kind.
    pub fn every(operation: Operation, fault: Fault) -> Self {
        Self { times: u64::MAX, ..Self::next(operation, fault) }
    }

    /// The same, only where the name contains `part`: an object's location, or a log's shard id.
    pub fn named(self, part: impl Into<String>) -> Self {
        Self { name_part: part.into(), ..self }
    }

    /// The same, letting the first `skip` of them pass.
    pub fn after(self, skip: u64) -> Self {
        Self { skip, ..self }
    }

    /// The same, at most `times` times.
    pub fn times(self, times: u64) -> Self {
        Self { times, ..self }
    }
}

/// How probable it is that an operation goes wrong, in `0.0..=1.0`; their sum is at most 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct FaultRates {
    /// [`Fault::FailBefore`].
    pub fail_before: f64,
    /// [`Fault::FailAfter`].
    pub fail_after: f64,
    /// [`Fault::Delay`], of a random time up to `delay_max`.
    pub delay: f64,
    /// The longest random delay.
    pub delay_max: Duration,
}

/// The faults of one store or log. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
    random: Option<(FaultRates, Arc<dyn Entropy>)>,
}

impl Faults {
    /// None but those of the rules that are added.
    pub fn scripted() -> Self {
        Self::default()
    }

    /// Random ones, where no rule applies.
    pub fn random(rates: FaultRates, entropy: Arc<dyn Entropy>) -> Self {
        Self { rules: Arc::default(), random: Some((rates, entropy)) }
    }

    /// Adds a rule. The first that applies to an operation decides, in the order they were added.
    pub fn add(&self, rule: Rule) {
        lock(&self.rules).push(rule);
    }

    /// Removes all rules. What they hold stays held.
    pub fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// What befalls this operation.
    pub(crate) fn befall(&self, operation: Operation, name: &str) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        for rule in rules.iter_mut() {
            if rule.operation != operation || !name.contains(&rule.name_part) || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            return Some(rule.fault.clone());
        }
        drop(rules);
        let (rates, entropy) = self.random.as_ref()?;
        let drawn = entropy.fraction();
        if drawn < rates.fail_before {
            Some(Fault::FailBefore)
        } else if drawn < rates.fail_before + rates.fail_after {
            Some(Fault::FailAfter)
        } else if drawn < rates.fail_before + rates.fail_after + rates.delay {
            Some(Fault::Delay(rates.delay_max.mul_f64(entropy.fraction())))
        } else {
            None
        }
    }
}

impl Fault {
    /// `effect`, as this fault lets it happen; `failure` is what the caller is told of one that fails.
    pub(crate) async fn befall<R: Send + 'static, E: Send + 'static>(
        self,
        effect: impl Future<Output = Result<R, E>> + Send + 'static,
        failure: impl Fn(&str) -> E + Send,
    ) -> Result<R, E> {
        match self {
            Self::FailBefore | Self::ClaimExists => Err(failure("before its effect")),
            Self::FailAfter => {
                effect.await?;
                Err(failure("after its effect"))
            }
            Self::Delay(time) => {
                tokio::time::sleep(time).await;
                effect.await
            }
            Self::HoldBefore(gate) => {
                // A task of its own: what was sent is not called back by whoever sent it.
                let held = tokio::spawn(async move {
                    gate.pass().await;
                    effect.await
                });
                held.await.unwrap_or_else(|gone| Err(failure(&format!("of a held operation: {gone}"))))
            }
            Self::HoldAfter(gate) => {
                let result = effect.await;
                gate.pass().await;
                result
            }
        }
    }
}

/// Holds operations until it is opened. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct GateState {
    arrived: usize,
    open: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Self::closed()
    }
}

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self { state: Arc::new(watch::Sender::new(GateState::default())) }
    }

    /// Opens it, for ever.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Resolves when `count` operations have come to the gate, gone on or not.
    pub async fn arrived(&self, count: usize) {
        self.wait(|state| state.arrived >= count).await;
    }

    /// Comes to the gate and goes on when it opens.
    pub async fn pass(&self) {
        self.state.send_modify(|state| state.arrived += 1);
        self.wait(|state| state.open).await;
    }

    async fn wait(&self, until: impl FnMut(&GateState) -> bool) {
        // It fails only when the sender is gone, and this is one.
        let _ = self.state.subscribe().wait_for(until).await;
    }
}
