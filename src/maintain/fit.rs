//! How much of a plan one merge takes on, so that it stays within `config.upkeep.compaction_bytes_max`.
//!
//! A merge needs a block of each of its runs in memory, and a block is 1 MiB, or one row that is larger. So of many
//! runs, or of wide rows, only the first few are merged at once, and the next merge goes on from there: with memory for
//! `m` runs, a byte is written `log_m(F)` times when a tier's `F` batches become one, rather than once.
//!
//! Two runs are always merged, whatever they take. Rows are taken for as large as the average of their part.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::fetch::BlockBytes;
use timely_persist_core::state::{Batch, Description, Run};
use timely_persist_types::codec::Time;

/// What one merge does to adjacent batches.
#[derive(Debug)]
pub(super) struct Fitting<T: Time> {
    /// Where they begin among those it was chosen from.
    pub(super) start: usize,
    /// The batches that it replaces.
    pub(super) inputs: Vec<Arc<Batch<T>>>,
    /// The runs that it merges, with what their batches speak for.
    pub(super) merged: Vec<(Description<T>, Run<T>)>,
    /// The runs that stay as they are: of a single batch that has too many.
    pub(super) kept: Vec<Run<T>>,
    /// The times up to which it may merge.
    pub(super) since: Antichain<T>,
}

/// The first batches of `inputs`, or some runs of one of them: what takes so many bytes to merge.
pub(super) fn fit<T: Time>(inputs: &[Arc<Batch<T>>], since: &Antichain<T>, bytes_max: usize) -> Fitting<T> {
    let fitting = runs_fitting(inputs.iter().flat_map(|batch| &batch.runs), bytes_max);
    let mut runs = 0;
    let whole = inputs.iter().take_while(|batch| {
        runs += batch.runs.len();
        runs <= fitting
    });
    let whole = whole.count();
    let several = inputs.iter().take(whole).filter(|batch| !batch.is_empty()).count() >= 2;
    let crowded = inputs.iter().position(|batch| batch.runs.len() >= 2);
    match crowded.filter(|_| whole < inputs.len() && !several) {
        Some(start) => fit_batch(&inputs[start], since, bytes_max, start),
        None => all_of(&inputs[..whole], since),
    }
}

fn all_of<T: Time>(inputs: &[Arc<Batch<T>>], since: &Antichain<T>) -> Fitting<T> {
    let runs =
        |batch: &Arc<Batch<T>>| batch.runs.iter().map(|run| (batch.desc.clone(), run.clone())).collect::<Vec<_>>();
    Fitting {
        start: 0,
        inputs: inputs.to_vec(),
        merged: inputs.iter().flat_map(runs).collect(),
        kept: Vec::new(),
        since: since.clone(),
    }
}

fn fit_batch<T: Time>(batch: &Arc<Batch<T>>, since: &Antichain<T>, bytes_max: usize, start: usize) -> Fitting<T> {
    let fitting = runs_fitting(batch.runs.iter(), bytes_max);
    let mut fit = Fitting { start, ..all_of(std::slice::from_ref(batch), since) };
    if fitting < batch.runs.len() {
        fit.merged.truncate(fitting);
        fit.kept = batch.runs[fitting..].to_vec();
        // The description speaks for the kept runs too: their rows outside it must not come to lie at a newer since.
        fit.since = batch.desc.since.clone();
    }
    fit
}

/// How many of the runs can be merged within so many bytes; two at least.
fn runs_fitting<'a, T: Time>(runs: impl Iterator<Item = &'a Run<T>>, bytes_max: usize) -> usize {
    let (mut sum, mut widest) = (0u64, 0);
    let fitting = runs.take_while(|run| {
        let bytes = BlockBytes::of(*run).decoded;
        widest = bytes.max(widest);
        sum = sum.saturating_add(bytes);
        sum.saturating_add(BLOCKS_BESIDE * widest) <= bytes_max as u64
    });
    fitting.count().max(2)
}

/// Besides one of each run, the block that is read next and the one whose last row is at hand.
const BLOCKS_BESIDE: u64 = 2;
