//! Two processes with two workers each, for real: results, who fetched, and a process that is killed.
#![allow(clippy::unwrap_used)]

#[cfg(all(feature = "aws", feature = "azure", feature = "postgres"))]
#[path = "operators_cluster/on_servers.rs"]
mod on_servers;
#[path = "operators_cluster/processes.rs"]
mod processes;

use processes::{Place, finish, sums_of};

const APPENDS: u64 = 60;
const ROWS: u64 = 2_000;

#[test]
fn two_processes_agree_and_a_killed_one_is_started_again() {
    let scratch = tempfile::tempdir().unwrap();
    let place = Place::new(scratch.path().join("data").to_str().unwrap(), &[]);
    place.start(&["fill", &APPENDS.to_string(), &ROWS.to_string()]).finish();
    let expected = sums_of(0..APPENDS * ROWS);

    let (sums, fetched) = finish(place.start_cluster(&["sum"], 2));
    assert_eq!(sums, expected);
    assert_eq!(fetched.iter().sum::<u64>(), APPENDS * ROWS);
    assert!(fetched.iter().all(|rows| *rows > 0), "each process fetches: {fetched:?}");

    let (sums, _) = finish(place.start_cluster(&["sum", "by-key"], 2));
    assert_eq!(sums, expected, "arranged by key");

    for (killed, sum) in [&["sum"][..], &["sum", "flat"]].into_iter().enumerate() {
        let mut processes = place.start_cluster(sum, 2);
        // In the middle: its first rows are there, and it has not said yet how many it fetched.
        processes[killed].wait_for(|line| line.contains("hydrating"));
        processes[killed].kill();
        drop(processes);

        let (sums, _) = finish(place.start_cluster(sum, 2));
        assert_eq!(sums, expected, "{sum:?} after process {killed} was killed");
    }
}

/// A `%` in a name is a `%`, and not the beginning of an escape.
#[test]
fn a_directory_is_the_one_that_was_named() {
    let scratch = tempfile::tempdir().unwrap();
    let named = scratch.path().join("a%20b");
    let place = Place::new(named.to_str().unwrap(), &[]);
    place.start(&["fill", "2", "3"]).finish();
    assert!(named.join("timely-persist").exists());
    assert!(!scratch.path().join("a b").exists());
    assert_eq!(finish(place.start_cluster(&["sum"], 1)).0, sums_of(0..6));
}

/// As with `| head -1`: the program ends, and says nothing of a panic.
#[test]
fn whoever_stops_reading_ends_it_quietly() {
    let scratch = tempfile::tempdir().unwrap();
    let place = Place::new(scratch.path().join("data").to_str().unwrap(), &[]);
    for arguments in [&["fill", "50", "1", "20"][..], &["sum", "-w", "2"]] {
        let (status, said) = place.start_unread(arguments);
        assert!(status.success() && !said.contains("panicked"), "{arguments:?}: {status}: {said}");
    }
}
