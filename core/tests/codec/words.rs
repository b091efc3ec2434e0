//! Words of times and diffs: what they are for ever, that each value has one and no other, and what is made of those that
//! have none.

use std::fmt::Debug;
use std::iter::once;
use std::time::Duration;

use arrow_schema::DataType;
use differential_dataflow::difference::Semigroup;
use proptest::prelude::*;
use timely::order::Product;
use timely::progress::Antichain;
use timely_persist_core::part::{EncodeOptions, PartBuilder, decode_part};
use timely_persist_core::state::storable;
use timely_persist_types::codec::{Codec64, DecodeError, Diff, EncodeError, Time};
use timely_persist_types::error::ErrorKind;
use timely_persist_types::ids::ShardId;

/// The name, the column and the words of a type lie in stores: they never change.
fn golden<C: Codec64 + PartialEq>(name: &str, data_type: DataType, words: &[(C, u64)]) {
    assert_eq!((C::NAME, C::data_type()), (name, data_type));
    for (value, word) in words {
        assert_eq!(value.check(), Ok(()), "{value:?}");
        assert_eq!(u64::from_le_bytes(value.encode()), *word, "{value:?}: {:#x}", u64::from_le_bytes(value.encode()));
        assert_eq!(C::decode(word.to_le_bytes()).as_ref(), Ok(value));
    }
}

#[test]
fn words_never_change() {
    golden("u64", DataType::UInt64, &[(0u64, 0), (1 << 40, 1 << 40), (u64::MAX, u64::MAX)]);
    golden("i64", DataType::Int64, &[(0i64, 0), (-2, 0xffff_ffff_ffff_fffe), (i64::MIN, 1 << 63)]);
    golden("u32", DataType::UInt64, &[(0u32, 0), (u32::MAX, 0xffff_ffff)]);
    golden("i32", DataType::Int64, &[(7i32, 7), (-2, 0xffff_ffff_ffff_fffe), (i32::MIN, 0xffff_ffff_8000_0000)]);
    golden("i64", DataType::Int64, &[(7isize, 7), (-2, 0xffff_ffff_ffff_fffe), (isize::MIN, 1 << 63)]);
    let second = Duration::from_secs(1);
    golden("duration(ns)", DataType::UInt64, &[(second, 1_000_000_000), (Duration::from_nanos(u64::MAX), u64::MAX)]);
    let opaque = DataType::FixedSizeBinary(8);
    golden("(u32,u32)", opaque.clone(), &[(Product::new(1u32, 2u32), 0x2_0000_0001)]);
    golden("(u32,u16)", opaque.clone(), &[(Product::new(u32::MAX, 2u16), 0x2_ffff_ffff)]);
    golden("(u16,u32)", opaque.clone(), &[(Product::new(1u16, u32::MAX), 0xffff_ffff_0000_0001)]);
    golden("(u16,u16)", opaque.clone(), &[(Product::new(1u16, u16::MAX), 0xffff_0000_0001)]);
    let pairs = [
        ((0, 0), 0),
        ((1, 2), 1 | 2 << 31),
        ((-1, 0), 0x7fff_ffff),
        (((1 << 30) - 1, 1 - (1 << 30)), 0x3fff_ffff | 0x4000_0001 << 31),
        ((1 << 30, -1 << 30), 1 | 0x7fff_ffff << 31 | 1 << 62),
        ((i64::MIN, 7 << 60), 0x7fff_fff8 | 7 << 31 | 2 << 62),
    ];
    golden("(i64,i64)", opaque, &pairs);
}

#[test]
fn what_is_no_word_is_refused() {
    fn refused<C: Codec64>(words: impl IntoIterator<Item = u64>) {
        for word in words {
            let decoded = C::decode(word.to_le_bytes());
            assert!(decoded.is_err(), "{word:#x} is {decoded:?}");
        }
    }
    refused::<u32>([1 << 32, u64::MAX]);
    refused::<i32>([1 << 31, 0xffff_ffff_7fff_ffff, 1 << 63]);
    refused::<Product<u32, u16>>([1 << 48, u64::MAX]);
    refused::<Product<u16, u32>>([1 << 16, u64::MAX]);
    refused::<Product<u16, u16>>([1 << 16, 1 << 31, 1 << 48]);
    // Another place, another way to say the same, and what is beyond the type.
    refused::<(i64, i64)>([3 << 62, 1 << 62, 2 << 62, 1 << 30, 1 << 61, 8 | 2 << 62, 0x7fff_fff7 | 2 << 62, u64::MAX]);
}

/// Values at the edges of what 31, 32, 61 and 64 bits hold, and any.
fn number() -> impl Strategy<Value = i64> {
    let edge = (0u32..64, -2i64..3, any::<bool>()).prop_map(|(bit, off, negative)| {
        let number = (1i64 << bit).wrapping_add(off);
        if negative { number.wrapping_neg() } else { number }
    });
    prop_oneof![edge, any::<i64>(), -9i64..9, any::<i64>().prop_map(|n| n >> 60 << 60)]
}

fn one_to_one<C: Codec64 + Eq>(values: &[C], words: &[u64]) {
    let has_word = |value: &&C| value.check().is_ok();
    for value in values {
        let read = C::decode(value.encode());
        assert_eq!(read.as_ref() == Ok(value), has_word(&value), "{value:?} is read as {read:?}");
    }
    for (a, b) in values.iter().filter(has_word).flat_map(|a| values.iter().filter(has_word).map(move |b| (a, b))) {
        assert_eq!(a == b, a.encode() == b.encode(), "{a:?} and {b:?}");
    }
    for word in words {
        if let Ok(value) = C::decode(word.to_le_bytes()) {
            assert_eq!((value.encode(), value.check()), (word.to_le_bytes(), Ok(())), "{value:?}");
        }
    }
}

/// The order of numbers is that of the column that other tools see.
fn in_order<C: Codec64 + Ord>(values: &[C], number: impl Fn([u8; 8]) -> i128) {
    for (a, b) in values.iter().flat_map(|a| values.iter().map(move |b| (a, b))) {
        assert_eq!(a.cmp(b), number(a.encode()).cmp(&number(b.encode())), "{a:?} and {b:?}");
    }
}

fn unsigned(word: [u8; 8]) -> i128 {
    u64::from_le_bytes(word).into()
}

fn signed(word: [u8; 8]) -> i128 {
    i64::from_le_bytes(word).into()
}

/// Sums are exact, or `None` and then apart; so is what has no word.
fn adds_up<D: Diff + Debug>(
    diffs: &[D],
    exact: impl Fn(&D) -> (i128, i128),
    whole: impl Fn((i128, i128)) -> Option<D>,
) {
    let sum = |diffs: &[D]| diffs.iter().map(&exact).fold((0, 0), |sum, diff| (sum.0 + diff.0, sum.1 + diff.1));
    let Some((first, more)) = diffs.split_first() else { return };
    assert_eq!(D::total(first, more.iter()), whole(sum(diffs)), "{diffs:?}");
    let apart = D::apart(diffs.iter());
    assert_eq!(sum(&apart), sum(diffs), "{diffs:?} are not {apart:?}");
    assert!(apart.iter().all(|diff| diff.check().is_ok() && !diff.is_zero()), "{apart:?}");
    for diff in diffs {
        assert!(D::apart(once(diff)).len() <= 3 && D::total(diff, std::iter::empty()).as_ref() == Some(diff));
        if diff.check().is_ok() && !diff.is_zero() {
            assert_eq!(D::apart(once(diff)), std::slice::from_ref(diff));
        }
    }
}

/// Meets and joins of times that have words have words, and so has the minimum: the library makes no others.
fn closed<T: Time>(times: &[T]) {
    assert_eq!(T::minimum().check(), Ok(()));
    for (a, b) in times.iter().flat_map(|a| times.iter().map(move |b| (a, b))) {
        let [meet, join] = [a.meet(b), a.join(b)].map(|time| time.check().is_ok());
        assert!(meet && join || a.check().is_err() || b.check().is_err(), "{a:?} and {b:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn numbers(numbers in prop::collection::vec(number(), 0..12)) {
        let words: Vec<u64> = numbers.iter().map(|n| *n as u64).collect();
        macro_rules! check {
            ($($number:ident $column:ident)*) => {$(
                let values: Vec<_> = numbers.iter().map(|n| *n as $number).collect();
                one_to_one(&values, &words);
                in_order(&values, $column);
                adds_up(&values, |n| (*n as i128, 0), |(n, _)| $number::try_from(n).ok());
                closed(&values);
            )*};
        }
        check!(u64 unsigned i64 signed u32 unsigned i32 signed isize signed);
    }

    #[test]
    fn durations(seconds in prop::collection::vec(number(), 0..12), nanos in 0u32..1_000_000_000) {
        let of = |seconds: &i64| [Duration::new(*seconds as u64, nanos), Duration::from_nanos(*seconds as u64)];
        let values: Vec<_> = seconds.iter().flat_map(of).collect();
        one_to_one(&values, &seconds.iter().map(|n| *n as u64).collect::<Vec<_>>());
        in_order(&values.iter().copied().filter(|value| value.check().is_ok()).collect::<Vec<_>>(), unsigned);
        closed(&values);
    }

    #[test]
    fn products(halves in prop::collection::vec((number(), number()), 0..8)) {
        let words: Vec<u64> = halves.iter().map(|(a, b)| (*a as u32 as u64) | (*b as u64) << 32).collect();
        macro_rules! check {
            ($($outer:ident $inner:ident)*) => {$(
                let values: Vec<_> = halves.iter().map(|(a, b)| Product::new(*a as $outer, *b as $inner)).collect();
                one_to_one(&values, &words);
                closed(&values);
            )*};
        }
        check!(u32 u32 u32 u16 u16 u32 u16 u16);
    }

    #[test]
    fn pairs(pairs in prop::collection::vec((number(), number()), 0..8), words in prop::collection::vec(any::<u64>(), 8)) {
        one_to_one(&pairs, &words);
        one_to_one(&pairs, &words.iter().map(|word| word & (0xf | 0xf << 31 | 3 << 62)).collect::<Vec<_>>());
        let whole = |(a, b)| Some((i64::try_from(a).ok()?, i64::try_from(b).ok()?));
        adds_up(&pairs, |(a, b)| ((*a).into(), (*b).into()), whole);
    }
}

#[test]
fn a_time_without_a_word_is_named_with_the_reason() {
    let (longest, shard) = (Duration::from_nanos(u64::MAX), ShardId::new());
    assert!(storable(&Antichain::from_elem(longest), shard).is_ok());
    let error = storable(&Antichain::from_elem(longest + Duration::from_nanos(1)), shard).unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shard)));
    let said =
        "the time 18446744073.709551616s cannot be stored: the longest duration that can is 18446744073.709551615s";
    assert!(error.to_string().contains(said), "{error}");
}

/// A type whose author says which values have words, and nothing of sums.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Byte(u64);

impl Codec64 for Byte {
    const NAME: &'static str = "byte";

    fn encode(&self) -> [u8; 8] {
        (self.0 & 0xff).to_le_bytes()
    }

    fn decode(word: [u8; 8]) -> Result<Self, DecodeError> {
        Ok(Self(u64::from_le_bytes(word)))
    }

    fn check(&self) -> Result<(), EncodeError> {
        (self.0 < 256).then_some(()).ok_or_else(|| EncodeError("it is no byte".to_owned()))
    }
}

impl differential_dataflow::difference::IsZero for Byte {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Semigroup for Byte {
    fn plus_equals(&mut self, diff: &Self) {
        self.0 += diff.0;
    }
}

/// What it is given stands as it is where the sum has no word; and what has none and cannot be apart is refused.
#[test]
fn a_type_of_ones_own_may_leave_values_out() {
    let mut builder = PartBuilder::<u8, (), u64, Byte>::new();
    let error = builder.push(1, (), &0, &Byte(256)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("the diff Byte(256) cannot be stored: it is no byte"), "{error}");
    for diff in [200, 0, 100] {
        builder.push(1, (), &0, &Byte(diff)).unwrap();
    }
    builder.push(2, (), &0, &Byte(255)).unwrap();
    let part = builder.finish(&EncodeOptions::default()).unwrap().unwrap();
    let chunks = decode_part::<u8, (), u64, Byte>(part.bytes, &part.meta).unwrap();
    let rows: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows()).map(|((key, ()), _, diff)| (key, diff.0)).collect();
    assert_eq!(rows, [(1, 200), (1, 100), (2, 255)]);
}
