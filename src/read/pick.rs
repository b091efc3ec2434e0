//! Which parts of a state a reader is to see, and through which windows.
//!
//! Always: pure. Parts are picked in the order of their batches, and a batch as a whole.

use std::sync::Arc;

use timely::progress::Antichain;

use crate::fetch::{Plan, Window};
use timely_persist_core::state::{Part, State, passed};
use timely_persist_types::codec::Time;

/// Picks the parts, run by run, of which a reader sees something, from where `view` has not shown yet: what `take` makes
/// of each and of the window through which it is seen. And the upper of the last batch, behind which nothing was looked at.
///
/// It stops at `parts_max` parts, but not before the snapshot is complete that `view` begins with: till then a position
/// tells nothing about times that compaction may move to `as_of`.
pub(super) fn pick<T: Time, P>(
    state: &State<T>,
    view: &Window<T>,
    parts_max: usize,
    mut take: impl FnMut(&Part<T>, Arc<Window<T>>) -> P,
) -> (Vec<Vec<P>>, Antichain<T>) {
    let (mut runs, mut parts) = (Vec::new(), 0);
    let mut position = view.shown.clone();
    for batch in state.batches.iter().skip(state.batch_beyond(&view.shown)) {
        let whole = view.snapshot && !passed(&position, &view.as_of);
        if parts >= parts_max && !whole {
            break;
        }
        let window = Arc::new(Window { desc: batch.desc.clone(), ..view.clone() });
        for run in &batch.runs {
            let plan = |part: &Part<T>| window.plan(&part.meta.time_lower, &part.meta.time_upper);
            let seen = run.iter().filter(|part| plan(part) != Plan::Nothing);
            let run: Vec<P> = seen.map(|part| take(part, Arc::clone(&window))).collect();
            parts += run.len();
            runs.push(run);
        }
        position.clone_from(&batch.desc.upper);
    }
    (runs, position)
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely_persist_core::part::{EncodeOptions, PartBuilder, PartMeta};
    use timely_persist_core::state::{Batch, Description, Location};
    use timely_persist_types::ids::ShardId;

    /// Of a part with one row, at this time.
    fn meta(time: u64) -> PartMeta<u64> {
        let mut builder = PartBuilder::<(), (), u64, i64>::new();
        builder.push((), (), &time, &1).expect("a row that can be stored");
        builder.finish(&EncodeOptions::default()).expect("a part that can be encoded").expect("a row").meta
    }

    /// A state of batches of one run each, which ends where the next begins: of each the times of its parts.
    fn state(batches: &[(u64, &[u64])]) -> State<u64> {
        let mut state = State::new(ShardId::from_u128(1));
        let mut lower = Antichain::from_elem(0);
        for (upper, times) in batches {
            let part = |time: &u64| Part { location: Location::Blob(format!("part-{time}")), meta: meta(*time) };
            let upper = Antichain::from_elem(*upper);
            let desc = Description::new(lower, upper.clone());
            let batch = Batch { desc, runs: vec![times.iter().map(part).collect()], digest: None };
            state.batches.push_back(Arc::new(batch));
            lower = upper;
        }
        state
    }

    /// The times of the parts that are picked, and the position behind them.
    fn picked(state: &State<u64>, view: &Window<u64>, parts_max: usize) -> (Vec<u64>, Vec<u64>) {
        let time = |part: &Part<u64>, window: Arc<Window<u64>>| {
            assert!(window.desc.contains(&part.meta.time_upper[0]), "the window of another batch");
            part.meta.time_upper[0]
        };
        let (runs, position) = pick(state, view, parts_max, time);
        (runs.into_iter().flatten().collect(), position.elements().to_vec())
    }

    #[test]
    fn a_snapshot_is_every_part_that_reaches_to_its_time() {
        let state = state(&[(3, &[0, 2]), (5, &[3, 4]), (9, &[5, 8])]);
        let at = |as_of| Window { updates: false, ..Window::new(Antichain::from_elem(as_of)) };
        assert_eq!(picked(&state, &at(3), usize::MAX).0, [0, 2, 3]);
        assert_eq!(picked(&state, &at(8), usize::MAX).0, [0, 2, 3, 4, 5, 8]);
    }

    #[test]
    fn a_listener_goes_on_where_it_stood_and_takes_whole_batches() {
        let state = state(&[(3, &[0, 2]), (5, &[3, 4]), (9, &[5, 8])]);
        let from = |shown| Window {
            snapshot: false,
            shown: Antichain::from_elem(shown),
            ..Window::new(Antichain::from_elem(2))
        };
        assert_eq!(picked(&state, &from(0), usize::MAX), (vec![3, 4, 5, 8], vec![9]), "without its as_of");
        assert_eq!(picked(&state, &from(3), 1), (vec![3, 4], vec![5]));
        assert_eq!(picked(&state, &from(5), 1), (vec![5, 8], vec![9]));
        assert_eq!(picked(&state, &from(9), 1), (vec![], vec![9]));
        let until = Window { until: Antichain::from_elem(5), ..from(3) };
        assert_eq!(picked(&state, &until, usize::MAX), (vec![3, 4], vec![9]));
    }

    #[test]
    fn the_snapshot_of_a_listener_is_not_divided() {
        let state = state(&[(3, &[0, 2]), (5, &[3, 4]), (9, &[5, 8])]);
        let view = Window::new(Antichain::from_elem(4));
        assert_eq!(picked(&state, &view, 1), (vec![0, 2, 3, 4], vec![5]));
        assert_eq!(picked(&state, &view, 5), (vec![0, 2, 3, 4, 5, 8], vec![9]));
    }
}
