//! How much of its history an output keeps while nobody reads it.

use std::collections::VecDeque;

use timely::PartialOrder;
use timely::progress::Antichain;
use timely_persist::Time;

/// How much of its history an output keeps for those who will read it: whoever reads it now keeps what it reads, and so
/// does a pipeline that has it for an input.
///
/// History that is not kept is merged: the contents stay, the times at which they came about do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// All of it, from the first commit on. The shard grows with every change, for ever.
    All,
    /// The times of the newest commit. The default: a shard that nobody reads takes no more room than its contents.
    #[default]
    Latest,
    /// The times of the newest commit, and of at least so many before it.
    Behind(u64),
}

/// Commits that are remembered by one mark each; of more, every second, third, ... one is. 64: with so many the output keeps
/// at most a 64th more commits than it should.
const MARKS: u64 = 64;

/// The commits of this run, as far as they say how far the output's since may move.
#[derive(Clone, Debug)]
pub(super) struct Marks<T> {
    retention: Retention,
    /// Commits so far.
    count: u64,
    newest: Option<Antichain<T>>,
    /// Some commits, by number, with their lowers. At most two for each of [`MARKS`], and two.
    lowers: VecDeque<(u64, Antichain<T>)>,
}

impl<T: Time> Marks<T> {
    pub(super) fn new(retention: Retention) -> Self {
        Self { retention, count: 0, newest: None, lowers: VecDeque::new() }
    }

    /// The commits to keep before the newest; `None` for all.
    fn behind(&self) -> Option<u64> {
        match self.retention {
            Retention::All => None,
            Retention::Latest => Some(0),
            Retention::Behind(commits) => Some(commits),
        }
    }

    /// Takes note of a commit from `lower` on. Told again of one, it does nothing.
    pub(super) fn note(&mut self, lower: &Antichain<T>) {
        let Some(behind) = self.behind() else { return };
        if self.newest.as_ref().is_some_and(|newest| PartialOrder::less_equal(lower, newest)) {
            return;
        }
        self.newest = Some(lower.clone());
        self.count += 1;
        if self.count.is_multiple_of((behind / MARKS).max(1)) {
            self.lowers.push_back((self.count, lower.clone()));
        }
        while self.lowers.get(1).is_some_and(|(number, _)| self.is_behind(*number, behind)) {
            self.lowers.pop_front();
        }
    }

    fn is_behind(&self, number: u64, behind: u64) -> bool {
        number.checked_add(behind).is_some_and(|newest| newest <= self.count)
    }

    /// Where the output's since may move now.
    pub(super) fn allowed(&self) -> Option<&Antichain<T>> {
        let behind = self.behind()?;
        self.lowers.front().filter(|(number, _)| self.is_behind(*number, behind)).map(|(_, lower)| lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the since may be after so many commits, each of ten times.
    fn allowed(retention: Retention, commits: u64) -> Option<u64> {
        let mut marks = Marks::new(retention);
        for commit in 0..commits {
            marks.note(&Antichain::from_elem(commit * 10));
            marks.note(&Antichain::from_elem(commit * 10)); // told again
        }
        assert!(marks.lowers.len() as u64 <= 2 * MARKS + 2, "{}", marks.lowers.len());
        marks.allowed().map(|lower| lower.elements()[0])
    }

    #[test]
    fn so_many_commits_are_kept() {
        assert_eq!(allowed(Retention::All, 10), None);
        assert_eq!(allowed(Retention::Latest, 0), None);
        assert_eq!([1, 2, 10].map(|commits| allowed(Retention::Latest, commits)), [Some(0), Some(10), Some(90)]);
        let behind = |commits| allowed(Retention::Behind(3), commits);
        assert_eq!([0, 3, 4, 5, 10].map(behind), [None, None, Some(0), Some(10), Some(60)]);
        assert_eq!(allowed(Retention::Behind(u64::MAX), 1_000), None);
    }

    #[test]
    fn many_commits_are_kept_by_few_marks() {
        for behind in [127, 1_000, 6_400] {
            let kept = 20_000 - 1 - allowed(Retention::Behind(behind), 20_000).expect("it moves") / 10;
            assert!(kept >= behind && kept - behind <= behind / MARKS, "{kept} of {behind}");
        }
    }
}
