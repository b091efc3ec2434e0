//! Numbers with a point, days and moments: that they are codecs as all others are, and what of them cannot be stored.

use std::ops::Bound;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, Date32Array, Decimal128Array, Float64Array, TimestampMicrosecondArray};
use arrow_buffer::NullBuffer;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use jiff::{Timestamp, civil};
use ordered_float::OrderedFloat;
use proptest::prelude::*;
use timely_persist_core::part::{EncodeOptions, PartBuilder, PartStats, StatValue, decode_part};
use timely_persist_types::codec::{Builder, Codec, Column, Data, Decimal, DecimalError, Leaf, Serde, Shape, digest};
use timely_persist_types::error::ErrorKind;

use super::{check, column, many};

type F32 = OrderedFloat<f32>;
type F64 = OrderedFloat<f64>;
type Price = Decimal<10, 2>;

/// The first and the last day, and the same of moments with and without a time zone.
const DAYS: [i32; 2] = [-4_371_587, 2_932_896];
const MOMENTS: [i64; 2] = [-377_705_023_201_000_000, 253_402_207_200_999_999];
const CIVIL: [i64; 2] = [-377_705_116_800_000_000, 253_402_300_799_999_999];

fn days(days: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(days).unwrap()
}

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

fn day(days: i32) -> civil::Date {
    civil::date(1970, 1, 1).checked_add(jiff::SignedDuration::from_hours(24 * i64::from(days))).unwrap()
}

fn timestamp(micros: i64) -> Timestamp {
    Timestamp::new(micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) as i32 * 1_000).unwrap()
}

fn civil_moment(micros: i64) -> civil::DateTime {
    civil::date(1970, 1, 1).at(0, 0, 0, 0).checked_add(jiff::SignedDuration::from_micros(micros)).unwrap()
}

fn float() -> impl Strategy<Value = f64> {
    let odd = prop::sample::select(vec![0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.0]);
    prop_oneof![odd, any::<u64>().prop_map(f64::from_bits), any::<f64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn floats(values in many(float()), bits in many(any::<u32>())) {
        check(values.iter().map(|v| OrderedFloat(*v)).collect());
        check(values.iter().map(|v| OrderedFloat(*v as f32)).collect());
        check(bits.iter().map(|v| OrderedFloat(f32::from_bits(*v))).collect());
    }

    #[test]
    fn decimals(values in many((any::<i128>(), 0u32..128))) {
        let values: Vec<_> = values.iter().map(|(value, shift)| value >> shift).collect();
        fn of<const P: u8, const S: i8>(values: &[i128]) {
            let fits = |value: &i128| Decimal::<P, S>::from_unscaled(*value % 10i128.pow(P.into())).unwrap();
            let decimals: Vec<_> = values.iter().map(fits).collect();
            for decimal in &decimals {
                assert_eq!(decimal.to_string().parse().as_ref(), Ok(decimal));
                assert_eq!(Decimal::from_unscaled(decimal.unscaled()).as_ref(), Ok(decimal));
            }
            check(decimals.iter().copied().map(Serde).collect());
            check(decimals);
        }
        of::<1, 0>(&values);
        of::<10, 2>(&values);
        of::<18, 18>(&values);
        of::<19, 4>(&values);
        of::<38, 9>(&values);
    }

    #[test]
    fn calendar(
        dates in many(DAYS[0]..=DAYS[1]),
        moments in many(MOMENTS[0]..=MOMENTS[1]),
        civil in many(CIVIL[0]..=CIVIL[1]),
    ) {
        check(dates.iter().map(|v| days(*v)).collect());
        check(dates.iter().map(|v| day(*v)).collect());
        check(moments.iter().map(|v| moment(*v)).collect());
        check(moments.iter().map(|v| timestamp(*v)).collect());
        check(civil.iter().map(|v| moment(*v).naive_utc()).collect());
        check(civil.iter().map(|v| civil_moment(*v)).collect());
    }

}

/// The ends of what each type holds.
#[test]
fn edges() {
    macro_rules! floats {
        ($($float:ident)*) => {$(
            let (tiny, epsilon) = ($float::from_bits(1), $float::EPSILON);
            let values = [0.0, tiny, $float::MIN_POSITIVE, epsilon, 1.0, $float::MAX, $float::INFINITY, $float::NAN];
            check(values.into_iter().flat_map(|v| [v, -v]).map(OrderedFloat).collect());
        )*};
    }
    floats!(f32 f64);
    check(vec![Decimal::<1, 0>::MIN, Decimal::MAX, Decimal::default()]);
    check(vec![Decimal::<18, 18>::MIN, Decimal::MAX, Decimal::default()]);
    check(vec![Decimal::<19, 0>::MIN, Decimal::MAX, Decimal::default()]);
    check(vec![Decimal::<38, 38>::MIN, Decimal::MAX, Decimal::default()]);
    check(DAYS.map(days).into_iter().chain([days(-1), days(0), days(1)]).collect());
    check(MOMENTS.map(moment).into_iter().chain([-1, 0, 1].map(moment)).collect());
    check(CIVIL.map(|v| moment(v).naive_utc()).into());
    check(vec![vec![F64::default()], vec![OrderedFloat(f64::NAN), OrderedFloat(-0.0)], vec![]]);
    check(vec![Some(vec![day(3)]), None, Some(vec![])]);
    check(vec![civil::Date::MIN, civil::Date::MAX, day(-1), day(0), day(1)]);
    check(vec![Timestamp::MIN, timestamp(MOMENTS[1]), timestamp(-1), timestamp(0)]);
    check(vec![civil::DateTime::MIN, civil_moment(CIVIL[1]), civil_moment(-1), civil_moment(0)]);
}

/// Equal values are the same bytes, whichever of them was written.
#[test]
fn floats_are_stored_in_their_canonical_form() {
    let odd = f64::from_bits(0xfff4_0000_dead_beef);
    let array = column(&[-0.0, 0.0, f64::NAN, -f64::NAN, odd].map(OrderedFloat));
    let bits: Vec<_> = array.as_primitive::<Float64Type>().values().iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [0, 0, 0x7ff8 << 48, 0x7ff8 << 48, 0x7ff8 << 48]);
    let array = column(&[-0.0, f32::from_bits(0xffc0_0001)].map(OrderedFloat));
    let bits: Vec<_> = array.as_primitive::<Float32Type>().values().iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [0, 0x7fc0_0000]);
    // What another tool wrote is read, and equal.
    let foreign: ArrayRef = Arc::new(Float64Array::from(vec![-0.0, odd]));
    let read = <F64 as Codec>::Column::try_new(&foreign, None).unwrap();
    assert_eq!([read.get(0), read.get(1)], [0.0, f64::NAN].map(OrderedFloat));
    assert_eq!(F64::prefix(read.get(0)), F64::prefix(OrderedFloat(0.0)));
    assert_eq!(F64::prefix(read.get(1)), F64::prefix(OrderedFloat(f64::NAN)));
    // Rows that are equal are one.
    let mut part = PartBuilder::<F64, (), u64, i64>::new();
    [0.0, -0.0, odd, f64::NAN].iter().for_each(|v| part.push(OrderedFloat(*v), (), &0, &1).unwrap());
    let part = part.finish(&EncodeOptions::default()).unwrap().unwrap();
    let chunks = decode_part::<F64, (), u64, i64>(part.bytes, &part.meta).unwrap();
    let rows: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows()).map(|((key, ()), _, diff)| (key, diff)).collect();
    assert_eq!(rows, [(OrderedFloat(0.0), 2), (OrderedFloat(f64::NAN), 2)]);
}

/// Refused by the codec, by a builder that was not asked, and as a row, which says what to do.
fn refused<C: Data>(value: &C, said: &str) {
    let error = C::check(value.as_ref()).unwrap_err().0;
    assert!(error.contains(said), "{error}");
    let list = vec![Some(value.clone())];
    assert_eq!(<Vec<Option<C>>>::check(Codec::as_ref(&list)).unwrap_err().0, error);
    assert_eq!(<Box<C>>::check(value.as_ref()).unwrap_err().0, error);
    let mut builder = C::Builder::default();
    builder.push(value.as_ref());
    assert_eq!(builder.finish().unwrap_err().0, error);
    let mut part = PartBuilder::<(C,), (), u64, i64>::new();
    let error = part.push((value.as_ref(),), (), &0, &1).unwrap_err();
    assert_eq!((error.kind(), part.rows()), (ErrorKind::Invalid, 0));
    assert!(error.to_string().contains(said), "{error}");
}

#[test]
fn what_does_not_read_back_equal_is_refused_with_what_to_do() {
    let nanos = DateTime::from_timestamp_nanos(-1);
    refused(&nanos, "1969-12-31T23:59:59.999999999Z cannot be stored: a column has microseconds: round it");
    refused(&nanos.naive_utc(), "trunc_subsecs(6)");
    refused(&Timestamp::from_nanosecond(-1).unwrap(), "round(jiff::Unit::Microsecond)");
    refused(&Timestamp::MAX, "round(jiff::Unit::Microsecond)");
    refused(&civil::DateTime::MAX, "round(jiff::Unit::Microsecond)");
    let leap = days(0).and_hms_micro_opt(23, 59, 59, 1_500_000).unwrap();
    refused(&leap, "no leap seconds");
    refused(&leap.and_utc(), "no leap seconds");
    // The prefix keeps their order all the same.
    let next = days(1).and_hms_opt(0, 0, 0).unwrap();
    assert!(leap < next && NaiveDateTime::prefix(leap) <= NaiveDateTime::prefix(next));
    refused(
        &NaiveDate::MAX,
        "the first that can is -9999-01-01, the last 9999-12-31; what has no end is better an Option",
    );
    refused(&days(DAYS[0] - 1), "-9999-01-01");
    refused(&days(DAYS[1] + 1), "9999-12-31");
    refused(&moment(MOMENTS[0] - 1), "-9999-01-02 01:59:59 UTC");
    refused(&moment(MOMENTS[1] + 1), "9999-12-30 22:00:00.999999 UTC");
    refused(&moment(CIVIL[0] - 1).naive_utc(), "-9999-01-01 00:00:00");
    refused(&moment(CIVIL[1] + 1).naive_utc(), "9999-12-31 23:59:59.999999");
}

/// One name is one set of values: what the one crate writes, the other reads.
#[test]
fn the_crates_for_days_and_moments_read_each_other() {
    fn same<A: Codec, B: Codec>(ours: &[A], theirs: &[B]) {
        assert_eq!((A::name(), A::data_type(), A::shape()), (B::name(), B::data_type(), B::shape()));
        assert_eq!(&*column(ours), &*column(theirs));
        let read = A::Column::try_new(&column(theirs), None).unwrap();
        assert!(ours.iter().enumerate().all(|(index, value)| *value == A::from_ref(read.get(index))));
        for (a, b) in ours.iter().zip(theirs) {
            let [mut left, mut right] = [Vec::new(), Vec::new()];
            A::digest_bytes(a.as_ref(), &mut left);
            B::digest_bytes(b.as_ref(), &mut right);
            assert_eq!((left, A::prefix(a.as_ref())), (right, B::prefix(b.as_ref())));
        }
    }
    // All days of some years, and every 97th.
    let all = || (-800..800).chain((DAYS[0]..=DAYS[1]).step_by(97)).chain(DAYS);
    same(&all().map(days).collect::<Vec<_>>(), &all().map(day).collect::<Vec<_>>());
    let all = || MOMENTS.into_iter().chain([-1, 0, 1, 86_399_999_999]);
    same(&all().map(moment).collect::<Vec<_>>(), &all().map(timestamp).collect::<Vec<_>>());
    let all = || CIVIL.into_iter().chain([-1, 0, 1, 86_399_999_999]);
    let naive = |micros| moment(micros).naive_utc();
    same(&all().map(naive).collect::<Vec<_>>(), &all().map(civil_moment).collect::<Vec<_>>());
    // The ends are those of the crate that has fewer.
    assert_eq!(DAYS.map(day), [civil::Date::MIN, civil::Date::MAX]);
    assert_eq!(MOMENTS, [Timestamp::MIN, Timestamp::MAX].map(|v| v.as_microsecond()));
    assert_eq!(civil_moment(CIVIL[0]), civil::DateTime::MIN);
    assert_eq!(civil_moment(CIVIL[1]).end_of_day(), civil::DateTime::MAX);
}

#[test]
fn a_decimal_has_the_digits_of_its_type() {
    fn read<const P: u8, const S: i8>(text: &str) -> Result<String, DecimalError> {
        text.parse::<Decimal<P, S>>().map(|decimal| decimal.to_string())
    }
    let is = |text: &str| Ok(text.to_owned());
    let too_large = DecimalError::TooLarge { precision: 4, scale: 2 };
    for (text, expected) in [
        ("0", is("0.00")),
        ("-0", is("0.00")),
        ("+1.5", is("1.50")),
        (".05", is("0.05")),
        ("-.05", is("-0.05")),
        ("7.", is("7.00")),
        ("0012.3400000000000000000000000000000000000000000", is("12.34")),
        ("-99.99", is("-99.99")),
        ("100", Err(too_large.clone())),
        ("-100", Err(too_large.clone())),
        ("99999999999999999999999999999999999999999999", Err(too_large.clone())),
        ("1.005", Err(DecimalError::TooFine { scale: 2 })),
    ] {
        assert_eq!(read::<4, 2>(text), expected, "{text}");
    }
    for text in ["", "+", "-", ".", "-.", "1.2.3", "1,5", "--1", "1e3", " 1", "٣", "NaN"] {
        assert_eq!(read::<4, 2>(text), Err(DecimalError::NoNumber), "{text}");
    }
    assert_eq!(read::<4, 0>("-1234"), is("-1234"));
    assert_eq!(read::<4, 4>("0.1234"), is("0.1234"));
    assert_eq!(
        format!("{:>8}|{:+}|{:?}", Price::from_unscaled(-5).unwrap(), Price::MAX, Price::MIN),
        "   -0.05|+99999999.99|-99999999.99"
    );
    for unscaled in [10_000, -10_000, i128::MIN, i128::MAX] {
        assert_eq!(Decimal::<4, 2>::from_unscaled(unscaled), Err(too_large.clone()));
    }
    assert!(too_large.to_string().contains("of 4, 2 of them behind the point"), "{too_large}");
    // What a peer or a file says is no way around it.
    let bytes = bincode::serialize(&10_000i128).unwrap();
    assert!(bincode::deserialize::<Decimal<4, 2>>(&bytes).is_err());
    assert_eq!(bincode::deserialize::<Decimal<5, 2>>(&bytes).unwrap().to_string(), "100.00");
}

#[test]
fn decimals_come_from_another_crate_and_go_there() {
    use rust_decimal::Decimal as Other;
    let other = |text: &str| text.parse::<Other>().unwrap();
    for text in ["0", "19.9", "19.90", "-0.01", "99999999.99", "5.000000000000000000000000000"] {
        let price = Price::try_from(other(text)).unwrap();
        assert_eq!(Other::try_from(price).unwrap(), other(text));
        assert_eq!(Ok(price), text.parse());
    }
    assert_eq!(Price::try_from(other("0.005")), Err(DecimalError::TooFine { scale: 2 }));
    assert_eq!(Price::try_from(Other::MAX), Err(DecimalError::TooLarge { precision: 10, scale: 2 }));
    assert_eq!(Decimal::<38, 9>::try_from(Other::MAX).unwrap().to_string(), format!("{}.000000000", Other::MAX));
    // Beyond 96 bits with all zeros, not without.
    assert_eq!(Other::try_from(Decimal::<38, 9>::try_from(Other::MAX).unwrap()).unwrap(), Other::MAX);
    assert_eq!(Other::try_from("0.5".parse::<Decimal<38, 38>>().unwrap()).unwrap(), other("0.5"));
    assert!(Other::try_from(Decimal::<38, 9>::MAX).is_err());
    assert!(Other::try_from(Decimal::<38, 38>::MAX).is_err());
}

/// Pinned: shards remember them.
#[test]
fn names_shapes_and_digests_never_change() {
    fn is<C: Codec>(name: &str, column: &str, leaf: Leaf) {
        assert_eq!((C::name().as_str(), C::data_type().to_string().as_str()), (name, column));
        assert_eq!(C::shape(), Shape::Leaf(leaf));
    }
    is::<F32>("f32", "Float32", Leaf::Float(32));
    is::<F64>("f64", "Float64", Leaf::Float(64));
    is::<NaiveDate>("date", "Date32", Leaf::Date);
    is::<Timestamp>("timestamp(us)", "Timestamp(µs, \"UTC\")", Leaf::Timestamp);
    is::<civil::DateTime>("datetime(us)", "Timestamp(µs)", Leaf::DateTime);
    is::<Price>("decimal(10,2)", "Decimal128(10, 2)", Leaf::Decimal { precision: 10, scale: 2 });

    let of = |digest: Option<u64>| digest.unwrap();
    let said = [
        of(digest(&OrderedFloat(-0.0f32), &OrderedFloat(f64::NAN), &0u64, &1i64)),
        of(digest(&days(1), &moment(2), &0u64, &1i64)),
        of(digest(&civil_moment(3), &Price::MAX, &0u64, &1i64)),
    ];
    let always = [0x5255_f194_36a4_b614, 0x0f3d_ad54_58a6_cbc1, 0xbb6c_da2c_0aba_801f];
    assert_eq!(said, always, "{said:#x?}");
}

#[test]
fn what_is_no_value_of_the_type_is_refused_where_it_is_asked_for() {
    /// By itself; but not where nobody asks.
    fn refused<C: Codec>(array: impl Array) {
        assert!(C::Column::try_new(&array, None).is_err(), "{array:?} as {}", C::name());
        let present = NullBuffer::from((0..array.len()).map(|index| index != 1).collect::<Vec<_>>());
        let column = C::Column::try_new(&array, Some(&present));
        assert!(column.is_ok_and(|column| column.len() == array.len()), "{array:?} as {}", C::name());
    }
    for day in [DAYS[0] - 1, DAYS[1] + 1, i32::MIN, i32::MAX] {
        refused::<NaiveDate>(Date32Array::from(vec![0, day]));
        refused::<civil::Date>(Date32Array::from(vec![0, day]));
    }
    for moment in [MOMENTS[0] - 1, MOMENTS[1] + 1, i64::MIN, i64::MAX] {
        let array = || TimestampMicrosecondArray::from(vec![0, moment]).with_timezone("UTC");
        refused::<DateTime<Utc>>(array());
        refused::<Timestamp>(array());
    }
    for moment in [CIVIL[0] - 1, CIVIL[1] + 1, i64::MIN, i64::MAX] {
        let array = || TimestampMicrosecondArray::from(vec![0, moment]);
        refused::<NaiveDateTime>(array());
        refused::<civil::DateTime>(array());
    }
    for digits in [10i128.pow(10), -10i128.pow(10), i128::MIN, i128::MAX] {
        refused::<Price>(Decimal128Array::from(vec![0, digits]).with_data_type(Price::data_type()));
    }
    let none = |refused: bool| assert!(refused);
    none(<DateTime<Utc> as Codec>::Column::try_new(&TimestampMicrosecondArray::from(vec![0]), None).is_err());
    none(<Price as Codec>::Column::try_new(&Decimal128Array::from(vec![0]), None).is_err());
}

type Key = (Option<civil::Date>, DateTime<Utc>, NaiveDateTime, Price, Decimal<38, 0>, F64, Vec<i64>);

/// Bounds where there are any, in the order of the type; no bounds else, which exclude nothing.
#[test]
fn a_part_has_statistics_of_them_or_knows_that_it_has_none() {
    let row = |n: i64| -> Key {
        let date = (n != 0).then(|| day(n as i32));
        let (price, large) =
            (Price::from_unscaled(n.into()).unwrap(), Decimal::from_unscaled(i128::from(n) << 90).unwrap());
        (date, moment(n), moment(2 * n).naive_utc(), price, large, OrderedFloat(-n as f64), vec![n; 2])
    };
    let mut part = PartBuilder::<Key, Vec<bool>, u64, i64>::new();
    let rows: Vec<_> = [-7, 0, 3].into_iter().map(|n| (row(n), vec![true; 10_000])).collect();
    rows.iter().for_each(|(key, value)| part.push(key.as_ref(), Codec::as_ref(value), &0, &1).unwrap());
    let part = part.finish(&EncodeOptions::default()).unwrap().unwrap();
    let stats = PartStats::decode(&part.meta.stats).unwrap();
    let bounds = |path: &str| stats.column(path).map(|column| (column.min().cloned(), column.max().cloned())).unwrap();
    let ints = |min, max| (Some(StatValue::Int(min)), Some(StatValue::Int(max)));
    assert_eq!(bounds("key.0"), ints(-7, 3));
    assert_eq!(stats.column("key.0").unwrap().null_count(), 1);
    assert_eq!(bounds("key.1"), ints(-7, 3));
    assert_eq!(bounds("key.2"), ints(-14, 6));
    assert_eq!(bounds("key.3"), ints(-7, 3));
    for unknown in ["key.4", "key.5", "key.6", "value"] {
        assert_eq!(bounds(unknown), (None, None), "{unknown}");
        assert!(stats.column(unknown).unwrap().may_contain_int(1_000));
    }
    assert!(!stats.column("key.1").unwrap().may_contain_int(4));
    // Asked in the types of their own.
    assert!(
        stats.may_hold("key.0", day(3)..) && !stats.may_hold("key.0", day(4)..) && !stats.may_hold("key.0", ..day(-7))
    );
    assert!(stats.may_hold("key.0", ..=days(-7)) && !stats.may_hold("key.0", days(4)..), "of whichever crate");
    assert!(stats.may_hold("key.1", moment(3)..moment(9)) && !stats.may_hold("key.1", timestamp(4)..timestamp(9)));
    let price = |n| Price::from_unscaled(n).unwrap();
    assert!(stats.may_hold("key.3", price(-9)..=price(-7)) && !stats.may_hold("key.3", price(-9)..price(-7)));
    assert!(!stats.may_hold("key.3", (Bound::Excluded(price(3)), Bound::Unbounded)));
    // In doubt it may: of a type without bounds, of options, of a column of another type or of none.
    assert!(stats.may_hold("key.5", OrderedFloat(1e9)..) && stats.may_hold("key.0", None..=Some(day(-90))));
    assert!(
        stats.may_hold("key.6", vec![900i64]..)
            && stats.may_hold("key.0", "x".to_owned()..)
            && stats.may_hold("k", 9u8..)
    );
    let chunks = decode_part::<Key, Vec<bool>, u64, i64>(part.bytes, &part.meta).unwrap();
    let read: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows()).map(|(row, _, _)| row).collect();
    assert_eq!(read.len(), 3);
    assert!(read.iter().all(|row| rows.contains(row)));
}
