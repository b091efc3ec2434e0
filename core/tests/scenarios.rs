//! The state machine, driven by scripts that anyone can read: `scenarios/*.txt`.
//!
//! A line is `command -> what it answers`; `#` begins a comment. Times and frontiers are numbers, `-` is the empty
//! frontier. Every commit is written as bytes, read back, applied, and must come to the same state that was decided on;
//! the invariants are checked after each. The commands:
//!
//! | command | meaning |
//! |---|---|
//! | `clock MS` | it is so late from now on, by the wall clock of whoever acts |
//! | `wait MS` | so much time passes, on every clock |
//! | `append W LOWER UPPER [with PART,…] [token N] [overlap]` | writer W appends, each part in an object of that name |
//! | … `digest N` | behind `append`: that of its rows |
//! | … `generation N` | behind `append`: W is of this generation |
//! | … `made MS` | behind `append`, `merge` or `rollup`: the objects were made at that time, and are `PART-MS` |
//! | `open R [at TIME] [lease MS]` | leased reader R registers |
//! | `renew R SINCE HOLD [and R SINCE HOLD]…` | readers of one process renew in one entry |
//! | `expire R` | reader R goes |
//! | `lapse` | one process that does nothing else looks, and removes the lapsed; a writer's record lapses after 1,000 ms |
//! | `critical C OPAQUE` | critical reader C is opened |
//! | `downgrade C EXPECTED NEW SINCE` | and moved |
//! | `read LOWER UPPER` | a compaction reads the batches of this interval |
//! | `merge PART [since TIME]` | it offers the part (`-`: nothing that is left) in their place, merged up to that since, else to the shard's |
//! | `rollup NAME AT INTERVAL` | a rollup of position AT is offered |
//! | `deletable` | the objects that a sweep may delete |
//! | `delete SEQNO PART,…` | a sweep records what it deleted |
//! | `finalize STEP` | one step of finalizing |
//! | `beyond POSITION` | the batch that a listener at this position goes on with |
//! | `remember` | somebody reads the state, and stalls |
//! | `stalled COMMAND` | decides on what was remembered, and writes the entry behind the present head all the same |
//! | `contains LOWER UPPER SINCE TIME` | whether a batch of this description has a row at this time |
//! | `state FIELD…` | the state's fields: seqno wall since upper hold batches parts readers critical writers garbage generation |
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use timely::progress::Antichain;
use timely_persist_core::part::{PartFormat, PartMeta};
use timely_persist_core::state::command::{
    Append, AppendReply, Command, CriticalReply, Decision, DeleteGarbage, DowngradeCritical, Expect, ExpireReader,
    Finalize, FinalizeReply, Limits, Lower, Moment, OpenCritical, Register, Renew, Renewal, RenewalReply, Replace,
    SetRollup,
};
use timely_persist_core::state::{
    Batch, Change, Description, Entry, Location, Part, RollupRef, Run, Sightings, State, Types,
};
use timely_persist_types::config::LeaseConfig;
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::{CriticalReaderId, LeasedReaderId, SchemaId, SeqNo, ShardId, Token, WriterId};

const RETENTION_MS: u64 = 1_000;

type Frontier = Antichain<u64>;

fn frontier(word: &str) -> Frontier {
    if word == "-" { Antichain::new() } else { Antichain::from_elem(number(word)) }
}

fn show(frontier: &Frontier) -> String {
    frontier.elements().first().map_or("-".to_owned(), |time| time.to_string())
}

fn number(word: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

/// The id that a name stands for: all names are short.
fn id(name: &str) -> u128 {
    name.bytes().fold(0, |bits, byte| bits << 8 | u128::from(byte))
}

/// The word behind `key`, if it is there.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == key).map(|index| words[index + 1])
}

fn part(name: &str) -> Part<u64> {
    let meta = PartMeta {
        format: PartFormat::ArrowIpc,
        schema: SchemaId(0),
        encoded_bytes: 100,
        decoded_bytes: 100,
        tail_bytes: 10,
        rows: 1,
        checksum: 0,
        time_lower: Antichain::from_elem(0),
        time_upper: vec![0],
        diff_sum: [0; 8],
        stats: Bytes::new(),
    };
    Part { location: Location::Blob(name.to_owned()), meta }
}

/// The name of an object, made at a certain time if the command says so.
fn blob(name: &str, words: &[&str]) -> String {
    option(words, "made").map_or(name.to_owned(), |made| format!("{name}-{made}-1"))
}

fn run_of(names: &str, words: &[&str]) -> Run<u64> {
    names.split(',').map(|name| part(&blob(name, words))).collect()
}

fn refusal(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Fenced { generation } => format!("fenced by {generation}"),
        ErrorKind::Since { earliest } => format!("too early, earliest {earliest}"),
        kind => format!("{kind:?}").to_lowercase(),
    }
}

/// Objects that are older may have been taken for lost. Most of the scripts' have names that tell no age.
const BLOB_AGE_MAX_MS: u64 = 500;

/// What the process that looks for the lapsed has found.
struct Lapse(Vec<Change<u64>>);

impl Command<u64> for Lapse {
    const NAME: &'static str = "lapse";
    type Reply = ();

    fn decide(&self, _state: &State<u64>, _moment: &Moment) -> Decision<u64, ()> {
        if self.0.is_empty() { Decision::Reply(()) } else { Decision::Commit(self.0.clone(), ()) }
    }
}

struct Stage {
    state: State<u64>,
    types: Arc<Types>,
    limits: Limits,
    now_ms: u64,
    /// What the process that looks for the lapsed has seen, and its monotonic clock.
    sightings: Sightings,
    watched_ms: u64,
    tokens: u128,
    read: Vec<Arc<Batch<u64>>>,
    remembered: Option<State<u64>>,
    /// Whether commands decide on that, and what became of the entry of the newest.
    stalled: Option<String>,
}

impl Stage {
    fn new() -> Self {
        Self {
            state: State::new(ShardId::from_u128(1)),
            types: Arc::new(Types::of::<String, u64, u64, i64>()),
            limits: Limits { blob_age_max_ms: BLOB_AGE_MAX_MS, rollup_interval: 1, finalize_objects_max: 1 },
            now_ms: 0,
            sightings: Sightings::default(),
            watched_ms: 0,
            tokens: 1 << 100,
            read: Vec::new(),
            remembered: None,
            stalled: None,
        }
    }

    fn decide<C: Command<u64>>(&mut self, command: C) -> C::Reply {
        let stalled = self.stalled.is_some();
        let mut draft = if stalled { self.remembered.clone().unwrap() } else { self.state.clone() };
        draft.seqno = draft.seqno.next();
        draft.wall_ms = draft.wall_ms.max(self.now_ms);
        match command.decide(&draft, &Moment { now_ms: draft.wall_ms, limits: self.limits }) {
            Decision::Reply(reply) => reply,
            Decision::Commit(changes, reply) => {
                if stalled {
                    self.commit_stalled(draft, changes)
                } else {
                    self.commit(draft, changes)
                }
                reply
            }
        }
    }

    /// Writes an entry that was decided on an older state.
    fn commit_stalled(&mut self, draft: State<u64>, changes: Vec<Change<u64>>) {
        self.tokens += 1;
        let (token, previous) = (Token::from_u128(self.tokens), draft.token);
        let entry = Entry { token, previous, wall_ms: draft.wall_ms, changes, rollup: draft.rollup.clone() };
        let mut state = self.state.clone();
        self.stalled = state.apply(state.seqno.next(), &entry).err().map(str::to_owned);
    }

    fn commit(&mut self, mut draft: State<u64>, changes: Vec<Change<u64>>) {
        for change in &changes {
            draft.apply_change(change).unwrap();
        }
        self.tokens += 1;
        let token = Token::from_u128(self.tokens);
        let previous = std::mem::replace(&mut draft.token, token);
        let entry = Entry { token, previous, wall_ms: draft.wall_ms, changes, rollup: draft.rollup.clone() };
        let entry = Entry::decode(&entry.encode()).unwrap();
        self.state.apply(draft.seqno, &entry).unwrap();
        assert_eq!(self.state, draft, "an entry comes to another state than the one that was decided on");
        self.state.check().unwrap();
        assert_eq!(State::decode(&self.state.encode(), self.state.shard).unwrap(), self.state);
    }

    fn run(&mut self, command: &str, words: &[&str]) -> String {
        match command {
            "clock" => {
                self.now_ms = number(words[0]);
                String::new()
            }
            "append" => self.append(words),
            "open" => self.open(words),
            "renew" => self.renew(words),
            "expire" => {
                let reader = LeasedReaderId::from_u128(id(words[0]));
                self.decide(ExpireReader(reader));
                String::new()
            }
            "wait" => {
                self.now_ms += number(words[0]);
                self.watched_ms += number(words[0]);
                String::new()
            }
            "lapse" => {
                let before = self.state.clone();
                let (watched, retention) = [self.watched_ms, RETENTION_MS].map(Duration::from_millis).into();
                let changes = self.sightings.look(&before, watched, self.now_ms, retention, &LeaseConfig::default());
                self.decide(Lapse(changes));
                let (readers, writers) = (before.readers.len(), before.writers.len());
                let gone = (readers - self.state.readers.len(), writers - self.state.writers.len());
                format!("{} readers, {} writers", gone.0, gone.1)
            }
            "critical" => {
                let (id, opaque) = (CriticalReaderId::from_u128(id(words[0])), number(words[1]));
                let types = self.types.clone();
                match self.decide(OpenCritical { id, types, opaque, purpose: String::new() }) {
                    Ok(reader) => format!("since {} opaque {}", show(&reader.since), reader.opaque),
                    Err(error) => refusal(&error),
                }
            }
            "downgrade" => {
                let id = CriticalReaderId::from_u128(id(words[0]));
                let (expected, opaque, since) = (number(words[1]), number(words[2]), frontier(words[3]));
                match self.decide(DowngradeCritical { id, expected, opaque, since }) {
                    CriticalReply::Downgraded(since) => format!("downgraded {}", show(&since)),
                    CriticalReply::OpaqueMismatch(current) => format!("fenced by {current}"),
                    CriticalReply::Missing => "missing".to_owned(),
                }
            }
            "read" => {
                let (lower, upper) = (frontier(words[0]), frontier(words[1]));
                let behind = self.state.batches.iter().skip_while(|batch| batch.desc.lower != lower);
                let reaches = |batch: &&Arc<Batch<u64>>| timely::PartialOrder::less_equal(&batch.desc.upper, &upper);
                self.read = behind.take_while(reaches).cloned().collect();
                format!("{} batches", self.read.len())
            }
            "merge" => self.merge(words),
            "rollup" => {
                self.limits.rollup_interval = number(words[2]);
                let rollup = RollupRef { seqno: SeqNo(number(words[1])), name: blob(words[0], words) };
                let used = self.decide(SetRollup(rollup));
                if used { "used" } else { "refused" }.to_owned()
            }
            "deletable" => {
                let hold = self.state.hold();
                let dead = self.state.garbage.iter().filter(|(seqno, _)| **seqno <= hold);
                let names: Vec<String> = dead.flat_map(|(_, names)| names.iter().cloned()).collect();
                if names.is_empty() { "nothing".to_owned() } else { names.join(",") }
            }
            "delete" => {
                let names: Vec<String> = words[1].split(',').map(str::to_owned).collect();
                let deleted = vec![(SeqNo(number(words[0])), names)];
                let before = self.state.totals.garbage;
                self.decide(DeleteGarbage(deleted));
                format!("{} recorded", before - self.state.totals.garbage)
            }
            "finalize" => {
                self.limits.finalize_objects_max = number(words[0]) as usize;
                match self.decide(Finalize) {
                    Ok(FinalizeReply::More) => "more".to_owned(),
                    Ok(FinalizeReply::Done) => "done".to_owned(),
                    Err(error) => refusal(&error),
                }
            }
            "beyond" => match self.state.batches.get(self.state.batch_beyond(&frontier(words[0]))) {
                Some(batch) => format!("{} {}", show(&batch.desc.lower), show(&batch.desc.upper)),
                None => "nothing".to_owned(),
            },
            "remember" => {
                self.remembered = Some(self.state.clone());
                String::new()
            }
            "stalled" => {
                let before = self.state.clone();
                self.stalled = Some(String::new());
                self.run(words[0], &words[1..]);
                let misfit = self.stalled.take().expect("an entry that fits a state it was not decided on");
                assert_eq!(self.state, before);
                format!("misfit: {misfit}")
            }
            "contains" => {
                let mut desc = Description::new(frontier(words[0]), frontier(words[1]));
                desc.since = frontier(words[2]);
                if desc.contains(&number(words[3])) { "yes" } else { "no" }.to_owned()
            }
            "state" => words.iter().map(|field| self.field(field)).collect::<Vec<_>>().join(" "),
            _ => panic!("there is no command {command:?}"),
        }
    }

    fn append(&mut self, words: &[&str]) -> String {
        self.tokens += 1;
        let token = option(words, "token").map_or(self.tokens, |token| u128::from(number(token)));
        let generation = option(words, "generation").map_or(0, number);
        let lower = if words.contains(&"overlap") { Lower::Covering } else { Lower::At };
        let append = Append {
            writer: WriterId::from_u128(id(words[0])),
            token: Token::from_u128(token),
            expect: Expect {
                types: self.types.clone(),
                schemas: vec![(SchemaId(0), Arc::clone(&self.types.schema))],
                lower: lower(frontier(words[1])),
                generation,
            },
            upper: frontier(words[2]),
            runs: option(words, "with").map(|names| run_of(names, words)).into_iter().collect(),
            digest: option(words, "digest").map(number),
        };
        let asked = frontier(words[1]);
        let begun = |from: &Frontier| if *from == asked { String::new() } else { format!(" from {}", show(from)) };
        match self.decide(append) {
            Ok(AppendReply::Committed { from }) => format!("committed{}", begun(&from)),
            Ok(AppendReply::Repeated { from }) => format!("repeated{}", begun(&from)),
            Ok(AppendReply::Covered { digest: Some(digest) }) => format!("covered digest {digest}"),
            Ok(AppendReply::Covered { digest: None }) => "covered".to_owned(),
            Ok(AppendReply::UpperMismatch(upper)) => format!("mismatch {}", show(&upper)),
            Err(error) => refusal(&error),
        }
    }

    fn open(&mut self, words: &[&str]) -> String {
        let register = Register {
            id: LeasedReaderId::from_u128(id(words[0])),
            types: self.types.clone(),
            purpose: String::new(),
            lease_ms: option(words, "lease").map_or(100, number),
            as_of: option(words, "at").map(frontier),
        };
        match self.decide(register) {
            Ok(reader) => format!("since {} hold {}", show(&reader.since), reader.hold.0),
            Err(error) => refusal(&error),
        }
    }

    fn renew(&mut self, words: &[&str]) -> String {
        let renewal = |words: &[&str]| Renewal {
            id: LeasedReaderId::from_u128(id(words[0])),
            since: frontier(words[1]),
            hold: SeqNo(number(words[2])),
        };
        let renewals = words.split(|word| *word == "and").map(renewal).collect();
        let replies = self.decide(Renew(renewals));
        let told = replies.iter().map(|reply| match reply {
            RenewalReply::Renewed => "renewed",
            RenewalReply::Lost => "lost",
        });
        told.collect::<Vec<_>>().join(" ")
    }

    fn merge(&mut self, words: &[&str]) -> String {
        let (first, last) = (&self.read[0], &self.read[self.read.len() - 1]);
        let mut desc = Description::new(first.desc.lower.clone(), last.desc.upper.clone());
        desc.since = option(words, "since").map_or(self.state.since.clone(), frontier);
        let runs = if words[0] == "-" { Vec::new() } else { vec![run_of(words[0], words)] };
        let output = Arc::new(Batch { desc, runs, digest: None });
        let used = self.decide(Replace { inputs: self.read.clone(), output, schema: SchemaId(0) });
        if used { "used" } else { "refused" }.to_owned()
    }

    fn field(&self, field: &str) -> String {
        let state = &self.state;
        match field {
            "seqno" => state.seqno.0.to_string(),
            "wall" => state.wall_ms.to_string(),
            "since" => show(&state.since),
            "upper" => show(&state.upper()),
            "hold" => state.hold().0.to_string(),
            "batches" => state.batches.len().to_string(),
            "parts" => state.totals.parts.to_string(),
            "readers" => state.readers.len().to_string(),
            "critical" => state.critical.len().to_string(),
            "writers" => state.writers.len().to_string(),
            "generation" => state.generation.to_string(),
            "garbage" => state.totals.garbage.to_string(),
            _ => panic!("there is no field {field:?}"),
        }
    }
}

fn scenarios() -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let scripts = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    scripts
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn scenarios_go_as_they_are_written() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 10, "the scripts are there");
    for (name, script) in scenarios {
        let mut stage = Stage::new();
        let mut answers = 0;
        for (index, line) in script.lines().enumerate() {
            let line = line.split('#').next().unwrap().trim();
            let (question, expected) = line.split_once("->").unwrap_or((line, ""));
            let words: Vec<&str> = question.split_whitespace().collect();
            let Some((command, words)) = words.split_first() else { continue };
            let answer = stage.run(command, words);
            answers += usize::from(!expected.is_empty());
            assert_eq!(answer, expected.trim(), "{name}:{}: {line}", index + 1);
        }
        assert!(answers > 0, "{name} expects nothing");
    }
}
