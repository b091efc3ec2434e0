//! Runs of three schemas of one shard, merged by whoever merges: what comes out is the sorted list of what they became.

use std::ops::Range;
use std::sync::Arc;

use timely_persist::store::ObjectLog;
use timely_persist::{Appended, Client, ErrorKind, Evolved, SchemaId, Shard, ShardId};
use timely_persist_testing::{Fault, Faults, FaultyStore, Gate, Operation, Rule};

use crate::programs::{Any, Row, one, three, two};
use crate::random::{Random, Story, seeds};
use crate::{Place, at, consolidated, read};

/// Times that are written by one version of the program before the next comes, and rows of each.
const TIMES: u64 = 3;
const ROWS: usize = 30;

type One = Shard<one::Item, one::Stock, u64, i64>;
type Two = Shard<two::Item, two::Stock, u64, i64>;
type Three = Shard<three::Item, three::Stock, u64, i64>;

/// Rows as the last version has them.
type Rows = Vec<(Row, u64, i64)>;

/// Who compacts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Compacting {
    Nobody,
    /// Each version while it writes, what the versions before wrote too.
    Everybody,
    /// The last version, all at once.
    TheLast,
}

/// As a reader sees them at a time, in order.
fn sorted_list(rows: &Rows, as_of: u64) -> Rows {
    let seen: Rows = rows.iter().filter(|(_, time, _)| *time <= as_of).cloned().collect();
    consolidated(&seen, as_of)
}

/// The version's next times: new rows, and some of those that are there taken back, whoever wrote them.
async fn write<K: Any, V: Any>(
    shard: &Shard<K, V, u64, i64>,
    times: Range<u64>,
    random: &mut Random,
    all: &mut Rows,
    upgrade: impl Fn((K, V)) -> Row,
) {
    let mut writer = shard.open_writer("test").await.unwrap();
    for time in times {
        let diff = |random: &mut Random| *random.pick(&[1, 1, 2, -1]);
        let rows: Vec<_> = (0..ROWS).map(|_| ((K::any(random), V::any(random)), time, diff(random))).collect();
        all.extend(rows.iter().cloned().map(|(data, time, diff)| (upgrade(data), time, diff)));
        let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
    }
    writer.expire().await.unwrap();
}

fn place(inline: usize, compact: bool) -> Place {
    let mut place = Place::new(inline, compact);
    place.1.write.part_bytes_max = 2 << 10; // several parts in a run
    place
}

fn of_one((key, value): (one::Item, one::Stock)) -> Row {
    of_two((key.into(), value.into()))
}

fn of_two((key, value): (two::Item, two::Stock)) -> Row {
    (key.into(), value.into())
}

async fn merged(seed: u64, inline: usize, compacting: Compacting) {
    let _story = Story::new(format!("EVOLUTION_SEED={seed} cargo nextest run --test evolution three_schemas"));
    let mut random = Random::new(seed);
    let mut place = place(inline, compacting == Compacting::Everybody);
    let mut clients = vec![place.client().await, place.client().await, place.client().await];
    let id = ShardId::new();
    let (first, second, third): (One, Two, Three) = (clients[0].shard(id), clients[1].shard(id), clients[2].shard(id));
    let mut all = Rows::new();
    write(&first, 0..TIMES, &mut random, &mut all, of_one).await;
    assert_eq!(second.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
    write(&second, TIMES..2 * TIMES, &mut random, &mut all, of_two).await;
    assert_eq!(third.evolve(SchemaId(1)).await.unwrap(), Evolved::Added(SchemaId(2)));
    write(&third, 2 * TIMES..3 * TIMES, &mut random, &mut all, |row| row).await;
    if compacting == Compacting::TheLast {
        place.1.upkeep.compact = true;
        place.1.upkeep.compaction_fan_in = 3 * TIMES as usize + 1;
        place.1.upkeep.inline_parts_max = 1;
        clients.push(place.client().await);
    }
    let third: Three = clients.last().unwrap().shard(id);
    write(&third, 3 * TIMES..3 * TIMES + 1, &mut random, &mut all, |row| row).await;
    if compacting != Compacting::Nobody {
        third.settle().await.unwrap();
        let batches = third.inspect().await.unwrap().batches;
        assert!(batches <= 2 * TIMES as usize, "hardly anything was merged: {batches}");
        // What was written last may have come while the others were merged already.
        assert!(compacting != Compacting::TheLast || batches <= 2, "not all at once: {batches}");
    }
    // Nobody moved the since.
    for as_of in [TIMES, 3 * TIMES] {
        let rows = read(&third, as_of).await;
        assert!(rows == sorted_list(&all, as_of), "at {as_of}");
        assert!(rows.is_sorted() && !rows.is_empty());
    }
    for client in clients {
        client.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_merge_of_runs_of_three_schemas_is_the_sorted_list() {
    for seed in seeds("EVOLUTION", 1) {
        for inline in [0, 64 << 10] {
            for compacting in [Compacting::Nobody, Compacting::Everybody, Compacting::TheLast] {
                merged(seed, inline, compacting).await;
            }
        }
    }
}

/// A reader of the first version, a compaction of the second, a writer of the third.
#[tokio::test]
async fn reader_compactor_and_writer_have_three_schemas() {
    for inline in [0, 64 << 10] {
        let (plain, compacting) = (place(inline, false), place(inline, true));
        let compacting = Place(Arc::clone(&plain.0), compacting.1);
        let (one, three) = (plain.client().await, plain.client().await);
        let id = ShardId::new();
        let (first, third): (One, Three) = (one.shard(id), three.shard(id));
        let (mut random, mut all) = (Random::new(1), Rows::new());
        write(&first, 0..TIMES, &mut random, &mut all, of_one).await;
        let reader = first.open_reader("one").await.unwrap();
        let held = reader.snapshot(at(TIMES - 1)).await.unwrap();
        let expected = read(&first, TIMES - 1).await;

        // The second merges what the first wrote, and is held where it has read of it or wrote it.
        let faults = Faults::scripted();
        let store = Arc::new(FaultyStore::new(plain.0.clone(), faults.clone()));
        let log = Arc::new(ObjectLog::new(plain.0.clone()));
        let two = Client::builder(store).consensus(log).config(compacting.1.clone()).open().await.unwrap();
        let second: Two = two.shard(id);
        let gate = Gate::closed();
        let operation = if inline == 0 { Operation::Get } else { Operation::Put };
        faults.add(Rule::next(operation, Fault::HoldBefore(gate.clone())).named("part"));
        assert_eq!(second.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
        write(&second, TIMES..2 * TIMES, &mut random, &mut all, of_two).await;
        gate.arrived(1).await;
        // Meanwhile the third changes the types, and writes.
        assert_eq!(third.evolve(SchemaId(1)).await.unwrap(), Evolved::Added(SchemaId(2)));
        write(&third, 2 * TIMES..3 * TIMES, &mut random, &mut all, |row| row).await;
        gate.open();
        second.settle().await.unwrap();
        let merged = third.inspect().await.unwrap();
        assert_eq!(merged.batches, 3 * TIMES as usize, "a merge into older types was taken: {merged:?}");

        // Now the second does nothing more: it would not know what it left out.
        write(&third, 3 * TIMES..4 * TIMES, &mut random, &mut all, |row| row).await;
        second.settle().await.unwrap();
        assert_eq!(third.inspect().await.unwrap().batches, merged.batches + TIMES as usize);
        let refused = second.open_reader("two").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(2), newer: true }, "{refused}");

        // The first has what it holds, as it was. What it does not hold yet it does not get.
        let mut rows = Vec::new();
        for part in held {
            rows.extend(first.fetcher().fetch(&part).await.unwrap().rows());
        }
        assert!(consolidated(&rows, 0) == expected, "the reader of before has lost something");
        let refused = reader.snapshot(at(4 * TIMES - 1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(2), newer: true }, "{refused}");

        // The third has everything: of three schemas, and merged by itself.
        let as_of = 4 * TIMES - 1;
        assert!(read(&third, as_of).await == sorted_list(&all, as_of));
        three.shutdown().await.unwrap();
        let three = compacting.client().await;
        let third: Three = three.shard(id);
        write(&third, 4 * TIMES..5 * TIMES, &mut random, &mut all, |row| row).await;
        third.settle().await.unwrap();
        assert!(third.inspect().await.unwrap().batches < merged.batches + 2 * TIMES as usize, "nothing was merged");
        let as_of = 5 * TIMES - 1;
        assert!(read(&third, as_of).await == sorted_list(&all, as_of));
        for client in [one, two, three] {
            client.shutdown().await.unwrap();
        }
    }
}
