//! Compaction: adjacent batches become one, sorted, with old times merged into the since.
//!
//! The merge streams: some blocks per input run and two parts of output in memory, one of them being stored. Times at
//! or below the greatest lower bound of the since are moved to it and nothing else is touched, so no update ever
//! crosses a listener's position (see `read::listen`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{Data, Diff, Time};
use crate::config::piece_bytes;
use crate::error::Error;
use crate::fetch::{MergeRuns, RunReader};
use crate::life::{Task, guarded_async};
use crate::machine::Machine;
use crate::part::{EncodeOptions, EncodedPart, MergeStep, SortedPartWriter};
use crate::state::command::Replace;
use crate::state::{Batch, CodecNames, Description, Location, Part, Plan, Run, State, glb, next_merge};

use super::Policy;
use super::fit::{Fitting, fit};

/// Merges the batches that the policy names; whether it changed anything, or others did meanwhile.
pub(super) async fn compact<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    state: &State<T>,
) -> Result<bool, Error> {
    let Some(Plan { mut inputs, to_objects }) = next_merge(state, &policy.upkeep) else {
        return Ok(false);
    };
    if state.codecs.as_deref().is_some_and(|known| known.difference(&CodecNames::of::<K, V, T, D>()).is_some()) {
        return Ok(false); // not ours to decode
    }
    let mut worked = false;
    let mut from = 0;
    // Where not all fit into memory: one group after the other, and then groups of what they came to.
    loop {
        let fitting = fit(&inputs[from..], &state.since, policy.upkeep.compaction_bytes_max);
        let replaced = from + fitting.start..from + fitting.start + fitting.inputs.len();
        let output = match merge_fitting::<K, V, T, D>(machine, policy, fitting, to_objects).await? {
            Merged::Replaced(output) => output,
            Merged::Refused => return Ok(worked),
            Merged::Overtaken => return Ok(true),
        };
        worked = true;
        from = if output.runs.len() > 1 { replaced.start } else { replaced.start + 1 };
        inputs.splice(replaced, [output]);
        let runs = |batches: &[Arc<Batch<T>>]| batches.iter().map(|batch| batch.runs.len()).sum::<usize>();
        if runs(&inputs) < 2 {
            return Ok(true);
        }
        if runs(&inputs[from..]) < 2 {
            from = 0;
        }
    }
}

/// What became of a merge.
enum Merged<T: Time> {
    /// This stands in the place of its inputs.
    Replaced(Arc<Batch<T>>),
    /// The inputs are in use elsewhere, or changed: it was in vain.
    Refused,
    /// It failed because the inputs are gone: somebody else merged them.
    Overtaken,
}

async fn merge_fitting<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    fitting: Fitting<T>,
    to_objects: bool,
) -> Result<Merged<T>, Error> {
    let mut run = Vec::new();
    let merged = merge_runs::<K, V, T, D>(machine, policy, &fitting, to_objects, &mut run).await;
    let Fitting { inputs, kept, since, .. } = fitting;
    if let Err(error) = merged {
        remove(machine, &run).await?;
        // Nobody holds the inputs for us. If another process has merged them, they are gone, and so is the work.
        machine.refresh().await?;
        return if stand(&machine.state(), &inputs) { Err(error) } else { Ok(Merged::Overtaken) };
    }
    let [Some(first), Some(last)] = [inputs.first(), inputs.last()] else {
        return Ok(Merged::Refused);
    };
    let desc = Description { lower: first.desc.lower.clone(), upper: last.desc.upper.clone(), since };
    let written = run.clone();
    let runs = Some(run).filter(|run| !run.is_empty()).into_iter().chain(kept).collect();
    let output = Arc::new(Batch { desc, runs });
    let applied = machine.apply(Replace { inputs, output: Arc::clone(&output) }).await?;
    if !applied.reply && !applied.doubtful {
        remove(machine, &written).await?;
    }
    Ok(if applied.reply { Merged::Replaced(output) } else { Merged::Refused })
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

/// Merges runs into the parts of one. On an error, `output` has the parts that were stored.
async fn merge_runs<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    policy: &Policy,
    fitting: &Fitting<T>,
    to_objects: bool,
    output: &mut Run<T>,
) -> Result<(), Error> {
    let Policy { upkeep, write, .. } = policy;
    let reader =
        |run: &Run<T>| RunReader::new(Arc::clone(machine.blobs()), machine.shard(), run.iter().cloned().map(Arc::new));
    let readers = fitting.merged.iter().map(|(_, run)| reader(run)).collect();
    let descs: Vec<_> = fitting.merged.iter().map(|(desc, _)| desc.clone()).collect();
    // On this runtime, not the one that commits and fetches for others.
    let (bytes_max, runtime) = (upkeep.compaction_bytes_max, machine.life().upkeep().clone());
    // A row whose diffs come to too much for one stays as several: whoever reads it is told, and compaction goes on.
    let mut merge = MergeRuns::<K, V, T, D>::new(readers, bytes_max, 0, runtime).splitting();
    let floor = glb(&fitting.since);
    let inline_bytes_max = if to_objects { 0 } else { write.inline_part_bytes_max };
    let inputs = fitting.merged.iter().flat_map(|(_, run)| run);
    let input_bytes = inputs.fold(0u64, |sum, part| sum.saturating_add(part.meta.encoded_bytes));
    let input_bytes = usize::try_from(input_bytes).unwrap_or(usize::MAX);
    let part_bytes_max = piece_bytes(write.part_bytes_max, input_bytes);
    let part_bytes = input_bytes.min(part_bytes_max);
    let options = EncodeOptions { compression: write.compression, ..EncodeOptions::default() };
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
