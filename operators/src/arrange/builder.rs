//! From ordered rows to a batch of flat columns.

use differential_dataflow::batcher::merge::Sealer;
use differential_dataflow::difference::Semigroup;
use differential_dataflow::lattice::Lattice;
use differential_dataflow::trace::Builder;
use differential_dataflow::trace::implementations::ord_neu::OrdValBatch;
use differential_dataflow::trace::implementations::ord_neu::layers::UpdsBuilder;
use timely::progress::Timestamp;
use timely_persist::Data;

use crate::arrange::layout::{ByKey, FlatLayout};

/// A row of an ordinary collection.
type Row<K, V, T, D> = ((K, V), T, D);

/// Builds a batch of a [`FlatSpine`](crate::FlatSpine) from ordered rows, for operators that make arrangements.
///
/// `reduce_abelian` and `reduce_core` of [`Arranged`] take a flat arrangement, and make one if they are told so:
///
/// ```
/// use differential_dataflow::input::Input;
/// use timely_persist_operators::{Flat, FlatBuilder, FlatSpine, arrange_flat};
///
/// timely::execute_directly(|worker| {
///     let mut rows = worker.dataflow::<u64, _, _>(|scope| {
///         let (rows, collection) = scope.new_collection::<(String, u64), i64>();
///         arrange_flat(collection)
///             .reduce_abelian::<_, FlatBuilder<String, u64, u64, i64>, FlatSpine<String, u64, u64, i64>, Flat<String>, _>(
///                 "largest",
///                 |_key, values, output| output.extend(values.last().map(|(value, _)| (*value, 1))),
///                 |rows, key, updates| {
///                     rows.clear();
///                     rows.extend(updates.drain(..).map(|(value, time, diff)| ((key.to_owned(), value), time, diff)));
///                 },
///             )
///             .as_collection(|key, value| (key.to_owned(), value))
///             .inspect(|(row, _, _)| assert_eq!(*row, ("pear".to_owned(), 7)));
///         rows
///     });
///     rows.update(("pear".to_owned(), 3), 1);
///     rows.update(("pear".to_owned(), 7), 1);
/// });
/// ```
///
/// What differential writes for keys that are a reference to an owned one takes no flat arrangement: `count_total`,
/// `threshold_total`, `as_vecs`, and `join_core` of a collection that is not arranged. To count, reduce.
///
/// [`Arranged`]: differential_dataflow::operators::arrange::Arranged
pub struct FlatBuilder<K: Data, V: Data, T: Timestamp + Lattice, D: Semigroup + Ord + 'static> {
    written: ByKey<FlatLayout<K, V, T, D>>,
    /// The key and value whose updates are in `staging`.
    last: Option<(K, V)>,
    staging: UpdsBuilder<Vec<T>, Vec<D>>,
}

impl<K: Data, V: Data, T: Timestamp + Lattice, D: Semigroup + Ord + 'static> FlatBuilder<K, V, T, D> {
    /// With room for so many rows.
    fn for_rows(rows: usize) -> Self {
        Self { written: ByKey::for_rows(rows), last: None, staging: UpdsBuilder::default() }
    }

    /// All updates of a key and value are there. What they come to may be nothing, and then there is no such value.
    fn end_value(&mut self) {
        let Some((key, value)) = self.last.take() else { return };
        if self.staging.seal(self.written.upds()) {
            self.written.add::<K, V>(key.as_ref(), value.as_ref());
        }
    }
}

impl<K: Data, V: Data, T: Timestamp + Lattice, D: Semigroup + Ord + 'static> Default for FlatBuilder<K, V, T, D> {
    fn default() -> Self {
        Self::for_rows(0)
    }
}

impl<K: Data, V: Data, T: Timestamp + Lattice, D: Semigroup + Ord + 'static> Builder for FlatBuilder<K, V, T, D> {
    type Input = Vec<Row<K, V, T, D>>;
    type Time = T;
    type Output = OrdValBatch<FlatLayout<K, V, T, D>>;

    fn push(&mut self, rows: &mut Self::Input) {
        for (data, time, diff) in rows.drain(..) {
            if self.last.as_ref() != Some(&data) {
                self.end_value();
                self.last = Some(data);
            }
            self.staging.push(time, diff);
        }
    }

    fn done(mut self) -> Option<Self::Output> {
        self.end_value();
        let updates = self.staging.total();
        self.written.batch::<K, V>(updates)
    }
}

/// For differential's own batchers.
impl<K: Data, V: Data, T: Timestamp + Lattice, D: Semigroup + Ord + 'static> Sealer<Vec<Row<K, V, T, D>>>
    for FlatBuilder<K, V, T, D>
{
    type Output = <Self as Builder>::Output;

    fn seal(chain: &mut Vec<Vec<Row<K, V, T, D>>>) -> Option<Self::Output> {
        let mut builder = Self::for_rows(chain.iter().map(Vec::len).sum());
        chain.drain(..).for_each(|mut rows| builder.push(&mut rows));
        builder.done()
    }
}

#[cfg(test)]
mod tests {
    use differential_dataflow::trace::{Cursor, Navigable};

    use super::*;

    type Rows = Vec<Row<String, u64, u64, i64>>;

    /// The rows of the batch of these chunks.
    fn built(chunks: &[&[(&str, u64, u64, i64)]]) -> Rows {
        let own = |rows: &&[(&str, u64, u64, i64)]| -> Rows {
            rows.iter().map(|(key, value, time, diff)| (((*key).to_owned(), *value), *time, *diff)).collect()
        };
        let mut chain = chunks.iter().map(own).collect();
        let Some(batch) = FlatBuilder::seal(&mut chain) else { return Vec::new() };
        let values = batch.cursor().to_vec(&batch, str::to_owned, |value| value);
        let rows = |(data, updates): ((String, u64), Vec<(u64, i64)>)| {
            updates.into_iter().map(move |(time, diff)| (data.clone(), time, diff))
        };
        let rows: Rows = values.into_iter().flat_map(rows).collect();
        assert_eq!(rows.len(), batch.updates);
        rows
    }

    #[test]
    fn a_batch_has_what_its_rows_come_to() {
        let row = |key: &str, value, time, diff| ((key.to_owned(), value), time, diff);
        assert_eq!(built(&[]), []);
        assert_eq!(built(&[&[("a", 1, 0, 1), ("a", 1, 0, -1)], &[("b", 1, 3, 1)], &[("b", 1, 3, -1)]]), []);
        let rows = built(&[
            &[("a", 1, 0, 1), ("a", 1, 0, -1), ("a", 2, 0, 1), ("a", 2, 5, 1)],
            &[
                ("a", 2, 5, 1),
                ("a", 3, 5, 2),
                ("b", 2, 5, 2),
                ("b", 2, 5, -2),
                ("c", 3, 5, 2),
                ("c", 4, 5, 2),
                ("c", 4, 5, -2),
            ],
        ]);
        let same = [row("a", 2, 0, 1), row("a", 2, 5, 2), row("a", 3, 5, 2), row("c", 3, 5, 2)];
        assert_eq!(rows, same);
    }
}
