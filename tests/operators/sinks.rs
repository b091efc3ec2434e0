//! `persist_sink`: what a dataflow computes is in the shard, once, whatever happens to the dataflow.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use differential_dataflow::input::Input;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely::dataflow::operators::{Inspect, Probe};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist::{AppendOutcome, Appended, Client, ErrorKind, ListenEvent, ShardId};
use timely_persist_operators::{Button, PersistSink, PersistSource, Resume, Retention, SinkError};
use timely_persist_testing::{Fault, Faults, FaultyStore, Gate, Operation, Rule};

use crate::stage::{go_on, objects, put_back};
use crate::support::*;

type Probed = timely::dataflow::operators::probe::Handle<u64>;

/// What is said.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<SinkError>>>);

impl Said {
    fn all(&self) -> Vec<SinkError> {
        self.0.lock().unwrap().clone()
    }
}

/// A shard kept in another, on one worker.
struct Kept {
    probe: Probed,
    source: Button,
    sink: Button,
}

/// Each row of `input` twice, one of them under another key: the output is twice the input.
fn keep(
    worker: &mut Worker,
    input: &Numbers,
    as_of: u64,
    sink: PersistSink<String, u64, u64, i64>,
    said: &Said,
) -> Kept {
    let said = said.clone();
    worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(input).as_of(at(as_of)).build(scope);
        let doubled = source.updates.flat_map(|(key, value)| [(key.clone(), value), (format!("also {key}"), value)]);
        let sink = sink.as_of(at(as_of)).build(doubled);
        sink.errors.inspect(move |error| said.0.lock().unwrap().push(error.clone()));
        Kept { probe: sink.progress.probe().0, source: source.button, sink: sink.button }
    })
}

/// Runs `keep` on so many workers until the output has reached `to`.
fn kept(workers: usize, input: &Numbers, output: &Numbers, as_of: u64, to: u64) -> Vec<SinkError> {
    kept_by(workers, input, as_of, to, {
        let output = output.clone();
        move || PersistSink::new(&output)
    })
}

fn kept_by(
    workers: usize,
    input: &Numbers,
    as_of: u64,
    to: u64,
    sink: impl Fn() -> PersistSink<String, u64, u64, i64> + Send + Sync + 'static,
) -> Vec<SinkError> {
    let (input, said) = (input.clone(), Said::default());
    let saying = said.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let kept = keep(worker, &input, as_of, sink(), &saying);
        while kept.probe.less_than(&to) && saying.all().is_empty() {
            worker.step_or_park(Some(Duration::from_millis(50)));
        }
        drop((kept.sink, kept.source));
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    for worker in guards.unwrap().join() {
        worker.unwrap();
    }
    said.all()
}

/// All that was written into a shard, at its times, and its upper.
fn written(shard: &Numbers) -> (Vec<Row>, Antichain<u64>) {
    wait(async {
        let upper = shard.inspect().await.unwrap().upper;
        let mut rows = Vec::new();
        if upper != at(0) {
            let mut listen = shard.open_reader("check").await.unwrap().subscribe(at(0)).await.unwrap();
            while listen.frontier() != &upper {
                for event in listen.fetch_next().await.unwrap() {
                    if let ListenEvent::Updates(updates) = event {
                        rows.extend(updates);
                    }
                }
            }
        }
        (consolidated(rows), upper)
    })
}

/// What is to be written.
fn doubled(rows: Vec<Row>) -> Vec<Row> {
    consolidated(rows.into_iter().flat_map(|((key, value), time, diff)| {
        [((key.clone(), value), time, diff), ((format!("also {key}"), value), time, diff)]
    }))
}

#[test]
fn a_shard_is_kept_in_another_on_any_number_of_workers_after_each_restart() {
    let client = memory(config());
    let (input, output) = (filled(&client, 4, 50), client.shard(ShardId::new()));
    assert_eq!(kept(1, &input, &output, 0, 4), []);
    assert_eq!(written(&output), (doubled(expected(0..4, 50, 0)), at(4)));
    // It goes on strictly before its upper, wherever that is, and writes nothing twice.
    for (round, workers) in [(1, 2), (2, 3), (3, 1), (4, 2)] {
        fill(&input, 4 * round..4 * (round + 1), 50);
        let as_of = 4 * round - 1 - round % 3;
        assert_eq!(kept(workers, &input, &output, as_of, 4 * (round + 1)), []);
        assert_eq!(written(&output), (doubled(expected(0..4 * (round + 1), 50, 0)), at(4 * (round + 1))));
    }
    without_readers(&input);
}

/// Hazard 59: a hydration is at one time, and larger than memory.
#[test]
fn what_does_not_fit_into_memory_goes_to_storage_before_it_is_committed() {
    let client = memory(config());
    let (input, output) = (filled(&client, 40, 500), client.shard(ShardId::new()));
    let sink = {
        let output = output.clone();
        move || PersistSink::new(&output).memory_max(400 << 10)
    };
    assert_eq!(kept_by(2, &input, 39, 40, sink), []);
    let (rows, upper) = written(&output);
    assert_eq!((rows == doubled(expected(0..40, 500, 39)), upper), (true, at(40)));
    let parts = wait(output.inspect()).unwrap().parts;
    assert!(parts > 2, "{parts} parts, as many as there are workers: nothing was spilled");
}

/// `as_of = upper` instead of before it would write everything twice.
#[test]
fn an_as_of_that_is_not_before_the_upper_is_refused_and_nothing_is_written() {
    let client = memory(config());
    let (input, output) = (filled(&client, 4, 50), client.shard(ShardId::new()));
    assert_eq!(kept(2, &input, &output, 3, 4), []);
    let before = written(&output);
    fill(&input, 4..6, 50);
    for as_of in [4, 5] {
        let said = kept(2, &input, &output, as_of, 6);
        let [SinkError::Gap { shard, .. }] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(*shard, output.id());
        assert_eq!(written(&output), before);
    }
    assert_eq!(kept(2, &input, &output, 3, 6), []);
}

/// Hazard 61: an input handle that was dropped at exit.
#[test]
fn an_input_that_ends_leaves_the_shard_open_at_what_is_complete() {
    let client = memory(config());
    for closes in [false, true] {
        let output: Numbers = client.shard(ShardId::new());
        let said = Said::default();
        timely::execute_directly({
            let (output, saying) = (output.clone(), said.clone());
            let said = said.clone();
            move |worker| {
                let (mut input, probe, button) = worker.dataflow::<u64, _, _>(|scope| {
                    let (input, rows) = scope.new_collection();
                    let sink = PersistSink::new(&output).close_at_end(closes).build(rows);
                    sink.errors.inspect(move |error| said.0.lock().unwrap().push(error.clone()));
                    (input, sink.progress.probe().0, sink.button)
                });
                for time in 0..3 {
                    input.advance_to(time);
                    input.flush();
                    while probe.less_than(&time) {
                        worker.step_or_park(Some(Duration::from_millis(20)));
                    }
                    input.update(("row".to_owned(), time), 1);
                }
                drop(input); // at 2, which nobody has said is complete
                while !probe.done() && saying.all().is_empty() {
                    worker.step_or_park(Some(Duration::from_millis(20)));
                }
                (0..50).for_each(|_| _ = worker.step());
                assert_eq!(probe.done(), closes);
                drop(button);
            }
        });
        let (rows, upper) = written(&output);
        let times = if closes { 3 } else { 2 };
        assert_eq!(rows.len(), times);
        match closes {
            true => assert_eq!((upper, said.all()), (none(), vec![])),
            false => {
                let said = said.all();
                assert_eq!(upper, at(2));
                assert_eq!(said, [SinkError::Uncommitted { shard: output.id(), rows: 1 }]);
            }
        }
    }
}

/// The empty frontier of a source that was stopped is no end.
#[test]
fn a_source_that_is_stopped_commits_nothing_of_what_is_half_there() {
    let client = memory(config());
    for workers in [1, 2] {
        let (input, output) = (filled(&client, 4, 50), client.shard(ShardId::new()));
        let (reading, writing, said) = (input.clone(), output.clone(), Said::default());
        let saying = said.clone();
        let guards = timely::execute(timely::Config::process(workers), move |worker| {
            let kept = keep(worker, &reading, 0, PersistSink::new(&writing), &saying);
            while kept.probe.less_than(&4) {
                worker.step_or_park(Some(Duration::from_millis(50)));
            }
            drop(kept.source);
            (0..200).for_each(|_| _ = worker.step_or_park(Some(Duration::from_millis(1))));
            assert!(kept.probe.less_equal(&4), "it claims that all is durable");
            drop(kept.sink);
            while worker.has_dataflows() {
                worker.step_or_park(None);
            }
        });
        guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
        assert_eq!(said.all(), [SinkError::InputStopped(output.id())]);
        assert_eq!(written(&output), (doubled(expected(0..4, 50, 0)), at(4)));
    }
}

#[test]
fn a_sink_ends_where_it_is_to_and_leaves_the_shard_open() {
    let client = memory(config());
    let (input, output) = (filled(&client, 8, 20), client.shard(ShardId::new()));
    let sink = {
        let output = output.clone();
        move || PersistSink::new(&output).until(at(5))
    };
    let (reading, said) = (input.clone(), Said::default());
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let kept = keep(worker, &reading, 0, sink(), &said);
        while !kept.probe.done() {
            worker.step_or_park(None);
        }
        assert_eq!(said.all(), []);
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    assert_eq!(written(&output), (doubled(expected(0..5, 20, 0)), at(5)));
}

/// Hazard 62, 63: any number of copies write the same.
#[test]
fn copies_write_every_row_once() {
    let client = memory(config());
    let (input, output) = (filled(&client, 1, 20), client.shard(ShardId::new()));
    let running: Vec<_> = (0..3)
        .map(|copy| {
            let (input, output) = (input.clone(), output.clone());
            std::thread::spawn(move || kept(1 + copy % 2, &input, &output, 0, 30))
        })
        .collect();
    fill(&input, 1..30, 20);
    for copy in running {
        assert_eq!(copy.join().unwrap(), []);
    }
    assert_eq!(written(&output), (doubled(expected(0..30, 20, 0)), at(30)));
}

#[test]
fn a_sink_waits_until_it_is_told() {
    let client = memory(config());
    let (input, output) = (filled(&client, 4, 20), client.shard::<String, u64, u64, i64>(ShardId::new()));
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    let (reading, writing) = (input.clone(), output.clone());
    timely::execute_directly(move |worker| {
        let enable = async move { _ = told.await };
        let kept = keep(worker, &reading, 0, PersistSink::new(&writing).enable_after(enable), &Said::default());
        for _ in 0..100 {
            worker.step_or_park(Some(Duration::from_millis(1)));
        }
        assert!(kept.probe.less_equal(&0));
        tell.send(()).unwrap();
        while kept.probe.less_than(&4) {
            worker.step_or_park(Some(Duration::from_millis(50)));
        }
    });
    assert_eq!(written(&output).1, at(4));
}

#[test]
fn settings_that_differ_between_workers_are_refused() {
    let client = memory(config());
    let (input, output) = (filled(&client, 2, 20), client.shard::<String, u64, u64, i64>(ShardId::new()));
    let (reading, writing, said) = (input.clone(), output.clone(), Said::default());
    let saying = said.clone();
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let sink = PersistSink::new(&writing).until(at(1 + worker.index() as u64));
        let kept = keep(worker, &reading, 0, sink, &saying);
        while saying.all().is_empty() {
            worker.step_or_park(Some(Duration::from_millis(5)));
        }
        drop((kept.sink, kept.source));
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    let said = said.all();
    assert!(
        said.iter().any(|error| error.to_string().contains("until is 1 on worker 0, but 2 on worker 1")),
        "{said:?}"
    );
    assert!(said.iter().all(|error| error.error().is_none_or(|error| error.kind() == ErrorKind::Invalid)));
    assert_eq!(written(&output), (vec![], at(0)));
}

/// A map that is not deterministic: another copy commits other rows for an interval, while this one stages its own.
#[test]
fn copies_that_differ_are_found() {
    let (memory, faults) = (Arc::new(InMemory::new()), Faults::scripted());
    let faulty: Arc<dyn ObjectStore> = Arc::new(FaultyStore::new(memory.clone(), faults.clone()));
    let client = |store| wait(Client::builder(store).config(config()).open()).unwrap();
    let (here, there) = (client(faulty), client(memory));
    let output: Numbers = here.shard(ShardId::new());
    for value in [7, 8] {
        let (gate, other): (_, Numbers) = (Gate::closed(), there.shard(output.id()));
        faults.add(Rule::next(Operation::Put, Fault::HoldBefore(gate.clone())));
        let copy = std::thread::spawn(move || {
            wait(async {
                gate.arrived(1).await;
                let mut writer = other.open_writer("other").await.unwrap();
                let from = writer.upper().first().copied().unwrap();
                let mut builder = writer.batch_builder(at(from)).digested();
                builder.add(&"row".to_owned(), &8, &from, &1).await.unwrap();
                let mut batch = builder.finish(at(from + 1)).await.unwrap();
                let appended = writer.append_batches(&mut [&mut batch], at(from), at(from + 1)).await.unwrap();
                assert!(matches!(appended, AppendOutcome::Committed { .. }), "{appended:?}");
                gate.open();
            });
        });
        let (output, said) = (output.clone(), Said::default());
        let saying = said.clone();
        let from = wait(output.inspect()).unwrap().upper.first().copied().unwrap();
        timely::execute_directly(move |worker| {
            let (mut input, probe, _button) = worker.dataflow::<u64, _, _>(|scope| {
                let (input, rows) = scope.new_collection();
                let sink = PersistSink::new(&output).build(rows);
                sink.errors.inspect(move |error| saying.0.lock().unwrap().push(error.clone()));
                (input, sink.progress.probe().0, sink.button)
            });
            input.advance_to(from);
            input.update(("row".to_owned(), value), 1);
            input.advance_to(from + 1);
            input.flush();
            while probe.less_than(&(from + 1)) {
                worker.step_or_park(Some(Duration::from_millis(5)));
            }
            (0..50).for_each(|_| _ = worker.step_or_park(Some(Duration::from_millis(1))));
        });
        copy.join().unwrap();
        let said = said.all();
        match value {
            7 => assert!(matches!(said.as_slice(), [SinkError::Diverged { .. }]), "{said:?}"),
            _ => assert_eq!(said, []),
        }
    }
}

/// An older store is put back under a running sink, and goes on without it: longer than the log that the sink knows, and not as
/// far. Its input only ticks, and no step without rows passes over what was lost.
#[test]
fn an_older_store_under_a_sink_whose_input_only_ticks_is_a_gap() {
    let store = Arc::new(InMemory::new());
    let mut config = config();
    config.upkeep.rollup_interval = 3;
    let client = wait(Client::builder(store.clone()).config(config.clone()).open()).unwrap();
    let output: Numbers = client.shard(ShardId::new());
    let (said, under, there) = (Said::default(), store.clone(), config.clone());
    let (id, saying) = (output.id(), said.clone());
    timely::execute_directly(move |worker| {
        let errors = saying.clone();
        let (mut input, probe, _button) = worker.dataflow::<u64, _, _>(|scope| {
            let (input, rows) = scope.new_collection();
            let sink = PersistSink::new(&output).build(rows);
            sink.errors.inspect(move |error| errors.0.lock().unwrap().push(error.clone()));
            (input, sink.progress.probe().0, sink.button)
        });
        input.update(("row".to_owned(), 7), 1);
        let mut reach = |time: u64| {
            input.advance_to(time);
            input.flush();
            while probe.less_than(&time) && saying.all().is_empty() {
                worker.step_or_park(Some(Duration::from_millis(5)));
            }
        };
        (1..=3).for_each(&mut reach);
        wait(output.settle()).unwrap();
        let older = wait(objects(&store));
        (4..=8).for_each(&mut reach);
        wait(output.settle()).unwrap();
        wait(put_back(&store, older));
        let client = wait(Client::builder(store.clone()).config(there).open()).unwrap();
        wait(go_on(&client.shard(id)));
        reach(9);
        (0..50).for_each(|_| _ = worker.step_or_park(Some(Duration::from_millis(1))));
        assert!(probe.less_equal(&8), "it claims what is not there");
    });
    let said = said.all();
    let [SinkError::Gap { shard, lower, upper }] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((*shard, lower.to_string(), upper.to_string()), (id, "8".to_owned(), "3".to_owned()));
    let client = wait(Client::builder(under).config(config).open()).unwrap();
    assert_eq!(wait(client.shard::<String, u64, u64, i64>(id).inspect()).unwrap().upper, at(3));
}

/// A program of an older generation commits nothing after the first commit of a newer one, whatever it still has.
#[test]
fn a_newer_generation_fences_the_older() {
    let client = memory(config());
    let (input, output) = (filled(&client, 4, 20), client.shard::<String, u64, u64, i64>(ShardId::new()));
    let sink = |generation: u64| {
        let output = output.clone();
        move || PersistSink::new(&output).generation(generation)
    };
    let (reading, old, said) = (input.clone(), sink(1), Said::default());
    let (go, going) = std::sync::mpsc::sync_channel(1);
    let running = std::thread::spawn({
        let said = said.clone();
        move || {
            timely::execute_directly(move |worker| {
                let kept = keep(worker, &reading, 0, old(), &said);
                while kept.probe.less_than(&4) {
                    worker.step_or_park(Some(Duration::from_millis(5)));
                }
                go.send(()).unwrap();
                while said.all().is_empty() {
                    worker.step_or_park(Some(Duration::from_millis(5)));
                }
            });
        }
    });
    going.recv().unwrap();
    wait(async {
        let mut writer = output.open_writer_in("new", 2).await.unwrap();
        let rows = doubled(expected(4..5, 20, 0));
        assert_eq!(writer.compare_and_append(rows, at(4), at(5)).await.unwrap(), Appended::Committed);
    });
    fill(&input, 4..6, 20);
    running.join().unwrap();
    assert_eq!(kept_by(2, &input, 3, 6, sink(2)), []);
    let fenced = ErrorKind::Fenced { generation: 2 };
    let said: Vec<_> = said.all().iter().map(|error| error.error().unwrap().kind()).collect();
    assert_eq!(said, std::slice::from_ref(&fenced));
    assert_eq!(written(&output), (doubled(expected(0..6, 20, 0)), at(6)));
    // It cannot even begin.
    fill(&input, 6..7, 20);
    let late = kept_by(1, &input, 4, 7, sink(1));
    assert!(late.iter().all(|error| error.error().unwrap().kind() == fenced) && !late.is_empty(), "{late:?}");
    assert_eq!(written(&output).1, at(6));
}

/// A pipeline that goes on where it was, and lets its inputs go as far as it needs them no more.
#[test]
fn a_pipeline_resumes_and_its_inputs_may_forget_what_it_has() {
    let client = memory(config());
    let (input, output) = (filled(&client, 4, 20), client.shard::<String, u64, u64, i64>(ShardId::new()));
    for round in 0..4u64 {
        let to = 4 * (round + 1);
        let resume = wait(Resume::of("doubled", &output).input(&input).keep(Retention::All).open()).unwrap();
        let as_of = *resume.as_of().first().unwrap();
        assert_eq!(resume.first_run(), round == 0);
        assert!(round == 0 || as_of < 4 * round, "{as_of} in round {round}");
        let sink = {
            let output = output.clone();
            move || PersistSink::new(&output).resume(&resume)
        };
        assert_eq!(kept_by(1 + round as usize % 3, &input, as_of, to, sink), []);
        assert_eq!(written(&output), (doubled(expected(0..to, 20, 0)), at(to)));
        fill(&input, to..to + 4, 20);
    }
    let since = wait(input.inspect()).unwrap().since;
    assert!(since.less_than(&16) && !since.less_than(&3), "what is kept of the input begins at {since:?}");
    assert_eq!(wait(Resume::of("doubled", &output).input(&input).retire()).unwrap(), 2);
    assert_eq!(wait(input.holds()).unwrap(), []);
    let other = wait(Resume::of("other", &input).input(&output).open()).unwrap();
    let said = kept_by(1, &input, 3, 20, move || PersistSink::new(&output).resume(&other));
    assert!(matches!(said.as_slice(), [SinkError::Failed(error)] if error.kind() == ErrorKind::Invalid), "{said:?}");
}
