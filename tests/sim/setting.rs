//! What a run is made of, as text: so that a failure can be made smaller and run again.

use std::collections::BTreeSet;
use std::fmt;

use crate::judge::Lie;
use crate::random::Random;

/// What may happen in a run, and can be left out of one: faults first, then what actors do.
pub const KINDS: [&str; 22] = [
    "before",
    "after",
    "late",
    "outage",
    "crash",
    "skew",
    "table",
    "lose",
    "limits",
    "compete",
    "identical",
    "stage",
    "sink",
    "standby",
    "promote",
    "snapshot",
    "listen",
    "source",
    "keep",
    "maintain",
    "evolve",
    "bequeath",
];

/// How many of a hundred runs are of sinks, that write identical rows. In the others writers compete.
const SINKS_PERCENT: usize = 25;

/// And in how many the shard's types change.
const EVOLVES_PERCENT: usize = 30;

/// One run. Everything else follows from it.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub seed: u64,
    pub processes: usize,
    /// The most that one process has.
    pub actors: usize,
    /// How long things go wrong, in simulated time.
    pub seconds: usize,
    /// Whether sinks write the shard, and nobody else.
    pub sinks: bool,
    /// Whether there are two versions of the program, and the shard's types change.
    pub evolves: bool,
    /// What does not happen, of [`KINDS`].
    pub without: BTreeSet<String>,
    /// What the store does wrong on purpose: for tests of the simulator itself.
    pub lie: Option<Lie>,
}

impl Setting {
    pub fn of(seed: u64) -> Self {
        let mut random = stream(seed, "setting", 0);
        let processes = 2 + random.below(3);
        let sinks = random.percent(SINKS_PERCENT) || std::env::var_os("SIM_SINKS").is_some();
        let evolves = random.percent(EVOLVES_PERCENT) || std::env::var_os("SIM_EVOLVES").is_some();
        let seconds = if sinks { 80 } else { 120 }; // runs of sinks do more in a second
        Self { seed, processes, actors: 4, seconds, sinks, evolves, without: BTreeSet::new(), lie: None }
    }

    pub fn has(&self, kind: &str) -> bool {
        debug_assert!(KINDS.contains(&kind), "{kind}");
        !self.without.contains(kind)
    }

    /// Choices of one part of the run that do not depend on how many the others make.
    pub fn stream(&self, name: &str, number: usize) -> Random {
        stream(self.seed, name, number)
    }

    /// The setting that [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut setting = Self::of(0);
        for word in text.split_whitespace() {
            let (name, value) = word.split_once('=')?;
            match name {
                "seed" => setting.seed = value.parse().ok()?,
                "processes" => setting.processes = value.parse().ok()?,
                "actors" => setting.actors = value.parse().ok()?,
                "seconds" => setting.seconds = value.parse().ok()?,
                "sinks" => setting.sinks = value.parse().ok()?,
                "evolves" => setting.evolves = value.parse().ok()?,
                "lie" => setting.lie = Some(Lie::parse(value)?),
                "without" => setting.without = value.split(',').map(str::to_owned).collect(),
                _ => return None,
            }
        }
        setting.without.iter().all(|kind| KINDS.contains(&kind.as_str())).then_some(setting)
    }

    /// Settings with one thing less, the largest steps first.
    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut setting = self.clone();
            change(&mut setting);
            if setting != *self {
                smaller.push(setting);
            }
        };
        add(&|setting| setting.seconds /= 2);
        add(&|setting| setting.processes = 1.max(setting.processes / 2));
        add(&|setting| setting.actors = 1.max(setting.actors / 2));
        for kind in KINDS {
            add(&|setting| setting.without.extend([kind.to_owned()]));
        }
        add(&|setting| setting.processes = 1.max(setting.processes - 1));
        add(&|setting| setting.actors = 1.max(setting.actors - 1));
        add(&|setting| setting.seconds = setting.seconds * 3 / 4);
        smaller
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, processes, actors, seconds, sinks, evolves, without, lie } = self;
        write!(
            f,
            "seed={seed} processes={processes} actors={actors} seconds={seconds} sinks={sinks} evolves={evolves}"
        )?;
        if !without.is_empty() {
            write!(f, " without={}", without.iter().map(String::as_str).collect::<Vec<_>>().join(","))?;
        }
        if let Some(lie) = lie {
            write!(f, " lie={lie}")?;
        }
        Ok(())
    }
}

fn stream(seed: u64, name: &str, number: usize) -> Random {
    let tag = name.bytes().fold(number as u64, |tag, byte| tag.wrapping_mul(257).wrapping_add(byte.into()));
    Random::new(Random::new(seed).word() ^ Random::new(tag).word().rotate_left(32))
}

/// Makes a setting that fails smaller for as long as it fails, in at most so many tries. The smallest that failed, and
/// how it did.
pub fn shrink(
    mut failing: Setting,
    mut failure: String,
    tries: usize,
    mut fails: impl FnMut(&Setting) -> Option<String>,
) -> (Setting, String) {
    let mut left = tries;
    loop {
        let before = failing.clone();
        for smaller in before.smaller() {
            // Steps compose: what one candidate leaves out stays left out when the next is tried.
            let candidate = combine(&failing, &before, &smaller);
            if candidate == failing {
                continue;
            }
            if left == 0 {
                return (failing, failure);
            }
            left -= 1;
            if let Some(how) = fails(&candidate) {
                (failing, failure) = (candidate, how);
            }
        }
        if failing == before {
            return (failing, failure);
        }
    }
}

/// `now`, with what `smaller` has less than `before`.
fn combine(now: &Setting, before: &Setting, smaller: &Setting) -> Setting {
    let mut combined = now.clone();
    combined.without.extend(smaller.without.iter().cloned());
    for (value, from, to) in [
        (&mut combined.processes, before.processes, smaller.processes),
        (&mut combined.actors, before.actors, smaller.actors),
        (&mut combined.seconds, before.seconds, smaller.seconds),
    ] {
        if from != to {
            *value = (*value).min(to);
        }
    }
    combined
}
