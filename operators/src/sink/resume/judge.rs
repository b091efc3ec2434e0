//! Where a restart begins, and where it must not: a pure function of what its shards say.

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::{EncodedFrontier, Error, ErrorKind, ShardId, Time};

use super::identity::Pipeline;

/// What an input says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing<T> {
    /// Which.
    pub(super) shard: ShardId,
    /// Where its hold stands, or would.
    pub(super) since: Antichain<T>,
    /// Whether its hold says that the output has had commits.
    pub(super) begun: bool,
}

/// Where a restart begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Start<T> {
    /// Where the sources start.
    pub(super) as_of: Antichain<T>,
    /// Whether the output is empty.
    pub(super) first_run: bool,
}

/// Where a pipeline begins whose output has this upper, read after the standings of its inputs.
///
/// `Since` if an input cannot be read early enough, `Missing` if the output has lost what was committed to it.
pub(super) fn judge<T: Time>(
    pipeline: Pipeline<'_>,
    inputs: &[Standing<T>],
    upper: &Antichain<T>,
) -> Result<Start<T>, Error> {
    if let Some(ended) = inputs.iter().find(|input| input.since.is_empty()) {
        let message = format!("the pipeline {:?} cannot read this input", pipeline.name);
        let kind = ErrorKind::Since { earliest: EncodedFrontier::new(&ended.since) };
        return Err(Error::new(kind, message).of_shard(ended.shard));
    }
    // Times are totally ordered, so one of the sinces is the join of all.
    let furthest = inputs.iter().reduce(|a, b| if PartialOrder::less_equal(&a.since, &b.since) { b } else { a });
    let Some(furthest) = furthest else {
        let message = format!("the pipeline {:?} has no input", pipeline.name);
        return Err(Error::invalid(message).advise("name all shards that it reads").of_shard(pipeline.output));
    };
    let first_run = *upper == Antichain::from_elem(T::minimum());
    if first_run && let Some(begun) = inputs.iter().find(|input| input.begun) {
        return Err(lost(pipeline, begun));
    }
    if !first_run && !PartialOrder::less_than(&furthest.since, upper) {
        return Err(gap(pipeline, furthest, upper));
    }
    Ok(Start { as_of: furthest.since.clone(), first_run })
}

/// The output is empty, and was not.
fn lost<T: Time>(Pipeline { name, output }: Pipeline<'_>, input: &Standing<T>) -> Error {
    let message = format!(
        "it is empty, but the pipeline {name:?} has committed to it before: so says its hold on {}, at {}",
        input.shard,
        EncodedFrontier::new(&input.since)
    );
    let advice = "restore it from a backup that is as new as those of the inputs; or give it up: retire the pipeline \
                  (`Resume::of(..)..retire()`) and begin again, with the history that the inputs still have";
    Error::new(ErrorKind::Missing, message).advise(advice).of_shard(output)
}

/// The times from the output's upper to where the input can be read are in neither.
fn gap<T: Time>(Pipeline { name, output }: Pipeline<'_>, input: &Standing<T>, upper: &Antichain<T>) -> Error {
    let earliest = EncodedFrontier::new(&input.since);
    let message = format!(
        "the pipeline {name:?} would begin at {earliest}, where its input {} begins, which is not before the upper of its \
         output, {}: the changes between are lost",
        input.shard,
        EncodedFrontier::new(upper)
    );
    let advice =
        "restore output and inputs from backups of one moment, or write the pipeline's contents into a new shard";
    Error::new(ErrorKind::Since { earliest }, message).advise(advice).of_shard(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: u64) -> Antichain<u64> {
        Antichain::from_elem(time)
    }

    fn judged(inputs: &[(Antichain<u64>, bool)], upper: Antichain<u64>) -> Result<Start<u64>, ErrorKind> {
        let standing = |(shard, (since, begun)): (u128, &(Antichain<u64>, bool))| Standing {
            shard: ShardId::from_u128(shard),
            since: since.clone(),
            begun: *begun,
        };
        let inputs: Vec<_> = (1..).zip(inputs).map(standing).collect();
        let pipeline = Pipeline { name: "p", output: ShardId::from_u128(0) };
        judge(pipeline, &inputs, &upper).map_err(|error| error.kind())
    }

    fn begins(as_of: u64, first_run: bool) -> Result<Start<u64>, ErrorKind> {
        Ok(Start { as_of: at(as_of), first_run })
    }

    fn since(earliest: Antichain<u64>) -> Result<Start<u64>, ErrorKind> {
        Err(ErrorKind::Since { earliest: EncodedFrontier::new(&earliest) })
    }

    #[test]
    fn an_empty_output_is_a_first_run_unless_it_was_not_empty_before() {
        assert_eq!(judged(&[(at(0), false)], at(0)), begins(0, true));
        assert_eq!(judged(&[(at(3), false), (at(7), false)], at(0)), begins(7, true));
        assert_eq!(judged(&[(at(3), false), (at(7), true)], at(0)), Err(ErrorKind::Missing));
        assert_eq!(judged(&[(at(0), true)], at(0)), Err(ErrorKind::Missing));
    }

    #[test]
    fn a_restart_begins_strictly_before_the_upper() {
        for begun in [false, true] {
            assert_eq!(judged(&[(at(3), begun), (at(7), begun), (at(5), begun)], at(8)), begins(7, false));
            assert_eq!(judged(&[(at(3), begun), (at(8), begun)], at(8)), since(at(8)));
            assert_eq!(judged(&[(at(9), begun), (at(3), begun)], at(8)), since(at(9)));
        }
        assert_eq!(judged(&[(at(9), true)], Antichain::new()), begins(9, false), "a closed output is beyond all");
    }

    #[test]
    fn an_input_without_history_is_refused() {
        for upper in [at(0), at(8), Antichain::new()] {
            assert_eq!(judged(&[(at(1), false), (Antichain::new(), false)], upper.clone()), since(Antichain::new()));
            assert_eq!(judged(&[], upper), Err(ErrorKind::Invalid));
        }
    }
}
