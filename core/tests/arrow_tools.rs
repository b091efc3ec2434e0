//! A part is a file that other tools open: pyarrow, polars and DuckDB find the columns of a derived struct, by the names of
//! its fields, with the types and the values that its rows have.
//!
//! The part is `golden/part_everything_v1.arrow`: a struct with a field of every type that has a codec. `scripts/setup.sh`
//! installs the tools; what they must find is in `arrow_tools/check.py`, and not taken from here.

#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use jiff::Timestamp;
use jiff::civil;
use ordered_float::OrderedFloat;
use timely_persist_core::part::{EncodeOptions, EncodedPart, PartBuilder, PartMeta, decode_part};
use timely_persist_derive::Codec;
use timely_persist_types::codec::{Decimal, Serde};
use uuid::Uuid;

/// What a state would remember of the golden file.
const ENCODED_BYTES: u64 = 31_482;
const TAIL_BYTES: u64 = 7_098;
const CHECKSUM: u64 = 0x5184_b168_092c_7f73;

/// A field of every type. No id is a place.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "everything", crate = "timely_persist_types")]
struct Everything {
    #[codec(id = 101)]
    truth: bool,
    #[codec(id = 102)]
    tiny: u8,
    #[codec(id = 103)]
    short: u16,
    #[codec(id = 104)]
    int: u32,
    #[codec(id = 105)]
    long: u64,
    #[codec(id = 106)]
    huge: u128,
    #[codec(id = 112)]
    signed_tiny: i8,
    #[codec(id = 113)]
    signed_short: i16,
    #[codec(id = 114)]
    signed_int: i32,
    #[codec(id = 115)]
    signed_long: i64,
    #[codec(id = 116)]
    signed_huge: i128,
    #[codec(id = 120)]
    uuid: Uuid,
    #[codec(id = 121)]
    single: OrderedFloat<f32>,
    #[codec(id = 122)]
    double: OrderedFloat<f64>,
    #[codec(id = 123)]
    price: Decimal<10, 2>,
    #[codec(id = 124)]
    exact: Decimal<38, 10>,
    #[codec(id = 130)]
    day: NaiveDate,
    #[codec(id = 131)]
    moment: DateTime<Utc>,
    #[codec(id = 132)]
    local: NaiveDateTime,
    #[codec(id = 133)]
    jiff_day: civil::Date,
    #[codec(id = 134)]
    jiff_moment: Timestamp,
    #[codec(id = 135)]
    jiff_local: civil::DateTime,
    #[codec(id = 140)]
    text: String,
    #[codec(id = 141)]
    shared_text: Arc<str>,
    #[codec(id = 142)]
    bytes: Vec<u8>,
    #[codec(id = 143)]
    shared_bytes: Bytes,
    #[codec(id = 150)]
    words: Vec<String>,
    #[codec(id = 151)]
    table: Vec<Vec<i64>>,
    #[codec(id = 152)]
    gaps: Vec<Option<u16>>,
    #[codec(id = 160, default)]
    note: Option<String>,
    #[codec(id = 161, default)]
    twice: Option<Option<i32>>,
    #[codec(id = 170)]
    nothing: (),
    #[codec(id = 171)]
    boxed: Box<u32>,
    #[codec(id = 172)]
    pair: (i16, String),
    #[codec(id = 173)]
    opaque: Serde<Vec<u16>>,
    #[codec(id = 180)]
    place: Place,
    #[codec(id = 181)]
    state: State,
    #[codec(id = 182)]
    event: Event,
    #[codec(id = 183, default)]
    last: Option<Event>,
    #[codec(id = 184, default = "a type")]
    r#type: String,
}

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "place", crate = "timely_persist_types")]
struct Place {
    #[codec(id = 2)]
    street: String,
    #[codec(id = 1)]
    number: Option<u16>,
}

#[derive(Codec, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "state", crate = "timely_persist_types")]
enum State {
    #[codec(id = 7)]
    Open,
    #[codec(id = 3)]
    Paid,
    #[codec(id = 5)]
    Sent,
}

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "event", crate = "timely_persist_types")]
enum Event {
    #[codec(id = 9)]
    Asked,
    #[codec(id = 4)]
    Moved {
        #[codec(id = 1)]
        to: Place,
        #[codec(id = 2)]
        on: NaiveDate,
    },
    #[codec(id = 6)]
    Left(#[codec(id = 1)] u32),
}

fn day(year: i32, month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, month, day).unwrap()
}

fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap()
}

/// What most people have.
fn usual() -> Everything {
    let at = "2024-02-29T12:34:56.789012Z";
    Everything {
        truth: true,
        tiny: 1,
        short: 2,
        int: 3,
        long: 4,
        huge: 5,
        signed_tiny: -1,
        signed_short: -2,
        signed_int: -3,
        signed_long: -4,
        signed_huge: -5,
        uuid: Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
        single: OrderedFloat(0.5),
        double: OrderedFloat(-0.1),
        price: Decimal::from_unscaled(-1_999).unwrap(),
        exact: Decimal::from_unscaled(12_345_678_901_234_567_890).unwrap(),
        day: day(2024, 2, 29),
        moment: at.parse().unwrap(),
        local: at.parse::<DateTime<Utc>>().unwrap().naive_utc(),
        jiff_day: civil::date(2024, 2, 29),
        jiff_moment: at.parse().unwrap(),
        jiff_local: civil::date(2024, 2, 29).at(12, 34, 56, 789_012_000),
        text: "naïve".to_owned(),
        shared_text: "日本".into(),
        bytes: vec![0, 1, 255],
        shared_bytes: Bytes::from_static(b"abc"),
        words: vec!["one".to_owned(), String::new(), "three".to_owned()],
        table: vec![vec![1, 2], vec![], vec![3]],
        gaps: vec![Some(1), None],
        note: Some("late".to_owned()),
        twice: Some(Some(-7)),
        nothing: (),
        boxed: Box::new(6),
        pair: (-8, "eight".to_owned()),
        opaque: Serde(vec![1, 2]),
        place: Place { street: "Main".to_owned(), number: Some(12) },
        state: State::Paid,
        event: Event::Moved { to: Place { street: "Side".to_owned(), number: None }, on: day(1999, 12, 31) },
        last: Some(Event::Left(9)),
        r#type: "order".to_owned(),
    }
}

/// The least of every type.
fn least() -> Everything {
    Everything {
        truth: false,
        tiny: 0,
        short: 0,
        int: 0,
        long: 0,
        huge: 0,
        signed_tiny: i8::MIN,
        signed_short: i16::MIN,
        signed_int: i32::MIN,
        signed_long: i64::MIN,
        signed_huge: i128::MIN,
        uuid: Uuid::nil(),
        single: OrderedFloat(f32::NEG_INFINITY),
        double: OrderedFloat(f64::NEG_INFINITY),
        price: Decimal::from_unscaled(-9_999_999_999).unwrap(),
        exact: Decimal::from_unscaled(1 - 10i128.pow(38)).unwrap(),
        day: day(-9999, 1, 1),
        moment: moment(-377_705_023_201_000_000),
        local: day(-9999, 1, 1).into(),
        jiff_day: civil::Date::MIN,
        jiff_moment: Timestamp::MIN,
        jiff_local: civil::DateTime::MIN,
        text: String::new(),
        shared_text: "".into(),
        bytes: vec![],
        shared_bytes: Bytes::new(),
        words: vec![],
        table: vec![],
        gaps: vec![],
        note: None,
        twice: None,
        nothing: (),
        boxed: Box::new(0),
        pair: (i16::MIN, String::new()),
        opaque: Serde(vec![]),
        place: Place { street: String::new(), number: None },
        state: State::Open,
        event: Event::Asked,
        last: None,
        r#type: String::new(),
    }
}

/// The greatest, where there is one.
fn greatest() -> Everything {
    Everything {
        truth: true,
        tiny: u8::MAX,
        short: u16::MAX,
        int: u32::MAX,
        long: u64::MAX,
        huge: u128::MAX,
        signed_tiny: i8::MAX,
        signed_short: i16::MAX,
        signed_int: i32::MAX,
        signed_long: i64::MAX,
        signed_huge: i128::MAX,
        uuid: Uuid::max(),
        single: OrderedFloat(f32::NAN),
        double: OrderedFloat(f64::NAN),
        price: Decimal::from_unscaled(9_999_999_999).unwrap(),
        exact: Decimal::from_unscaled(10i128.pow(38) - 1).unwrap(),
        day: day(9999, 12, 31),
        moment: moment(253_402_207_200_999_999),
        local: moment(253_402_300_799_999_999).naive_utc(),
        jiff_day: civil::Date::MAX,
        jiff_moment: Timestamp::new(253_402_207_200, 999_999_000).unwrap(),
        jiff_local: civil::date(9999, 12, 31).at(23, 59, 59, 999_999_000),
        text: "\u{10ffff}".to_owned(),
        shared_text: "a\0b".into(),
        bytes: vec![255; 300],
        words: vec!["ß".repeat(100)],
        table: vec![vec![i64::MIN, i64::MAX]],
        gaps: vec![None, None, Some(u16::MAX)],
        note: Some(String::new()),
        twice: Some(None),
        boxed: Box::new(u32::MAX),
        pair: (i16::MAX, "\u{10ffff}".to_owned()),
        place: Place { street: "z".to_owned(), number: Some(u16::MAX) },
        state: State::Sent,
        event: Event::Left(u32::MAX),
        last: Some(Event::Asked),
        ..usual()
    }
}

fn rows() -> Vec<((String, Everything), u64, i64)> {
    let row = |name: &str, value: Everything, time, diff| ((name.to_owned(), value), time, diff);
    vec![
        row("greatest", greatest(), 7, i64::MAX),
        row("least", least(), 0, i64::MIN),
        row("usual", usual(), u64::MAX, -1),
    ]
}

fn encode() -> EncodedPart<u64> {
    let mut builder = PartBuilder::<String, Everything, u64, i64>::new();
    for ((key, value), time, diff) in &rows() {
        builder.push(key, timely_persist_types::codec::Codec::as_ref(value), time, diff).unwrap();
    }
    // In two batches: tools must find both.
    builder.finish(&EncodeOptions { chunk_rows_max: 2, ..EncodeOptions::default() }).unwrap().unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn golden_path() -> PathBuf {
    root().join("tests/golden/part_everything_v1.arrow")
}

/// The file is read for ever. Its bytes are compared too: if an upgrade of Arrow lays a file out differently, that may go.
#[test]
fn a_part_of_every_type_is_read_and_written_as_ever() {
    let part = encode();
    let PartMeta { encoded_bytes, tail_bytes, checksum, .. } = part.meta;
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(golden_path(), &part.bytes).unwrap();
        println!("ENCODED_BYTES {encoded_bytes} TAIL_BYTES {tail_bytes} CHECKSUM {checksum:#x}");
    }
    let golden = Bytes::from(std::fs::read(golden_path()).unwrap());
    assert_eq!(part.bytes, golden, "as Arrow of Cargo.lock lays it out");
    let meta =
        PartMeta { encoded_bytes: ENCODED_BYTES, tail_bytes: TAIL_BYTES, checksum: CHECKSUM, ..part.meta.clone() };
    let chunks = decode_part::<String, Everything, u64, i64>(golden, &meta).unwrap();
    assert_eq!(chunks.len(), 2);
    assert_eq!(chunks.iter().flat_map(|chunk| chunk.rows().collect::<Vec<_>>()).collect::<Vec<_>>(), rows());
}

/// Where `scripts/setup.sh` puts the tools: a directory that is named by what it pins.
fn installed() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let pins = std::fs::read_to_string(root().join("scripts/arrow_tools.txt")).unwrap();
    let pins = pins.lines().filter_map(|line| line.split_once("=="));
    let pins: String = pins.map(|(name, version)| format!("-{name}-{version}")).collect();
    cache.expect("a home directory").join("timely-persist").join(format!("arrow-tools{pins}"))
}

/// Runs the check of one tool, on the golden files.
fn check(tool: &str) {
    let installed = installed();
    let directory = installed.display();
    assert!(installed.join("installed").exists(), "no {tool} in {directory}; install it with: scripts/setup.sh");
    let mut command = Command::new(installed.join("bin/python"));
    command.arg("-B"); // no file of Python's beside the script
    command.arg(root().join("core/tests/arrow_tools/check.py")).arg(tool).arg(root().join("tests/golden"));
    let output = command.output().unwrap();
    let said = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success() && said.contains("as expected"), "{tool}, {}:\n{said}", output.status);
}

#[test]
fn pyarrow_finds_every_column_and_value() {
    check("pyarrow");
}

#[test]
fn polars_finds_every_column_and_value() {
    check("polars");
}

#[test]
fn duckdb_finds_every_column_and_value() {
    check("duckdb");
}
