//! `arrange` and `join`: arrangements of what a source gives, until they are complete.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use differential_dataflow::AsCollection;
use differential_dataflow::trace::{Cursor, Navigable};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::ProbeHandle;
use timely::dataflow::operators::core::input::Handle as InputHandle;
use timely::dataflow::operators::{Inspect, Probe};
use timely::logging::{StartStop, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;
use timely_persist_operators::PersistSource;

use crate::args::{Args, Mode, Workload};
use crate::data::{BATCHES, Columns, Row, Sums, at};
use crate::limits::BUFFER_ROWS;
use crate::place::Strings;
use crate::report::Sample;

/// Reads a batch of an arrangement.
macro_rules! counted {
    ($batch:expr, $sums:expr) => {
        if let Some(batch) = &$batch.inner {
            let (mut cursor, mut sums) = (batch.cursor(), $sums.borrow_mut());
            while let Some(key) = cursor.get_key(batch) {
                while cursor.val_valid(batch) {
                    cursor.map_times(batch, |_time, diff| sums.add(key, *diff));
                    cursor.step_val(batch);
                }
                cursor.step_key(batch);
            }
        }
    };
}

/// Arranges each source in the way that is asked for, and does the rest with what that comes to.
macro_rules! in_each_way {
    ($mode:expr, $scope:expr, $sources:expr, |$arranged:ident| $rest:expr) => {{
        match $mode {
            Mode::Sorted => {
                let ($arranged, buttons): (Vec<_>, Vec<_>) = $sources
                    .map(|source| source.arrange_by_key($scope))
                    .map(|source| (source.arranged, source.button))
                    .unzip();
                ($rest, buttons)
            }
            Mode::Flat => {
                let ($arranged, buttons): (Vec<_>, Vec<_>) = $sources
                    .map(|source| source.arrange_flat($scope))
                    .map(|source| (source.arranged, source.button))
                    .unzip();
                ($rest, buttons)
            }
            _ => {
                let sources = $sources.map(|source| source.build($scope));
                let ($arranged, buttons): (Vec<_>, Vec<_>) =
                    sources.map(|source| (source.updates.arrange_by_key(), source.button)).unzip();
                ($rest, buttons)
            }
        }
    }};
}

/// What is arranged is counted by reading the arrangement's batches; what is joined, as it comes.
pub fn run(
    worker: &mut Worker,
    shard: &Strings,
    workload: Workload,
    mode: Mode,
    longest: &Arc<Mutex<Vec<f64>>>,
) -> Sums {
    log_activations(worker, longest);
    let sums = Rc::new(RefCell::new(Sums::default()));
    let probe = ProbeHandle::new();
    let buttons = worker.dataflow::<u64, _, _>(|scope| {
        let source = |_| PersistSource::new(shard).as_of(at(BATCHES - 1)).until(at(BATCHES));
        let counting = Rc::clone(&sums);
        let (_, buttons) = match workload {
            Workload::Join => in_each_way!(mode, scope, (0..2).map(source), |arranged| {
                let [one, two] = <[_; 2]>::try_from(arranged).ok().unwrap();
                let joined = one.join_core(two, move |key, _, _| {
                    counting.borrow_mut().add(key, 1);
                    None::<()>
                });
                joined.inner.probe_with(&probe);
            }),
            _ => in_each_way!(mode, scope, (0..1).map(source), |arranged| {
                for arranged in arranged {
                    let counting = Rc::clone(&counting);
                    arranged.stream.inspect(move |batch| counted!(batch, counting)).probe_with(&probe);
                }
            }),
        };
        buttons
    });
    while !probe.done() {
        worker.step_or_park(None);
    }
    drop(buttons);

    *sums.borrow()
}

/// Operators that only look, and drop what they saw; a scope's time is that of its operators.
const OURS: [&str; 3] = ["Inspect", "Probe", "Dataflow"];

/// Notes how long each activation of an operator takes, in milliseconds, but those of the benchmark's own.
fn log_activations(worker: &Worker, longest: &Arc<Mutex<Vec<f64>>>) {
    let longest = Arc::clone(longest);
    let mut begun: HashMap<usize, Duration> = HashMap::new();
    let mut ours = HashSet::new();
    let mut register = worker.log_register().unwrap();
    register.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
        let mut longest = longest.lock().unwrap();
        for (at, event) in events.iter().flat_map(|events| events.iter()) {
            match event {
                TimelyEvent::Operates(event) if OURS.iter().any(|name| event.name.contains(name)) => {
                    ours.insert(event.id);
                }
                TimelyEvent::Schedule(event) if ours.contains(&event.id) => {}
                TimelyEvent::Schedule(event) => match event.start_stop {
                    StartStop::Start => drop(begun.insert(event.id, *at)),
                    StartStop::Stop => {
                        let took = begun.remove(&event.id).map(|begun| *at - begun);
                        longest.extend(took.map(|took| took.as_secs_f64() * 1e3));
                    }
                },
                _ => {}
            }
        }
    });
}

/// An arrangement of rows that each worker has built before.
pub fn from_memory(args: &Args) -> Sample {
    let columns = Arc::new(Columns::new(args.rows));
    let guards = timely::execute(timely::Config::process(args.workers), move |worker| {
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let mut messages: Vec<Vec<Row>> = Vec::new();
        for batch in (0..BATCHES).filter(|batch| batch % peers == index) {
            // In the order that a part has them: there is less to sort for the arrangement.
            let mut rows = columns.batch(batch);
            rows.sort_unstable();
            let mut rows = rows.into_iter().map(|(data, _time, diff)| (data, BATCHES - 1, diff));
            while rows.len() > 0 {
                messages.push(rows.by_ref().take(BUFFER_ROWS).collect());
            }
        }
        let mut input = InputHandle::<u64, CapacityContainerBuilder<Vec<Row>>>::new_with_builder();
        let probe = ProbeHandle::new();
        let start = std::time::Instant::now();
        worker.dataflow(|scope| {
            let sums = RefCell::new(Sums::default());
            let rows = input.to_stream(scope).as_collection();
            let rows = rows.inspect(move |((key, _value), _time, diff): &Row| sums.borrow_mut().add(key, *diff));
            rows.arrange_by_key().stream.probe_with(&probe);
        });
        input.advance_to(BATCHES - 1);
        for (sent, mut message) in messages.into_iter().enumerate() {
            input.send_batch(&mut message);
            if sent % 4 == 3 {
                worker.step(); // as often as a source emits
            }
        }
        input.close();
        while !probe.done() {
            worker.step();
        }
        start.elapsed().as_secs_f64()
    });
    let wall_s = guards.unwrap().join().into_iter().map(Result::unwrap).fold(0.0, f64::max);
    Sample { wall_s, ..Sample::default() }
}
