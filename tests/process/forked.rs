//! A process that forks after it opened a client.
//!
//! The child has the client's memory and none of its threads. Whatever waits for one of them would wait for ever.

use std::fmt::Debug;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use fork::{Fork, fork, waitpid_nohang};
use rustix::process::{Pid, Signal, kill_process};
use timely::progress::Antichain;
use timely_persist::{Appended, Client, Error, ErrorKind, ShardId};

/// A child that takes longer, on a machine with other things to do, hangs.
const LIMIT: Duration = Duration::from_secs(60);

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn run<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn open(directory: &Path) -> Client {
    Client::open(&format!("file://{}", directory.display())).await.unwrap()
}

/// Where a child writes down what it is about to do, for whoever wonders where it hangs.
struct Diary(File);

impl Diary {
    fn note(&mut self, step: &str) {
        writeln!(self.0, "{step}").unwrap();
    }

    fn refused<R: Debug>(&mut self, step: &str, result: Result<R, Error>) {
        self.note(&format!("{step} -> {result:?}"));
        let error = result.expect_err(step);
        assert_eq!(error.kind(), ErrorKind::Closed, "{step}: {error:?}");
        assert!(error.to_string().contains("forked"), "{step}: {error}");
    }
}

/// Forks, and waits until the child has done `work`, which is not told to this process in any other way.
fn in_a_child(scratch: &Path, work: impl FnOnce(&mut Diary)) {
    let path = scratch.join("diary");
    let mut diary = Diary(File::create(&path).unwrap());
    let pid = match fork().unwrap() {
        Fork::Child => {
            // Nothing of the test's own ends or unwinds here.
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut diary)));
            if let Err(panic) = &worked {
                let text = panic.downcast_ref::<String>().cloned();
                diary.note(&format!("panicked: {text:?}"));
            }
            std::process::exit(i32::from(worked.is_err()))
        }
        Fork::Parent(pid) => pid,
    };
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match waitpid_nohang(pid).unwrap() {
            Some(status) => break Some(status),
            None if Instant::now() > deadline => {
                kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
                fork::waitpid(pid).unwrap();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let diary = std::fs::read_to_string(&path).unwrap();
    assert_eq!(status, Some(0), "the child's status; none if it hung. What it did:\n{diary}");
}

#[test]
fn a_forked_process_is_refused_at_once_and_opens_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let id = ShardId::new();
    let rows = |time| (0..50_000).map(move |number| ((number, number), time, 1));
    let shard = run(async {
        let client = open(&directory).await;
        let shard = client.shard::<u64, u64, u64, i64>(id);
        let mut writer = shard.open_writer("test").await.unwrap();
        assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
        shard
    });
    // Everything that a client gives out, in the middle of what it does.
    let (mut writer, mut reader) =
        run(async { (shard.open_writer("test").await.unwrap(), shard.open_reader("test").await.unwrap()) });
    run(writer.advance_upper(&at(1))).unwrap(); // with a record of it in the shard
    let mut builder = writer.batch_builder(at(1));
    let batch = run(async {
        let mut builder = writer.batch_builder(at(1));
        for number in 0..50_000 {
            builder.add(&number, &number, &1, &1).await.unwrap();
        }
        builder.finish(at(2)).await.unwrap()
    });
    let part = run(reader.snapshot(at(0))).unwrap().pop().unwrap();
    let cursor = run(reader.snapshot_cursor(at(0), |_| true)).unwrap();
    let pin = reader.pin().unwrap();
    let mut listen = run(async { reader.fork("listen").await.unwrap().listen(at(0)).await.unwrap() });
    let maintainer = run(shard.maintain()).unwrap();
    let (client, parents) = (shard.client().clone(), shard.clone());

    in_a_child(scratch.path(), |diary| {
        let mut cursor = cursor;
        run(async {
            diary.refused("append", writer.compare_and_append(rows(1), at(1), at(2)).await);
            diary.refused("append nothing", writer.compare_and_append([], at(1), at(2)).await);
            diary.refused("advance", writer.advance_upper(&at(2)).await);
            diary.refused("wait for the upper", writer.wait_for_upper_past(&at(7)).await);
            diary.refused("fetch the upper", writer.fetch_upper().await);
            builder.add(&1, &1, &1, &1).await.unwrap();
            diary.refused("finish a batch", builder.finish(at(2)).await.map(drop));
            diary.refused("delete a batch", batch.delete().await);
            diary.refused("snapshot", reader.snapshot(at(0)).await);
            diary.refused("fetch", reader.fetcher().fetch(&part).await.map(drop));
            diary.refused("cursor", cursor.next().await);
            diary.refused("pin", pin.check());
            diary.refused("listen", listen.next().await);
            diary.refused("downgrade", reader.downgrade_since(&at(1)).await);
            diary.refused("open a writer", shard.open_writer("test").await.map(drop));
            diary.refused("open a reader", shard.open_reader("test").await.map(drop));
            diary.refused("inspect", shard.inspect().await);
            diary.refused("settle", shard.settle().await);
            diary.refused("maintain", shard.maintain().await.map(drop));
            diary.refused("finalize", shard.finalize().await);
            diary.refused("expire", writer.expire().await);
            diary.refused("expire a reader", listen.expire().await);
            diary.refused("shut down", client.shutdown().await);
        });
        diary.note("dropping");
        drop((cursor, part, pin, reader, maintainer));
        drop((shard, client));
        diary.note("opening anew");
        run(async {
            let client = open(&directory).await;
            let shard = client.shard::<u64, u64, u64, i64>(id);
            let mut writer = shard.open_writer("child").await.unwrap();
            diary.note("appending");
            assert_eq!(writer.compare_and_append(rows(1), at(1), at(2)).await.unwrap(), Appended::Committed);
            diary.note("reading");
            let reader = shard.open_reader("child").await.unwrap();
            assert_eq!(reader.snapshot_and_fetch(at(1)).await.unwrap().len(), 50_000);
            reader.expire().await.unwrap();
            shard.settle().await.unwrap();
            client.shutdown().await.unwrap();
        });
    });

    // The parent's client, and what of it the child had copies of, go on.
    run(async {
        let mut writer = parents.open_writer("parent").await.unwrap();
        assert_eq!(writer.fetch_upper().await.unwrap(), at(2));
        assert_eq!(writer.compare_and_append([((0, 0), 2, 1)], at(2), at(3)).await.unwrap(), Appended::Committed);
        parents.client().shutdown().await.unwrap();
    });
}

#[test]
fn a_process_that_forks_in_the_middle_of_it_opens_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = open(&directory).await;
        let shard = client.shard::<u64, u64, u64, i64>(ShardId::new());
        let mut writer = shard.open_writer("test").await.unwrap();
        writer.advance_upper(&at(1)).await.unwrap();
        in_a_child(scratch.path(), |diary| {
            futures::executor::block_on(async {
                diary.note("opening");
                let client = open(&directory).await;
                diary.note("opened");
                let shard = client.shard::<u64, u64, u64, i64>(shard.id());
                let mut writer = shard.open_writer("child").await.unwrap();
                diary.note("appending");
                writer.advance_upper(&at(2)).await.unwrap();
                diary.note("shutting down");
                client.shutdown().await.unwrap();
            });
        });
    });
}

// Locks that another thread holds at that moment stay locked in the child.
#[test]
fn a_process_that_forks_while_others_write_opens_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("data");
    let client = run(open(&directory));
    let stop = AtomicBool::new(false);
    let write = || {
        run(async {
            let shard = client.shard::<u64, u64, u64, i64>(ShardId::new());
            let mut writer = shard.open_writer("test").await.unwrap();
            for time in 0.. {
                let rows = (0..2_000).map(|number| ((number, number), time, 1));
                let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
                assert_eq!(appended, Appended::Committed);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
    };
    std::thread::scope(|threads| {
        let writers = [threads.spawn(write), threads.spawn(write), threads.spawn(write)];
        for _ in 0..20 {
            let shard = client.shard::<u64, u64, u64, i64>(ShardId::new());
            let mut writer = run(shard.open_writer("test")).unwrap();
            in_a_child(scratch.path(), |diary| {
                run(async {
                    diary.refused("append", writer.compare_and_append([((0, 0), 0, 1)], at(0), at(1)).await);
                    let client = open(&directory).await;
                    let mut writer = client.shard::<u64, u64, u64, i64>(shard.id()).open_writer("child").await.unwrap();
                    diary.note("appending");
                    let rows = [((0, 0), 0, 1)];
                    assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
                    client.shutdown().await.unwrap();
                });
            });
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
    });
}
