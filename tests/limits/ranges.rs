//! Every limit with values that it may not have, and the ends of what it may: as data, for all tests here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, executor::block_on};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use timely_persist::{Client, Config, ErrorKind};
use timely_persist_types::config::{BYTES_MAX, DURATION_MAX, ENTRY_INLINE_BYTES_MAX, LONG_MIN, PAUSE_MIN, THREADS_MAX};

/// Sets a field to a value.
pub type Set = Box<dyn Fn(&mut Config)>;

/// A limit, the values that are refused, and those at the ends of its range.
pub struct Limit {
    pub name: &'static str,
    pub refused: Vec<(String, Set)>,
    pub allowed: Vec<(String, Set)>,
}

macro_rules! limit {
    ($group:ident.$limit:ident, refused $refused:expr, allowed $allowed:expr) => {
        Limit {
            name: concat!("config.", stringify!($group), ".", stringify!($limit)),
            refused: limit!(@each $group $limit $refused),
            allowed: limit!(@each $group $limit $allowed),
        }
    };
    (@each $group:ident $limit:ident $values:expr) => {{
        let mut each: Vec<(String, Set)> = Vec::new();
        for value in $values {
            let what = concat!("config.", stringify!($group), ".", stringify!($limit));
            each.push((format!("{what} = {value:?}"), Box::new(move |config| config.$group.$limit = value)));
        }
        each
    }};
}

/// All values of these fields are allowed, or are no numbers.
const FREE: [&str; 5] = [
    "config.write.compression",
    "config.read.filter_audit_one_in",
    "config.upkeep.maintain",
    "config.upkeep.compact",
    "config.cache.directory",
];

pub fn all() -> Vec<Limit> {
    const NANO: Duration = Duration::from_nanos(1);
    const MILLI: Duration = Duration::from_millis(1);
    const LONG: [Duration; 2] = [DURATION_MAX, Duration::from_secs(3600)];
    const COUNT_MAX: usize = u32::MAX as usize >> 1;
    const PART_MAX: usize = 1 << 30;
    let too_long = [DURATION_MAX + NANO, Duration::MAX];
    let below = |least: Duration| [Duration::ZERO, least - NANO, too_long[0], too_long[1]];
    vec![
        // The deadlines of the rest are half of this at most.
        limit!(limits.orphan_age_min, refused below(LONG_MIN), allowed [DURATION_MAX, Duration::from_secs(360)]),
        limit!(limits.writer_retention, refused below(LONG_MIN), allowed [DURATION_MAX, Duration::from_secs(120)]),
        limit!(threads.work, refused [0, THREADS_MAX + 1, usize::MAX], allowed [1, 64]),
        limit!(threads.blocking_max, refused [0, THREADS_MAX + 1, usize::MAX], allowed [1, THREADS_MAX]),
        limit!(lease.lapse_age, refused below(LONG_MIN), allowed [LONG_MIN, DURATION_MAX]),
        limit!(write.part_bytes_max, refused [0, PART_MAX + 1, usize::MAX], allowed [1, 2, PART_MAX]),
        limit!(write.part_bytes_min, refused [PART_MAX + 1, usize::MAX], allowed [0, 1, PART_MAX]),
        limit!(write.run_bytes_max, refused [0, BYTES_MAX + 1, usize::MAX], allowed [1, 100, BYTES_MAX]),
        limit!(write.spare_rows_bytes_max, refused [BYTES_MAX + 1, usize::MAX], allowed [0, 1, BYTES_MAX]),
        limit!(write.inline_part_bytes_max, refused [ENTRY_INLINE_BYTES_MAX, ENTRY_INLINE_BYTES_MAX / 64 + 1, usize::MAX],
            allowed [0, 1, ENTRY_INLINE_BYTES_MAX / 64]),
        limit!(upkeep.inline_total_bytes_max, refused [PART_MAX + 1, usize::MAX], allowed [0, 1, PART_MAX]),
        limit!(upkeep.inline_parts_max, refused [0, COUNT_MAX + 1, usize::MAX], allowed [1, 2, COUNT_MAX]),
        limit!(write.entry_stats_bytes_max, refused [ENTRY_INLINE_BYTES_MAX + 1, usize::MAX],
            allowed [0, 1, 31 << 20]),
        limit!(log.entry_bytes_max, refused [0, (64 << 10) - 1, ENTRY_INLINE_BYTES_MAX + 1, usize::MAX],
            allowed [9 << 20, ENTRY_INLINE_BYTES_MAX]),
        limit!(write.uploads_max, refused [0, THREADS_MAX + 1, usize::MAX], allowed [1, THREADS_MAX]),
        limit!(write.row_bytes_max, refused [0, PART_MAX + 1, usize::MAX], allowed [100, PART_MAX]),
        limit!(lease.duration, refused [Duration::ZERO, too_long[0], too_long[1]],
            allowed [Duration::from_secs(60), DURATION_MAX]),
        limit!(lease.heartbeat_interval, refused below(PAUSE_MIN), allowed [PAUSE_MIN, DURATION_MAX]),
        limit!(lease.margin, refused too_long, allowed [Duration::ZERO, NANO, DURATION_MAX]),
        // Longer ones must stay below the limits of the store.
        limit!(log.commit_deadline, refused below(MILLI), allowed [Duration::from_secs(11 * 3600)]),
        limit!(log.request_deadline, refused below(MILLI), allowed LONG),
        limit!(store.deadline, refused below(MILLI), allowed [Duration::from_secs(11 * 3600)]),
        limit!(bucket.request_deadline, refused below(MILLI), allowed [MILLI, DURATION_MAX]),
        limit!(bucket.connect_deadline, refused below(MILLI), allowed [MILLI, DURATION_MAX]),
        limit!(bucket.retries_max, refused [COUNT_MAX + 1, usize::MAX], allowed [0, COUNT_MAX]),
        limit!(bucket.retry_limit, refused too_long, allowed [Duration::ZERO, DURATION_MAX]),
        limit!(store.retry_pause_min, refused [Duration::ZERO, PAUSE_MIN - NANO, Duration::from_secs(3), too_long[1]],
            allowed [PAUSE_MIN, Duration::from_secs(2)]),
        limit!(store.retry_pause_max, refused [Duration::ZERO, MILLI, too_long[0], too_long[1]],
            allowed [Duration::from_millis(20), DURATION_MAX]),
        limit!(log.watch_fallback, refused below(MILLI), allowed [MILLI, DURATION_MAX]),
        limit!(upkeep.rollup_interval, refused [0; 0], allowed [0, 1, 2, u64::MAX]),
        limit!(log.scan_entries_max, refused [0, COUNT_MAX + 1, usize::MAX], allowed [1, COUNT_MAX]),
        limit!(log.group_commits_max, refused [0, COUNT_MAX, usize::MAX], allowed [1, ENTRY_INLINE_BYTES_MAX >> 13]),
        limit!(upkeep.sweep_interval, refused too_long, allowed [Duration::ZERO, NANO, DURATION_MAX]),
        limit!(upkeep.sweep_step_objects_max, refused [0, COUNT_MAX + 1, usize::MAX], allowed [1, COUNT_MAX]),
        limit!(upkeep.leak_sweep_interval, refused below(LONG_MIN), allowed [LONG_MIN, DURATION_MAX]),
        limit!(upkeep.compaction_fan_in, refused [0, 1, COUNT_MAX + 1, usize::MAX], allowed [2, COUNT_MAX]),
        limit!(upkeep.collapse_bytes_min, refused [0, BYTES_MAX + 1, usize::MAX], allowed [1, BYTES_MAX]),
        limit!(upkeep.compaction_bytes_max, refused [0, BYTES_MAX + 1, usize::MAX], allowed [1, BYTES_MAX]),
        limit!(threads.upkeep, refused [0, THREADS_MAX + 1, usize::MAX], allowed [1, 64]),
        limit!(read.inflight_bytes_max, refused [0, BYTES_MAX + 1, usize::MAX], allowed [1, BYTES_MAX]),
        limit!(read.fetches_max, refused [0, COUNT_MAX + 1, usize::MAX], allowed [1, COUNT_MAX]),
        limit!(read.hedge_delay, refused [Some(Duration::ZERO), Some(too_long[0]), Some(Duration::MAX)],
            allowed [None, Some(PAUSE_MIN), Some(DURATION_MAX)]),
        limit!(read.hedge_budget, refused [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001, 1.001],
            allowed [0.0, 1.0]),
        limit!(cache.memory_bytes_max, refused [BYTES_MAX + 1, usize::MAX], allowed [0, 1, BYTES_MAX]),
        limit!(cache.disk_bytes_max, refused [u64::MAX], allowed [0, 1, u64::MAX >> 1]),
        limit!(read.listen_parts_max, refused [0, COUNT_MAX + 1, usize::MAX], allowed [1, COUNT_MAX]),
        limit!(read.cursor_bytes_max, refused [0, BYTES_MAX + 1, usize::MAX], allowed [1, BYTES_MAX]),
    ]
}

/// The names of all limits, as a person types them.
pub fn names() -> BTreeSet<String> {
    let debug = format!("{:#?}", Config::default());
    let (mut names, mut group) = (BTreeSet::new(), "");
    for line in debug.lines() {
        let (name, _) = line.trim_start().split_once(": ").unwrap_or_default();
        match line.len() - line.trim_start().len() {
            4 => group = name,
            8 if !name.is_empty() => drop(names.insert(format!("config.{group}.{name}"))),
            _ => {}
        }
    }
    names
}

/// A new limit is missing here, and fails.
#[test]
fn every_limit_has_a_range() {
    let ranged: Vec<_> = all().iter().map(|limit| limit.name).chain(FREE).collect();
    assert_eq!(names(), ranged.iter().map(|name| name.to_string()).collect());
    assert_eq!(names().len(), ranged.len(), "one stands here twice");
}

#[test]
fn a_limit_that_cannot_be_is_refused_by_name_before_anything_is_written() {
    for limit in all() {
        assert!(!limit.refused.is_empty() || limit.name == "config.upkeep.rollup_interval", "{}", limit.name);
        for (what, set) in limit.refused {
            let store = Arc::new(InMemory::new());
            let mut config = Config::default();
            set(&mut config);
            let opened = block_on(Client::builder(Arc::clone(&store) as _).config(config.clone()).open());
            let error = opened.map(drop).expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{what}: {error}");
            let (name, value) = what.split_once(" = ").unwrap();
            let value = value.trim_start_matches("Some(").trim_end_matches(')');
            assert!(error.to_string().contains(name), "{what}: {error}");
            assert!(error.to_string().contains(value), "{what}: {error}");
            assert_eq!(block_on(store.list(None).count()), 0, "{what}");

            let directory = tempfile::tempdir().unwrap();
            let url = format!("file://{}/new", directory.path().display());
            assert!(block_on(Client::at(url).config(config).open()).is_err());
            assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{what}: made a directory");
        }
    }
}

/// What limits must be to each other, by default for the others.
#[test]
fn limits_that_do_not_go_together_are_refused() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let cases: [(&str, Set); 6] = [
        ("config.limits.orphan_age_min", Box::new(move |config| config.log.commit_deadline = hours(12))),
        ("config.limits.orphan_age_min", Box::new(move |config| config.store.deadline = hours(12))),
        (
            "config.limits.writer_retention",
            Box::new(|config| config.limits.writer_retention = Duration::from_secs(119)),
        ),
        ("config.store.retry_pause_min", Box::new(|config| config.store.retry_pause_max = Duration::from_millis(19))),
        (
            "config.write.inline_part_bytes_max",
            Box::new(|config| config.log.group_commits_max = (ENTRY_INLINE_BYTES_MAX >> 13) + 1),
        ),
        ("config.log.entry_bytes_max", Box::new(|config| config.log.entry_bytes_max = 8 << 20)),
    ];
    for (name, set) in cases {
        let mut config = Config::default();
        set(&mut config);
        let error = block_on(Client::builder(Arc::new(InMemory::new())).config(config).open()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.to_string().starts_with(name), "{name}: {error}");
    }
}

/// Those of the log in PostgreSQL too, before anybody is asked.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn options_of_a_database_that_cannot_be_are_refused_by_name() {
    use timely_persist_io::store::postgres::{
        POSTGRES_CONNECTIONS_MAX, POSTGRES_TIMEOUT_MAX, PostgresLog, PostgresOptions,
    };
    let default = PostgresOptions::default;
    let mut refused = Vec::new();
    for connections_max in [0, POSTGRES_CONNECTIONS_MAX + 1, usize::MAX] {
        refused.push(("connections_max", PostgresOptions { connections_max, ..default() }));
    }
    for timeout in [Duration::ZERO, Duration::from_nanos(999_999), POSTGRES_TIMEOUT_MAX * 2, Duration::MAX] {
        refused.push(("connect_timeout", PostgresOptions { connect_timeout: timeout, ..default() }));
        refused.push(("statement_timeout", PostgresOptions { statement_timeout: timeout, ..default() }));
    }
    for (name, options) in refused {
        let error = PostgresLog::open_with("postgres://user@127.0.0.1:1/none", options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{options:?}: {error}");
        assert!(error.to_string().starts_with(name), "{error}");
    }
}
