//! Types that change while their rows stay: who may still write, what is read, and what compaction makes of it.
#![allow(clippy::unwrap_used)]

#[path = "evolution/merging.rs"]
mod merging;
#[path = "evolution/programs.rs"]
mod programs;
#[path = "support/random.rs"]
#[allow(dead_code)] // most is for other tests
mod random;
#[path = "evolution/rewriting.rs"]
mod rewriting;
#[allow(dead_code)] // of git repositories and their programs nothing is needed here
mod scratch;
#[path = "evolution/staged.rs"]
mod staged;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::store::ObjectLog;
use timely_persist::{
    Appended, Client, Config, Data, ErrorKind, Evolution, Evolved, ExchangeablePart, ListenEvent, SchemaId, Shard,
    ShardId,
};

use scratch::program::program;

/// A program, in its first version and its second: a field is renamed and wider, one is new, and so is a way to pay.
mod first {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "paid")]
    pub enum Paid {
        #[codec(id = 1)]
        No,
        #[codec(id = 2)]
        Card(#[codec(id = 1)] String),
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "order")]
    pub struct Order {
        #[codec(id = 1)]
        pub pieces: u32,
        #[codec(id = 2)]
        pub paid: Paid,
    }
}

mod second {
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "payment")]
    pub enum Paid {
        #[codec(id = 1)]
        No,
        #[codec(id = 2)]
        Card(#[codec(id = 1)] String),
        #[codec(id = 3)]
        Transfer {
            #[codec(id = 1)]
            day: u32,
        },
    }

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "order")]
    pub struct Order {
        #[codec(id = 3, default = "none")]
        pub note: String,
        #[codec(id = 1)]
        pub count: u64,
        #[codec(id = 2)]
        pub paid: Option<Paid>,
    }

    impl From<super::first::Order> for Order {
        fn from(first: super::first::Order) -> Self {
            let paid = match first.paid {
                super::first::Paid::No => Paid::No,
                super::first::Paid::Card(number) => Paid::Card(number),
            };
            Self { note: "none".to_owned(), count: first.pieces.into(), paid: Some(paid) }
        }
    }
}

type Old = Shard<String, u32, u64, i64>;
type Wide = Shard<String, u64, u64, i64>;
type New = Shard<String, Option<u64>, u64, i64>;
type Rows<V> = Vec<((String, V), u64, i64)>;

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// Processes on one store.
struct Place(Arc<InMemory>, Config);

impl Place {
    fn new(inline: usize, compact: bool) -> Self {
        let mut config = Config::default();
        config.write.inline_part_bytes_max = inline;
        config.upkeep.compact = compact;
        config.upkeep.compaction_fan_in = 3;
        config.upkeep.inline_parts_max = 4;
        config.upkeep.rollup_interval = 4;
        Self(Arc::new(InMemory::new()), config)
    }

    async fn client(&self) -> Client {
        let log = Arc::new(ObjectLog::new(self.0.clone()));
        Client::builder(self.0.clone()).consensus(log).config(self.1.clone()).open().await.unwrap()
    }
}

fn row(n: u64, time: u64) -> ((String, u32), u64, i64) {
    ((format!("key {}", n % 7), (n * 3 % 5) as u32), time, 1)
}

fn old_rows(time: u64) -> Rows<u32> {
    (0..40).map(|n| row(n + time, time)).collect()
}

/// The same rows as the new types have them.
fn upgraded(rows: &[((String, u32), u64, i64)]) -> Rows<Option<u64>> {
    let upgrade =
        |((key, value), time, diff): &((String, u32), u64, i64)| ((key.clone(), Some(u64::from(*value))), *time, *diff);
    rows.iter().map(upgrade).collect()
}

/// As a reader at this time sees them: added up, in order.
fn consolidated<A: Ord + Clone>(rows: &[(A, u64, i64)], as_of: u64) -> Vec<(A, u64, i64)> {
    let mut sums = BTreeMap::new();
    for (data, time, diff) in rows {
        *sums.entry((data.clone(), (*time).max(as_of))).or_insert(0) += diff;
    }
    let sums = sums.into_iter().filter(|(_, diff)| *diff != 0);
    sums.map(|((data, time), diff)| (data, time, diff)).collect()
}

async fn append<V: Data>(shard: &Shard<String, V, u64, i64>, time: u64, rows: Rows<V>) {
    let mut writer = shard.open_writer("test").await.unwrap();
    let appended = writer.compare_and_append(rows, at(time), at(time + 1)).await.unwrap();
    assert_eq!(appended, Appended::Committed);
}

/// Step by step, and all at once: in order.
async fn read<K: Data, V: Data>(shard: &Shard<K, V, u64, i64>, as_of: u64) -> Vec<((K, V), u64, i64)> {
    let reader = shard.open_reader("test").await.unwrap();
    let mut cursor = reader.snapshot_cursor(at(as_of), |_| true).await.unwrap();
    let mut merged = Vec::new();
    while let Some(some) = cursor.next().await.unwrap() {
        merged.extend(some);
    }
    assert!(reader.snapshot_and_fetch(at(as_of)).await.unwrap() == merged, "a cursor gives other rows");
    reader.expire().await.unwrap();
    merged
}

#[tokio::test]
async fn a_shard_evolves_and_every_row_is_read_as_what_it_became() {
    for (inline, compact) in [(0, false), (0, true), (64 << 10, false), (64 << 10, true)] {
        let place = Place::new(inline, compact);
        // Two processes, or one: handles of it have the types of before.
        let client = place.client().await;
        let before = if inline == 0 { place.client().await } else { client.clone() };
        let id = ShardId::new();
        let (old, new): (Old, New) = (before.shard(id), client.shard(id));
        assert_eq!((old.schema().await.unwrap(), new.check_evolution().await.unwrap()), (None, Evolution::Fresh));
        let mut all = Vec::new();
        for time in 0..5 {
            append(&old, time, old_rows(time)).await;
            all.extend(upgraded(&old_rows(time)));
        }
        let mut old_writer = old.open_writer("old").await.unwrap();
        let old_reader = old.open_reader("old").await.unwrap();

        // The program was changed, the shard not yet: it reads, and does not write.
        assert_eq!(read(&new, 4).await, consolidated(&all, 4));
        let latest = SchemaId(0);
        assert_eq!(new.check_evolution().await.unwrap(), Evolution::Possible { latest });
        let refused = new.open_writer("new").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest, newer: false }, "{refused}");

        assert_eq!(new.evolve(SchemaId(7)).await.unwrap(), Evolved::Mismatch { latest });
        assert_eq!(new.evolve(latest).await.unwrap(), Evolved::Added(SchemaId(1)));
        assert_eq!(new.evolve(latest).await.unwrap(), Evolved::Unchanged);
        assert_eq!(new.schema().await.unwrap().unwrap().id, SchemaId(1));

        // The program of before: what it has not committed it never will, and it reads what is of its types.
        let refused = old_writer.compare_and_append(old_rows(5), at(5), at(6)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true }, "{refused}");
        assert_eq!(new.inspect().await.unwrap().upper, at(5));
        match old_reader.snapshot_and_fetch(at(4)).await {
            Ok(mut rows) => {
                rows.sort();
                assert_eq!(upgraded(&rows), consolidated(&all, 4));
            }
            // They are of the new types, where these were compacted since.
            Err(refused) => {
                let newer = ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true };
                assert!(compact && refused.kind() == newer, "{refused}");
            }
        }

        // A retraction by the new one of what the old one wrote, and rows that only the new one can have.
        let mut changes = upgraded(&old_rows(0)[..20]);
        changes.iter_mut().for_each(|(_, time, diff)| (*time, *diff) = (5, -*diff));
        changes.push((("new".to_owned(), None), 5, 1));
        changes.push((("new".to_owned(), Some(1 << 40)), 5, 1));
        append(&new, 5, changes.clone()).await;
        all.extend(changes);
        assert_eq!(read(&new, 5).await, consolidated(&all, 5));
        assert_eq!(read(&new, 4).await, {
            let before: Rows<_> = all.iter().filter(|row| row.1 < 5).cloned().collect();
            consolidated(&before, 4)
        });
        let refused = old_reader.snapshot(at(5)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true }, "{refused}");
        assert_eq!(old_reader.outstanding_leases(), 0, "the parts that it refused are still held");
        let refused = old.open_reader("old").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true }, "{refused}");
        let older = Evolution::Older { program: SchemaId(0), latest: SchemaId(1) };
        assert_eq!(old.check_evolution().await.unwrap(), older);

        // What cannot be is refused with the reason, and changes nothing.
        let wide: Wide = client.shard(id);
        assert!(matches!(wide.check_evolution().await.unwrap(), Evolution::Impossible(_)));
        let refused = wide.evolve(SchemaId(1)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");

        // A later process finds it so, also from rollups, and compaction makes the newest types of what it merges.
        old_reader.expire().await.unwrap();
        for time in 6..14 {
            let rows = vec![((format!("key {}", time % 3), Some(time)), time, 1)];
            append(&new, time, rows.clone()).await;
            all.extend(rows);
        }
        if compact {
            new.settle().await.unwrap();
            let info = new.inspect().await.unwrap();
            // Nine came since.
            assert!(info.batches < 9, "nothing was merged: {info:?}");
        }
        before.shutdown().await.unwrap();
        let _ = client.shutdown().await; // it may be the same
        let client = place.client().await;
        let new: New = client.shard(id);
        assert_eq!(new.schema().await.unwrap().unwrap().id, SchemaId(1));
        assert_eq!(read(&new, 13).await, consolidated(&all, 13));
        client.shutdown().await.unwrap();
    }
}

/// The example `evolve`: two versions of a program, as processes. It compares the rows, and each answer, itself.
#[test]
fn a_program_and_the_version_before_it_share_a_directory() {
    let evolve = |place: &Path| Command::new(program("evolve")).arg(place).output().unwrap();
    let place = tempfile::tempdir().unwrap();
    let said = [
        "two versions of one program in ",
        "v1  appends order 1",
        "v1  reads order 3 of Ada: 7 pieces, Sent",
        "v2  may the shard's orders become its own? Possible { latest: SchemaId(0) }",
        "v2  evolves the shard, in one commit: Added(SchemaId(1))",
        "v2  appends order 4: Order { buyer: \"Cleo\", pieces: 12, state: Open, note: Some(\"a gift\") }",
        "v1  reads order 4 of Cleo: 12 pieces, Open",
        "v1  appends order 5 is refused: SchemaMismatch { latest: SchemaId(1), newer: true }",
        "v2  appends order 5: Order { buyer: \"Dan\", pieces: 5000000000, state: Returned { day: 3 }, note: None }",
        "v1  cannot read order 5: CodecMismatch",
        "v2  reads all 5 orders, and they are what they must be; the first is",
        "    Order { buyer: \"Ada\", pieces: 3, state: Open, note: None }",
        "v2  asks what would come of changes that are not safe: nothing, because of",
        "    drop a field      order.note: it was taken away (id 5): rows may hold something there",
        "    reorder fields    order.buyer: it was moved: ",
        "    narrow a field    order.pieces: u64 cannot become u32: ",
        "    Option<T> to T    order.note: Option<String> cannot become String: ",
        "    change a type     order.buyer: String cannot become u64: ",
        "    insert a variant  order.state::Sent: it was variant 2 and is 3 now: ",
        "    change a default  order.note: its default was changed: ",
        "    use an id again   order.weight: id 2 is retired, ",
        "v2  copies all 5 orders into a shard of orders without a note, with rewrite_into",
    ];
    for _ in 0..2 {
        let run = evolve(place.path());
        let [lines, complaint] = [run.stdout, run.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!((run.status.code(), complaint.as_str()), (Some(0), ""), "{lines}");
        let mut rest = lines.lines();
        said.iter().for_each(|line| assert!(rest.any(|next| next.starts_with(line)), "not there: {line}\n{lines}"));
    }

    let file = place.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let run = evolve(&file);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    assert!(String::from_utf8(run.stderr).unwrap().starts_with("error: "));
}

#[tokio::test]
async fn of_two_programs_that_evolve_at_once_one_does() {
    let place = Place::new(0, true);
    let (one, two) = (place.client().await, place.client().await);
    let id = ShardId::new();
    append(&one.shard(id) as &Old, 0, old_rows(0)).await;
    let (wide, new): (Wide, New) = (one.shard(id), two.shard(id));
    let (first, second) = futures::join!(wide.evolve(SchemaId(0)), new.evolve(SchemaId(0)));
    let outcomes = [first.unwrap(), second.unwrap()];
    let mismatch = Evolved::Mismatch { latest: SchemaId(1) };
    assert!(outcomes.contains(&Evolved::Added(SchemaId(1))) && outcomes.contains(&mismatch), "{outcomes:?}");
    // Both want the same: one of them has nothing left to do.
    let other: Old = one.shard(ShardId::new());
    append(&other, 0, old_rows(0)).await;
    let (wide, again): (Wide, Wide) = (one.shard(other.id()), two.shard(other.id()));
    let (first, second) = futures::join!(wide.evolve(SchemaId(0)), again.evolve(SchemaId(0)));
    let outcomes = [first.unwrap(), second.unwrap()];
    assert!(outcomes.contains(&Evolved::Added(SchemaId(1))) && outcomes.contains(&Evolved::Unchanged), "{outcomes:?}");
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}

#[tokio::test]
async fn parts_of_older_types_travel_and_are_listened_to() {
    let place = Place::new(0, false);
    let (one, two) = (place.client().await, place.client().await);
    let id = ShardId::new();
    let (old, new): (Old, New) = (one.shard(id), one.shard(id));
    append(&old, 0, old_rows(0)).await;
    append(&old, 1, old_rows(1)).await;
    let reader = new.open_reader("new").await.unwrap();
    let mut listen = reader.listen(at(0)).await.unwrap();
    assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
    append(&new, 2, vec![(("new".to_owned(), None), 2, 1)]).await;

    let reader = new.open_reader("new").await.unwrap();
    let fetcher = (two.shard(id) as New).fetcher();
    let mut rows = Vec::new();
    let parts = reader.snapshot(at(2)).await.unwrap();
    for part in &parts {
        let bytes = bincode::serialize(&part.to_exchangeable()).unwrap();
        let (here, part): (_, ExchangeablePart<u64>) = (part.stats(), bincode::deserialize(&bytes).unwrap());
        // What is known of them travels along, as the reader's types have it.
        let stats = part.stats().unwrap();
        assert_eq!(here.as_ref(), Some(&stats));
        let is_old = !stats.may_hold("key", "l".to_owned()..);
        assert_eq!(stats.may_hold("value", ..5u64), is_old, "the only new row has no value");
        assert!(!stats.may_hold("value", 5u64..) && stats.column("value").is_some());
        rows.extend(fetcher.fetch(&part).await.unwrap().rows());
    }
    let mut all = [upgraded(&old_rows(0)), upgraded(&old_rows(1))].concat();
    all.push((("new".to_owned(), None), 2, 1));
    assert_eq!(consolidated(&rows, 2), consolidated(&all, 2));

    let mut heard = Vec::new();
    while !heard.iter().any(|((key, _), ..): &((String, Option<u64>), u64, i64)| key == "new") {
        for event in listen.fetch_next().await.unwrap() {
            if let ListenEvent::Updates(rows) = event {
                heard.extend(rows);
            }
        }
    }
    all.retain(|(_, time, _)| *time > 0);
    assert_eq!(consolidated(&heard, 0), consolidated(&all, 0));
    drop((parts, reader, listen));
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_struct_and_an_enum_evolve() {
    for compact in [false, true] {
        let place = Place::new(0, compact);
        let (before, client) = (place.client().await, place.client().await);
        let id = ShardId::new();
        let old: Shard<String, first::Order, u64, i64> = before.shard(id);
        let new: Shard<String, second::Order, u64, i64> = client.shard(id);
        let order = |n: u32| first::Order {
            pieces: n % 5,
            paid: if n.is_multiple_of(3) { first::Paid::No } else { first::Paid::Card(format!("card {}", n % 4)) },
        };
        let mut all: Rows<second::Order> = Vec::new();
        for time in 0..4 {
            let rows: Vec<_> =
                (0..30).map(|n| ((format!("customer {}", n % 6), order(n + time as u32)), time, 1)).collect();
            all.extend(rows.iter().cloned().map(|((key, order), time, diff)| ((key, order.into()), time, diff)));
            append(&old, time, rows).await;
        }
        assert_eq!(old.schema().await.unwrap().unwrap().id, SchemaId(0));
        assert_eq!(read(&new, 3).await, consolidated(&all, 3));
        let reader = new.open_reader("test").await.unwrap();
        for stats in reader.snapshot_parts_stats(at(3)).await.unwrap().stats {
            let stats = stats.unwrap();
            assert!(stats.may_hold("value.note", "none".to_owned()..="none".to_owned()));
            assert!(
                !stats.may_hold("value.note", ..="non".to_owned())
                    && !stats.may_hold("value.note", "nonf".to_owned()..)
            );
            assert!(stats.may_hold("value.count", 4u64..) && !stats.may_hold("value.count", 5u64..));
            assert!(
                stats.may_hold("value.paid.Card.0", "card 3".to_owned()..)
                    && !stats.may_hold("value.paid.Card.0", "d".to_owned()..)
            );
            assert!(!stats.may_hold::<u32>("value.paid.Transfer.day", ..), "nobody could pay so");
            assert!(stats.column("value.pieces").is_none());
        }
        drop(reader);
        assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
        let mut rows: Rows<second::Order> = all[..7].to_vec();
        rows.iter_mut().for_each(|(_, time, diff)| (*time, *diff) = (4, -1));
        let paid = Some(second::Paid::Transfer { day: 7 });
        rows.push((("new".to_owned(), second::Order { note: String::new(), count: 1 << 40, paid }), 4, 1));
        append(&new, 4, rows.clone()).await;
        all.extend(rows);
        if compact {
            new.settle().await.unwrap();
        }
        assert_eq!(read(&new, 4).await, consolidated(&all, 4));
        let refused = old.open_writer("old").await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::SchemaMismatch { latest: SchemaId(1), newer: true }, "{refused}");
        before.shutdown().await.unwrap();
        client.shutdown().await.unwrap();
    }
}

/// A program of before that reads on, and one that knows some of the fields only.
#[tokio::test]
async fn a_handle_that_projects_reads_newer_rows_as_its_own() {
    let place = Place::new(0, true);
    let (before, client) = (place.client().await, place.client().await);
    let id = ShardId::new();
    let old: Shard<String, first::Order, u64, i64> = before.shard(id);
    let new: Shard<String, second::Order, u64, i64> = client.shard(id);
    let order = |pieces| first::Order { pieces, paid: first::Paid::No };
    append(&old, 0, vec![(("a".to_owned(), order(1)), 0, 1)]).await;
    let listening = old.projecting().open_reader("listen").await.unwrap();
    let mut heard = listening.listen(at(0)).await.unwrap();
    assert_eq!(new.evolve(SchemaId(0)).await.unwrap(), Evolved::Added(SchemaId(1)));
    let later = |note: &str, count| {
        let paid = Some(second::Paid::Card("7".to_owned()));
        (("b".to_owned(), second::Order { note: note.to_owned(), count, paid }), 1, 1)
    };
    append(&new, 1, vec![later("one", 5), later("other", 5), later("x", 6)]).await;

    let reader = old.projecting().open_reader("old").await.unwrap();
    let rows = |rows: Vec<((String, first::Order), u64, i64)>, as_of| consolidated(&rows, as_of);
    let card = |pieces| first::Order { pieces, paid: first::Paid::Card("7".to_owned()) };
    let changes = vec![(("b".to_owned(), card(5)), 1, 2), (("b".to_owned(), card(6)), 1, 1)];
    let expected = [vec![(("a".to_owned(), order(1)), 1, 1)], changes.clone()].concat();
    let read: Vec<_> = reader.snapshot_and_stream(at(1)).await.unwrap().try_collect().await.unwrap();
    assert_eq!(rows(read, 1), expected);
    let parts = reader.snapshot(at(1)).await.unwrap();
    let mut read = Vec::new();
    for part in &parts {
        let bytes = bincode::serialize(&part.to_exchangeable()).unwrap();
        let part: ExchangeablePart<u64> = bincode::deserialize(&bytes).unwrap();
        read.extend(old.projecting().fetcher().fetch(&part).await.unwrap().rows());
        // Who does not project knows nothing of such a part.
        let refused = old.fetcher().fetch(&part).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
    }
    assert_eq!(rows(read, 1), expected);
    while heard.frontier() != &at(2) {
        for event in heard.fetch_next().await.unwrap() {
            if let ListenEvent::Updates(updates) = event {
                assert_eq!(rows(updates, 0), changes);
            }
        }
    }
    // It merges nothing, and writes nothing.
    for refused in [
        reader.snapshot_cursor(at(1), |_| true).await.unwrap_err(),
        reader.snapshot_and_fetch(at(1)).await.unwrap_err(),
        old.projecting().open_writer("old").await.unwrap_err(),
    ] {
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    }
    let some: Shard<String, Count, u64, i64> = client.shard(id);
    assert_eq!(some.open_reader("some").await.unwrap_err().kind(), ErrorKind::CodecMismatch);
    let reader = some.projecting().open_reader("some").await.unwrap();
    let read: Vec<_> = reader.snapshot_and_stream(at(1)).await.unwrap().try_collect().await.unwrap();
    let count = |key: &str, count, diff| ((key.to_owned(), Count { count }), 1, diff);
    assert_eq!(consolidated(&read, 1), [count("a", 1, 1), count("b", 5, 2), count("b", 6, 1)]);
    let apart: Shard<String, String, u64, i64> = client.shard(id);
    let refused = apart.projecting().open_reader("apart").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
    let counted: Shard<String, first::Order, u64, u64> = client.shard(id);
    let refused = counted.projecting().open_reader("counted").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");

    // What has no place in the types of before is an error of whoever meets it, and no row.
    let paid = Some(second::Paid::Transfer { day: 1 });
    append(&new, 2, vec![(("c".to_owned(), second::Order { note: String::new(), count: 1, paid }), 2, 1)]).await;
    let reader = old.projecting().open_reader("old").await.unwrap();
    let refused = reader.snapshot_and_stream(at(2)).await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::CodecMismatch, "{refused}");
    assert!(refused.to_string().contains("value"), "{refused}");
    drop((parts, reader, heard));
    before.shutdown().await.unwrap();
    client.shutdown().await.unwrap();
}

/// One field of an order.
#[derive(timely_persist::Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order")]
struct Count {
    #[codec(id = 1)]
    count: u64,
}
