//! The simulator: whole processes on one thread and one clock, on a store in which everything that can go wrong does.
//!
//! Writers that compete, writers that write identical rows, staged batches, snapshots, listeners, sources of several
//! workers, critical readers, compaction, sweeps, and crashes of whole processes at any await, with clocks that are apart.
//! In one run of four the writers are copies of a sink: some of them late, some that write only once they are told to. In three
//! of ten there are two versions of the program, and the shard's types become those of the second while all else goes on. A
//! judge sees every effect on the store as it happens and replays the log; at the end what was read is compared with a model
//! that is a sorted list, sinks have caught up with their input, and nothing may be left behind. Each seed runs twice and must
//! give the same story.
//!
//! `SIM_SEED=7 cargo test --test sim u64` runs one seed, `SIM_SEEDS=1000 cargo test --release --test sim` many, from
//! `SIM_FROM` on; with `SIM_SINKS=1` all of them are of sinks, with `SIM_EVOLVES=1` types change in all of them.
//! `SIM_FRESH_SECONDS=120` has seeds run that nobody has seen before, for that long. A seed that fails is made smaller for as
//! long as it fails; `SIM_SETTING` runs what is printed then.
#![allow(clippy::unwrap_used)]

#[path = "support/actors/mod.rs"]
mod actors;
#[path = "sim/mounted/common.rs"]
#[allow(dead_code)]
mod common;
#[path = "sim/ending.rs"]
mod ending;
#[path = "sim/evolving.rs"]
mod evolving;
#[path = "sim/feed.rs"]
mod feed;
#[path = "sim/input.rs"]
mod input;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/model.rs"]
mod model;
#[path = "support/random.rs"]
mod random;
#[path = "sim/runs.rs"]
mod runs;
#[path = "sim/schemas.rs"]
mod schemas;
#[path = "sim/setting.rs"]
mod setting;
#[path = "support/sim_log.rs"]
mod sim_log;
#[path = "support/sim_store.rs"]
mod sim_store;
#[path = "sim/mounted/sink.rs"]
#[allow(dead_code)] // what only the operator needs
mod sink;
#[path = "sim/sink.rs"]
mod sinks;
#[path = "sim/mounted/source.rs"]
#[allow(dead_code)] // what only the operator needs
mod source;
#[path = "sim/source.rs"]
mod sources;
#[path = "support/times.rs"]
#[allow(dead_code)] // the simulator has no grid
mod times;
#[path = "sim/versions.rs"]
mod versions;
#[path = "sim/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use timely::order::Product;

use actors::SimTime;
use judge::Lie;
use random::seeds;
use runs::{attempt, check};
use setting::{KINDS, Setting, shrink};

/// Seeds of each kind of times that always run.
const FIXED_SEEDS: u64 = 6;

/// How long unseen seeds run where the environment says nothing.
const FRESH_SECONDS: u64 = 5;

fn run_fixed<T: SimTime>() {
    if let Ok(text) = std::env::var("SIM_SETTING") {
        let setting = Setting::parse(&text).unwrap_or_else(|| panic!("SIM_SETTING={text} is no setting"));
        check::<T>(&setting);
        return;
    }
    let lost: usize = seeds("SIM", FIXED_SEEDS).map(|seed| check::<T>(&Setting::of(seed))).sum();
    assert!(lost > 0 || std::env::var_os("SIM_SEED").is_some(), "no seed lost a lease: that is too gentle");
}

#[test]
fn u64() {
    run_fixed::<u64>();
}

#[test]
fn product() {
    run_fixed::<Product<u32, u32>>();
}

/// Seeds that nobody has seen before, for as long as the environment says. The first is printed.
#[test]
#[allow(clippy::disallowed_methods)] // it is about wall time: how long to go on, and a seed from the clock
fn fresh_seeds() {
    let seconds = std::env::var("SIM_FRESH_SECONDS").map_or(FRESH_SECONDS, |text| text.parse().unwrap());
    let begun = Instant::now();
    let first = timely_persist::ShardId::new().as_u128() as u64 >> 1;
    eprintln!("fresh seeds from {first} on");
    let mut seed = first;
    while begun.elapsed() < Duration::from_secs(seconds) {
        check::<u64>(&Setting::of(seed));
        check::<Product<u32, u32>>(&Setting::of(seed + 1));
        seed += 2;
    }
    eprintln!("{} fresh seeds in {:?}", seed - first, begun.elapsed());
}

#[test]
fn a_setting_is_made_smaller_for_as_long_as_it_fails() {
    let fails = |setting: &Setting| {
        let failing = setting.processes >= 2 && setting.seconds >= 30 && setting.has("late") && setting.has("listen");
        failing.then(|| "planted".to_owned())
    };
    let (smallest, _) = shrink(Setting { processes: 4, ..Setting::of(1) }, "planted".to_owned(), 100, fails);
    assert_eq!((smallest.processes, smallest.actors, smallest.seconds), (2, 1, 30));
    let needed: BTreeSet<&str> = KINDS.into_iter().filter(|kind| smallest.has(kind)).collect();
    assert_eq!(needed, BTreeSet::from(["late", "listen"]));
    assert_eq!(Setting::parse(&smallest.to_string()), Some(smallest));
}

/// A store that lies is found out, the run that did is made smaller, and what is printed fails again in the same way.
#[test]
fn a_store_that_lies_is_found_out() {
    for (lie, found) in [(Lie::Forget, "is not there"), (Lie::Overwrite, "the position was taken before")] {
        let failing = (0..20).map(|seed| Setting {
            lie: Some(lie),
            without: BTreeSet::from(["table".to_owned()]),
            ..Setting::of(seed)
        });
        let mut found_out =
            failing.filter_map(|setting| attempt::<u64>(&setting).err().map(|failure| (setting, failure)));
        let (setting, failure) = found_out.next().unwrap_or_else(|| panic!("{lie} is never found out"));
        assert!(failure.message.contains(found), "{}", failure.message);
        let fails = |setting: &Setting| attempt::<u64>(setting).err().map(|failure| failure.message);
        let (smallest, message) = shrink(setting.clone(), failure.message, 40, fails);
        assert!(smallest.seconds < setting.seconds && smallest.without.len() > 4, "{smallest}");
        let again = Setting::parse(&smallest.to_string()).unwrap();
        assert_eq!(attempt::<u64>(&again).unwrap_err().message, message);
    }
}
