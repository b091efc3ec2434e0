//! A source's name is its reader's purpose, and as bounded.

use std::time::Duration;

use timely::worker::Worker;
use timely_persist::ErrorKind;
use timely_persist_operators::PersistSource;
use timely_persist_types::config::PURPOSE_BYTES_MAX;

use crate::support::*;

#[test]
fn a_name_that_is_too_long_is_an_error_and_nothing_is_written() {
    let client = memory(config());
    let shard = filled(&client, 2, 2);
    let before = wait(shard.inspect()).unwrap().seqno;
    let seen = Seen::default();
    let (shared, reading) = (seen.clone(), shard.clone());
    let guards = timely::execute(timely::Config::process(2), move |worker: &mut Worker| {
        let name = "x".repeat(PURPOSE_BYTES_MAX + 1);
        let source = install(worker, PersistSource::new(&reading).as_of(at(0)).name(name), &shared);
        while shared.errors().is_empty() {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        assert!(source.probe.less_equal(&0), "the frontier is not held");
        drop(source);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    let [error] = &seen.errors()[..] else { panic!("{:?}", seen.errors()) };
    assert_eq!(failure(error), ErrorKind::Invalid);
    assert!(error.to_string().contains("PURPOSE_BYTES_MAX"), "{error}");
    assert_eq!(wait(shard.inspect()).unwrap().seqno, before);
}
