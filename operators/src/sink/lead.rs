//! Leading, as one worker does it: a value that is told what happened and says what to do. It does nothing itself, and
//! knows no dataflow, no task and no clock of its own.
//!
//! Always:
//! * L1 At most one ask is out, an append under way counts; its lower is the shard's upper as it was known then.
//! * L2 An ask does not go beyond the frontier of the input, and not beyond `until`. It ends strictly beyond `as_of`: what an
//!   empty first commit up to `as_of` left would be taken for complete by the next start, and the contents lost.
//! * L3 Nothing is appended before every worker has answered.
//! * L4 `progress` is never beyond the shard's upper.
//! * L5 After an error nothing is asked for, and `progress` stands. The empty frontier of an input says that nothing more
//!   comes, not that all is there: what is not complete is not committed, unless the caller has said so.

use std::time::Duration;

use differential_dataflow::lattice::antichain_join;
use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{EncodedFrontier, Error, ShardId, Time};

use crate::common::agreement::{Agreement, Asked};
use crate::sink::error::SinkError;
use crate::sink::message::{Answer, Ask, Order};
use crate::sink::standby::Standby;

/// What a sink's leader goes by.
#[derive(Clone, Debug)]
pub(crate) struct Terms<T> {
    pub(crate) shard: ShardId,
    /// The rows are right at times strictly beyond this.
    pub(crate) as_of: Antichain<T>,
    /// Where the sink ends.
    pub(crate) until: Antichain<T>,
    /// Between the beginnings of two commits at least this long passes,
    pub(crate) commit_interval: Duration,
    /// unless so many bytes wait on this worker.
    pub(crate) commit_bytes: u64,
    /// Whether the end of the input says that all is there.
    pub(crate) close_at_end: bool,
    /// Whether nothing is committed before [`Event::Enabled`].
    pub(crate) waits: bool,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Event<T> {
    /// A worker says what it was asked for.
    Asked(Asked),
    /// A worker has answered.
    Answer(Answer),
    /// The shard ends here: as it was found, or as it is now by whomever.
    Upper(Antichain<T>),
    /// The input's frontier is this, and so many bytes wait on this worker; or only time went by.
    Frontier(Antichain<T>, u64),
    /// Commits are allowed from now on.
    Enabled,
    /// What was to be appended: what became of it.
    Appended(Outcome<T>),
    /// Something to pass on.
    Notice(SinkError),
    /// The end, before the collection's.
    Failed(SinkError),
    /// This worker's button was pressed.
    Pressed,
    /// Those of all workers were.
    Stopped,
}

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    /// The rows are in the shard.
    Committed,
    /// Another copy had written all of it; `same`: the same rows, as far as is known.
    Covered { same: bool },
    /// The shard ends here, before the rows begin.
    Gap(Antichain<T>),
    /// Another copy had written times of which some are beyond the rows and others are not: these can go with the next, when
    /// that reaches beyond both.
    Apart { upper: Antichain<T>, batches: Vec<Vec<u8>> },
}

/// What to do, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<T> {
    /// Tell all workers, this one too.
    Tell(Order<T>),
    /// Append these batches over `[lower, upper)` in one commit.
    Append { lower: Antichain<T>, upper: Antichain<T>, batches: Vec<Vec<u8>> },
    /// Show that the shard ends here.
    Progress(Antichain<T>),
    /// Say this, under what is shown.
    Report(SinkError),
    /// Wake after this long, if nothing happens before.
    Wake(Duration),
}

/// A sink, as its leader sees it.
#[derive(Debug)]
pub(crate) struct Lead<T> {
    terms: Terms<T>,
    workers: usize,
    /// What the workers say that they were asked for; `None` when they agree.
    agreement: Option<Agreement>,
    enabled: bool,
    /// Where the shard ends; `None` until it was looked for.
    upper: Option<Antichain<T>>,
    /// The last frontier of the input that was not empty.
    frontier: Antichain<T>,
    /// Whether the input has ended.
    ended: bool,
    /// Bytes that wait on this worker.
    bytes: u64,
    out: Option<Out<T>>,
    /// Batches of an earlier interval, which are to go with the next.
    apart: Vec<Vec<u8>>,
    seq: u64,
    /// When the last ask went out.
    asked_at: Option<Duration>,
    standby: Standby,
    rests: bool,
    over: bool,
}

/// What is out.
#[derive(Debug)]
struct Out<T> {
    lower: Antichain<T>,
    upper: Antichain<T>,
    /// Whether it is the last, as the input has ended,
    last: bool,
    /// and nothing is left to be appended.
    counts: bool,
    answered: Vec<bool>,
    batches: Vec<Vec<u8>>,
    /// Whether these are all rows of the interval and no others, so that they can be compared with another copy's.
    exact: bool,
    rows_later: u64,
    appending: bool,
}

type Actions<T> = Vec<Action<T>>;

impl<T: Time> Lead<T> {
    /// Nothing out, and nothing known but what the sink was asked for.
    pub(crate) fn new(terms: Terms<T>, workers: usize) -> Self {
        Self {
            enabled: !terms.waits,
            terms,
            workers,
            agreement: (workers > 1).then(|| Agreement::among(workers)),
            upper: None,
            frontier: Antichain::from_elem(T::minimum()),
            ended: false,
            bytes: 0,
            out: None,
            apart: Vec::new(),
            seq: 0,
            asked_at: None,
            standby: Standby::default(),
            rests: false,
            over: false,
        }
    }

    /// Whether all is done.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Something happened; `now` is measured from whenever.
    pub(crate) fn handle(&mut self, event: Event<T>, now: Duration, actions: &mut Actions<T>) {
        match event {
            _ if self.over => {}
            Event::Stopped => self.end(actions),
            Event::Pressed => self.rest(actions),
            _ if self.rests => {} // too late
            Event::Asked(asked) => self.hear(asked, actions),
            Event::Answer(answer) => self.answer(answer, actions),
            Event::Upper(upper) => self.rise(upper, now, actions),
            Event::Frontier(frontier, bytes) => self.advance(frontier, bytes),
            Event::Enabled => self.enabled = true,
            Event::Appended(outcome) => self.appended(outcome, now, actions),
            Event::Notice(notice) => actions.push(Action::Report(notice)),
            Event::Failed(error) => self.fail(error, actions),
        }
        if !self.rests && !self.over {
            self.ask(now, actions);
        }
    }

    /// A worker says what it was asked for.
    fn hear(&mut self, asked: Asked, actions: &mut Actions<T>) {
        match self.agreement.as_mut().and_then(|agreement| agreement.hear(asked)) {
            Some(Ok(())) => self.agreement = None,
            Some(Err(message)) => {
                let message = format!(
                    "the workers build this sink with different settings: {message}; nothing was written; give the same on \
                     all workers"
                );
                self.fail(SinkError::Failed(Error::invalid(message)), actions);
            }
            None => {}
        }
    }

    /// The input is complete up to here.
    fn advance(&mut self, frontier: Antichain<T>, bytes: u64) {
        self.bytes = bytes;
        self.ended = frontier.is_empty();
        if !self.ended {
            self.frontier = frontier;
        }
    }

    /// The shard ends here.
    fn rise(&mut self, upper: Antichain<T>, now: Duration, actions: &mut Actions<T>) {
        match &self.upper {
            None => {
                let begins = Antichain::from_elem(T::minimum());
                if upper != begins && !PartialOrder::less_than(&self.terms.as_of, &upper) {
                    return self.gap(&self.terms.as_of.clone(), &upper, actions);
                }
            }
            Some(known) if !PartialOrder::less_than(known, &upper) => return, // known, or an older word
            Some(_) => self.standby.moved(now),
        }
        // Not while an answer is to come: it is to have all rows of its interval, should the shard be set back meanwhile, and to
        // be compared with what another copy wrote.
        if self.out.is_none() {
            actions.push(Action::Tell(Order::Floor(upper.clone())));
        }
        self.show(upper, actions);
    }

    fn show(&mut self, upper: Antichain<T>, actions: &mut Actions<T>) {
        actions.push(Action::Progress(upper.clone()));
        self.upper = Some(upper);
    }

    /// Asks for the next interval, if there is one and it is time.
    fn ask(&mut self, now: Duration, actions: &mut Actions<T>) {
        let Some(lower) = self.upper.clone() else { return };
        if self.out.is_some() || self.agreement.is_some() {
            return;
        }
        if PartialOrder::less_equal(&self.terms.until, &lower) {
            return self.end(actions);
        }
        let target = self.target();
        let due = PartialOrder::less_than(&lower, &target) && PartialOrder::less_than(&self.terms.as_of, &target);
        let upper = match (due && self.enabled, self.ended) {
            (true, _) => target,
            (false, true) if self.enabled => lower.clone(), // only to learn what is left
            _ => return self.standby.nothing_due(),
        };
        if let Some(wait) = self.wait(now, !due) {
            return actions.push(Action::Wake(wait));
        }
        self.seq += 1;
        self.asked_at = Some(now);
        let ask = Ask { seq: self.seq, lower: lower.clone(), upper: upper.clone() };
        actions.push(Action::Tell(Order::Ask(ask)));
        self.out = Some(Out {
            lower,
            upper,
            last: self.ended,
            counts: !due,
            answered: vec![false; self.workers],
            exact: self.apart.is_empty(),
            batches: std::mem::take(&mut self.apart),
            rows_later: 0,
            appending: false,
        });
    }

    /// How far all is there.
    fn target(&self) -> Antichain<T> {
        let (frontier, until) = (&self.frontier, &self.terms.until);
        match self.ended && self.terms.close_at_end {
            true => until.clone(),
            false => frontier.elements().iter().chain(until.elements()).cloned().collect(),
        }
    }

    /// How long to wait before the next ask; `None` if it is time.
    fn wait(&mut self, now: Duration, only_counts: bool) -> Option<Duration> {
        if only_counts {
            return None;
        }
        if let Some(wait) = self.standby.wait(now) {
            return Some(wait);
        }
        let next = self.asked_at?.saturating_add(self.terms.commit_interval);
        let early = next.checked_sub(now).filter(|early| !early.is_zero());
        early.filter(|_| !self.ended && self.bytes < self.terms.commit_bytes)
    }

    /// A worker has answered.
    fn answer(&mut self, answer: Answer, actions: &mut Actions<T>) {
        let Some(out) = self.out.as_mut().filter(|_| answer.seq == self.seq) else { return };
        let Some(answered) = out.answered.get_mut(answer.worker) else { return };
        if std::mem::replace(answered, true) {
            tracing::error!(worker = answer.worker, "a worker of a sink has answered twice");
            return;
        }
        out.batches.extend(answer.batches);
        out.rows_later = out.rows_later.saturating_add(answer.rows_later);
        if !out.answered.iter().all(|answered| *answered) {
            return;
        }
        if out.counts {
            let rows = out.rows_later;
            self.out = None;
            return self.finish(rows, actions);
        }
        out.appending = true;
        let batches = std::mem::take(&mut out.batches);
        actions.push(Action::Append { lower: out.lower.clone(), upper: out.upper.clone(), batches });
    }

    /// What was out was appended, or was there.
    fn appended(&mut self, outcome: Outcome<T>, now: Duration, actions: &mut Actions<T>) {
        let Some(Out { lower, upper, last, exact, rows_later, .. }) = self.out.take() else { return };
        match outcome {
            Outcome::Committed => self.standby.committed(),
            Outcome::Covered { same } => {
                self.standby.covered();
                if exact && !same {
                    let [lower, upper] = [&lower, &upper].map(EncodedFrontier::new);
                    actions.push(Action::Report(SinkError::Diverged { shard: self.terms.shard, lower, upper }));
                }
            }
            Outcome::Gap(current) => return self.gap(&lower, &current, actions),
            Outcome::Apart { upper, batches } => {
                self.apart = batches;
                return self.rise(upper, now, actions);
            }
        }
        // The shard is beyond both what was asked for and what was heard of meanwhile. Of times that are only partially ordered
        // neither need be beyond the other; and the workers have no rows any more that are before either.
        let known = self.upper.clone().unwrap_or_else(|| lower.clone());
        let reached = antichain_join(known.elements(), upper.elements());
        if known != lower {
            // Others wrote meanwhile, and the workers may not have heard of it.
            actions.push(Action::Tell(Order::Floor(reached.clone())));
        }
        if reached != known {
            self.standby.moved(now);
            self.show(reached, actions);
        }
        if last {
            self.finish(rows_later, actions);
        }
    }

    /// The input has ended, and what could be committed was.
    fn finish(&mut self, rows_left: u64, actions: &mut Actions<T>) {
        if rows_left == 0 {
            return self.end(actions);
        }
        self.fail(SinkError::Uncommitted { shard: self.terms.shard, rows: rows_left }, actions);
    }

    fn gap(&mut self, lower: &Antichain<T>, upper: &Antichain<T>, actions: &mut Actions<T>) {
        let [lower, upper] = [lower, upper].map(EncodedFrontier::new);
        self.fail(SinkError::Gap { shard: self.terms.shard, lower, upper }, actions);
    }

    fn fail(&mut self, error: SinkError, actions: &mut Actions<T>) {
        actions.push(Action::Report(error));
        self.rest(actions);
    }

    /// Commits nothing more, and stands where it is.
    fn rest(&mut self, actions: &mut Actions<T>) {
        if !std::mem::replace(&mut self.rests, true) {
            self.out = None;
            actions.push(Action::Tell(Order::Rest));
        }
    }

    /// All is done, or all have stopped.
    fn end(&mut self, actions: &mut Actions<T>) {
        self.out = None;
        self.over = true;
        actions.push(Action::Progress(Antichain::new()));
        actions.push(Action::Tell(Order::End));
    }
}
