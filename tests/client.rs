//! The life of a client: what its handles say when it ends, and from where they may be used.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use timely::progress::Antichain;
use timely_persist::{Appended, Client, Error, ErrorKind, Shard, ShardId};

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn rows(time: u64) -> Vec<((String, u64), u64, i64)> {
    vec![((format!("key {time}"), time), time, 1)]
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(1))
}

#[track_caller]
fn is_closed<T>(answer: Result<T, Error>) {
    let error = answer.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error:?}");
    assert!(error.to_string().contains("open a client") && !error.to_string().contains("answer"), "{error}");
}

#[tokio::test]
async fn handles_of_a_client_that_was_shut_down_say_so() {
    let client = Client::open("memory:").await.unwrap();
    let shard = shard(&client);
    let mut writer = shard.open_writer("test").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    let mut reader = shard.open_reader("test").await.unwrap();
    let parts = reader.snapshot(at(0)).await.unwrap();
    let mut listen = shard.open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    let staged = {
        let mut builder = writer.batch_builder(at(1));
        builder.add(&"k".to_owned(), &1, &1, &1).await.unwrap();
        builder.finish(at(2)).await.unwrap()
    };
    let waiting = tokio::spawn(async move {
        loop {
            listen.next().await?;
        }
    });
    tokio::task::yield_now().await;

    client.shutdown().await.unwrap();

    is_closed::<()>(waiting.await.unwrap());
    is_closed(writer.compare_and_append(rows(1), at(1), at(2)).await);
    is_closed(writer.fetch_upper().await);
    is_closed(writer.wait_for_upper_past(&at(7)).await);
    is_closed(reader.snapshot(at(5)).await);
    is_closed(reader.downgrade_since(&at(1)).await);
    is_closed(shard.open_reader("too late").await);
    is_closed(shard.inspect().await);
    is_closed(shard.settle().await);
    is_closed(reader.fetcher().fetch(&parts[0]).await);
    drop((parts, staged));

    is_closed(reader.expire().await);
}

#[tokio::test]
async fn a_handle_outlives_the_client_value_it_came_from() {
    let client = Client::open("memory:").await.unwrap();
    let mut writer = shard(&client).open_writer("test").await.unwrap();
    drop(client);
    for time in 0..200 {
        assert_eq!(writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
}

#[test]
fn no_runtime_is_needed_around_a_call() {
    let work = async {
        let client = Client::open("memory:").await.unwrap();
        let shard = shard(&client);
        let mut writer = shard.open_writer("test").await.unwrap();
        assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
        let reader = shard.open_reader("test").await.unwrap();
        assert_eq!(reader.snapshot_and_fetch(at(0)).await.unwrap(), rows(0));
        (client, reader, writer)
    };
    let (client, reader, writer) = futures::executor::block_on(work);
    // Dropped on a thread that no runtime is around.
    drop((reader, writer));
    let info = futures::executor::block_on(async {
        loop {
            let info = shard(&client).inspect().await.unwrap();
            if info.readers == 0 {
                return info;
            }
        }
    });
    assert_eq!(info.upper, at(1));
}

#[test]
fn wrong_urls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("something"), "else").unwrap();
    let foreign = format!("file://{}", dir.path().display());
    for url in [
        "",
        "nonsense",
        "ftp://host/dir",
        "file:relative",
        "file://elsewhere/dir",
        "memory:?x=y",
        "memory:?consensus=mysql://h/d",
        &foreign,
    ] {
        let error = futures::executor::block_on(Client::open(url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{url}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_is_made_for_no_url_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let new = format!("file://{}/new", dir.path().display());
    for behind in ["?consensus=mysql://h/d", "?x=y", "#x", "?consensus"] {
        let error = futures::executor::block_on(Client::open(&format!("{new}{behind}"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{behind}: {error}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// What the parser would leave out of a URL, or read as something else, would name another directory.
#[test]
fn a_url_that_would_be_read_as_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let url = |name: &str| format!("file://{}/{name}", dir.path().display());
    for name in ["a\tb", "a\nb", "a\rb", "a ", "a\0", "a\x1f", "100%", "a%2", "a%zz", "%%41", "a\\b", "a%00"] {
        let error = futures::executor::block_on(Client::open(&url(name))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name:?}: {error}");
    }
    let spaced = format!(" {}", url("a"));
    let error = futures::executor::block_on(Client::open(&spaced)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // Decoded as in every URL, and one that need not be.
    for (name, path) in [("a%20b", "a b"), ("100%25", "100%"), ("c d", "c d"), ("%41", "A")] {
        futures::executor::block_on(Client::open(&url(name))).unwrap();
        assert!(dir.path().join(path).join("timely-persist").is_file(), "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_path_is_taken_as_it_is_and_wakes_those_who_wait() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let names: [&[u8]; 9] =
        [b"plain", b"a%20b", b"100%", b"a\tb\nc", b" a ", b"a\\b", b"a#1", b"a?b=c", b"not \xff utf-8"];
    for name in names {
        let path = dir.path().join(std::ffi::OsStr::from_bytes(name));
        let (one, other) =
            (Client::in_directory(&path).open().await.unwrap(), Client::in_directory(&path).open().await.unwrap());
        let mut listen = shard(&other).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
        let mut writer = shard(&one).open_writer("test").await.unwrap();
        let start = tokio::time::Instant::now();
        for time in 0..20 {
            let appended = writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
            while *listen.frontier() != at(time + 1) {
                listen.next().await.unwrap();
            }
        }
        // Twenty looks by themselves, without being woken, are two minutes and a half at least.
        assert!(start.elapsed() < std::time::Duration::from_secs(100), "{name:?}");
        assert!(path.join("timely-persist").is_file(), "{name:?}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), names.len());
    let error = Client::in_directory(dir.path()).option("aws_region", "x").open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let error = Client::in_directory(dir.path().join("a\0b")).open().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

/// Objects of it could not be written: that is said at once, and not after the deadline of each.
#[test]
fn a_path_that_is_too_long_is_refused_at_open() {
    let dir = tempfile::tempdir().unwrap();
    // As long as one may be with these bytes behind it, in names that are not too long by themselves.
    let path = |behind: usize| {
        let mut path = dir.path().to_owned();
        while path.as_os_str().len() + behind < 4095 {
            let room = 4095 - behind - path.as_os_str().len() - 1;
            path.push("x".repeat(room.clamp(1, 200)));
        }
        path
    };
    for path in [path(0), path(20), path(100), dir.path().join("x".repeat(300)), dir.path().join("x".repeat(5000))] {
        let error = futures::executor::block_on(Client::in_directory(&path).open()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().contains("too long"), "{error}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
    // One that has room serves: with a part that is an object.
    futures::executor::block_on(async {
        let client = Client::in_directory(path(200)).open().await.unwrap();
        let mut writer = shard(&client).open_writer("test").await.unwrap();
        let rows = (0..10_000).map(|row| ((format!("key {row}"), row), 0, 1)).collect::<Vec<_>>();
        assert_eq!(writer.compare_and_append(rows, at(0), at(1)).await.unwrap(), Appended::Committed);
    });
}

/// What fails after the client's threads were started stops them, also on a thread of another runtime.
#[tokio::test]
async fn a_database_that_does_not_answer_is_an_error_inside_a_runtime() {
    let unreachable = Client::at("memory:").database("postgres://user@127.0.0.1:1/none").open().await;
    assert_eq!(unreachable.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn two_clients_of_one_directory_share_a_shard() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("with space").display()).replace(' ', "%20");
    let (one, other) = (Client::open(&url).await.unwrap(), Client::open(&url).await.unwrap());
    let mut listen = shard(&other).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    let mut writer = shard(&one).open_writer("test").await.unwrap();
    for time in 0..20 {
        assert_eq!(writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    while *listen.frontier() != at(20) {
        listen.next().await.unwrap();
    }
    let state = Arc::new(shard(&other).inspect().await.unwrap());
    assert_eq!(state.rows, 20);
}

/// The last handle of a client takes the client with it, but not before what it left to be done is done.
#[test]
fn the_last_handle_dropped_still_removes_its_reader() {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let open = || futures::executor::block_on(Client::builder(Arc::clone(&store)).open()).unwrap();
    for _ in 0..20 {
        let reader = futures::executor::block_on(shard(&open()).open_reader("test")).unwrap();
        drop(reader);
    }
    let client = open();
    while futures::executor::block_on(shard(&client).inspect()).unwrap().readers > 0 {
        std::thread::yield_now();
    }
}
