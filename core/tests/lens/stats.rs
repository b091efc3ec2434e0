//! Statistics through a change: what a part knew of its rows is right of what they became, and no name decides it.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use proptest::prelude::*;
use timely_persist_core::part::{ColumnStats, PartStats, RowLens, StatValue, StatsCollector, StatsLens};
use timely_persist_types::codec::{Codec, Constant, Lens, RetiredField, Shape};

use crate::model::{OWN, Value, column_of, upgrade};
use crate::random::{self, Random, change, shape};
use crate::{field, retiring, structure, variants};

/// As they are written with a part.
fn stats(key: &ArrayRef, value: &ArrayRef) -> PartStats {
    let field = |name, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let schema = Arc::new(Schema::new(vec![field("key", key), field("value", value), field("time", key)]));
    let columns = vec![Arc::clone(key), Arc::clone(value), Arc::clone(key)];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
    let mut collector = StatsCollector::new(&schema);
    collector.observe(&batch);
    collector.finish(batch.num_rows() as u64, 7)
}

/// How many columns of the rows there are, and of how many of them as much is known as rows tell. Panics if more is said to be
/// known than is so.
fn compare(mapped: &PartStats, rows: &PartStats, what: &str) -> (usize, usize) {
    assert_eq!((mapped.rows, mapped.encoded_bytes), (rows.rows, rows.encoded_bytes));
    for column in &mapped.columns {
        let path = column.path();
        assert_eq!(mapped.columns.iter().filter(|other| other.path() == path).count(), 1, "{path} twice");
        let Some(is) = rows.column(path) else { panic!("{path} is no column: {what}") };
        assert_eq!(column.null_count(), is.null_count(), "{path} of {what}");
        let all_null = is.null_count() == rows.rows;
        let below = column.min().is_none_or(|min| is.min().is_some_and(|is| min <= is));
        let above = column.max().is_none_or(|max| is.max().is_some_and(|is| is <= max));
        assert!(all_null || below && above, "{path}: {column:?} of {is:?} in {what}");
    }
    let is_tight = |is: &&ColumnStats| {
        mapped
            .column(is.path())
            .is_some_and(|column| is.null_count() == rows.rows || (column.min(), column.max()) == (is.min(), is.max()))
    };
    (rows.columns.len(), rows.columns.iter().filter(is_tight).count())
}

/// Random rows through random safe changes, and back to a reader of the old types.
fn change_and_compare(seed: u64) -> (usize, usize) {
    let mut random = Random(seed);
    let mut shapes = vec![[shape(&mut random, 1), shape(&mut random, 3)]];
    let rows =
        |random: &mut Random, shape: &Shape| -> Vec<Value> { (0..20).map(|_| random::value(random, shape)).collect() };
    let mut versions = vec![shapes[0].each_ref().map(|shape| rows(&mut random, shape))];
    for index in 0..2 {
        let old = shapes[index].clone();
        let new = old.each_ref().map(|old| change(&mut random, old, false));
        let upgraded = [0, 1].map(|i| versions[index][i].iter().map(|row| upgrade(&old[i], &new[i], row)).collect());
        versions.push(upgraded);
        shapes.push(new);
    }
    let columns = |version: usize| [0, 1].map(|i| column_of(&shapes[version][i], &versions[version][i]));
    let stats: Vec<_> = (0..shapes.len()).map(columns).map(|[key, value]| stats(&key, &value)).collect();
    let mut seen = (0, 0);
    for (from, to) in [(0, 1), (1, 2), (0, 2), (1, 0), (2, 0), (2, 1), (1, 1)] {
        let (old, new) = (&shapes[from], &shapes[to]);
        for (old, new) in old.iter().zip(new) {
            Lens::projecting(old, new).unwrap();
        }
        let lens = StatsLens::between([("key", &old[0], &new[0]), ("value", &old[1], &new[1])]);
        let mapped = lens.map(&stats[from]);
        let what = format!("{:?} as {:?}", old, new);
        // The times are of the key that was.
        let time = |stats: &PartStats| -> Vec<_> {
            stats.columns.iter().filter(|column| column.path().starts_with("time")).cloned().collect()
        };
        assert_eq!(time(&mapped), time(&stats[from]));
        let without = |stats: &PartStats| {
            let columns = stats.columns.iter().filter(|column| !column.path().starts_with("time")).cloned();
            PartStats { columns: columns.collect(), ..stats.clone() }
        };
        let (all, tight) = compare(&without(&mapped), &without(&stats[to]), &what);
        seen = (seen.0 + all, seen.1 + tight);
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_row_is_beyond_mapped_statistics(seed in any::<u64>()) {
        change_and_compare(seed);
    }
}

#[test]
fn mapped_statistics_know_what_there_is_to_know() {
    let seen = (0..100).map(change_and_compare).fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    assert!(seen.1 * 100 > seen.0 * 95, "of {} columns {} are known as well as before", seen.0, seen.1);
}

/// A struct of a number under a name.
fn one_field(id: u32, name: &str, shape: Shape, default: Option<Constant>) -> Shape {
    structure("s", vec![field(id, name, shape, default)])
}

/// What is known of values after a change, in their durable form and back.
fn mapped(old: &Shape, new: &Shape, rows: &[Value]) -> PartStats {
    let keys = column_of(&u8::shape(), &vec![Value::Unsigned(1); rows.len()]);
    let lens = RowLens::between([&u8::shape(), old], [&u8::shape(), new]).unwrap().unwrap();
    let mapped = PartStats::decode(&lens.stats(&stats(&keys, &column_of(old, rows)).encode())).unwrap();
    assert_eq!(mapped.column("key").unwrap().max(), Some(&StatValue::Int(1)), "other columns are as they were");
    assert_eq!(mapped.column("time").unwrap().max(), Some(&StatValue::Int(1)), "other columns are as they were");
    mapped
}

/// The nulls and the bounds of a column of integers.
fn ints(stats: &PartStats, path: &str) -> Option<(u64, Option<i128>, Option<i128>)> {
    let column = stats.column(path)?;
    let int = |value: Option<&StatValue>| {
        value.map(|value| if let StatValue::Int(int) = value { *int } else { panic!("{value:?}") })
    };
    Some((column.null_count(), int(column.min()), int(column.max())))
}

fn numbers(numbers: std::ops::Range<u128>) -> Vec<Value> {
    numbers.map(|number| Value::Parts(vec![Value::Unsigned(number)])).collect()
}

/// Hazard 69.
#[test]
fn a_field_that_takes_the_name_of_another_knows_nothing_of_it() {
    let constant = |value: u32| Some(Constant::of(&value));
    let old = one_field(1, "day", u32::shape(), None);
    // Renamed, and its name taken.
    let fields = |late: &str| vec![field(7, "day", u32::shape(), constant(3)), field(1, late, u64::shape(), None)];
    let stats = mapped(&old, &structure("s", fields("ordered")), &numbers(50..60));
    assert_eq!(ints(&stats, "value.day"), Some((0, Some(3), Some(3))));
    assert_eq!(ints(&stats, "value.ordered"), Some((0, Some(50), Some(59))));
    // Two that change their names.
    let two = |names: [&str; 2]| {
        structure("s", vec![field(1, names[0], u32::shape(), None), field(2, names[1], u32::shape(), None)])
    };
    let rows = [Value::Parts(vec![Value::Unsigned(4), Value::Unsigned(90)])];
    let stats = mapped(&two(["a", "b"]), &two(["b", "a"]), &rows);
    assert_eq!(
        (ints(&stats, "value.b"), ints(&stats, "value.a")),
        (Some((0, Some(4), Some(4))), Some((0, Some(90), Some(90))))
    );
    // Retired, and its name taken: at once, and by a type that has no bounds.
    let old = one_field(1, "day", u32::shape(), constant(0));
    let retired = || vec![RetiredField { id: 1, shape: u32::shape() }];
    let new = retiring("s", vec![field(2, "day", u32::shape(), constant(8))], retired());
    assert_eq!(ints(&mapped(&old, &new, &numbers(0..1)), "value.day"), Some((0, Some(8), Some(8))));
    let list = field(2, "day", <Vec<u32>>::shape(), Some(Constant::of(&vec![8u32])));
    let stats = mapped(&old, &retiring("s", vec![list], retired()), &numbers(0..1));
    assert_eq!(ints(&stats, "value.day"), Some((0, None, None)));
    // A variant's.
    let of = |id, field: &str| vec![self::field(id, field, u32::shape(), (id > 1).then(|| constant(5)).flatten())];
    let old = variants("e", vec![(1, "A", of(1, "x")), (2, "B", of(1, "x"))]);
    let new = variants("e", vec![(1, "B", of(1, "x")), (2, "A", of(1, "y"))]);
    let rows = [(0, 10), (1, 77)].map(|(tag, x)| Value::Variant(tag, vec![Value::Unsigned(x)]));
    let stats = mapped(&old, &new, &rows);
    assert_eq!(ints(&stats, "value.B.x"), Some((1, Some(10), Some(10))));
    assert_eq!((ints(&stats, "value.A.y"), ints(&stats, "value.A.x")), (Some((1, Some(77), Some(77))), None));
}

#[test]
fn what_is_wider_or_optional_keeps_its_bounds() {
    let to = |new: Shape| mapped(&one_field(1, "n", u32::shape(), None), &one_field(1, "n", new, None), &numbers(5..9));
    for new in [u64::shape(), i64::shape(), <Option<u64>>::shape()] {
        assert_eq!(ints(&to(new), "value.n"), Some((0, Some(5), Some(8))));
    }
    for (stats, others) in [(to(u128::shape()), [4u128, 9]), (to(<Option<u128>>::shape()), [4, 9])] {
        let [below, above] = others;
        assert!(stats.may_hold("value.n", 5u128..=5) && stats.may_hold("value.n", 8u128..));
        assert!(!stats.may_hold("value.n", ..=below) && !stats.may_hold("value.n", above..));
    }
    assert!(to(i128::shape()).may_hold("value.n", 8i128..) && !to(i128::shape()).may_hold("value.n", -7i128..5));
    let rows = [None, Some(Box::new(Value::Signed(-5)))].map(|row| Value::Parts(vec![Value::Option(row)]));
    let option = |some: Shape| one_field(1, "n", Shape::Option(Box::new(some)), None);
    let stats = mapped(&option(i8::shape()), &option(i16::shape()), &rows);
    assert_eq!(ints(&stats, "value.n"), Some((1, Some(-5), Some(-5))));
}

#[test]
fn an_added_field_is_its_default_where_there_is_a_row_of_it() {
    type Added = Option<(u32, Option<u32>)>;
    let default: Added = Some((7, None));
    let old = one_field(1, "n", u32::shape(), None);
    let with = |some: fn(Shape) -> Shape| {
        let added = field(2, "m", Added::shape(), Some(Constant::of(&default)));
        some(structure("s", vec![added, field(1, "n", u32::shape(), None)]))
    };
    let stats = mapped(&old, &with(|shape| shape), &numbers(5..9));
    assert_eq!(
        (ints(&stats, "value.m.0"), ints(&stats, "value.m.1")),
        (Some((0, Some(7), Some(7))), Some((4, None, None)))
    );
    assert!(stats.may_hold("value.m.0", 7u32..=7) && !stats.may_hold("value.m.0", 8u32..));
    assert!(!stats.may_hold::<u32>("value.m.1", ..), "it is in no row");
    // Within an option it is where that is `Some`.
    let option = |shape| Shape::Option(Box::new(shape));
    let mut rows: Vec<_> = numbers(5..9).into_iter().map(|row| Value::Option(Some(Box::new(row)))).collect();
    rows.push(Value::Option(None));
    let stats = mapped(&option(old.clone()), &with(option), &rows);
    assert_eq!(
        (ints(&stats, "value.m.0"), ints(&stats, "value.m.1")),
        (Some((1, Some(7), Some(7))), Some((5, None, None)))
    );
    // Where nothing tells how often that is, nothing is known.
    let lens = StatsLens::between([("key", &u8::shape(), &u8::shape()), ("value", &option(old), &with(option))]);
    let mut known = PartStats { rows: 5, ..PartStats::default() };
    assert_eq!(lens.map(&known).columns, []);
    let keys = column_of(&u8::shape(), &[Value::Unsigned(1)]);
    known.columns = stats_of_key(&keys);
    assert_eq!(lens.map(&known), known, "the key's are known, and nothing else");
}

fn stats_of_key(keys: &ArrayRef) -> Vec<ColumnStats> {
    stats(keys, keys).columns.into_iter().filter(|column| column.path() == "key").collect()
}

#[test]
fn variants_with_data_are_known_as_far_as_tags_are() {
    let number = |default: u32| vec![field(1, "x", u32::shape(), Some(Constant::of(&default)))];
    let units = variants("e", vec![(1, "A", vec![]), (2, "B", vec![])]);
    let data = variants("e", vec![(1, "A", vec![]), (2, "B", number(5)), (3, "C", number(6))]);
    let known = |tags: &[usize]| {
        let stats = mapped(&units, &data, &tags.iter().map(|tag| Value::Variant(*tag, vec![])).collect::<Vec<_>>());
        assert_eq!(ints(&stats, "value"), None, "the tags are a column among others now");
        assert_eq!(ints(&stats, "value.C.x"), Some((tags.len() as u64, None, None)), "no row can be of it");
        (ints(&stats, "value.tag").unwrap(), ints(&stats, "value.B.x"))
    };
    assert_eq!(known(&[0, 0]), ((0, Some(0), Some(0)), Some((2, Some(5), Some(5)))), "in no row");
    assert_eq!(known(&[1, 1]), ((0, Some(1), Some(1)), Some((0, Some(5), Some(5)))), "in all");
    assert_eq!(known(&[0, 1]), ((0, Some(0), Some(1)), None), "in some");
}

/// Of a type that only its own codec knows, all columns that it has stay what they are.
#[test]
fn a_type_of_another_codec_keeps_what_is_known_of_it() {
    let of = |a: Shape, names: [&str; 2]| {
        structure("s", vec![field(1, names[0], a, None), field(2, names[1], u32::shape(), None)])
    };
    let own = || Shape::Opaque(OWN.to_owned());
    let array = column_of(
        &of(<(u32, u32)>::shape(), ["a", "ab"]),
        &[Value::Parts(vec![Value::Parts(vec![Value::Unsigned(1), Value::Unsigned(2)]), Value::Unsigned(3)])],
    );
    let (old, new) = (of(own(), ["a", "ab"]), of(own(), ["b", "a"]));
    let lens = StatsLens::between([("key", &old, &old), ("value", &old, &new)]);
    let stats = lens.map(&stats(&array, &array));
    let known = ["key.a.0", "key.a.1", "key.ab", "value.b.0", "value.b.1", "value.a"].map(|path| ints(&stats, path));
    assert_eq!(known, [1, 2, 3, 1, 2, 3].map(|value| Some((0, Some(value), Some(value)))));
    assert_eq!(stats.columns.len(), 6 + 3);
}

/// Paths are of names: where one has a dot, they would not tell columns apart.
#[test]
fn what_names_cannot_tell_apart_is_unknown() {
    let inner = structure("t", vec![field(1, "b", u32::shape(), None)]);
    let old = structure("s", vec![field(1, "a", inner.clone(), None), field(2, "a.b", u32::shape(), None)]);
    let new = structure("s", vec![field(1, "a", inner, None), field(2, "c", u32::shape(), None)]);
    let row = Value::Parts(vec![Value::Parts(vec![Value::Unsigned(1)]), Value::Unsigned(2)]);
    for (old, new) in [(&old, &new), (&new, &old)] {
        let stats = mapped(old, new, std::slice::from_ref(&row));
        assert!(stats.columns.iter().all(|column| !column.path().starts_with("value")), "{stats:?}");
    }
    let lens = RowLens::between([&u8::shape(), &old], [&u8::shape(), &new]).unwrap().unwrap();
    assert!(lens.stats(b"").is_empty() && lens.stats(&[255; 9]).is_empty());
}
