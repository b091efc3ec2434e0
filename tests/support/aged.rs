//! Shards as a long history leaves them, written without living through it.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use timely::progress::Antichain;
use timely_persist::{SeqNo, ShardId, WriterId};
use timely_persist_core::part::{PartFormat, PartMeta};
use timely_persist_core::state::command::{Append, Command, Decision, Expect, Limits, Lower, Moment};
use timely_persist_core::state::{Batch, Change, Description, Entry, Location, Part, RollupRef, State, Types};
use timely_persist_io::store::keys;
use timely_persist_types::ids::{SchemaId, Token};

/// What a shard of one id went through. Its times are its commits.
pub struct Age {
    /// Commits that the newest rollup covers.
    pub commits: u64,
    /// Commits behind it. The first of them says where the rollup is.
    pub tail: u64,
    /// Batches that compaction left, which cover all times up to the rollup.
    pub batches: u64,
    /// Parts of each. Their objects do not exist.
    pub parts_each: u64,
}

fn part(name: String, time: u64) -> Part<u64> {
    let meta = PartMeta {
        format: PartFormat::ArrowIpc,
        schema: SchemaId(0),
        encoded_bytes: 12 << 20,
        decoded_bytes: 12 << 20,
        tail_bytes: 4_000,
        rows: 100_000,
        checksum: u64::MAX,
        time_lower: Antichain::from_elem(time),
        time_upper: vec![time],
        diff_sum: 100_000u64.to_le_bytes(),
        stats: Bytes::from_static(&[1; 50]),
    };
    Part { location: Location::Blob(name), meta }
}

/// Writes the shard of id 1: a rollup, the entries behind it, and the boundary of what was truncated.
pub async fn aged(store: &Arc<InMemory>, age: &Age) {
    let shard = ShardId::from_u128(1);
    let types = Arc::new(Types::of::<String, u64, u64, i64>());
    let mut state = State::<u64>::new(shard);
    state.apply_change(&Change::Codecs(Arc::clone(&types.names))).unwrap();
    let bound = |index: u64| Antichain::from_elem(age.commits * index / age.batches);
    for index in 0..age.batches {
        let lower = age.commits * index / age.batches;
        let run = (0..age.parts_each).map(|number| part(format!("part-{index:012}-{number:012}.arrow"), lower));
        let desc = Description::new(bound(index), bound(index + 1));
        let batch = Batch { desc, runs: vec![run.collect()], digest: None };
        state.apply_change(&Change::BatchAdded(Arc::new(batch))).unwrap();
    }
    (state.seqno, state.token) = (SeqNo(age.commits), Token::from_u128(1 << 100));
    let rollup = RollupRef { seqno: state.seqno, name: format!("rollup-{}", age.commits) };
    store.put(&keys::blob(shard, &rollup.name), state.encode().into()).await.unwrap();
    store.put(&keys::boundary(shard, state.seqno.next()), Bytes::new().into()).await.unwrap();
    for number in 1..=age.tail {
        let mut draft = state.clone();
        draft.seqno = state.seqno.next();
        let mut changes = if number == 1 { vec![Change::RollupSet(rollup.clone())] } else { Vec::new() };
        changes.extend(appending(&draft, &types, number));
        changes.iter().for_each(|change| draft.apply_change(change).unwrap());
        let token = Token::from_u128(1 << 100 | u128::from(number));
        let previous = std::mem::replace(&mut draft.token, token);
        let entry = Entry { token, previous, wall_ms: 1, changes, rollup: draft.rollup.clone() };
        store.put(&keys::log_entry(shard, draft.seqno), entry.encode().into()).await.unwrap();
        draft.wall_ms = 1;
        state = draft;
    }
}

/// The facts of an append: of rows the first time, empty ones after it.
fn appending(state: &State<u64>, types: &Arc<Types>, number: u64) -> Vec<Change<u64>> {
    let upper = state.upper();
    let time = *upper.elements().first().unwrap();
    let run = || vec![part(format!("part-tail-{number}.arrow"), time)];
    let command = Append {
        writer: WriterId::from_u128(1),
        token: Token::from_u128(1 << 90 | u128::from(number)),
        expect: Expect {
            types: Arc::clone(types),
            schemas: vec![(SchemaId(0), Arc::clone(&types.schema))],
            lower: Lower::At(upper),
            generation: 0,
        },
        upper: Antichain::from_elem(time + 1),
        runs: if number == 1 { vec![run()] } else { Vec::new() },
        digest: None,
    };
    let limits = Limits { blob_age_max_ms: u64::MAX, rollup_interval: u64::MAX, finalize_objects_max: usize::MAX };
    match command.decide(state, &Moment { now_ms: 1, limits }) {
        Decision::Commit(changes, _) => changes,
        Decision::Reply(reply) => panic!("{reply:?}"),
    }
}
