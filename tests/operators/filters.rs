//! Filters on fields of a struct: a source asks the store for the parts that may hold a wanted row, and for no other, also once the
//! struct has changed.

use std::ops::Range;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, Utc};
use object_store::memory::InMemory;
use timely::dataflow::operators::Inspect;
use timely_persist::codec::Decimal;
use timely_persist::store::ObjectLog;
use timely_persist::{Client, Data, Evolved, PartStats, SchemaId, Shard, ShardId};
use timely_persist_operators::{PersistSource, SourceError};
use timely_persist_testing::CountingStore;

use crate::support::*;

type Price = Decimal<10, 2>;
type Of<V> = Shard<String, V, u64, i64>;

/// A program, in its first version and its second: a field is new and in front, one is renamed and another has its name, one is
/// wider and one may be missing.
mod first {
    use super::{DateTime, NaiveDate, Price, Utc};
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "sale")]
    pub struct Sale {
        #[codec(id = 1)]
        pub day: NaiveDate,
        #[codec(id = 2)]
        pub noted: DateTime<Utc>,
        #[codec(id = 3)]
        pub pieces: u32,
        #[codec(id = 4)]
        pub price: Price,
    }
}

mod second {
    use super::{DateTime, NaiveDate, Price, Utc};
    use timely_persist::Codec;

    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "sale")]
    pub struct Sale {
        #[codec(id = 5, default)]
        pub day: NaiveDate,
        #[codec(id = 1)]
        pub sold: NaiveDate,
        #[codec(id = 2)]
        pub noted: DateTime<Utc>,
        #[codec(id = 3)]
        pub pieces: u64,
        #[codec(id = 4)]
        pub price: Option<Price>,
    }
}

fn day(day: u64) -> NaiveDate {
    NaiveDate::from_epoch_days(day.try_into().unwrap()).unwrap()
}

fn moment(day: u64) -> DateTime<Utc> {
    DateTime::from_timestamp(i64::try_from(day).unwrap() * 86_400, 0).unwrap()
}

fn cents(cents: u64) -> Price {
    Price::from_unscaled(cents.into()).unwrap()
}

/// A sale of that day. All else grows with the days.
fn sale(number: u64) -> first::Sale {
    let pieces = u32::try_from(1_000 + number).unwrap();
    first::Sale { day: day(number), noted: moment(number), pieces, price: cents(100 * number) }
}

fn later_sale(number: u64, delivered: u64) -> second::Sale {
    let first::Sale { day: sold, noted, pieces, price } = sale(number);
    second::Sale { day: day(delivered), sold, noted, pieces: pieces.into(), price: Some(price) }
}

/// Of each part the days.
const DAYS: u64 = 10;

/// The parts of the first version.
const PARTS: u64 = 12;

/// A part of the sales of some days for each of these times. Their keys are of all kinds.
fn fill_days<V: Data>(shard: &Of<V>, times: Range<u64>, sale: impl Fn(u64) -> V) {
    wait(async {
        let mut writer = shard.open_writer("fill").await.unwrap();
        for time in times {
            let days = time * DAYS..(time + 1) * DAYS;
            let rows = days.map(|day| ((format!("customer {}", day * 7 % 10), sale(day)), time, 1));
            let _ = writer.append(rows, at(time), at(time + 1)).await.unwrap();
        }
    });
}

/// A shard of the first version, and its store.
fn sales(audit_one_in: u64) -> (Of<first::Sale>, Client, CountingStore) {
    let mut config = config();
    config.read.filter_audit_one_in = audit_one_in;
    let store = CountingStore::new(Arc::new(InMemory::new()));
    // What is got beside the log are parts.
    let log = Arc::new(ObjectLog::new(Arc::new(InMemory::new())));
    let client = wait(Client::builder(Arc::new(store.clone())).consensus(log).config(config).open()).unwrap();
    let shard = client.shard(ShardId::new());
    fill_days(&shard, 0..PARTS, sale);
    (shard, client, store)
}

/// The values that a source shows, and how many objects it gets. It says no error.
fn shown<V: Data>(
    shard: &Of<V>,
    store: &CountingStore,
    keep: fn(&PartStats) -> bool,
    wanted: fn(&V) -> bool,
    project: bool,
) -> (Vec<V>, u64) {
    let before = store.counts().gets;
    let (values, errors): (Noted<V>, Noted<SourceError>) = Default::default();
    let (reading, noted, said) = (shard.clone(), Arc::clone(&values), Arc::clone(&errors));
    let as_of = upper(shard) - 1;
    let guards = timely::execute(timely::Config::process(2), move |worker| {
        let (noted, said) = (Arc::clone(&noted), Arc::clone(&said));
        let _button = worker.dataflow::<u64, _, _>(|scope| {
            let source = PersistSource::new(&reading).as_of(at(as_of)).until(at(as_of + 1));
            let source = if project { source.project() } else { source };
            let source = source.filter(keep).filter_rows(move |_, value| wanted(&V::from_ref(value))).build(scope);
            source.updates.inspect(move |((_, value), ..)| note(&noted, [value.clone()]));
            source.errors.inspect(move |error| note(&said, [error.clone()]));
            source.button
        });
        while worker.has_dataflows() {
            worker.step_or_park(None);
        }
    });
    drop(guards.unwrap());
    assert_eq!(taken(&errors), []);
    let mut values = taken(&values);
    values.sort();
    (values, store.counts().gets - before)
}

fn upper<V: Data>(shard: &Of<V>) -> u64 {
    wait(shard.inspect()).unwrap().upper[0]
}

/// How many objects a source gets that shows these values, and a cursor: the same.
#[track_caller]
fn gets<V: Data>(
    (shard, store): (&Of<V>, &CountingStore),
    keep: fn(&PartStats) -> bool,
    wanted: fn(&V) -> bool,
    expected: &[V],
) -> u64 {
    let (values, gets) = shown(shard, store, keep, wanted, false);
    assert_eq!(values, expected);
    let as_of = upper(shard) - 1;
    let cursor = async {
        let reader = shard.open_reader("cursor").await.unwrap();
        let before = store.counts().gets;
        let mut cursor = reader.snapshot_cursor(at(as_of), keep).await.unwrap();
        let mut values = Vec::new();
        while let Some(rows) = cursor.next().await.unwrap() {
            values.extend(rows.into_iter().map(|((_, value), ..)| value).filter(wanted));
        }
        values.sort();
        assert_eq!(values, expected);
        store.counts().gets - before
    };
    assert_eq!(wait(cursor), gets, "a cursor gets other parts");
    gets
}

#[test]
fn a_filter_on_a_field_reads_the_parts_that_may_have_it() {
    let (shard, _client, store) = sales(0);
    let sales = |days: Range<u64>| days.map(sale).collect::<Vec<_>>();
    let of = (&shard, &store);
    // These days are in the parts 3, 4 and 5.
    let wanted = |sale: &first::Sale| (day(35)..day(52)).contains(&sale.day);
    let keep = |stats: &PartStats| stats.may_hold("value.day", day(35)..day(52));
    assert_eq!(gets(of, keep, wanted, &sales(35..52)), 3);
    // A filter of rows alone looks at all.
    assert_eq!(gets(of, |_| true, wanted, &sales(35..52)), PARTS);
    assert_eq!(gets(of, |_| false, |_| true, &[]), 0);
    // Of every kind of field, and of more than one.
    let keep = |stats: &PartStats| stats.may_hold("value.noted", moment(35)..=moment(51));
    assert_eq!(gets(of, keep, wanted, &sales(35..52)), 3);
    let keep = |stats: &PartStats| stats.may_hold("value.pieces", 1_035u32..1_052);
    assert_eq!(gets(of, keep, |sale| (1_035..1_052).contains(&sale.pieces), &sales(35..52)), 3);
    let keep = |stats: &PartStats| stats.may_hold("value.price", cents(11_500)..);
    assert_eq!(gets(of, keep, |sale| sale.price >= cents(11_500), &sales(115..120)), 1);
    let keep = |stats: &PartStats| stats.may_hold("value.day", day(40)..) && stats.may_hold("value.pieces", ..1_045u32);
    assert_eq!(gets(of, keep, |sale| sale.day >= day(40) && sale.pieces < 1_045, &sales(40..45)), 1);
    // There is no such field.
    let keep = |stats: &PartStats| stats.may_hold("value.days", day(35)..day(52));
    assert_eq!(gets(of, keep, wanted, &sales(35..52)), PARTS);
}

/// Hazard 69.
#[test]
fn a_filter_on_a_field_reads_what_it_must_of_older_types() {
    const LATER: u64 = 4;
    for audit_one_in in [0, 1] {
        let (old, client, store) = sales(audit_one_in);
        let shard: Of<second::Sale> = client.shard(old.id());
        assert_eq!(wait(shard.evolve(SchemaId(0))).unwrap(), Evolved::Added(SchemaId(1)));
        // Their new days are days that no row of before has in any field.
        fill_days(&shard, PARTS..PARTS + LATER, |number| later_sale(number, number + 500));
        let sold = |days: Range<u64>| {
            let new_day = |number| if number < PARTS * DAYS { 0 } else { number + 500 };
            let mut sold: Vec<_> = days.map(|number| later_sale(number, new_day(number))).collect();
            sold.sort();
            sold
        };
        let of = (&shard, &store);
        // An audit gets all others, and finds nothing in them.
        let parts = |parts: u64| if audit_one_in == 1 { PARTS + LATER } else { parts };

        // Renamed: the parts 10 and 11 of the first version, and 12 of the second.
        let keep = |stats: &PartStats| stats.may_hold("value.sold", day(105)..=day(122));
        let wanted = |sale: &second::Sale| (day(105)..=day(122)).contains(&sale.sold);
        assert_eq!(gets(of, keep, wanted, &sold(105..123)), parts(3));
        // Wider.
        let keep = |stats: &PartStats| stats.may_hold("value.pieces", ..1_010u64);
        assert_eq!(gets(of, keep, |sale| sale.pieces < 1_010, &sold(0..10)), parts(1));
        // Optional.
        let keep = |stats: &PartStats| stats.may_hold("value.price", cents(10_500)..cents(12_500));
        let wanted =
            |sale: &second::Sale| sale.price.is_some_and(|price| (cents(10_500)..cents(12_500)).contains(&price));
        assert_eq!(gets(of, keep, wanted, &sold(105..125)), parts(3));
        // New, under a name that another has had: the rows of before have its default, and no day of that one.
        let keep = |stats: &PartStats| stats.may_hold("value.day", ..day(1));
        assert_eq!(gets(of, keep, |sale| sale.day < day(1), &sold(0..PARTS * DAYS)), parts(PARTS));
        let keep = |stats: &PartStats| stats.may_hold("value.day", day(1)..day(500));
        assert_eq!(gets(of, keep, |sale| (day(1)..day(500)).contains(&sale.day), &[]), parts(0));

        // A program of before: what it calls `day` is not what is called so now.
        let keep = |stats: &PartStats| stats.may_hold("value.day", day(105)..=day(122));
        let wanted = |sale: &first::Sale| (day(105)..=day(122)).contains(&sale.day);
        let (values, gets) = shown(&old, &store, keep, wanted, true);
        assert_eq!((values, gets), ((105..123).map(sale).collect(), parts(3)));
    }
}
