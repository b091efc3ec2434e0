//! Compaction: adjacent batches become one, sorted, with old times merged into the since.
//!
//! The merge streams: some blocks per input run and two parts of output in memory, one of them being stored. Times at
//! or below the greatest lower bound of the since are moved to it and nothing else is touched, so no update ever
//! crosses a listener's position (see `read::listen`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use timely::progress::Antichain;

use crate::fetch::{MergeRuns, RunReader, Seen};
use crate::machine::Machine;
use timely_persist_core::part::{EncodeOptions, EncodedPart, MergeStep, SortedPartWriter};
use timely_persist_core::state::command::Replace;
use timely_persist_core::state::{
    Batch, Description, Location, Part, Run, Standing, State, Sums, Types, glb, next_merge, shorten_stats,
};
use timely_persist_io::life::{Task, guarded_async};
use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::config::piece_bytes;
use timely_persist_types::error::Error;
use timely_persist_types::ids::SchemaId;
use timely_persist_types::record::{MergeOutcome, Merged};

use super::Policy;
use super::fit::{Fitting, fit};

/// The merges that one plan comes to: where not all of its runs fit into memory, one group after the other, and then
/// groups of what they came to.
pub(super) struct Compaction<T: Time> {
    inputs: Vec<Arc<Batch<T>>>,
    since: Antichain<T>,
    to_objects: bool,
    /// What its output looks like.
    schema: SchemaId,
    /// Where the next group begins.
    from: usize,
    is_finished: bool,
}

impl<T: Time> Compaction<T> {
    /// What the policy names in this state; nothing if its rows are of other types.
    pub(super) fn of<K: Data, V: Data, D: Diff>(state: &State<T>, policy: &Policy) -> Self {
        // What a program has that was not built for the latest types must not go into their place.
        let ours = || Standing::of(&Types::of::<K, V, T, D>(), state) == Ok(Standing::Latest);
        let plan = next_merge(state, &policy.upkeep).filter(|_| ours());
        let is_finished = plan.is_none();
        let (inputs, to_objects) = plan.map(|plan| (plan.inputs, plan.to_objects)).unwrap_or_default();
        let schema = state.latest_schema();
        Self { inputs, since: state.since.clone(), to_objects, schema, from: 0, is_finished }
    }

    /// Merges the next group; `None` behind the last. Cancelled, or after an error, it has left objects that a sweep finds.
    pub(super) async fn next<K: Data, V: Data, D: Diff>(
        &mut self,
        machine: &Arc<Machine<T>>,
        policy: &Policy,
    ) -> Result<Option<Merged>, Error> {
        if self.is_finished {
            return Ok(None);
        }
        let fitting = fit(&self.inputs[self.from..], &self.since, policy.upkeep.compaction_bytes_max);
        let replaced = self.from + fitting.start..self.from + fitting.start + fitting.inputs.len();
        let (merged, output) =
            merge_fitting::<K, V, T, D>(machine, policy, fitting, self.to_objects, self.schema).await?;
        let Some(output) = output else {
            self.is_finished = true;
            return Ok(Some(merged));
        };
        self.from = if output.runs.len() > 1 { replaced.start } else { replaced.start + 1 };
        self.inputs.splice(replaced, [output]);
        let runs = |batches: &[Arc<Batch<T>>]| batches.iter().map(|batch| batch.runs.len()).sum::<usize>();
        self.is_finished = runs(&self.inputs) < 2;
        if runs(&self.inputs[self.from..]) < 2 {
            self.from = 0;
        }
        Ok(Some(merged))
    }
}

/// Merges what fits and offers it to the shard: what that came to, and what stands in the place of the inputs, if it does.
async fn merge_fitting<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    fitting: Fitting<T>,
    to_objects: bool,
    schema: SchemaId,
) -> Result<(Merged, Option<Arc<Batch<T>>>), Error> {
    let begun = machine.life().stopwatch();
    let (batches_in, runs_in) = (fitting.inputs.len() as u64, fitting.merged.len() as u64);
    let sums_in = Sums::of(fitting.merged.iter().flat_map(|(_, run)| run));
    let mut run = Vec::new();
    let done = merge_runs::<K, V, T, D>(machine, policy, &fitting, sums_in.bytes, to_objects, &mut run).await;
    run.iter_mut().for_each(|part| part.meta.schema = schema);
    let merged = |outcome, sums_out: Sums| Merged {
        outcome,
        batches_in,
        runs_in,
        parts_in: sums_in.parts,
        rows_in: sums_in.rows,
        bytes_in: sums_in.bytes,
        parts_out: sums_out.parts,
        rows_out: sums_out.rows,
        bytes_out: sums_out.bytes,
        elapsed: begun.elapsed(),
    };
    let Fitting { inputs, kept, since, .. } = fitting;
    if let Err(error) = done {
        remove(machine, &run).await?;
        // Nobody holds the inputs for us. If another process has merged them, they are gone, and so is the work.
        machine.refresh().await?;
        let overtaken = || (merged(MergeOutcome::Overtaken, Sums::default()), None);
        return if stand(&machine.state(), &inputs) { Err(error) } else { Ok(overtaken()) };
    }
    let [Some(first), Some(last)] = [inputs.first(), inputs.last()] else {
        return Ok((merged(MergeOutcome::Refused, Sums::default()), None));
    };
    let desc = Description { lower: first.desc.lower.clone(), upper: last.desc.upper.clone(), since };
    let written = run.clone();
    let mut runs: Vec<_> = Some(run).filter(|run| !run.is_empty()).into_iter().chain(kept).collect();
    shorten_stats(&mut runs, policy.write.entry_stats_bytes_max);
    let output = Arc::new(Batch { desc, runs, digest: None });
    let applied = machine.apply(Replace { inputs, output: Arc::clone(&output), schema }).await?;
    if !applied.reply && !applied.doubtful {
        remove(machine, &written).await?;
    }
    let outcome = if applied.reply { MergeOutcome::Replaced } else { MergeOutcome::Refused };
    Ok((merged(outcome, Sums::of(&written)), Some(output).filter(|_| applied.reply)))
}

/// Removes the objects of parts that were never offered, or were refused.
async fn remove<T: Time>(machine: &Arc<Machine<T>>, parts: &[Part<T>]) -> Result<(), Error> {
    let names = parts.iter().filter_map(Part::blob).map(str::to_owned).collect();
    machine.blobs().delete_all(machine.shard(), names).await
}

fn stand<T: Time>(state: &State<T>, inputs: &[Arc<Batch<T>>]) -> bool {
    let needed = inputs.iter().flat_map(|batch| batch.blobs()).collect::<BTreeSet<_>>();
    let known = state.batches.iter().flat_map(|batch| batch.blobs()).collect::<BTreeSet<_>>();
    needed.is_subset(&known)
}

/// Merges runs of so many bytes into the parts of one. On an error, `output` has the parts that were stored.
async fn merge_runs<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    fitting: &Fitting<T>,
    input_bytes: u64,
    to_objects: bool,
    output: &mut Run<T>,
) -> Result<(), Error> {
    let Policy { upkeep, write, .. } = policy;
    let (types, state) = (Types::of::<K, V, T, D>(), machine.state());
    let seen = |part: &Part<T>| Ok((Arc::new(part.clone()), types.lens_of(&state, part.meta.schema)?));
    let reader = |run: &Run<T>| {
        let parts: Vec<Seen<T>> = run.iter().map(seen).collect::<Result<_, Error>>()?;
        Ok(RunReader::new(Arc::clone(machine.blobs()), machine.shard(), parts))
    };
    let readers = fitting.merged.iter().map(|(_, run)| reader(run)).collect::<Result<_, Error>>()?;
    let descs: Vec<_> = fitting.merged.iter().map(|(desc, _)| desc.clone()).collect();
    // On this runtime, not the one that commits and fetches for others.
    let (bytes_max, runtime) = (upkeep.compaction_bytes_max, machine.life().upkeep().clone());
    // A row whose diffs come to too much for one stays as several: whoever reads it is told, and compaction goes on.
    let mut merge = MergeRuns::<K, V, T, D>::new(readers, bytes_max, 0, runtime).splitting();
    let floor = glb(&fitting.since);
    let inline_bytes_max = if to_objects { 0 } else { write.inline_part_bytes_max };
    let input_bytes = usize::try_from(input_bytes).unwrap_or(usize::MAX);
    let part_bytes_max = piece_bytes(write.part_bytes_max, input_bytes);
    let part_bytes = input_bytes.min(part_bytes_max);
    let options = EncodeOptions::of(write);
    let mut storing = Storing { machine, options, inline_bytes_max, part_bytes, part_bytes_max, under_way: None };
    let merging = merge_into(&mut merge, &descs, floor.as_ref(), &mut storing, output);
    let merged = guarded_async(merging).await.map_err(|error| error.of_shard(machine.shard()));
    // Also after an error, so that it is known what to remove.
    let stored = storing.end(output).await;
    merged.and(stored)
}

async fn merge_into<K: Data, V: Data, T: Time, D: Diff>(
    merge: &mut MergeRuns<K, V, T, D>,
    descs: &[Description<T>],
    floor: Option<&T>,
    storing: &mut Storing<'_, T>,
    output: &mut Run<T>,
) -> Result<(), Error> {
    let new_writer = |storing: &Storing<'_, T>| SortedPartWriter::with_capacity(&storing.options, storing.part_bytes);
    let mut writer = new_writer(storing)?;
    loop {
        match merge_step(merge, &mut writer, descs, floor, storing.part_bytes_max)? {
            MergeStep::NeedChunk(input) => merge.supply(input).await?,
            MergeStep::Paused(()) => {
                let full = std::mem::replace(&mut writer, new_writer(storing)?);
                storing.next(output, full.finish()?).await?;
            }
            MergeStep::Done => {
                return storing.next(output, writer.finish()?).await;
            }
        }
    }
}

/// Merges what is in memory into the writer, until that is full or more must be read.
fn merge_step<K: Data, V: Data, T: Time, D: Diff>(
    merge: &mut MergeRuns<K, V, T, D>,
    writer: &mut SortedPartWriter<K, V, T, D>,
    descs: &[Description<T>],
    floor: Option<&T>,
    part_bytes_max: usize,
) -> Result<MergeStep, Error> {
    let map_time = |input: usize, time: T| {
        // A row outside its batch is not part of the collection, here as everywhere.
        let within = descs.get(input).is_some_and(|desc: &Description<T>| desc.contains(&time));
        within.then(|| match floor {
            Some(floor) if time.less_equal(floor) => floor.clone(),
            _ => time,
        })
    };
    let step = merge.step(map_time, |key, value, time, diff| {
        if let Err(error) = writer.push(key, value, time, diff) {
            return ControlFlow::Break(Err(error));
        }
        if writer.encoded_bytes() >= part_bytes_max { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
    })?;
    Ok(match step {
        MergeStep::NeedChunk(input) => MergeStep::NeedChunk(input),
        MergeStep::Done => MergeStep::Done,
        MergeStep::Paused(paused) => MergeStep::Paused(paused?),
    })
}

/// Stores the parts of a run, one while the next is being merged.
struct Storing<'a, T: Time> {
    machine: &'a Arc<Machine<T>>,
    options: EncodeOptions,
    inline_bytes_max: usize,
    /// What a part takes at most, and all that comes in.
    part_bytes: usize,
    /// When a part is full.
    part_bytes_max: usize,
    /// The part under way, and whatever stores it.
    under_way: Option<(Part<T>, Task<Result<(), Error>>)>,
}

impl<T: Time> Storing<'_, T> {
    /// Begins with a part, after the one before it is stored.
    async fn next(&mut self, output: &mut Run<T>, encoded: Option<EncodedPart<T>>) -> Result<(), Error> {
        self.end(output).await?;
        let Some(EncodedPart { bytes, meta, .. }) = encoded else {
            return Ok(());
        };
        if bytes.len() <= self.inline_bytes_max {
            output.push(Part { location: Location::Inline(bytes), meta });
            return Ok(());
        }
        let (blobs, shard) = (Arc::clone(self.machine.blobs()), self.machine.shard());
        let name = self.machine.part_name();
        let part = Part { location: Location::Blob(name.clone()), meta };
        // Not on this runtime, whose thread is busy merging.
        let write = async move { blobs.write(shard, &name, bytes).await };
        let write = Task::start(self.machine.life().work(), "writing a part was stopped", write);
        self.under_way = Some((part, write));
        Ok(())
    }

    /// Waits for the part under way. On an error it may be stored or not: a sweep finds it.
    async fn end(&mut self, output: &mut Run<T>) -> Result<(), Error> {
        if let Some((part, mut write)) = self.under_way.take() {
            write.join().await??;
            output.push(part);
        }
        Ok(())
    }
}
