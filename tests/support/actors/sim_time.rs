//! Times as actors move through them: without an end, totally and partially ordered.

use timely::order::Product;
use timely::progress::Antichain;

use crate::random::Random;
use crate::times::{ModelTime, join};

/// Elements of a frontier, at most: with more, runs of partially ordered times crawl.
const ELEMENTS_MAX: usize = 3;

pub trait SimTime: ModelTime {
    /// A frontier a little beyond `from`, which is not empty.
    fn step(random: &mut Random, from: &Antichain<Self>) -> Antichain<Self>;

    /// Some times in `[lower, upper)`, at most so many.
    fn some(random: &mut Random, lower: &Antichain<Self>, upper: &Antichain<Self>, count: usize) -> Vec<Self>;

    /// The times of `[lower, upper)` at which identical writers have a row: few.
    fn common(lower: &Antichain<Self>, upper: &Antichain<Self>) -> Vec<Self>;

    /// A frontier at or beyond `since`, and mostly at a time that is not beyond `upper`.
    fn as_of(random: &mut Random, since: &Antichain<Self>, upper: &Antichain<Self>) -> Antichain<Self>;

    /// Where a dataflow may begin again that began at `first` and wrote up to `upper`: strictly before that. Where times are
    /// partially ordered, only where it began at first.
    fn restart(random: &mut Random, first: &Self, upper: &Antichain<Self>) -> Self;
}

fn time(frontier: &Antichain<u64>) -> u64 {
    frontier.elements().first().copied().unwrap_or(u64::MAX)
}

impl SimTime for u64 {
    fn step(random: &mut Random, from: &Antichain<u64>) -> Antichain<u64> {
        Antichain::from_elem(time(from) + 1 + random.below(4) as u64)
    }

    fn some(random: &mut Random, lower: &Antichain<u64>, upper: &Antichain<u64>, count: usize) -> Vec<u64> {
        let (lower, upper) = (time(lower), time(upper));
        (0..count).map(|_| lower + random.word() % (upper - lower)).collect()
    }

    fn common(lower: &Antichain<u64>, upper: &Antichain<u64>) -> Vec<u64> {
        (time(lower)..time(upper)).collect()
    }

    fn as_of(random: &mut Random, since: &Antichain<u64>, upper: &Antichain<u64>) -> Antichain<u64> {
        let (since, upper) = (time(since), time(upper));
        Antichain::from_elem(since + random.word() % upper.max(since + 1).saturating_sub(since))
    }

    fn restart(random: &mut Random, first: &u64, upper: &Antichain<u64>) -> u64 {
        first + random.word() % time(upper).saturating_sub(*first).max(1)
    }
}

type Pair = Product<u32, u32>;

fn joined(frontier: &Antichain<Pair>) -> Antichain<Pair> {
    let elements = frontier.elements().iter();
    Antichain::from_elem(elements.fold(Pair::new(0, 0), |joined, element| joined.joined(element)))
}

impl SimTime for Pair {
    fn step(random: &mut Random, from: &Antichain<Pair>) -> Antichain<Pair> {
        let start = *random.pick(from.elements());
        let (outer, inner) = (1 + random.below(2) as u32, 1 + random.below(2) as u32);
        let by = match random.below(4) {
            0 => vec![Pair::new(start.outer + outer, start.inner)],
            1 => vec![Pair::new(start.outer, start.inner + inner)],
            2 => vec![Pair::new(start.outer + outer, start.inner + inner)],
            _ => vec![Pair::new(start.outer + outer, start.inner), Pair::new(start.outer, start.inner + inner)],
        };
        let step = join(from, &by.into());
        if step.len() > ELEMENTS_MAX { joined(&step) } else { step }
    }

    fn some(random: &mut Random, lower: &Antichain<Pair>, upper: &Antichain<Pair>, count: usize) -> Vec<Pair> {
        let near = |_| {
            let start = random.pick(lower.elements());
            Pair::new(start.outer + random.below(4) as u32, start.inner + random.below(4) as u32)
        };
        (0..count).map(near).filter(|time| !upper.less_equal(time)).collect()
    }

    fn common(lower: &Antichain<Pair>, upper: &Antichain<Pair>) -> Vec<Pair> {
        let diagonal = (0..).map(|both| Pair::new(both, both));
        diagonal.take_while(|time| !upper.less_equal(time)).filter(|time| lower.less_equal(time)).collect()
    }

    fn as_of(random: &mut Random, since: &Antichain<Pair>, upper: &Antichain<Pair>) -> Antichain<Pair> {
        let mut near = || {
            let start = random.pick(upper.elements());
            let back = [random.below(4) as u32, random.below(4) as u32];
            Pair::new(start.outer.saturating_sub(back[0]), start.inner.saturating_sub(back[1]))
        };
        let one = near();
        let other = near();
        let by = if random.percent(40) { vec![one, other] } else { vec![one] };
        let as_of = join(since, &by.into());
        if as_of.len() > ELEMENTS_MAX { joined(&as_of) } else { as_of }
    }

    fn restart(_: &mut Random, first: &Pair, _: &Antichain<Pair>) -> Pair {
        *first
    }
}
