//! Whether all workers were asked for the same: each tells one of them what it was asked for, and that one compares.
//!
//! Always: nothing is decided before every worker was heard, and the answer names every setting that differs, with its
//! values and the workers that have them. It knows of no operator: whoever builds one on all workers can ask.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use timely::progress::Antichain;
use timely_persist::{EncodedFrontier, Time};

/// Values of a setting, and workers that have one of them, which a message names. The others it counts.
const NAMED_MAX: usize = 4;

/// Characters of a value that a message shows.
const SHOWN_CHARS_MAX: usize = 80;

/// What one worker was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) worker: usize,
    /// The settings that must be equal, by name: the same ones in the same order on all workers.
    pub(crate) settings: Vec<(String, Value)>,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Value {
    Text(String),
    Frontier(EncodedFrontier),
    Is(bool),
    /// Whether there is one: all that can be told of a closure, say.
    Given(bool),
}

impl Value {
    /// A frontier, whatever the order of its elements.
    pub(crate) fn frontier<T: Time>(frontier: &Antichain<T>) -> Self {
        let mut times = frontier.elements().to_vec();
        times.sort();
        Self::Frontier(EncodedFrontier::new(&Antichain::from(times)))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Frontier(frontier) if frontier.is_empty() => "empty".to_owned(),
            Self::Frontier(frontier) => frontier.to_string(),
            Self::Is(is) => is.to_string(),
            Self::Given(true) => "given".to_owned(),
            Self::Given(false) => "not given".to_owned(),
        };
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((end, _)) => write!(f, "{}…", &text[..end]),
            None => f.write_str(&text),
        }
    }
}

/// What was heard so far.
#[derive(Debug)]
pub(crate) struct Agreement {
    workers: usize,
    heard: Vec<Asked>,
}

impl Agreement {
    /// Nothing yet, of so many workers.
    pub(crate) fn among(workers: usize) -> Self {
        Self { workers, heard: Vec::new() }
    }

    /// A worker tells. Once all have: whether they agree, or else where they do not.
    pub(crate) fn hear(&mut self, asked: Asked) -> Option<Result<(), String>> {
        self.heard.push(asked);
        if self.heard.len() < self.workers {
            return None;
        }
        self.heard.sort_by_key(|asked| asked.worker);
        let names = self.heard.first()?.settings.iter().map(|(name, _)| name);
        let differences: Vec<_> = names.enumerate().filter_map(|(index, name)| self.difference(index, name)).collect();
        Some(if differences.is_empty() { Ok(()) } else { Err(differences.join("; ")) })
    }

    /// Who has which value, if there are several.
    fn difference(&self, index: usize, name: &str) -> Option<String> {
        let mut values: BTreeMap<&Value, Vec<usize>> = BTreeMap::new();
        for asked in &self.heard {
            let value = asked.settings.get(index).map_or(&Value::Given(false), |(_, value)| value);
            values.entry(value).or_default().push(asked.worker);
        }
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(|(_, workers), (_, others)| workers.cmp(others));
        let one = |(value, workers): &(&Value, Vec<usize>)| {
            let noun = if workers.len() == 1 { "worker" } else { "workers" };
            format!("{value} on {noun} {}", listed(workers, usize::to_string, ", "))
        };
        (values.len() > 1).then(|| format!("{name} is {}", listed(&values, one, ", but ")))
    }
}

/// The first of these, and how many there are beside them.
fn listed<A>(all: &[A], word: impl Fn(&A) -> String, between: &str) -> String {
    let named: Vec<_> = all.iter().take(NAMED_MAX).map(word).collect();
    let named = named.join(between);
    match all.len() - all.len().min(NAMED_MAX) {
        0 => named,
        others => format!("{named} and {others} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timely::order::Product;

    fn asked(worker: usize, name: &str, until: Antichain<u64>) -> Asked {
        let settings =
            vec![("name".to_owned(), Value::Text(name.to_owned())), ("until".to_owned(), Value::frontier(&until))];
        Asked { worker, settings }
    }

    fn verdict(all: Vec<Asked>) -> Result<(), String> {
        let mut agreement = Agreement::among(all.len());
        let mut answers: Vec<_> = all.into_iter().map(|asked| agreement.hear(asked)).collect();
        let last = answers.pop().flatten();
        assert!(answers.iter().all(Option::is_none), "it was decided before all were heard");
        last.expect("all were heard")
    }

    #[test]
    fn equal_settings_agree_in_whatever_order_they_come() {
        let until = || Antichain::from_elem(7);
        assert_eq!(verdict(vec![asked(2, "a", until()), asked(0, "a", until()), asked(1, "a", until())]), Ok(()));
        assert_eq!(verdict(vec![asked(0, "alone", until())]), Ok(()));
    }

    #[test]
    fn what_differs_is_said_with_who_has_what() {
        let until = Antichain::from_elem;
        let all = vec![asked(1, "a", until(7)), asked(2, "b", until(7)), asked(0, "a", until(7))];
        assert_eq!(verdict(all), Err("name is \"a\" on workers 0, 1, but \"b\" on worker 2".to_owned()));
        let said = verdict(vec![asked(0, "a", until(7)), asked(1, "b", Antichain::new())]).unwrap_err();
        assert!(said.contains("name is \"a\" on worker 0, but \"b\" on worker 1; until is "), "{said}");
    }

    #[test]
    fn a_message_of_many_workers_with_long_names_is_short() {
        let long = |worker: usize| asked(worker, &format!("{worker}{}", "ä".repeat(10_000)), Antichain::new());
        let said = verdict((0..1_000).map(long).collect()).unwrap_err();
        assert!(said.chars().count() < 600 && said.ends_with("and 996 more"), "{said}");
        let alike = |worker: usize| asked(worker, if worker == 5 { "b" } else { "a" }, Antichain::new());
        let said = verdict((0..1_000).map(alike).collect()).unwrap_err();
        assert_eq!(said, "name is \"a\" on workers 0, 1, 2, 3 and 995 more, but \"b\" on worker 5");
    }

    #[test]
    fn a_frontier_is_the_same_in_any_order() {
        let (one, other) = (Product::new(1u32, 2u32), Product::new(2, 1));
        let there = Value::frontier(&Antichain::from(vec![one, other]));
        assert_eq!(there, Value::frontier(&Antichain::from(vec![other, one])));
        assert_ne!(there, Value::frontier(&Antichain::from_elem(one)));
    }
}
