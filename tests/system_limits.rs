//! A system that has no more of something: what is slower then, that this is said, and that it ends.
//!
//! Each test runs itself again as a process in a user namespace of its own, whose limits are nobody else's.
#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Appended, Client, Shard, ShardId};
use timely_persist_io::store::Files;

/// Inotify instances that a user of the namespace may have.
const INSTANCES: &str = "/proc/sys/user/max_inotify_instances";

/// Says to the test that it is the process in the namespace.
const INSIDE: &str = "TIMELY_PERSIST_INSIDE";

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(1))
}

/// Runs the test of this name in a namespace of its own, unless this is that process.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["--user", "--map-root-user"]).arg(std::env::current_exe().unwrap());
    let output = unshare.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    false
}

/// A process that follows hears within a second or so, and at once again when there are instances.
#[tokio::test]
async fn a_follower_without_inotify_looks_by_itself_says_so_and_recovers() {
    if !is_inside("a_follower_without_inotify_looks_by_itself_says_so_and_recovers") {
        return;
    }
    std::fs::write(INSTANCES, "0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let open = || Client::in_directory(directory.path()).open();
    let (one, other) = (open().await.unwrap(), open().await.unwrap());
    let mut writer = shard(&one).open_writer("test").await.unwrap();
    let mut listen = shard(&other).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    let mut time = 0;
    let mut append_and_hear = async |count| {
        let start = tokio::time::Instant::now();
        for _ in 0..count {
            let row = (("key".to_owned(), time), time, 1);
            let appended = writer.compare_and_append([row], at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
            time += 1;
            while *listen.frontier() != at(time) {
                listen.next().await.unwrap();
            }
        }
        start.elapsed()
    };
    append_and_hear(1).await;
    let late = shard(&other).inspect().await.unwrap().late.expect("no instance is to be had");
    assert!(late.contains("os error 24"), "{late}");
    // The fallback alone comes after eleven seconds or more each time.
    let took = append_and_hear(10).await;
    assert!(took < Duration::from_secs(60), "{took:?}");

    std::fs::write(INSTANCES, "10").unwrap();
    let recovered = async {
        while shard(&other).inspect().await.unwrap().late.is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), recovered).await.expect("there are instances");
    let took = append_and_hear(100).await;
    assert!(took < Duration::from_secs(60), "a second each time: {took:?}");
}

/// A process has only so many maps (`vm.max_map_count`): a part is read into plain memory then.
#[test]
fn a_process_without_maps_to_be_had_reads_parts() {
    if !is_inside("a_process_without_maps_to_be_had_reads_parts") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("part");
    let written: Vec<u8> = (0..3 << 20).map(|i: u32| i.to_le_bytes()[1]).collect();
    std::fs::write(&path, &written).unwrap();
    let (files, file) = (Files::default(), std::fs::File::open(&path).unwrap());
    let mut maps: Vec<Box<dyn std::any::Any>> = Vec::new();
    // Neighbours that differ are not merged into one, nor with one that can be written to.
    while let Ok(map) = memmap2::MmapMut::map_anon(4096) {
        let map = if maps.len().is_multiple_of(2) { map.make_read_only() } else { map.make_exec() };
        maps.push(Box::new(map.unwrap()));
        assert!(maps.len() < 10_000_000, "no limit is reached");
    }
    memmap2::MmapMut::map_anon(2 << 20).expect_err("no map is to be had");
    let read = files.read(&file, 10..2 << 20).map(|bytes| bytes == written[10..2 << 20]);
    drop(maps);
    assert!(read.unwrap());
}
