//! The durable form of entries and rollups: pinned by golden files, and safe against any bytes.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use timely::progress::Antichain;
use timely_persist_core::part::{PartFormat, PartMeta};
use timely_persist_core::state::{
    Batch, Change, CodecNames, CriticalReader, Description, Entry, LeasedReader, Location, Part, RollupRef,
    SCHEMAS_MAX, Schema, StagedTypes, State, Types, WriterRecord, wire,
};
use timely_persist_types::codec::{
    Constant, EnumShape, FieldShape, Leaf, RetiredField, Shape, StructShape, VariantShape,
};
use timely_persist_types::error::ErrorKind;
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SchemaId, SeqNo, ShardId, Token, WriterId};

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn part(location: Location) -> Part<u64> {
    let meta = PartMeta {
        format: PartFormat::ArrowIpc,
        schema: SchemaId(0),
        encoded_bytes: 1_000,
        decoded_bytes: 900,
        tail_bytes: 300,
        rows: 10,
        checksum: 0xdead_beef,
        time_lower: at(1),
        time_upper: vec![2],
        diff_sum: 7i64.to_le_bytes(),
        stats: Bytes::from_static(b"stats"),
    };
    Part { location, meta }
}

fn batch(lower: u64, upper: u64, since: u64, parts: &[Location]) -> Arc<Batch<u64>> {
    let desc = Description { lower: at(lower), upper: at(upper), since: at(since) };
    Arc::new(Batch { desc, runs: parts.iter().map(|location| vec![part(location.clone())]).collect(), digest: None })
}

/// One entry with every kind of fact but the last, which ends a shard.
fn entry() -> Entry<u64> {
    let blob = |name: &str| Location::Blob(name.to_owned());
    let rollup = RollupRef { seqno: SeqNo(0), name: "rollup-0000000000007-x".to_owned() };
    let reader = LeasedReader {
        since: at(0),
        hold: SeqNo(1),
        heartbeat_ms: 5,
        lease_ms: 6,
        opened_ms: 4,
        purpose: "read".to_owned(),
    };
    let names = ["String", "u64", "u64", "i64"].map(str::to_owned);
    let [key, value, time, diff] = names;
    let record = WriterRecord { tokens: vec![Token::from_u128(8)], last_ms: 9 };
    let critical = CriticalReader { since: at(0), opaque: 11, purpose: "keep".to_owned() };
    Entry {
        token: Token::from_u128(3),
        previous: Token::NONE,
        wall_ms: 12,
        changes: vec![
            Change::Codecs(Arc::new(CodecNames { key, value, time, diff })),
            Change::BatchAdded(batch(0, 2, 0, &[blob("part-1"), Location::Inline(Bytes::from_static(b"inline"))])),
            Change::BatchAdded(batch(2, 3, 0, &[])),
            Change::EmptyExtended(at(5)),
            Change::ReaderSet(LeasedReaderId::from_u128(1), reader.clone()),
            Change::ReaderSet(LeasedReaderId::from_u128(2), reader),
            Change::ReaderRemoved(LeasedReaderId::from_u128(2)),
            Change::CriticalSet(CriticalReaderId::from_u128(1), critical.clone()),
            Change::CriticalSet(CriticalReaderId::from_u128(2), critical),
            Change::CriticalRemoved(CriticalReaderId::from_u128(2)),
            Change::WriterSet(WriterId::from_u128(1), record.clone()),
            Change::WriterSet(WriterId::from_u128(2), record),
            Change::WriterRemoved(WriterId::from_u128(2)),
            Change::BatchesReplaced {
                count: 2,
                with: batch(0, 5, 0, &[blob("part-2")]),
                garbage: Arc::new(vec!["part-1".to_owned(), "part-0".to_owned()]),
            },
            Change::GarbageDeleted { seqno: SeqNo(1), count: 1 },
            Change::RollupSet(rollup.clone()),
            Change::SinceSet(at(0)),
        ],
        rollup: Some(rollup),
    }
}

/// What writers of a generation say beside that, of rows with a digest.
fn fenced_entry() -> Entry<u64> {
    let digested = Batch { digest: Some(0x0123_4567_89ab_cdef), ..Batch::clone(&batch(5, 6, 0, &[])) };
    let digested = Batch { runs: batch(5, 6, 0, &[Location::Blob("part-3".to_owned())]).runs.clone(), ..digested };
    Entry {
        token: Token::from_u128(4),
        previous: Token::from_u128(3),
        changes: vec![Change::BatchAdded(Arc::new(digested)), Change::GenerationSet(7)],
        ..entry()
    }
}

fn fenced_state() -> State<u64> {
    let mut state = state();
    state.apply(SeqNo(2), &fenced_entry()).unwrap();
    state
}

/// A shape with one of everything.
fn shape() -> Shape {
    let leaf = |id: u32, leaf| FieldShape { id, name: format!("field {id}"), shape: Shape::Leaf(leaf), default: None };
    let leaves = [
        Leaf::Unit,
        Leaf::Bool,
        Leaf::Unsigned(32),
        Leaf::Signed(128),
        Leaf::Float(64),
        Leaf::Text,
        Leaf::Bytes,
        Leaf::Uuid,
        Leaf::Date,
        Leaf::Timestamp,
        Leaf::Decimal { precision: 38, scale: 2 },
    ];
    // Its column is Arrow's own form, and may change with its version: then a file of the form before is to be kept, too.
    let default = Some(Constant::of(&"x".to_owned()));
    let mut fields: Vec<_> = (1..).zip(leaves).map(|(id, of)| leaf(id, of)).collect();
    fields.push(FieldShape { default, ..leaf(40, Leaf::Text) });
    let retired = vec![RetiredField { id: 41, shape: Shape::Opaque("serde(x){}".to_owned()) }];
    let all = Shape::Struct(StructShape { name: "all".to_owned(), fields, retired });
    let variants = vec![
        VariantShape { id: 1, name: "none".to_owned(), fields: Vec::new() },
        VariantShape { id: 2, name: "some".to_owned(), fields: vec![leaf(1, Leaf::Bool)] },
    ];
    let kinds = Shape::Enum(EnumShape { name: "kinds".to_owned(), variants });
    Shape::Tuple(vec![Shape::Option(Box::new(all)), Shape::List(Box::new(kinds))])
}

fn schema(key: Shape) -> Arc<Schema> {
    Arc::new(Schema { key, value: shape() })
}

/// What programs with two versions of a type say.
fn evolved_entry() -> Entry<u64> {
    let mut evolved = Batch::clone(&batch(5, 6, 0, &[Location::Blob("part-4".to_owned())]));
    evolved.runs[0][0].meta.schema = SchemaId(1);
    Entry {
        token: Token::from_u128(5),
        previous: Token::from_u128(3),
        changes: vec![
            Change::SchemaAdded(SchemaId(0), schema(Shape::Leaf(Leaf::Text))),
            Change::SchemaAdded(SchemaId(1), schema(Shape::Option(Box::new(Shape::Leaf(Leaf::Text))))),
            Change::BatchAdded(Arc::new(evolved)),
        ],
        ..entry()
    }
}

fn evolved_state() -> State<u64> {
    let mut state = state();
    state.apply(SeqNo(2), &evolved_entry()).unwrap();
    state
}

fn state() -> State<u64> {
    let mut state = State::new(ShardId::from_u128(1));
    state.apply(SeqNo(1), &entry()).unwrap();
    state
}

fn check_golden(name: &str, bytes: &Bytes) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    assert_eq!(std::fs::read(&path).unwrap(), *bytes, "the durable form changed: make a new version");
}

#[test]
fn an_entry_keeps_its_first_form() {
    let bytes = entry().encode();
    check_golden("entry_v1.bin", &bytes);
    assert_eq!(Entry::decode(&bytes).unwrap(), entry());
    let last = Entry { changes: vec![Change::Finalized { garbage: Arc::new(vec!["part-2".to_owned()]) }], ..entry() };
    assert_eq!(Entry::<u64>::decode(&last.encode()).unwrap(), last);
}

#[test]
fn a_rollup_keeps_its_first_form() {
    let bytes = state().encode();
    check_golden("rollup_v1.bin", &bytes);
    assert_eq!(State::decode(&bytes, ShardId::from_u128(1)).unwrap(), state());
    let foreign = State::<u64>::decode(&bytes, ShardId::from_u128(2)).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::Corrupt);
}

#[test]
fn an_entry_with_a_digest_and_a_generation_has_a_form_of_its_own() {
    let bytes = fenced_entry().encode();
    check_golden("entry_v1_fenced.bin", &bytes);
    assert_eq!(Entry::decode(&bytes).unwrap(), fenced_entry());
    // What has neither costs nothing for them.
    let mut plain = fenced_entry();
    plain.changes.pop();
    let digested = plain.encode().len();
    if let Change::BatchAdded(batch) = &mut plain.changes[0] {
        Arc::make_mut(batch).digest = None;
    }
    assert_eq!((bytes.len() - digested, digested - plain.encode().len()), (4, 9));
}

/// A program that does not know of generations would read one of version 1 without it.
#[test]
fn a_rollup_with_a_generation_has_a_second_form() {
    let bytes = fenced_state().encode();
    check_golden("rollup_v2.bin", &bytes);
    assert_eq!((&bytes[..8], &state().encode()[..8]), (&b"tpstate2"[..], &b"tpstate1"[..]));
    let read = State::decode(&bytes, ShardId::from_u128(1)).unwrap();
    assert_eq!((read.generation, read.batches[1].digest), (7, Some(0x0123_4567_89ab_cdef)));
    assert_eq!(read, fenced_state());
    let newer = State::<u64>::decode(&sealed(b"tpstate4", &bytes[16..]), ShardId::from_u128(1)).unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Newer);
    for unknown in [b"tpstate0", b"tpstatus", b"tpentry2"] {
        let foreign = State::<u64>::decode(&sealed(unknown, &bytes[16..]), ShardId::from_u128(1)).unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::Corrupt);
    }
}

/// A program that does not know of schemas would read parts by another one: it knows neither the fact nor the version.
#[test]
fn schemas_have_forms_of_their_own() {
    let bytes = evolved_entry().encode();
    check_golden("entry_v1_schemas.bin", &bytes);
    assert_eq!(Entry::decode(&bytes).unwrap(), evolved_entry());
    let bytes = evolved_state().encode();
    check_golden("rollup_v3.bin", &bytes);
    assert_eq!(&bytes[..8], b"tpstate3");
    assert_eq!(State::decode(&bytes, ShardId::from_u128(1)).unwrap(), evolved_state());
    let part = &evolved_state().batches[1].runs[0][0];
    let bytes = wire::encode_part(part);
    assert_eq!((&bytes[..8], &wire::decode_part::<u64>(&bytes).unwrap()), (&b"tppart_2"[..], part));
    check_golden("travelling_part_v2.bin", &bytes);
    let mut part = part.clone();
    part.meta.schema = SchemaId(0);
    let bytes = wire::encode_part(&part);
    assert_eq!((&bytes[..8], &wire::decode_part::<u64>(&bytes).unwrap()), (&b"tppart_1"[..], &part));
    check_golden("travelling_part_v1.bin", &bytes);
    let schema = &evolved_state().schemas[1];
    let bytes = wire::encode_schema(schema);
    check_golden("schema_v1.bin", &bytes);
    assert_eq!(&wire::decode_schema(&bytes).unwrap(), schema);
}

#[test]
fn schemas_that_do_not_follow_each_other_are_refused() {
    let text = || schema(Shape::Leaf(Leaf::Text));
    let mut of_the_future = Batch::clone(&batch(5, 6, 0, &[Location::Blob("part-4".to_owned())]));
    of_the_future.runs[0][0].meta.schema = SchemaId(1);
    let many = (0..SCHEMAS_MAX as u32 + 1)
        .map(|id| Change::SchemaAdded(SchemaId(id), if id % 2 == 0 { text() } else { schema(shape()) }));
    let cases: [(&str, Vec<Change<u64>>); 4] = [
        ("a schema has another number than the next", vec![Change::SchemaAdded(SchemaId(1), text())]),
        (
            "a schema is added that is the latest already",
            vec![Change::SchemaAdded(SchemaId(0), text()), Change::SchemaAdded(SchemaId(1), text())],
        ),
        ("there are too many schemas", many.collect()),
        (
            "a part is of a schema that is to come",
            vec![Change::SchemaAdded(SchemaId(0), text()), Change::BatchAdded(Arc::new(of_the_future))],
        ),
    ];
    for (misfit, changes) in cases {
        let mut state = state();
        let (token, previous) = (Token::from_u128(4), state.token);
        let entry = Entry { token, previous, wall_ms: 0, changes, rollup: state.rollup.clone() };
        assert_eq!(state.apply(SeqNo(2), &entry).err(), Some(misfit));
    }
    let changes = vec![Change::SchemaAdded(SchemaId(0), text())];
    let first = Entry { token: Token::from_u128(4), previous: Token::NONE, wall_ms: 0, changes, rollup: None };
    let nameless = State::<u64>::new(ShardId::from_u128(1)).apply(SeqNo(1), &first);
    assert_eq!(nameless.err(), Some("a schema comes before the shard's types"));
}

/// The file that the first version wrote, on its way through today's.
#[test]
fn a_rollup_of_the_first_version_opens_and_goes_on() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/rollup_v1.bin");
    let mut state = State::<u64>::decode(&std::fs::read(path).unwrap().into(), ShardId::from_u128(1)).unwrap();
    assert_eq!((state.generation, state.upper()), (0, at(5)));
    state.apply(SeqNo(2), &fenced_entry()).unwrap();
    assert_eq!(state, fenced_state());
    let again = State::decode(&state.encode(), ShardId::from_u128(1)).unwrap();
    assert_eq!(again, state);
}

#[test]
fn a_staged_batch_says_by_its_version_whether_it_has_a_digest_or_another_schema() {
    let types = Types::of::<String, u64, u64, i64>();
    for (digest, schema, magic) in
        [(None, 0, b"tpstage1"), (Some(0), 0, b"tpstage2"), (None, 1, b"tpstage3"), (Some(0), 2, b"tpstage3")]
    {
        let mut staged = Batch { digest, ..Batch::clone(&batch(0, 2, 0, &[Location::Blob("part-1".to_owned())])) };
        staged.runs[0][0].meta.schema = SchemaId(schema);
        let types = StagedTypes::of(&types, SchemaId(schema));
        let bytes = wire::encode_staged(ShardId::from_u128(1), &types, &staged);
        assert_eq!(&bytes[..8], magic);
        if schema != 2 {
            check_golden(&format!("staged_v{}.bin", char::from(magic[7])), &bytes);
        }
        assert_eq!(wire::decode_staged(&bytes).unwrap(), (ShardId::from_u128(1), types.clone(), staged.clone()));
        staged.runs[0][0].meta.schema = SchemaId(schema + 1);
        let changed = wire::encode_staged(ShardId::from_u128(1), &types, &staged);
        assert!(wire::decode_staged::<u64>(&changed).unwrap_err().to_string().contains("another schema"));
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_with_the_reason() {
    let mut bytes = entry().encode().to_vec();
    bytes[7] = b'2';
    let error = Entry::<u64>::decode(&bytes.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Newer);
    assert!(error.to_string().contains("newer version"), "{error}");
    // A fact that this version does not know: a variant of another number.
    let mut message = vec![0x1a, 4, 0xfa, 0x07, 1, 0];
    message.splice(0..0, [0x0a, 16].into_iter().chain([0; 16]).chain([0x2a, 16]).chain([0; 16]));
    let error = Entry::<u64>::decode(&sealed(b"tpentry1", &message)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Newer);
    assert!(error.to_string().contains("newer version"), "{error}");
}

fn sealed(magic: &[u8; 8], message: &[u8]) -> Bytes {
    let checksum = xxhash_rust::xxh3::xxh3_64(message).to_le_bytes();
    [magic.as_slice(), &checksum, message].concat().into()
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for (bytes, is_entry) in [(entry().encode(), true), (state().encode(), false), (evolved_state().encode(), false)] {
        let refused = |bytes: Bytes| match is_entry {
            true => Entry::<u64>::decode(&bytes).is_err(),
            false => State::<u64>::decode(&bytes, ShardId::from_u128(1)).is_err(),
        };
        for length in 0..bytes.len() {
            assert!(refused(bytes.slice(..length)));
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(refused(flipped.into()), "bit {bit}");
        }
    }
}

proptest! {
    /// With a checksum that matches, whatever the message says: a value or an error, and never a panic.
    #[test]
    fn forged_messages_do_not_panic(message in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Entry::<u64>::decode(&sealed(b"tpentry1", &message));
        let _ = State::<u64>::decode(&sealed(b"tpstate1", &message), ShardId::from_u128(1));
    }

    #[test]
    fn forged_edits_do_not_panic(edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for (magic, bytes) in [
            (b"tpentry1", entry().encode()),
            (b"tpentry1", evolved_entry().encode()),
            (b"tpstate1", state().encode()),
            (b"tpstate2", fenced_state().encode()),
            (b"tpstate3", evolved_state().encode()),
        ] {
            let mut message = bytes[16..].to_vec();
            for (index, byte) in &edits {
                let index = index.index(message.len());
                message[index] = *byte;
            }
            let forged = sealed(magic, &message);
            if let Ok(entry) = Entry::<u64>::decode(&forged) {
                let _ = State::new(ShardId::from_u128(1)).apply(SeqNo(1), &entry);
                let _ = state().apply(SeqNo(2), &entry);
            }
            let _ = State::<u64>::decode(&forged, ShardId::from_u128(1));
        }
    }
}

/// What breaks an invariant is refused by what it touches, in release builds too, where the whole is not checked.
#[test]
fn a_fact_that_breaks_an_invariant_is_refused_by_name() {
    let blob = |name: &str| Location::Blob(name.to_owned());
    let reader = LeasedReader {
        since: at(3),
        hold: SeqNo(1),
        heartbeat_ms: 0,
        lease_ms: 0,
        opened_ms: 0,
        purpose: String::new(),
    };
    let read = |reader| Change::ReaderSet(LeasedReaderId::from_u128(9), reader);
    let critical = |since| CriticalReader { since: at(since), opaque: 0, purpose: String::new() };
    let mut hollow = Batch::clone(&batch(5, 6, 0, &[]));
    hollow.runs.push(Vec::new());
    let replace = |with: &str, garbage: &[&str]| Change::BatchesReplaced {
        count: 1,
        with: batch(0, 5, 0, &[blob(with)]),
        garbage: Arc::new(garbage.iter().map(|name| (*name).to_owned()).collect()),
    };
    let rollup = RollupRef { seqno: SeqNo(9), name: "rollup-0000000000008-x".to_owned() };
    let cases = [
        ("a run has no parts", vec![Change::BatchAdded(Arc::new(hollow))]),
        ("a batch is compacted beyond the since", vec![Change::BatchAdded(batch(5, 6, 1, &[]))]),
        ("a reader holds what is to come", vec![read(LeasedReader { hold: SeqNo(3), ..reader.clone() })]),
        ("the since is beyond that of a reader", vec![Change::SinceSet(at(1))]),
        (
            "the since is beyond that of a reader",
            vec![
                Change::ReaderRemoved(LeasedReaderId::from_u128(1)),
                Change::CriticalRemoved(CriticalReaderId::from_u128(1)),
                Change::SinceSet(at(4)),
                read(reader.clone()),
            ],
        ),
        (
            "the since is beyond that of a reader",
            vec![
                Change::ReaderRemoved(LeasedReaderId::from_u128(1)),
                Change::CriticalRemoved(CriticalReaderId::from_u128(1)),
                Change::SinceSet(at(4)),
                Change::CriticalSet(CriticalReaderId::from_u128(5), critical(2)),
            ],
        ),
        ("the generation does not rise", vec![Change::GenerationSet(3), Change::GenerationSet(3)]),
        ("the generation does not rise", vec![Change::GenerationSet(0)]),
        ("a rollup is of what is to come", vec![Change::RollupSet(rollup)]),
        ("an object is garbage, and is in use", vec![replace("part-3", &["part-2", "part-3"])]),
        ("an object went with its batch, and is no garbage", vec![replace("part-3", &[])]),
        (
            "an object is garbage, and is in use",
            vec![Change::BatchAdded(batch(5, 6, 0, &[blob("part-4")])), replace("part-3", &["part-2", "part-4"])],
        ),
        ("an object is garbage, and is in use", vec![replace("part-3", &["part-2", "rollup-0000000000007-x"])]),
    ];
    for (misfit, changes) in cases {
        let mut state = state();
        let (token, previous) = (Token::from_u128(4), state.token);
        let entry = Entry { token, previous, wall_ms: 0, changes, rollup: state.rollup.clone() };
        assert_eq!(state.apply(SeqNo(2), &entry).err(), Some(misfit), "{entry:?}");
    }
}
