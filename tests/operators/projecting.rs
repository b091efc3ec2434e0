//! Sources of a program from before a shard's types changed.

use std::sync::Arc;

use differential_dataflow::VecCollection;
use timely::dataflow::operators::{Inspect, Probe};
use timely_persist::{Codec, Error, ErrorKind, Evolved, SchemaId, Shard, ShardId};
use timely_persist_operators::{PersistSource, SourceError};

use crate::support::*;

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "item")]
struct Item {
    #[codec(id = 1)]
    name: String,
}

/// What it became: sorted by something that [`Item`] does not know.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "item")]
struct Ranked {
    #[codec(id = 2, default)]
    rank: u32,
    #[codec(id = 1)]
    name: String,
}

type Old = Shard<Item, u32, u64, i64>;
type New = Shard<Ranked, u64, u64, i64>;
type OldRow = ((Item, u32), u64, i64);

const LATE: u64 = 4;

fn item(n: u64) -> Item {
    Item { name: format!("item {n}") }
}

/// Rows that differ in nothing but their rank, in an order that is not that of their names.
fn ranked(time: u64) -> Vec<((Ranked, u64), u64, i64)> {
    let row = |n: u64| ((Ranked { rank: (97 - 13 * n % 97) as u32, name: item(n % 31).name }, n % 3), time, 1);
    (0..300).map(row).collect()
}

/// A shard whose types have changed, and what its rows are to those of before.
fn evolved() -> (Old, New, Vec<OldRow>) {
    let client = memory(config());
    let id = ShardId::new();
    let (old, new): (Old, New) = (client.shard(id), client.shard(id));
    let mut rows: Vec<OldRow> = (0..50).map(|n| ((item(n), n as u32), 0, 1)).collect();
    wait(async {
        let mut writer = old.open_writer("old").await.unwrap();
        let _ = writer.compare_and_append(rows.clone(), at(0), at(1)).await.unwrap();
        assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
        let mut writer = new.open_writer("new").await.unwrap();
        for time in 1..LATE {
            let _ = writer.compare_and_append(ranked(time), at(time), at(time + 1)).await.unwrap();
            let seen = |((key, value), time, diff): ((Ranked, u64), u64, i64)| {
                ((Item { name: key.name }, value as u32), time, diff)
            };
            rows.extend(ranked(time).into_iter().map(seen));
        }
    });
    (old, new, consolidated(rows))
}

/// What a source of `old` shows on so many workers, and what it says: before this time by projecting, or as any other source.
fn shown(kind: Kind, workers: usize, old: &Old, projecting: Option<u64>) -> (Vec<OldRow>, Vec<Error>) {
    let (rows, errors) = (Noted::default(), Noted::default());
    let (old, shared) = (old.clone(), (Arc::clone(&rows), Arc::clone(&errors)));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (rows, errors) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
        let said = Arc::clone(&errors);
        let (button, probe) = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&old).as_of(at(0)).until(at(projecting.unwrap_or(LATE)));
            let source = if projecting.is_some() { source.project() } else { source };
            let (updates, errors, button): (VecCollection<_, _, _>, _, _) = match kind {
                Kind::Rows => {
                    let source = source.build(scope);
                    (source.updates, source.errors, source.button)
                }
                Kind::ByKey => {
                    let source = source.arrange_by_key(scope);
                    let rows = source.arranged.as_collection(|key, value| (key.clone(), *value));
                    (rows, source.errors, source.button)
                }
                Kind::Flat => {
                    let source = source.arrange_flat(scope);
                    let own = |key: ItemRef<'_>, value| (Item { name: key.name.to_owned() }, value);
                    (source.arranged.as_collection(own), source.errors, source.button)
                }
            };
            updates.inspect(move |row| note(&rows, [row.clone()]));
            let (probe, errors) = errors.probe();
            errors.inspect(move |error| match error {
                SourceError::Failed(error) => note(&said, [error.clone()]),
                notice => panic!("{notice}"),
            });
            (button, probe)
        });
        while !probe.done() && errors.lock().unwrap().is_empty() {
            worker.step_or_park(Some(std::time::Duration::from_millis(10)));
        }
        drop(button);
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    (consolidated(taken(&rows)), taken(&errors))
}

#[test]
fn a_program_of_before_reads_on_by_projecting() {
    let (old, new, rows) = evolved();
    for (workers, kind) in kinds(2) {
        let (seen, errors) = shown(kind, workers, &old, Some(LATE));
        assert!(errors.is_empty(), "{errors:?}");
        assert!(seen == rows, "{kind:?} on {workers}: {} rows, not {}", seen.len(), rows.len());
        let (_, errors) = shown(kind, workers, &old, None);
        let newer = ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true };
        assert!(errors.iter().all(|error| error.kind() == newer) && !errors.is_empty(), "{errors:?}");
    }
    // A number that is too large for them has no place in the types of before.
    wait(async {
        let mut writer = new.open_writer("new").await.unwrap();
        let large = (Ranked { rank: 0, name: "large".to_owned() }, 1 << 40);
        let _ = writer.compare_and_append([(large, LATE, 1)], at(LATE), at(LATE + 1)).await.unwrap();
    });
    for (workers, kind) in kinds(2) {
        let (seen, errors) = shown(kind, workers, &old, Some(LATE + 1));
        // Some of what came before the error, perhaps: a row that is there three times may have come once.
        let is_of_them = |seen: &OldRow| {
            rows.iter().any(|row| (&row.0, row.1) == (&seen.0, seen.1) && (1..=row.2).contains(&seen.2))
        };
        assert!(seen.iter().all(is_of_them), "{kind:?} on {workers} shows what it cannot");
        let [error] = errors.as_slice() else { panic!("{errors:?}") };
        assert!(error.kind() == ErrorKind::CodecMismatch && error.to_string().contains("value"), "{error}");
    }
}
