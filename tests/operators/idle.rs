//! A dataflow with nothing to do does nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely_persist_operators::PersistSource;
use tokio::time::Instant;

use crate::support::*;

const IDLE: Duration = Duration::from_millis(300);
const IDLES: usize = 100;
const APPENDS: u64 = 20;

/// Hazard 34: no operator runs while nothing happens, and few when something does.
#[test]
fn an_idle_source_is_not_scheduled() {
    [Kind::Rows, Kind::Flat].into_iter().for_each(is_not_scheduled);
}

fn is_not_scheduled(kind: Kind) {
    let client = memory(config());
    let shard = filled(&client, 20, 5);
    let together = std::sync::Barrier::new(2);
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let scheduled = Rc::new(Cell::new(0u64));
        let counted = Rc::clone(&scheduled);
        let mut registry = worker.log_register().unwrap();
        registry.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            let starts =
                |event: &TimelyEvent| matches!(event, TimelyEvent::Schedule(s) if s.start_stop == StartStop::Start);
            let starts = events.iter().flat_map(|events| events.iter()).filter(|(_, event)| starts(event)).count();
            counted.set(counted.get() + starts as u64);
        });
        drop(registry);
        let seen = Seen::default();
        let running = install_as(kind, worker, PersistSource::new(&shard).as_of(at(19)), &seen);
        let settle = |worker: &mut timely::worker::Worker, to: u64| {
            while running.probe.less_than(&to) {
                worker.step_or_park(None);
            }
        };
        settle(worker, 20);
        together.wait();
        // On a busy machine, what the last step left to others comes late; an operator that runs for nothing runs always.
        let idles = (0..IDLES).any(|_| {
            let before = scheduled.get();
            let until = Instant::now() + IDLE;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                worker.step_or_park(Some(left));
            }
            assert!(before > 0, "nothing is counted");
            scheduled.get() == before
        });
        assert!(idles, "operators ran while nothing happened");
        together.wait();
        let before = scheduled.get();
        // Operators that run for one append: those of the source, of timely's own around them, and the test's.
        if worker.index() == 0 {
            fill(&shard, 20..20 + APPENDS, 2);
        }
        settle(worker, 20 + APPENDS);
        let each = (scheduled.get() - before) / APPENDS;
        assert!(each < 60, "{each} operators scheduled for one append");
    });
    drop(guards.unwrap());
}
