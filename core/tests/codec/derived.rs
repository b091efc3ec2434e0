//! Codecs that are derived: they are held to what all are; their columns, names and shapes are pinned.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StructArray, UInt8Array, new_null_array};
use arrow_buffer::NullBuffer;
use arrow_schema::{DataType, Field, Fields};
use bytes::Bytes;
use proptest::prelude::*;
use timely_persist_core::part::{EncodeOptions, PartBuilder, PartStats, StatValue, decode_part};
use timely_persist_derive::Codec;
use timely_persist_types::codec::{
    Builder, Codec, Column, Constant, FieldShape, RetiredField, Serde, Shape, StructShape, VariantShape,
};

use super::{check, column, many, read_foreign};

/// What somebody wants.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "order", crate = "timely_persist_types")]
#[codec(retired(id = 4, type = "Option<bool>"))]
pub struct Order {
    /// Its number.
    #[codec(id = 1)]
    pub id: u64,
    #[codec(id = 2)]
    customer: String,
    #[codec(id = 3, default)]
    note: Option<String>,
    #[codec(id = 5, default = 1)]
    priority: u32,
    #[codec(id = 6, default = "none")]
    r#type: String,
    #[codec(id = 7, default = Cents(-1))]
    len: Cents,
}

#[derive(Codec, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "cents", crate = "timely_persist_types")]
struct Cents(#[codec(id = 1)] i64);

#[derive(Codec, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "state", crate = "timely_persist_types")]
#[repr(i8)]
pub(crate) enum State {
    #[codec(id = 1)]
    Open = -3,
    #[codec(id = 3)]
    Paid,
    #[codec(id = 2)]
    Sent = 100,
}

/// Where a parcel stops.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "stop", crate = "timely_persist_types")]
enum Stop {
    #[codec(id = 1)]
    Depot,
    #[codec(id = 2)]
    Van {
        #[codec(id = 1)]
        number: u16,
        #[codec(id = 2)]
        driver: Option<String>,
    },
    #[codec(id = 5)]
    Order(#[codec(id = 1)] Order, #[codec(id = 2, default)] (u8, String)),
    #[codec(id = 6)]
    Lost(),
    #[codec(id = 7)]
    Stopped(#[codec(id = 1)] State),
}

/// Its derived hash has no discriminant.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "only", crate = "timely_persist_types")]
enum Only {
    #[codec(id = 1)]
    One(#[codec(id = 9)] String),
}

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[codec(name = "route", crate = "timely_persist_types")]
struct Route {
    #[codec(id = 2)]
    from: Stop,
    #[codec(id = 1)]
    to: Option<Stop>,
    #[codec(id = 3)]
    states: (State, Only, Option<Cents>),
    #[codec(id = 4)]
    rest: Serde<Vec<u16>>,
}

/// It has no hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
struct Plain(u8);

/// Neither have these and their rows, and that is no error.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "unhashed", crate = "timely_persist_types")]
struct Unhashed(#[codec(id = 1)] Serde<Plain>);

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "unhashed", crate = "timely_persist_types")]
enum UnhashedEnum {
    #[codec(id = 1)]
    Plain(#[codec(id = 1)] Unhashed),
}

fn orders() -> impl Strategy<Value = Order> {
    let fields = any::<(u64, String, Option<String>, u32, String, i64)>();
    fields.prop_map(|(id, customer, note, priority, r#type, len)| Order {
        id: id % 3,
        customer,
        note,
        priority,
        r#type,
        len: Cents(len),
    })
}

fn states() -> impl Strategy<Value = State> {
    prop_oneof![Just(State::Open), Just(State::Paid), Just(State::Sent)]
}

fn stops() -> impl Strategy<Value = Stop> {
    prop_oneof![
        Just(Stop::Depot),
        any::<(u16, Option<String>)>().prop_map(|(number, driver)| Stop::Van { number, driver }),
        (orders(), any::<(u8, String)>()).prop_map(|(order, pair)| Stop::Order(order, pair)),
        Just(Stop::Lost()),
        states().prop_map(Stop::Stopped),
    ]
}

fn routes() -> impl Strategy<Value = Route> {
    let states = (states(), any::<String>().prop_map(Only::One), any::<Option<i64>>());
    let states = states.prop_map(|(state, only, cents)| (state, only, cents.map(Cents)));
    (stops(), prop::option::of(stops()), states, any::<Vec<u16>>().prop_map(Serde))
        .prop_map(|(from, to, states, rest)| Route { from, to, states, rest })
}

/// Beside what all codecs are held to: rows that differ have digests that differ, none the beginning of another.
fn check_derived<C: Codec + Hash>(values: Vec<C>)
where
    for<'a> C::Ref<'a>: Hash,
{
    let digest = |value: &C| {
        let mut bytes = Vec::new();
        C::digest_bytes(value.as_ref(), &mut bytes);
        bytes
    };
    for a in &values {
        assert_eq!(C::check(a.as_ref()), Ok(()));
        for b in &values {
            assert_eq!(a == b, digest(a).starts_with(&digest(b)), "{a:?} and {b:?}");
        }
    }
    check(values);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn structs(orders in many(orders()), cents in many(any::<i64>())) {
        check_derived(orders);
        check_derived(cents.into_iter().map(Cents).collect());
    }

    #[test]
    fn enums(states in many(states()), stops in many(stops()), only in many(any::<String>())) {
        check_derived(states);
        check_derived(stops);
        check_derived(only.into_iter().map(Only::One).collect());
    }

    #[test]
    fn nested(routes in prop::collection::vec(routes(), 0..8)) {
        check_derived(routes);
    }
}

/// The fields of an Arrow struct.
fn fields(data_type: &DataType) -> Fields {
    let DataType::Struct(fields) = data_type else { panic!("{data_type} is no struct") };
    fields.clone()
}

/// The array with other children, and nulls.
fn with(
    array: &ArrayRef,
    change: impl FnOnce(&mut Vec<Field>, &mut Vec<ArrayRef>),
    nulls: Option<&[bool]>,
) -> ArrayRef {
    let mut fields: Vec<Field> = fields(array.data_type()).iter().map(|field| Field::clone(field)).collect();
    let mut columns = array.as_struct().columns().to_vec();
    change(&mut fields, &mut columns);
    Arc::new(StructArray::new(fields.into(), columns, nulls.map(|nulls| NullBuffer::from(nulls.to_vec()))))
}

fn refused<C: Codec>(array: &ArrayRef, why: &str) {
    let error = C::Column::try_new(array, None).map(drop).expect_err(why);
    assert!(error.0.contains(why), "{error:?} is not about {why:?}");
}

fn order() -> Order {
    Order { id: 1, customer: "ada".into(), note: None, priority: 2, r#type: String::new(), len: Cents(3) }
}

#[test]
fn foreign_arrays_are_refused() {
    read_foreign::<Order>();
    read_foreign::<Cents>();
    read_foreign::<State>();
    read_foreign::<Stop>();
    read_foreign::<Option<Only>>();
    read_foreign::<Route>();

    let array = column(&[order(), order()]);
    refused::<Order>(&with(&array, |fields, _| fields[0].set_name("number"), None), "was expected");
    refused::<Order>(&with(&array, |fields, _| fields[0].metadata_mut().clear(), None), "was expected");
    let other = HashMap::from([("timely_persist.id".to_owned(), "8".to_owned())]);
    refused::<Order>(&with(&array, |fields, _| fields[0].set_metadata(other), None), "was expected");
    refused::<Order>(&with(&array, |fields, columns| drop((fields.pop(), columns.pop())), None), "was expected");
    refused::<Order>(&with(&array, |_, _| {}, Some(&[true, false])), "1 nulls");
    refused::<Order>(&new_null_array(&Order::data_type(), 2), "2 nulls");
    refused::<Cents>(&column(&[3i64]), "was expected");

    let tags = |tags: &[u8]| -> ArrayRef { Arc::new(UInt8Array::from(tags.to_vec())) };
    refused::<State>(&tags(&[0, 3, 2]), "the tag 3 of 3 variants");
    refused::<State>(&(Arc::new(UInt8Array::from(vec![Some(0), None])) as ArrayRef), "1 nulls");
    let van = || Stop::Van { number: 1, driver: None };
    let array = column(&[Stop::Depot, van(), Stop::Lost()]);
    refused::<Stop>(&with(&array, |_, columns| columns[0] = tags(&[0, 1, 5]), None), "the tag 5 of 5 variants");
    refused::<Stop>(&with(&array, |_, columns| columns[0] = tags(&[1, 1, 3]), None), "`Van` is not in the rows");
    refused::<Stop>(&with(&array, |_, columns| columns[0] = tags(&[0, 0, 3]), None), "`Van` is not in the rows");
    refused::<Stop>(&with(&array, |_, _| {}, Some(&[true, false, true])), "1 nulls");
    let stopped = column(&[Stop::Stopped(State::Sent)]);
    let wrong =
        with(&stopped, |_, columns| columns[3] = with(&columns[3], |_, columns| columns[0] = tags(&[7]), None), None);
    refused::<Stop>(&wrong, "in `0`: the tag 7 of 3 variants");
}

/// Under a placeholder may be anything, because nobody asks for it.
#[test]
fn placeholders_are_not_read() {
    let array: ArrayRef = Arc::new(UInt8Array::from(vec![2, 200, 0]));
    let present = NullBuffer::from(vec![true, false, true]);
    let states = StateColumn::try_new(&array, Some(&present)).unwrap();
    assert_eq!((states.get(0), states.get(2)), (StateRef::Sent, StateRef::Open));
    let array = column(&[Stop::Depot, Stop::Van { number: 1, driver: None }, Stop::Lost()]);
    let array = with(&array, |_, columns| columns[0] = Arc::new(UInt8Array::from(vec![0, 9, 3])), None);
    let stops = StopColumn::try_new(&array, Some(&present)).unwrap();
    assert_eq!((stops.get(0), stops.get(2)), (StopRef::Depot, StopRef::Lost()));

    // What stands in the place of a variant that a row is not: no bytes, which are no list.
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[codec(name = "listed", crate = "timely_persist_types")]
    enum Listed {
        #[codec(id = 1)]
        No,
        #[codec(id = 2)]
        Yes(#[codec(id = 1)] Serde<Vec<u16>>),
    }
    check_derived(vec![Listed::No, Listed::Yes(Serde(vec![1])), Listed::No]);
}

/// A builder that is kept for the next rows, with room for them.
#[test]
fn builders_are_used_again() {
    fn used<C: Codec>(value: &C) {
        let mut builder = C::Builder::default();
        builder.reserve(100, 1000);
        builder.push(value.as_ref());
        builder.pad();
        assert_eq!(builder.len(), 2);
        assert!(builder.bytes() > 0);
        builder.clear();
        assert_eq!((builder.len(), builder.bytes()), (0, 0));
        builder.push(value.as_ref());
        assert_eq!(C::from_ref(builder.get(0)), *value);
        assert_eq!(&*builder.finish().unwrap(), &*column(std::slice::from_ref(value)));
    }
    used(&order());
    used(&State::Paid);
    used(&Stop::Order(order(), (1, String::new())));
    used(&UnhashedEnum::Plain(Unhashed(Serde(Plain(1)))));
}

/// What a shard remembers of a type, and what it was before there were shapes: two structs of one name are refused.
#[test]
fn names_have_the_fields() {
    let order = "order{1:u64,2:string,3:option(string),5:u32,6:string,7:cents{1:i64}}";
    let stop = format!("stop{{1|2{{1:u16,2:option(string)}}|5{{1:{order},2:(u8,string)}}|6|7{{1:state{{1|3|2}}}}}}");
    assert_eq!([Order::name(), Stop::name(), Only::name()], [order, &stop, "only{1{9:string}}"]);
}

#[test]
fn shapes_have_ids_names_and_defaults() {
    fn field<C: Codec>(id: u32, name: &str, default: Option<C>) -> FieldShape {
        let default = default.map(|value| {
            let mut digest = Vec::new();
            C::digest_bytes(value.as_ref(), &mut digest);
            Constant { digest, column: Vec::new() }
        });
        FieldShape { id, name: name.to_owned(), shape: C::shape(), default }
    }
    let order = StructShape {
        name: "order".to_owned(),
        fields: vec![
            field::<u64>(1, "id", None),
            field::<String>(2, "customer", None),
            field::<Option<String>>(3, "note", Some(None)),
            field::<u32>(5, "priority", Some(1)),
            field::<String>(6, "type", Some("none".to_owned())),
            field::<Cents>(7, "len", Some(Cents(-1))),
        ],
        retired: vec![RetiredField { id: 4, shape: <Option<bool>>::shape() }],
    };
    assert_eq!(Order::shape(), Shape::Struct(order));

    let Shape::Enum(stop) = Stop::shape() else { panic!("an enum") };
    let variant = |id, name: &str, fields| VariantShape { id, name: name.to_owned(), fields };
    let variants = vec![
        variant(1, "Depot", vec![]),
        variant(2, "Van", vec![field::<u16>(1, "number", None), field::<Option<String>>(2, "driver", None)]),
        variant(5, "Order", vec![field::<Order>(1, "0", None), field(2, "1", Some((0u8, String::new())))]),
        variant(6, "Lost", vec![]),
        variant(7, "Stopped", vec![field::<State>(1, "0", None)]),
    ];
    assert_eq!((stop.name.as_str(), stop.variants), ("stop", variants));
    let Shape::Enum(state) = State::shape() else { panic!("an enum") };
    let variants = vec![variant(1, "Open", vec![]), variant(3, "Paid", vec![]), variant(2, "Sent", vec![])];
    assert_eq!((state.name.as_str(), state.variants), ("state", variants));
}

/// A type of which a part is a macro's and a part is its caller's.
macro_rules! made {
    ($([$($key:tt)*] $field:ident: $type:ty,)*) => {
        #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[codec(name = "made", crate = "timely_persist_types")]
        struct Made {
            $(#[codec($($key)*)] $field: $type,)*
        }
    };
}

made! {
    [id = 1, default] none: Option<u8>,
    [id = 2, default = 7] seven: u8,
    [id = 3, default = Cents(1)] cents: Cents,
    [id = 4, default = "some"] text: String,
}

/// The default of a field, as a column.
#[test]
fn defaults_are_readable() {
    let Shape::Struct(shape) = Order::shape() else { panic!("a struct") };
    fn default<C: Codec>(field: &FieldShape) -> C {
        let column = &field.default.as_ref().unwrap().column;
        let batch = arrow_ipc::reader::StreamReader::try_new(&column[..], None).unwrap().next().unwrap().unwrap();
        let column = C::Column::try_new(batch.column(0), None).unwrap();
        assert_eq!((batch.num_columns(), column.len()), (1, 1));
        C::from_ref(column.get(0))
    }
    assert_eq!(default::<Option<String>>(&shape.fields[2]), None);
    assert_eq!(default::<u32>(&shape.fields[3]), 1);
    assert_eq!(default::<Cents>(&shape.fields[5]), Cents(-1));
    let Shape::Struct(shape) = Made::shape() else { panic!("a struct") };
    assert_eq!(default::<Cents>(&shape.fields[2]), Cents(1));
    assert_eq!(default::<String>(&shape.fields[3]), "some");
}

/// A type, as Arrow says it, in few words: `?` is a column that may have nulls, and `#` an id.
fn layout(data_type: &DataType) -> String {
    let field = |field: &Arc<Field>| {
        let id = field.metadata().get("timely_persist.id").map(|id| format!("#{id}")).unwrap_or_default();
        let null = if field.is_nullable() { "?" } else { "" };
        format!("{}{id}: {}{null}", field.name(), layout(field.data_type()))
    };
    match data_type {
        DataType::Struct(fields) => format!("{{{}}}", fields.iter().map(field).collect::<Vec<_>>().join(", ")),
        leaf => leaf.to_string(),
    }
}

/// Parts lie in stores: a layout never changes.
#[test]
fn layouts_are_what_they_always_were() {
    let order = "{id#1: UInt64, customer#2: Utf8, note#3: {some: Utf8}?, priority#5: UInt32, type#6: Utf8, len#7: {0#1: Int64}}";
    assert_eq!(layout(&Order::data_type()), order);
    assert_eq!(layout(&State::data_type()), "UInt8");
    let stop = format!(
        "{{tag: UInt8, Van#2: {{number#1: UInt16, driver#2: {{some: Utf8}}?}}?, \
         Order#5: {{0#1: {order}, 1#2: {{0: UInt8, 1: Utf8}}}}?, Stopped#7: {{0#1: UInt8}}?}}"
    );
    assert_eq!(layout(&Stop::data_type()), stop);

    let states = column(&[State::Open, State::Sent, State::Paid]);
    assert_eq!(states.as_primitive::<arrow_array::types::UInt8Type>().values()[..], [0, 2, 1]);
    let stops = column(&[Stop::Lost(), Stop::Van { number: 7, driver: None }, Stop::Stopped(State::Sent), Stop::Depot]);
    let stops = stops.as_struct();
    let there = |index: usize| (0..4).map(|row| u8::from(stops.column(index).is_valid(row))).collect::<Vec<_>>();
    assert_eq!(stops.column(0).as_primitive::<arrow_array::types::UInt8Type>().values()[..], [3, 1, 4, 0]);
    assert_eq!([there(1), there(2), there(3)], [[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]);
    assert!(column(&[Only::One("x".to_owned())]).as_struct().column(1).nulls().is_none(), "there everywhere");
}

/// Shards remember digests: these are for ever.
#[test]
fn digests_are_of_ids_and_fields() {
    fn digest<C: Codec>(value: &C) -> Vec<u8> {
        let mut bytes = Vec::new();
        C::digest_bytes(value.as_ref(), &mut bytes);
        bytes
    }
    assert_eq!(digest(&State::Paid), [3, 0, 0, 0]);
    assert_eq!(digest(&Stop::Van { number: 0x102, driver: None }), [2, 0, 0, 0, 2, 1, 0]);
    assert_eq!(digest(&Cents(-2)), [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

/// What is compared first is the tag, and then the first field.
#[test]
fn prefixes_begin_with_the_tag() {
    assert_eq!(Order::prefix(order().as_ref()), 1);
    assert_eq!(State::prefix(StateRef::Sent), 2 << 56);
    assert_eq!(Stop::prefix(StopRef::Van { number: 0x102, driver: None }), 1 << 56 | 0x0102 << 40);
}

/// What cannot be stored is refused, however deep it is.
#[test]
fn what_is_inside_is_checked_and_measured() {
    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
    struct Odd;
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("odd"))
        }
    }
    impl Default for Odd {
        fn default() -> Self {
            Self
        }
    }
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "inner", crate = "timely_persist_types")]
    struct Inner(#[codec(id = 1)] u8, #[codec(id = 2, default = Serde(Odd))] Serde<Odd>);
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "outer", crate = "timely_persist_types")]
    enum Outer {
        #[codec(id = 1)]
        Good(#[codec(id = 1)] String),
        #[codec(id = 2)]
        Odd(#[codec(id = 1)] Inner),
    }
    let (good, odd) = (Outer::Good("text".to_owned()), Outer::Odd(Inner(1, Serde(Odd))));
    assert!(Outer::check(good.as_ref()).is_ok() && Outer::check(odd.as_ref()).is_err());
    assert!(Outer::size(good.as_ref()).is_ok() && Outer::size(odd.as_ref()).is_err());
    // A tag, the text with its offset, and a placeholder.
    assert_eq!(Outer::size(good.as_ref()), Ok(1 + 4 + 4 + size_of::<InnerRef<'_>>()));
    // A default that cannot be stored has no column, which is an error for who reads it.
    let Shape::Struct(inner) = Inner::shape() else { panic!("a struct") };
    assert_eq!(inner.fields[1].default.as_ref().unwrap().column, []);
    assert_eq!(inner.fields[0].shape, u8::shape());
}

/// As a part: `golden/part_derived_v1.arrow` is read for ever. Statistics are named by fields, of variants too.
#[test]
fn a_part_of_derived_types_is_what_it_always_was() {
    let mut rows = vec![(order(), Stop::Depot), (order(), Stop::Van { number: 7, driver: Some("ada".to_owned()) })];
    rows.push((Order { id: 9, note: Some("late".to_owned()), ..order() }, Stop::Order(order(), (1, "x".to_owned()))));
    rows.push((Order { id: 9, note: Some("late".to_owned()), ..order() }, Stop::Stopped(State::Sent)));
    let mut builder = PartBuilder::<Order, Stop, u64, i64>::new();
    rows.iter().for_each(|(key, value)| builder.push(key.as_ref(), value.as_ref(), &5, &1).unwrap());
    let part = builder.finish(&EncodeOptions::default()).unwrap().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/part_derived_v1.arrow");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, &part.bytes).unwrap();
    }
    let golden = Bytes::from(std::fs::read(path).unwrap());
    assert_eq!(part.bytes, golden, "as Arrow of Cargo.lock lays it out");
    let chunks = decode_part::<Order, Stop, u64, i64>(golden, &part.meta).unwrap();
    let read: Vec<_> = chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).map(|(row, ..)| row).collect();
    assert_eq!(read, rows);

    let stats = PartStats::decode(&part.meta.stats).unwrap();
    assert_eq!(stats.column("key.id").unwrap().max(), Some(&StatValue::Int(9)));
    assert_eq!(stats.column("value.Van.number").unwrap().min(), Some(&StatValue::Int(7)));
    assert!(stats.column("value.tag").is_some() && stats.column("value.Order.0.len.0").is_some());
}

/// A field may be called as the child of an option is.
#[test]
fn a_field_called_some_is_no_option() {
    #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
    #[codec(name = "one", crate = "timely_persist_types")]
    struct One {
        #[codec(id = 1)]
        some: u64,
    }
    let mut builder = PartBuilder::<Option<One>, One, u64, i64>::new();
    builder.push(Some(OneRef { some: 1 }), OneRef { some: 2 }, &0, &1).unwrap();
    let part = builder.finish(&EncodeOptions::default()).unwrap().unwrap();
    let stats = PartStats::decode(&part.meta.stats).unwrap();
    let paths: Vec<_> = stats.columns.iter().map(|column| column.path()).collect();
    assert_eq!(paths, ["key.some", "value.some", "time", "diff"]);
}
