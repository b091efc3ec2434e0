//! Compaction: adjacent batches become one, sorted, with old times merged into the since.
//!
//! The merge streams: one block per input run and one part of output in memory. Times at or below the greatest lower
//! bound of the since are moved to it and nothing else is touched, so no update ever crosses a listener's position (see
//! `read::listen`).

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::codec::{Data, Diff, Time};
use crate::error::Error;
use crate::fetch::{MergeRuns, RunReader};
use crate::machine::{Context, Machine};
use crate::part::{EncodeOptions, EncodedPart, MergeStep, SortedPartWriter};
use crate::state::transition::{Replacement, replace};
use crate::state::{Batch, CodecNames, Description, Location, Part, Run, State, glb};

use super::plan::next_merge;

/// Merges the batches that the policy names; whether it changed anything.
pub(super) async fn compact<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    state: &State<T>,
) -> Result<bool, Error> {
    let Some(inputs) = next_merge(state, &machine.context().config) else {
        return Ok(false);
    };
    if state.codecs.as_deref().is_some_and(|names| *names != CodecNames::of::<K, V, T, D>()) {
        return Ok(false); // not ours to decode
    }
    let run = merge_batches::<K, V, T, D>(machine, state, &inputs).await?;
    let [first, .., last] = inputs.as_slice() else {
        return Ok(false);
    };
    let desc =
        Description { lower: first.desc.lower.clone(), upper: last.desc.upper.clone(), since: state.since.clone() };
    let written: Vec<String> = run.iter().filter_map(|part| part.blob().map(str::to_owned)).collect();
    let runs = if run.is_empty() { Vec::new() } else { vec![run] };
    let blob_age_max_ms = machine.context().blob_age_max_ms();
    let replacement = Replacement { inputs, output: Arc::new(Batch { desc, runs }), blob_age_max_ms };
    let applied = machine.apply(move |state, now_ms| replace(state, now_ms, &replacement)).await?;
    if !applied.reply && !applied.doubtful {
        for name in &written {
            machine.context().delete_blob(machine.shard(), name).await?;
        }
    }
    Ok(applied.reply)
}

async fn merge_batches<K: Data, V: Data, T: Time, D: Diff>(
    machine: &Arc<Machine<T>>,
    state: &State<T>,
    inputs: &[Arc<Batch<T>>],
) -> Result<Run<T>, Error> {
    let context = machine.context();
    let mut descs = Vec::new();
    let mut readers = Vec::new();
    for batch in inputs {
        for run in &batch.runs {
            readers.push(RunReader::new(Arc::clone(context), machine.shard(), run.iter().cloned()));
            descs.push(batch.desc.clone());
        }
    }
    // On this runtime, not the one that commits and fetches for others.
    let (bytes_max, runtime) = (context.config.compaction_bytes_max, context.upkeep.clone());
    let mut merge = MergeRuns::<K, V, T, D>::new(readers, bytes_max, runtime);
    let floor = glb(&state.since);
    let mut output = Vec::new();
    let mut writer = new_writer(context)?;
    loop {
        match merge_step(&mut merge, &mut writer, &descs, floor.as_ref(), context.config.part_bytes_max)? {
            MergeStep::NeedChunk(input) => merge.supply(input).await?,
            MergeStep::Paused(()) => {
                let full = std::mem::replace(&mut writer, new_writer(context)?);
                output.extend(store(context, machine, full.finish()?).await?);
            }
            MergeStep::Done => {
                output.extend(store(context, machine, writer.finish()?).await?);
                return Ok(output);
            }
        }
    }
}

fn new_writer<K: Data, V: Data, T: Time, D: Diff>(context: &Context) -> Result<SortedPartWriter<K, V, T, D>, Error> {
    SortedPartWriter::new(&EncodeOptions { compression: context.config.compression, ..EncodeOptions::default() })
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

async fn store<T: Time>(
    context: &Arc<Context>,
    machine: &Arc<Machine<T>>,
    encoded: Option<EncodedPart<T>>,
) -> Result<Option<Part<T>>, Error> {
    let Some(encoded) = encoded else {
        return Ok(None);
    };
    if encoded.bytes.len() <= context.config.inline_part_bytes_max {
        return Ok(Some(Part { location: Location::Inline(encoded.bytes), meta: encoded.meta }));
    }
    let name = context.part_name();
    context.write_blob(machine.shard(), &name, encoded.bytes).await?;
    Ok(Some(Part { location: Location::Blob(name), meta: encoded.meta }))
}
