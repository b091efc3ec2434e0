//! A system that gives no more threads.

use std::path::Path;
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Appended, Client, ErrorKind, ShardId};

use crate::child::{allow_all_threads, allow_threads, alone, threads_of_user};

/// For so long a thread of `tokio` that blocked waits for more of that, unless it is told otherwise.
const IDLE: Duration = Duration::from_secs(11);

/// Threads of a client with the default limits: two for work, one for upkeep, the pulse, and one that may block for each.
const NEEDED: u64 = 7;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// Runs on the thread that calls, which is all that there is.
fn run<R>(future: impl Future<Output = R>) -> R {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn open(directory: &Path) -> Result<Client, timely_persist::Error> {
    Client::open(&format!("file://{}", directory.display())).await
}

#[test]
fn a_client_that_gets_no_threads_is_an_error_and_not_a_panic() {
    alone("threads::a_client_that_gets_no_threads_is_an_error_and_not_a_panic", |directory| {
        run(async {
            let (before, mut refused) = (threads_of_user(), 0);
            // With room for some of the threads, too: a runtime that lacks its second can neither begin nor end.
            for room in 0..NEEDED {
                allow_threads(before + room);
                match open(directory).await {
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
                        assert!(error.to_string().contains("threads"), "{error}");
                        refused += 1;
                    }
                    // Another process of this user has ended meanwhile.
                    Ok(client) => drop(client),
                }
            }
            assert!(refused > 0, "the limit does not bind");
            // It comes back when the system has some again.
            allow_all_threads();
            let client = open(directory).await.unwrap();
            let mut writer = client.shard::<u64, u64, u64, i64>(ShardId::new()).open_writer("test").await.unwrap();
            assert_eq!(writer.compare_and_append([((1, 1), 0, 1)], at(0), at(1)).await.unwrap(), Appended::Committed);
            client.shutdown().await.unwrap();
        });
    });
}

#[test]
fn a_client_that_is_open_needs_no_more_threads() {
    alone("threads::a_client_that_is_open_needs_no_more_threads", |directory| {
        run(async {
            let client = open(directory).await.unwrap();
            let shard = client.shard::<u64, u64, u64, i64>(ShardId::new());
            // One that has done nothing yet, and one whose threads have been idle for a while.
            for pause in [Duration::ZERO, IDLE] {
                allow_threads(1);
                std::thread::sleep(pause);
                let mut writer = shard.open_writer("test").await.unwrap();
                let upper = writer.fetch_upper().await.unwrap();
                let first = upper.elements()[0];
                for time in first..first + 20 {
                    // Enough for an object, and for several threads to encode.
                    let rows = (0..20_000).map(|number| ((number, number), time, 1));
                    let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
                    assert_eq!(appended, Appended::Committed);
                }
                shard.settle().await.unwrap();
                let reader = shard.open_reader("test").await.unwrap();
                let rows = reader.snapshot_and_fetch(at(first + 19)).await.unwrap();
                assert_eq!(rows.len(), 20_000);
                reader.expire().await.unwrap();
                allow_all_threads();
            }
            // It is stopped, but nobody waits for its tasks.
            allow_threads(1);
            let error = client.shutdown().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
            let error = shard.open_writer("test").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
            assert!(error.to_string().contains("shut down"), "{error}");
        });
    });
}
