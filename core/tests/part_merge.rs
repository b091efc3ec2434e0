//! Merges: many sorted runs give what sorting and summing all their rows would give.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::fmt::Debug;
use std::ops::ControlFlow;

use differential_dataflow::consolidation::consolidate_updates;
use differential_dataflow::lattice::Lattice;
use proptest::prelude::*;
use timely::order::Product;
use timely_persist_core::part::{
    Chunk, EncodeOptions, EncodedPart, Merge, MergeStep, PartBuilder, PartFormat, combine, decode_part,
};
use timely_persist_types::codec::{Column, Data, Time};
use timely_persist_types::error::{Error, ErrorKind};

type Row<K, V, T> = ((K, V), T, i64);

/// The chunks of a part of the rows.
fn chunks<K: Data, V: Data, T: Time>(rows: &[Row<K, V, T>], chunk_rows_max: usize) -> Vec<Chunk<K, V, T, i64>> {
    let mut builder = PartBuilder::<K, V, T, i64>::new();
    for ((key, value), time, diff) in rows {
        builder.push(key.as_ref(), value.as_ref(), time, diff).unwrap();
    }
    let part = builder.finish(&EncodeOptions { chunk_rows_max, ..EncodeOptions::default() }).unwrap();
    part.map_or_else(Vec::new, |part| decode_part(part.bytes, &part.meta).unwrap())
}

/// Merges, breaking off after every `pause` rows.
fn merge<K: Data, V: Data, T: Time>(
    runs: Vec<Vec<Chunk<K, V, T, i64>>>,
    pause: usize,
    map_time: impl Fn(T) -> Option<T>,
) -> Result<Vec<Row<K, V, T>>, Error> {
    let mut merge = Merge::new(runs.len());
    let mut runs: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let mut rows = Vec::new();
    loop {
        let step = merge.step(
            |_, time| map_time(time),
            |key, value, time, diff| {
                rows.push(((K::from_ref(key), V::from_ref(value)), time.clone(), *diff));
                if rows.len() % pause == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        match step? {
            MergeStep::NeedChunk(input) => match runs[input].next() {
                Some(chunk) => merge.push_chunk(input, chunk)?,
                None => merge.finish_input(input),
            },
            MergeStep::Paused(()) => assert_eq!(rows.len() % pause, 0),
            MergeStep::Done => return Ok(rows),
        }
    }
}

fn check<K: Data + Debug, V: Data, T: Time>(
    runs: &[Vec<Row<K, V, T>>],
    chunk_rows_max: usize,
    pause: usize,
    map_time: impl Fn(T) -> Option<T>,
) {
    let rows = runs.iter().flatten().cloned();
    let mut expected: Vec<_> = rows.filter_map(|(data, time, diff)| Some((data, map_time(time)?, diff))).collect();
    consolidate_updates(&mut expected);
    let chunks = runs.iter().map(|run| chunks(run, chunk_rows_max)).collect();
    assert_eq!(merge(chunks, pause, map_time).unwrap(), expected);
}

fn runs<K: Data, V: Data, T: Time>(
    key: impl Strategy<Value = K>,
    value: impl Strategy<Value = V>,
    time: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<Vec<Row<K, V, T>>>> {
    let run = prop::collection::vec(((key, value), time, -2i64..3), 0..30);
    prop::collection::vec(run, 0..8)
}

proptest! {
    #[test]
    fn strings_with_times_advanced(runs in runs("[ab]{0,2}", "[ab]{0,1}", 0u64..6), rows in 1usize..6, pause in 1usize..9) {
        check(&runs, rows, pause, |time| Some(time.max(3)));
        check(&runs, rows, pause, |time| (time < 4).then_some(time));
        check(&runs, rows, pause, |_| None);
    }

    #[test]
    fn options_at_signed_times(runs in runs(any::<Option<bool>>(), Just(()), -3i64..3), rows in 1usize..6, pause in 1usize..9) {
        check(&runs, rows, pause, Some);
    }

    #[test]
    fn partially_ordered_times_advanced(
        runs in runs(0u8..3, any::<bool>(), (0u32..3, 0u32..3).prop_map(|(a, b)| Product::new(a, b))),
        rows in 1usize..6,
        pause in 1usize..9,
    ) {
        let since = [Product::new(1, 2), Product::new(2, 1)];
        check(&runs, rows, pause, |mut time: Product<u32, u32>| {
            time.advance_by(timely::progress::frontier::AntichainRef::new(&since));
            Some(time)
        });
    }
}

/// What becomes of runs that are combined, and what of the same in another order.
fn check_combined(runs: &[Vec<Row<String, u8, u64>>], small_bytes_max: usize, part_bytes_max: usize) {
    let options = EncodeOptions { chunk_rows_max: 40, ..EncodeOptions::default() };
    let encode = |rows: &Vec<Row<String, u8, u64>>| {
        let mut builder = PartBuilder::<String, u8, u64, i64>::new();
        rows.iter().for_each(|((key, value), time, diff)| builder.push(key, *value, time, diff).unwrap());
        builder.sort().unwrap().encode_small(&options).unwrap()
    };
    let mut parts: Vec<EncodedPart<u64>> = runs.iter().filter_map(encode).collect();
    let combined = combine::<String, u8, u64, i64>(&parts, &options, small_bytes_max, part_bytes_max).unwrap();
    let mut found = Vec::new();
    for part in &combined {
        let one = combined.len() == 1 && part.bytes.len() <= small_bytes_max;
        assert!(one || part.meta.format == PartFormat::ArrowIpc, "what is to be an object is a file");
        for chunk in decode_part::<String, u8, u64, i64>(part.bytes.clone(), &part.meta).unwrap() {
            let row = |row| {
                let (key, value) = (chunk.keys().get(row).to_owned(), chunk.values().get(row));
                ((key, value), chunk.time(row), chunk.diff(row))
            };
            found.extend((0..chunk.len()).map(row));
        }
    }
    let mut expected: Vec<_> = runs.iter().flatten().cloned().collect();
    consolidate_updates(&mut expected);
    assert_eq!(found, expected, "in this order, over all parts");
    parts.reverse();
    assert_eq!(combine::<String, u8, u64, i64>(&parts, &options, small_bytes_max, part_bytes_max).unwrap(), combined);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn combined_parts_have_the_rows_of_all(
        runs in runs("[ab]{0,2}", 0u8..3, 0u64..4),
        small in prop::sample::select(vec![0usize, 700, 1 << 20]),
        large in prop::sample::select(vec![1usize, 300, 1 << 20]),
    ) {
        check_combined(&runs, small, large);
    }
}

#[test]
fn diffs_of_two_parts_that_are_too_much_for_one_row_stay_two_rows() {
    let part = |diff: i64| {
        let mut builder = PartBuilder::<u64, (), u64, i64>::new();
        builder.push(1, (), &0, &diff).unwrap();
        builder.sort().unwrap().encode_small(&EncodeOptions::default()).unwrap().unwrap()
    };
    let parts = [part(i64::MAX), part(1)];
    let combined = combine::<u64, (), u64, i64>(&parts, &EncodeOptions::default(), 1 << 20, 1 << 20).unwrap();
    assert_eq!(combined.iter().map(|part| part.meta.rows).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_part_of_other_bytes_is_not_combined() {
    let part = |key: u64| {
        let mut builder = PartBuilder::<u64, (), u64, i64>::new();
        builder.push(key, (), &0, &1).unwrap();
        builder.sort().unwrap().encode_small(&EncodeOptions::default()).unwrap().unwrap()
    };
    let forged = EncodedPart { bytes: part(2).bytes, ..part(1) };
    for small_bytes_max in [0, 1 << 20] {
        let parts = [part(3), forged.clone()];
        let error = combine::<u64, (), u64, i64>(&parts, &EncodeOptions::default(), small_bytes_max, 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_group_may_span_many_chunks_of_many_inputs() {
    let rows: Vec<Row<u64, (), u64>> = (0..100).map(|time| ((7, ()), time, 1)).collect();
    check(&[rows.clone(), rows.clone(), rows], 1, 1_000, |_| Some(0));
}

#[test]
fn inputs_out_of_order_are_corrupt() {
    let run = |keys: &[u64]| keys.iter().flat_map(|key| chunks(&[((*key, ()), 0u64, 1)], 1)).collect::<Vec<_>>();
    let error = merge(vec![run(&[1, 3, 2]), run(&[2, 5])], 1, Some).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(merge(vec![run(&[1, 2, 2]), run(&[2, 5])], 1, Some).unwrap().len(), 3);
}

#[test]
fn chunks_that_nobody_asked_for_are_refused() {
    let chunk = chunks(&[((1u64, ()), 0u64, 1)], 1).remove(0);
    let mut merge = Merge::new(1);
    merge.push_chunk(0, chunk.clone()).unwrap();
    assert_eq!(merge.push_chunk(0, chunk.clone()).unwrap_err().kind(), ErrorKind::Bug);
    assert_eq!(merge.push_chunk(1, chunk).unwrap_err().kind(), ErrorKind::Bug);
}

/// More updates of one row than are kept before they are summed: most of them move to one time, some stay apart.
#[test]
fn a_row_that_changed_very_often_is_summed_as_it_goes() {
    let changes = |from: u64| (0..12_000).map(move |time| ((7u64, 7u64), 3 * time + from, 1)).collect::<Vec<_>>();
    let runs = [changes(0), changes(1), changes(2), vec![((7, 7), 5, -6_000), ((8, 8), 5, 1)]];
    check(&runs, 1_000, 500, |time| (time % 10 != 3).then_some(time.max(20_000)));
    check(&runs, 1_000, 500, |_| Some(0));
}
