//! What parts take in a log entry, and how their statistics come to take less.
//!
//! A part has some 200 bytes of an entry, and of every state behind it: its name, its sizes, the bounds of its times. Those
//! are needed. Its statistics are not: without them a filter keeps the part, which is right and costs a fetch. So where a
//! commit carries thousands of parts, statistics are what gives way.
//!
//! Always: equal parts are shortened equally, wherever they come from; nothing but statistics changes.

use bytes::Bytes;

use crate::part::PartStats;
use timely_persist_types::codec::Time;

use super::{Location, Part, Run};

/// What a part takes beside its name, its bytes, its times and its statistics: numbers, tags and lengths, each as long as
/// it can be.
const FIXED_BYTES: usize = 128;

/// Statistics are not shortened to less, but left out of some parts: the key's bounds, of 64 bytes each, and their names.
/// Parts that know nothing of their keys would be fetched for every key.
const STATS_SHARE_MIN: usize = 192;

/// The bytes that these parts take in a log entry at most. Not less than they do, and not much more.
pub fn entry_bytes<T: Time>(runs: &[Run<T>]) -> usize {
    let bytes = |part: &Part<T>| {
        let location = match &part.location {
            Location::Blob(name) => name.len(),
            Location::Inline(bytes) => bytes.len(),
        };
        let times = part.meta.time_lower.elements().len() + part.meta.time_upper.len();
        FIXED_BYTES + location + times * size_of::<u64>() + part.meta.stats.len()
    };
    runs.iter().flatten().map(bytes).fold(0, usize::saturating_add)
}

/// Shortens the statistics of parts that one entry carries, until they come to so many bytes together.
///
/// First all to one length, the longest that does: the key's columns stay, as far as they fit. Where that would leave too
/// little of each, some parts keep theirs and the others none, evenly, because any part of the key's range may be asked for.
pub fn shorten_stats<T: Time>(runs: &mut [Run<T>], bytes_max: usize) {
    let mut stats: Vec<&mut Bytes> = runs.iter_mut().flatten().map(|part| &mut part.meta.stats).collect();
    if total(&stats) <= bytes_max {
        return;
    }
    let share = fair_share(&stats, bytes_max).max(STATS_SHARE_MIN);
    for stats in stats.iter_mut().filter(|stats| stats.len() > share) {
        **stats = PartStats::decode(stats).map(|known| known.encode_within(share)).unwrap_or_default();
    }
    thin_out(&mut stats, bytes_max);
}

fn total(stats: &[&mut Bytes]) -> usize {
    stats.iter().map(|stats| stats.len()).sum()
}

/// The longest length such that all, none longer than that, come to `bytes_max`.
fn fair_share(stats: &[&mut Bytes], bytes_max: usize) -> usize {
    let mut lengths: Vec<usize> = stats.iter().map(|stats| stats.len()).collect();
    lengths.sort_unstable();
    let (mut left, mut share) = (bytes_max, 0);
    for (index, length) in lengths.iter().enumerate() {
        share = left / (lengths.len() - index);
        if *length > share {
            break;
        }
        left -= length; // what it does not need is for the others
    }
    share
}

/// Leaves out what is too much, evenly from the first to the last.
fn thin_out(stats: &mut [&mut Bytes], bytes_max: usize) {
    let total = total(stats) as u128;
    if total <= bytes_max as u128 {
        return;
    }
    let (mut passed, mut kept) = (0u128, 0u128);
    for stats in stats {
        let bytes = stats.len() as u128;
        passed += bytes;
        if (kept + bytes) * total <= passed * bytes_max as u128 {
            kept += bytes;
        } else {
            **stats = Bytes::new();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use timely::progress::Antichain;
    use timely_persist_types::codec::Codec;
    use timely_persist_types::ids::Token;

    use super::*;
    use crate::part::{EncodeOptions, PartBuilder};
    use crate::state::{Batch, Change, Description, Entry};

    type Wide = (String, String, String, String, String);

    /// A run of so many parts, of rows with so many strings of 64 letters and more.
    fn run(parts: usize, wide: bool) -> Run<u64> {
        let part = |index: usize| {
            let text = |column: usize| format!("{index:08} {column} {}", "x".repeat(80));
            let mut builder = PartBuilder::<String, Wide, u64, i64>::new();
            let value = if wide { (text(1), text(2), text(3), text(4), text(5)) } else { Wide::default() };
            let key = if wide { text(0) } else { String::new() };
            builder.push(&key, value.as_ref(), &7, &1).unwrap();
            builder.finish(&EncodeOptions::default()).unwrap().unwrap()
        };
        (0..parts).map(|index| Part { location: Location::Blob(name(index)), meta: part(index).meta }).collect()
    }

    fn name(index: usize) -> String {
        format!("part-0000000000007-00000000-0000-0000-0000-{index:012}.arrow")
    }

    fn stats(runs: &[Run<u64>]) -> Vec<usize> {
        runs.iter().flatten().map(|part| part.meta.stats.len()).collect()
    }

    /// What an entry takes more that adds them.
    fn encoded(runs: &[Run<u64>]) -> usize {
        let entry = |runs: Vec<Run<u64>>| {
            let desc = Description::new(Antichain::from_elem(7), Antichain::from_elem(8));
            let changes = vec![Change::BatchAdded(Arc::new(Batch { desc, runs, digest: None }))];
            Entry { token: Token::NONE, previous: Token::NONE, wall_ms: 0, changes, rollup: None }
        };
        entry(runs.to_vec()).encode().len() - entry(Vec::new()).encode().len()
    }

    #[test]
    fn what_parts_take_in_an_entry_is_known_before() {
        for wide in [false, true] {
            let runs = [run(50, wide), run(1, wide)];
            let (bytes, estimate) = (encoded(&runs), entry_bytes(&runs));
            assert!(bytes <= estimate && estimate < bytes + bytes / 2, "{bytes} bytes, {estimate} estimated");
        }
        let bytes = Bytes::from(vec![0; 1 << 20]);
        let inline = vec![Part { location: Location::Inline(bytes), ..run(1, false).remove(0) }];
        let inline = [inline];
        assert!(encoded(&inline) <= entry_bytes(&inline));
    }

    #[test]
    fn statistics_that_fit_stay_as_they_are() {
        let before = vec![run(20, true), run(3, false)];
        let mut after = before.clone();
        shorten_stats(&mut after, stats(&before).iter().sum());
        assert_eq!(after, before);
        shorten_stats(&mut after, stats(&before).iter().sum::<usize>() - 1);
        assert_ne!(after, before);
    }

    /// The run of a huge batch is sorted by key, so the key's bounds are what a filter excludes most parts by.
    #[test]
    fn of_many_parts_all_keep_the_bounds_of_their_keys() {
        const PARTS: usize = 300;
        let whole = run(PARTS, true);
        let mut runs = vec![whole.clone()];
        let bytes_max = PARTS * 250;
        shorten_stats(&mut runs, bytes_max);
        assert!(stats(&runs).iter().sum::<usize>() <= bytes_max);
        for (part, mut before) in runs[0].iter().zip(whole) {
            let (left, all) = (PartStats::decode(&part.meta.stats), PartStats::decode(&before.meta.stats));
            let (left, all) = (left.unwrap(), all.unwrap());
            assert_eq!((left.column("key"), left.column("value.0")), (all.column("key"), None));
            assert_eq!(left.rows, all.rows);
            before.meta.stats = part.meta.stats.clone();
            assert_eq!(*part, before, "nothing else changes");
        }
    }

    #[test]
    fn the_small_ones_leave_room_to_the_large_ones() {
        let (large, small) = (run(10, true), run(200, false));
        let mut runs = vec![small.clone(), large.clone()];
        let sum = |run: &Run<u64>| run.iter().map(|part| part.meta.stats.len()).sum::<usize>();
        shorten_stats(&mut runs, sum(&small) + sum(&large) - 100);
        assert_eq!(runs[0], small);
        assert_ne!(runs[1], large);
    }

    /// Whichever part of the keys is asked for, as many of its parts are known as of any other.
    #[test]
    fn where_there_is_no_room_for_keys_every_so_manieth_part_keeps_them() {
        const PARTS: usize = 300;
        let whole = run(PARTS, true);
        for one_in in [3, 10, 299] {
            let mut runs = vec![whole[..PARTS / 2].to_vec(), whole[PARTS / 2..].to_vec()];
            let bytes_max = PARTS * STATS_SHARE_MIN / one_in;
            shorten_stats(&mut runs, bytes_max);
            let left = stats(&runs);
            assert!(left.iter().sum::<usize>() <= bytes_max);
            let known: Vec<usize> = (0..PARTS).filter(|index| left[*index] > 0).collect();
            assert!(known.len() >= PARTS / one_in, "{} of {PARTS} are known, one in {one_in}", known.len());
            assert!(known.windows(2).all(|pair| pair[1] - pair[0] <= one_in + 1), "{known:?}");
        }
        let mut runs = vec![whole];
        shorten_stats(&mut runs, 0);
        assert_eq!(stats(&runs).iter().sum::<usize>(), 0);
    }
}
