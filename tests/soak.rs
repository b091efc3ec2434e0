//! The checker of the attack (`examples/soak`) finds each kind of violation, and none where there is none.
//!
//! That the attack itself runs, and finds nothing, `make test` shows.
#![allow(clippy::unwrap_used)] // the helpers are tests too
#![allow(dead_code)] // what the processes of the attack need beside it

#[path = "../examples/soak/journal.rs"]
mod journal;
#[path = "../examples/soak/notes.rs"]
mod notes;
#[path = "../examples/soak/rows.rs"]
mod rows;
#[path = "../examples/soak/truth.rs"]
mod truth;

use std::collections::BTreeMap;
use std::io::Write;

use journal::{Attempt, Journal, Outcome};
use notes::{Note, Notes};
use rows::{Digest, Name};
use truth::Snapshot;

const SALT: u64 = 7;
const UPPER: u64 = 10;

fn attempt(number: u64, time: u64, retracts: Option<u64>, outcome: Outcome) -> Attempt {
    Attempt { writer: 3, number, shard: 0, time, rows: 4, padding: 20, retracts, outcome }
}

/// What a writer wrote down: one of each kind.
fn attempts() -> Vec<Attempt> {
    use Outcome::*;
    vec![
        attempt(0, 0, None, Acknowledged),
        attempt(1, 1, None, Acknowledged),
        attempt(2, 2, Some(1), Acknowledged),
        attempt(3, 2, None, Refused),
        attempt(4, 3, None, Unknown),
        attempt(5, 4, Some(0), Unknown),
        Attempt { shard: 1, ..attempt(6, 5, None, Acknowledged) },
        // Acknowledged behind what was read.
        attempt(7, UPPER, None, Acknowledged),
    ]
}

type Contents = BTreeMap<(String, u64), i64>;

/// What is in shard 0: of the unknown, 4 came to be there and 5 did not.
fn contents() -> Contents {
    let attempts = attempts();
    let mut contents = Contents::new();
    for attempt in [0, 1, 2, 4].map(|number: usize| &attempts[number]) {
        contents.extend((0..attempt.rows).map(|index| (attempt.row(SALT, index), 1)));
    }
    attempts[1].rest(SALT).for_each(|row| assert_eq!(contents.remove(&row), Some(1)));
    contents
}

fn findings(contents: &Contents, attempts: &[Attempt]) -> Vec<String> {
    let mut snapshot = Snapshot::default();
    contents.iter().for_each(|((key, value), diff)| snapshot.add(SALT, key, *value, *diff));
    snapshot.compare(0, UPPER, attempts, SALT).1
}

#[test]
fn what_is_right_is_not_found_wrong() {
    assert_eq!(findings(&contents(), &attempts()), Vec::<String>::new());
    // An unknown append that took away what another brought.
    let mut contents = contents();
    let attempts = attempts();
    attempts[0].rest(SALT).for_each(|row| assert_eq!(contents.remove(&row), Some(1)));
    contents.extend((0..4).map(|index| (attempts[5].row(SALT, index), 1)));
    assert_eq!(findings(&contents, &attempts), Vec::<String>::new());
}

#[test]
fn each_kind_of_violation_is_found() {
    type Damage = fn(&mut Contents, &[Attempt]);
    let damages: [(&str, Damage, &str); 10] = [
        (
            "an acknowledged append is lost",
            |contents, attempts| {
                (0..4).for_each(|index| assert_eq!(contents.remove(&attempts[0].row(SALT, index)), Some(1)));
            },
            "was acknowledged, and is gone",
        ),
        (
            "a row of one is lost",
            |contents, attempts| assert_eq!(contents.remove(&attempts[0].row(SALT, 2)), Some(1)),
            "there are 2 rows beside the marker",
        ),
        (
            "an unknown one is there in part",
            |contents, attempts| assert_eq!(contents.remove(&attempts[4].row(SALT, 3)), Some(1)),
            "there are 2 rows beside the marker",
        ),
        (
            "one is there twice",
            |contents, attempts| *contents.get_mut(&attempts[2].row(SALT, 0)).unwrap() += 1,
            "is there 2 times",
        ),
        (
            "a refused one is there",
            |contents, attempts| contents.extend((0..4).map(|index| (attempts[3].row(SALT, index), 1))),
            "was refused, and is there",
        ),
        (
            "what was taken away is there",
            |contents, attempts| contents.extend(attempts[1].rest(SALT).map(|row| (row, 1))),
            "(retracted) there are 3 rows beside the marker",
        ),
        (
            "an append of another shard is there",
            |contents, attempts| contents.extend((0..4).map(|index| (attempts[6].row(SALT, index), 1))),
            "append 6 of writer 3 at 5 is there: nobody tried it",
        ),
        (
            "one that nobody tried is there",
            |contents, _| contents.extend([(Name { writer: 9, append: 1, time: 4, index: 0 }.row(SALT, 3), 1)]),
            "append 1 of writer 9 at 4 is there: nobody tried it",
        ),
        (
            "a value is another",
            |contents, attempts| {
                let (key, value) = attempts[0].row(SALT, 1);
                assert_eq!(contents.remove(&(key.clone(), value)), Some(1));
                contents.insert((key, value + 1), 1);
            },
            "nobody ever wrote the row",
        ),
        (
            "one is there at another time",
            |contents, attempts| {
                let moved = Attempt { time: 8, ..attempts[2].clone() };
                (0..4).for_each(|index| assert_eq!(contents.remove(&attempts[2].row(SALT, index)), Some(1)));
                contents.extend((0..4).map(|index| (moved.row(SALT, index), 1)));
            },
            "append 2 of writer 3 at 8 is there: nobody tried it",
        ),
    ];
    for (what, damage, expected) in damages {
        let (mut contents, attempts) = (contents(), attempts());
        damage(&mut contents, &attempts);
        let found = findings(&contents, &attempts);
        assert!(found.iter().any(|finding| finding.contains(expected)), "{what}: {found:?}");
    }
}

#[test]
fn readers_that_saw_something_else_are_found() {
    let attempts = attempts();
    let mut snapshot = Snapshot::default();
    contents().iter().for_each(|((key, value), diff)| snapshot.add(SALT, key, *value, *diff));
    let digest = snapshot.digest;
    let (history, _) = snapshot.compare(0, UPPER, &attempts, SALT);
    assert_eq!((history.before(0), history.before(UPPER)), (Digest::default(), digest));
    let (marker, rest) = attempts[0].digests(SALT);
    let at_one = Note { shard: 0, from: 0, upto: 1, digest: marker.plus(rest) };
    let later = Note { from: 1, upto: UPPER, digest: digest.minus(at_one.digest), ..at_one };
    let wrong = Note { upto: 2, ..at_one };
    let elsewhere = Note { shard: 1, ..wrong };
    let not_yet = Note { upto: UPPER + 1, ..wrong };

    let folder = tempfile::tempdir().unwrap();
    let mut kept = Notes::open(folder.path(), "somebody").unwrap();
    [at_one, later, wrong, elsewhere, not_yet].iter().for_each(|note| kept.note(note).unwrap());
    let (compared, found) = history.compare(0, UPPER, &notes::read_all(folder.path()).unwrap());
    assert_eq!((compared, found.len()), (3, 1), "{found:?}");
    assert!(found[0].contains("upto: 2"), "{found:?}");
}

#[test]
fn a_journal_that_a_kill_cut_off_is_read_up_to_there_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, before) = Journal::open(folder.path(), 3).unwrap();
    assert!(before.is_empty());
    let expected = &attempts()[..4];
    for attempt in expected {
        journal.intend(attempt).unwrap();
        journal.settle(attempt, attempt.outcome).unwrap();
    }
    drop(journal);
    // "acknowledged 11" of a line about 110, say.
    let mut file = std::fs::OpenOptions::new().append(true).open(folder.path().join("3")).unwrap();
    file.write_all(b"intent 4 0 3 4 2").unwrap();
    let (mut journal, read) = Journal::open(folder.path(), 3).unwrap();
    assert_eq!(read, expected);
    let next = attempt(4, 6, None, Outcome::Unknown);
    journal.intend(&next).unwrap();
    assert_eq!(journal::read_all(folder.path()).unwrap(), [expected, &[next]].concat());
}
