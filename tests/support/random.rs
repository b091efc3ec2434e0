//! Choices that follow from a seed, and what to print when a seed fails.

use std::fmt::Display;

/// A sequence of choices (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.word() % bound as u64) as usize
    }

    /// Whether something happens that does so in `percent` of all cases.
    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, V>(&mut self, from: &'a [V]) -> &'a V {
        &from[self.below(from.len())]
    }
}

/// The seeds to run: `count` fixed ones, or those that the environment names. `NAME_SEED=7` runs one,
/// `NAME_SEEDS=1000` as many, from `NAME_FROM` on (0 if that is not set).
pub fn seeds(name: &str, count: u64) -> std::ops::Range<u64> {
    let variable = |suffix: &str| -> Option<u64> {
        let text = std::env::var(format!("{name}_{suffix}")).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name}_{suffix}={text} is no number")))
    };
    if let Some(seed) = variable("SEED") {
        return seed..seed + 1;
    }
    let from = variable("FROM").unwrap_or(0);
    from..from + variable("SEEDS").unwrap_or(count)
}

/// What happened in a run. Dropped by a panic, it prints the end of it, the seed and the command to run it again.
#[derive(Debug)]
pub struct Story {
    command: String,
    lines: Vec<String>,
}

/// Lines of a story that are printed.
const LINES_SHOWN: usize = 60;

impl Story {
    pub fn new(command: String) -> Self {
        Self { command, lines: Vec::new() }
    }

    /// With `TELL` in the environment it is printed at once: for runs that do not end.
    pub fn tell(&mut self, line: impl Display) {
        if std::env::var_os("TELL").is_some() {
            eprintln!("  {line}");
        }
        self.lines.push(line.to_string());
    }
}

impl Story {
    #[allow(dead_code)] // for those who compare stories
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let start = self.lines.len().saturating_sub(LINES_SHOWN);
            for line in &self.lines[start..] {
                eprintln!("  {line}");
            }
            eprintln!("run it again: {}", self.command);
        }
    }
}
