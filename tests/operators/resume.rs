//! `Resume`: where a restart begins, whom it fences, and what it keeps.

mod crashes;

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{Appended, CriticalReaderId, EncodedFrontier, Error, ErrorKind, Hold, Shard, ShardId};
use timely_persist_operators::{Input, Resume, ResumeBuilder, Retention};
use timely_persist_testing::{Fault, Gate, Operation, Rule};

use crate::stage::{Process, Stage, Strings, at, quiet, within};

pub type Items = Shard<u64, (), u64, i64>;

/// A pipeline of two inputs, of different types, as one process sees it.
pub struct Shards {
    pub orders: Strings,
    pub items: Items,
    pub revenue: Strings,
}

impl Shards {
    pub fn of(process: &Process) -> Self {
        let client = &process.client;
        let [orders, items, revenue] = [11, 12, 13].map(ShardId::from_u128);
        Self { orders: client.shard(orders), items: client.shard(items), revenue: client.shard(revenue) }
    }

    pub fn pipeline(&self) -> ResumeBuilder<'_, u64> {
        Resume::of("revenue", &self.revenue).input(&self.orders).input(&self.items).hold_interval(Duration::ZERO)
    }

    /// Where the holds on the inputs stand.
    pub async fn held(&self) -> [Option<u64>; 2] {
        let (orders, items) = (self.orders.holds().await.unwrap(), self.items.holds().await.unwrap());
        [orders, items].map(|holds| of_the_pipeline(&holds))
    }
}

/// Where the reader of the pipeline stands, if there is one.
pub fn of_the_pipeline(holds: &[Hold<u64>]) -> Option<u64> {
    let mut found = holds.iter().filter(|hold| hold.purpose.contains("pipeline revenue"));
    let since = found.next().map(|hold| hold.since.elements()[0]);
    assert!(found.next().is_none(), "{holds:?}");
    since
}

/// Moves the since of a shard on which nobody has a hold.
pub async fn begin_at(input: &Items, since: u64) {
    let mut mover = input.open_critical_since(CriticalReaderId::from_u128(99), 0).await.unwrap();
    let _ = mover.compare_and_downgrade_since(0, (0, &at(since))).await.unwrap();
    mover.expire().await.unwrap();
}

/// Makes commits up to each of these times, and tells of them.
async fn commit(shards: &Shards, resume: &mut Resume<u64>, uppers: &[u64]) {
    let mut writer = shards.revenue.open_writer("sink").await.unwrap();
    for upper in uppers {
        let (lower, upper) = (writer.upper().clone(), at(*upper));
        assert_eq!(writer.append([], lower.clone(), upper.clone()).await.unwrap(), Appended::Committed);
        resume.committed(&lower, &upper).await.unwrap();
    }
}

fn since(earliest: u64) -> ErrorKind {
    ErrorKind::Since { earliest: EncodedFrontier::new(&at(earliest)) }
}

/// It was taken over, and says so.
fn assert_fenced(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("taken over") && error.to_string().contains("end this one"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_at_the_lower_of_the_last_commit() {
    let stage = Stage::new();
    for (uppers, as_of) in [(&[5][..], 3), (&[8, 9], 8), (&[], 8), (&[20], 9)] {
        let shards = Shards::of(&stage.process(quiet()).await);
        if as_of == 3 {
            begin_at(&shards.items, 3).await;
        }
        let mut resume = shards.pipeline().open().await.unwrap();
        commit(&shards, &mut resume, uppers).await;
        drop(resume);

        let shards = Shards::of(&stage.process(quiet()).await);
        let inputs = [&shards.orders as &dyn Input<_>, &shards.items];
        let resume = Resume::open("revenue", &shards.revenue, inputs).await.unwrap();
        assert_eq!((resume.as_of(), resume.first_run()), (at(as_of), false));
        let upper = shards.revenue.inspect().await.unwrap().upper;
        assert!(resume.as_of().less_than(&upper.elements()[0]));
        shards.orders.open_reader_at("orders", resume.as_of()).await.unwrap().expire().await.unwrap();
        shards.items.open_reader_at("items", resume.as_of()).await.unwrap().expire().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_first_commit_leaves_a_first_run() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    begin_at(&shards.items, 3).await;
    for start in 0..3 {
        let shards = Shards::of(&stage.process(quiet()).await);
        let resume = shards.pipeline().open().await.unwrap();
        assert_eq!((resume.as_of(), resume.first_run()), (at(3), true), "start {start}");
        assert_eq!(shards.held().await, [Some(0), Some(3)]);
        // Nobody reads an empty collection where there was one.
        let early = shards.revenue.open_reader_at("early", at(2)).await.unwrap_err();
        assert_eq!(early.kind(), since(3));
    }
    // Committed, and nobody told: another first run would write nothing twice, but it is none.
    let mut writer = shards.revenue.open_writer("sink").await.unwrap();
    assert_eq!(writer.append([], at(0), at(4)).await.unwrap(), Appended::Committed);
    let resume = shards.pipeline().open().await.unwrap();
    assert_eq!((resume.as_of(), resume.first_run()), (at(3), false));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_cannot_have_been_is_refused() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    begin_at(&shards.items, 3).await;
    let mut resume = shards.pipeline().open().await.unwrap();
    for (lower, upper) in [(0, 0), (5, 4), (0, 3), (0, 2)] {
        let error = resume.committed(&at(lower), &at(upper)).await.unwrap_err();
        assert_eq!((error.kind(), error.shard()), (ErrorKind::Invalid, Some(shards.revenue.id())), "{error}");
    }
    assert_eq!(resume.committed(&Antichain::new(), &Antichain::new()).await.unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(shards.held().await, [Some(0), Some(3)]);
    commit(&shards, &mut resume, &[4, 7]).await;
    resume.committed(&at(7), &Antichain::new()).await.unwrap();
    assert_eq!(shards.held().await, [Some(7), Some(7)]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_of_storage_where_nothing_is_due() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let shards = Shards::of(&process);
    let interval = Duration::from_secs(60);
    let mut resume = shards.pipeline().hold_interval(interval).open().await.unwrap();
    commit(&shards, &mut resume, &[5]).await;
    let before = process.counts();
    for time in 5..1_000 {
        resume.committed(&at(time), &at(time + 1)).await.unwrap();
    }
    assert_eq!(process.counts(), before);
    tokio::time::advance(interval).await;
    resume.committed(&at(1_000), &at(1_001)).await.unwrap();
    let after = process.counts();
    resume.committed(&at(1_000), &at(1_001)).await.unwrap();
    assert_eq!(process.counts(), after, "told again");
    assert_eq!(shards.held().await, [Some(1_000), Some(1_000)]);
    assert_eq!(shards.revenue.inspect().await.unwrap().since, at(1_000));
}

#[tokio::test(start_paused = true)]
async fn an_input_that_does_not_answer_holds_up_one_commit_and_not_the_next() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let shards = Shards::of(&process);
    let interval = Duration::from_secs(3_600);
    let mut resume = shards.pipeline().hold_interval(interval).open().await.unwrap();
    let orders = shards.orders.id().to_string();
    process.log_faults.add(Rule::every(Operation::LogCompareAndSet, Fault::FailBefore).named(orders));
    let error = within(resume.committed(&at(0), &at(5))).await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Unavailable, Some(shards.orders.id())));
    let before = process.counts();
    resume.committed(&at(5), &at(6)).await.unwrap();
    assert_eq!(process.counts(), before);
    process.log_faults.clear();
    tokio::time::advance(interval).await;
    resume.committed(&at(6), &at(7)).await.unwrap();
    assert_eq!(shards.held().await, [Some(6), Some(6)]);
}

/// The answers to what is written are lost, each once.
#[tokio::test(start_paused = true)]
async fn lost_answers_are_settled() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let shards = Shards::of(&process);
    let lose = |count| {
        for skip in 0..count {
            process.log_faults.add(Rule::next(Operation::LogCompareAndSet, Fault::FailAfter).after(skip));
        }
    };
    lose(8);
    let mut resume = within(shards.pipeline().open()).await.unwrap();
    lose(8);
    within(commit(&shards, &mut resume, &[5, 7, 9])).await;
    assert_eq!(shards.held().await, [Some(7), Some(7)]);
    lose(8);
    within(resume.retire()).await.unwrap();
    assert_eq!(shards.held().await, [None, None]);
}

/// What a task awaits must be sent between threads.
#[tokio::test(start_paused = true)]
async fn a_task_may_open_tell_and_retire() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    let task = tokio::spawn(async move {
        let mut resume = shards.pipeline().open().await?;
        resume.committed(&at(0), &at(1)).await?;
        let again = Resume::open("revenue", &shards.revenue, [&shards.orders as &dyn Input<_>]).await;
        assert_eq!(again.unwrap_err().kind(), ErrorKind::Missing, "nothing was committed");
        resume.retire().await?;
        shards.pipeline().retire().await
    });
    assert_eq!(task.await.unwrap().unwrap(), 0);
}

// ---- an output that lost its commits

/// The output in a store of its own, of which there is an empty backup.
struct Apart {
    inputs: Stage,
    output: Stage,
}

impl Apart {
    async fn shards(&self) -> Shards {
        let inputs = Shards::of(&self.inputs.process(quiet()).await);
        Shards { revenue: Shards::of(&self.output.process(quiet()).await).revenue, ..inputs }
    }
}

#[tokio::test(start_paused = true)]
async fn an_emptied_output_is_not_taken_for_a_new_one() {
    let mut apart = Apart { inputs: Stage::new(), output: Stage::new() };
    let shards = apart.shards().await;
    let mut resume = shards.pipeline().open().await.unwrap();
    commit(&shards, &mut resume, &[5]).await;
    assert_eq!(shards.held().await, [Some(0), Some(0)], "the mark, not where they stand, tells");

    apart.output = Stage::new();
    let shards = apart.shards().await;
    let before = [shards.orders.inspect().await.unwrap(), shards.revenue.inspect().await.unwrap()];
    let error = shards.pipeline().open().await.unwrap_err();
    assert_eq!((error.kind(), error.shard()), (ErrorKind::Missing, Some(shards.revenue.id())));
    let said = error.to_string();
    assert!(said.contains("\"revenue\"") && said.contains("retire") && said.contains("backup"), "{said}");
    assert_eq!([shards.orders.inspect().await.unwrap(), shards.revenue.inspect().await.unwrap()], before);
    // As it says.
    assert_eq!(shards.pipeline().retire().await.unwrap(), 2, "the output has lost its own");
    assert!(shards.pipeline().open().await.unwrap().first_run());
}

/// The inputs' holds are where they were made, so nothing is lost: it may begin again.
#[tokio::test(start_paused = true)]
async fn an_output_that_was_emptied_before_its_holds_heard_of_a_commit_is_a_new_one() {
    let mut apart = Apart { inputs: Stage::new(), output: Stage::new() };
    let shards = apart.shards().await;
    begin_at(&shards.items, 3).await;
    shards.pipeline().open().await.unwrap();
    let mut writer = shards.revenue.open_writer("sink").await.unwrap();
    assert_eq!(writer.append([], at(0), at(4)).await.unwrap(), Appended::Committed);
    apart.output = Stage::new();
    let shards = apart.shards().await;
    let resume = shards.pipeline().open().await.unwrap();
    assert_eq!((resume.as_of(), resume.first_run()), (at(3), true));
}

/// The holds have heard of no commit, but a start has seen one.
#[tokio::test(start_paused = true)]
async fn an_output_that_was_emptied_after_a_start_saw_commits_is_not_taken_for_a_new_one() {
    let mut apart = Apart { inputs: Stage::new(), output: Stage::new() };
    let shards = apart.shards().await;
    shards.pipeline().open().await.unwrap();
    let mut writer = shards.revenue.open_writer("sink").await.unwrap();
    assert_eq!(writer.append([], at(0), at(4)).await.unwrap(), Appended::Committed);
    assert!(!shards.pipeline().open().await.unwrap().first_run());
    apart.output = Stage::new();
    assert_eq!(apart.shards().await.pipeline().open().await.unwrap_err().kind(), ErrorKind::Missing);
}

#[tokio::test(start_paused = true)]
async fn an_older_output_with_some_commits_is_refused_and_nothing_is_written() {
    let mut apart = Apart { inputs: Stage::new(), output: Stage::new() };
    let shards = apart.shards().await;
    let mut resume = shards.pipeline().open().await.unwrap();
    commit(&shards, &mut resume, &[5, 7, 9]).await;
    apart.output = Stage::new();
    for (upper, refused) in [(6, true), (7, true), (8, false)] {
        let shards = apart.shards().await;
        shards.revenue.open_writer("restored").await.unwrap().advance_upper(&at(upper)).await.unwrap();
        let before = shards.orders.inspect().await.unwrap();
        match shards.pipeline().open().await {
            Ok(resume) => assert_eq!((refused, resume.as_of()), (false, at(7))),
            Err(error) => {
                assert_eq!((refused, error.kind()), (true, since(7)), "{error}");
                assert!(error.to_string().contains("new shard"), "{error}");
                assert_eq!(shards.orders.inspect().await.unwrap(), before);
            }
        }
    }
}

/// It was written by hand, or the pipeline was retired meanwhile: there are no holds.
#[tokio::test(start_paused = true)]
async fn an_output_without_holds_goes_on_if_its_inputs_can_be_read_early_enough() {
    for (since_of_items, refused) in [(5, false), (9, false), (10, true), (11, true)] {
        let stage = Stage::new();
        let shards = Shards::of(&stage.process(quiet()).await);
        shards.revenue.open_writer("by hand").await.unwrap().advance_upper(&at(10)).await.unwrap();
        begin_at(&shards.items, since_of_items).await;
        match shards.pipeline().open().await {
            Ok(resume) => {
                assert_eq!((refused, resume.as_of(), resume.first_run()), (false, at(since_of_items), false));
                assert_eq!(shards.revenue.inspect().await.unwrap().since, at(0), "its history is real");
            }
            Err(error) => {
                assert_eq!((refused, error.kind()), (true, since(since_of_items)));
                assert_eq!(shards.held().await, [None, None]);
                assert_eq!(shards.revenue.holds().await.unwrap(), []);
            }
        }
    }
}

/// The since moves between the first look and the making of the holds: what it made, it takes away.
#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_late_leaves_no_hold() {
    let stage = Stage::new();
    let (process, other) = (stage.process(quiet()).await, Shards::of(&stage.process(quiet()).await));
    let shards = Shards::of(&process);
    shards.revenue.open_writer("by hand").await.unwrap().advance_upper(&at(10)).await.unwrap();
    let gate = Gate::closed();
    let first = Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()));
    process.log_faults.add(first.named(shards.orders.id().to_string()));
    let meanwhile = async {
        gate.arrived(1).await;
        begin_at(&other.items, 12).await;
        gate.open();
    };
    let (opened, ()) = within(async { tokio::join!(shards.pipeline().open(), meanwhile) }).await;
    assert_eq!(opened.unwrap_err().kind(), since(12));
    assert_eq!(shards.held().await, [None, None]);
    assert_eq!(shards.revenue.holds().await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_pipeline_is_refused() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    let refused = [
        Resume::of("", &shards.revenue).input(&shards.orders),
        Resume::of("n".repeat(513), &shards.revenue).input(&shards.orders),
        Resume::of("revenue", &shards.revenue),
        shards.pipeline().incarnation(u64::MAX),
    ];
    for pipeline in refused {
        assert_eq!(pipeline.open().await.unwrap_err().kind(), ErrorKind::Invalid);
    }
    let typed: Shard<u64, u64, u64, i64> = shards.revenue.client().shard(shards.items.id());
    shards.items.open_writer("items").await.unwrap().advance_upper(&at(1)).await.unwrap();
    let mistyped = Resume::of("revenue", &shards.revenue).input(&shards.orders).input(&typed).open().await;
    assert_eq!(mistyped.unwrap_err().kind(), ErrorKind::CodecMismatch);
    assert_eq!(shards.orders.inspect().await.unwrap().critical_readers, 0, "nothing was written");
    // The last time of an input is given up: nothing can be read from it.
    let mut end = shards.items.open_critical_since(CriticalReaderId::from_u128(99), 0).await.unwrap();
    let _ = end.compare_and_downgrade_since(0, (0, &Antichain::new())).await.unwrap();
    let ended = shards.pipeline().open().await.unwrap_err();
    assert!(matches!(ended.kind(), ErrorKind::Since { earliest } if earliest.is_empty()), "{ended}");
    assert_eq!(ended.shard(), Some(shards.items.id()));
}

// ---- who moves the holds

#[tokio::test(start_paused = true)]
async fn a_predecessor_moves_no_hold_and_removes_none() {
    let stage = Stage::new();
    let old = Shards::of(&stage.process(quiet()).await);
    let mut predecessor = old.pipeline().open().await.unwrap();
    commit(&old, &mut predecessor, &[5, 7]).await;
    let new = Shards::of(&stage.process(quiet()).await);
    let mut resume = new.pipeline().open().await.unwrap();
    assert!(resume.incarnation() > predecessor.incarnation());
    assert_fenced(&predecessor.committed(&at(7), &at(8)).await.unwrap_err());
    assert_fenced(&predecessor.clone().retire().await.unwrap_err());
    assert_eq!(new.held().await, [Some(5), Some(5)]);
    assert_eq!(new.revenue.inspect().await.unwrap().since, at(5));
    commit(&new, &mut resume, &[9]).await;
    assert_eq!(new.held().await, [Some(7), Some(7)]);
    assert_fenced(&predecessor.committed(&at(9), &at(10)).await.unwrap_err());
}

/// Two processes of one cluster: whichever has the leader, it is not fenced by the other.
#[tokio::test(start_paused = true)]
async fn processes_of_one_incarnation_share_the_holds() {
    let stage = Stage::new();
    let (one, two) = (stage.process(quiet()).await, stage.process(quiet()).await);
    let (one, two) = (Shards::of(&one), Shards::of(&two));
    begin_at(&one.items, 3).await;
    for (incarnation, first_run) in [(7, true), (8, false), (8, false)] {
        let (here, there) = (one.pipeline().incarnation(incarnation), two.pipeline().incarnation(incarnation));
        let (here, there) = tokio::join!(here.open(), there.open());
        let (mut here, mut there) = (here.unwrap(), there.unwrap());
        assert_eq!(here.as_of(), there.as_of());
        assert_eq!((here.first_run(), there.first_run()), (first_run, first_run));
        let upper = one.revenue.inspect().await.unwrap().upper.elements()[0];
        commit(&one, &mut here, &[upper + 5, upper + 6]).await;
        assert_eq!(two.held().await, [Some(upper + 5), Some(upper + 5)]);
        commit(&two, &mut there, &[upper + 9]).await;
        assert_eq!(two.held().await, [Some(upper + 6), Some(upper + 6)]);
        commit(&one, &mut here, &[upper + 10]).await;
        assert_eq!(two.held().await, [Some(upper + 9), Some(upper + 9)]);
    }
    // The number of the start before: nobody is fenced, and it begins before the upper all the same.
    let mut before = one.pipeline().incarnation(8).open().await.unwrap();
    let again = two.pipeline().incarnation(8).open().await.unwrap();
    let upper = one.revenue.inspect().await.unwrap().upper.elements()[0];
    assert!(again.as_of().less_than(&upper));
    commit(&one, &mut before, &[upper + 1, upper + 2]).await;
    assert_eq!(two.held().await, [Some(upper + 1), Some(upper + 1)]);
    // An older one is refused before it writes anything.
    let before = one.orders.inspect().await.unwrap();
    assert_fenced(&one.pipeline().incarnation(7).open().await.unwrap_err());
    assert_eq!(one.orders.inspect().await.unwrap(), before);
}

/// A copy that is up already moves the holds of its incarnation while another one joins: what that one is told can be read.
#[tokio::test(start_paused = true)]
async fn who_joins_late_begins_where_the_holds_are() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let (one, two) = (Shards::of(&process), Shards::of(&stage.process(quiet()).await));
    two.pipeline().open().await.unwrap();
    let gate = Gate::closed();
    let taking = Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()));
    process.log_faults.add(taking.named(one.items.id().to_string()));
    let meanwhile = async {
        gate.arrived(1).await;
        let mut resume = two.pipeline().incarnation(8).open().await.unwrap();
        commit(&two, &mut resume, &[8, 9]).await;
        gate.open();
    };
    let (joined, ()) = within(async { tokio::join!(one.pipeline().incarnation(8).open(), meanwhile) }).await;
    let as_of = joined.unwrap().as_of();
    assert_eq!(as_of, at(8), "not where they were before the first commit");
    one.items.open_reader_at("items", as_of.clone()).await.unwrap();
    one.orders.open_reader_at("orders", as_of).await.unwrap();
}

/// Processes that do not say that they belong together: only the last of them moves holds.
#[tokio::test(start_paused = true)]
async fn of_processes_that_open_at_once_the_last_moves_the_holds() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let (one, two) = (Shards::of(&process), Shards::of(&stage.process(quiet()).await));
    let gate = Gate::closed();
    // The first is stopped in the middle of taking over.
    let second = Rule::next(Operation::LogCompareAndSet, Fault::HoldBefore(gate.clone()));
    process.log_faults.add(second.named(one.items.id().to_string()));
    let meanwhile = async {
        gate.arrived(1).await;
        let opened = two.pipeline().open().await.unwrap();
        gate.open();
        opened
    };
    let (first, mut second) = within(async { tokio::join!(one.pipeline().open(), meanwhile) }).await;
    let mut first = first.unwrap();
    assert!(first.incarnation() > second.incarnation(), "it began again");
    commit(&one, &mut first, &[5, 6]).await;
    assert_fenced(&second.committed(&at(6), &at(7)).await.unwrap_err());
    assert_eq!(one.held().await, [Some(5), Some(5)]);
}

// ---- what is kept

#[tokio::test(start_paused = true)]
async fn a_retired_pipeline_keeps_nothing() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    let mut others = shards.orders.open_critical_since(CriticalReaderId::from_u128(1), 0).await.unwrap();
    assert_eq!(shards.pipeline().retire().await.unwrap(), 0, "there is none");
    assert_eq!(shards.orders.holds().await.unwrap().len(), 1, "none is made to be removed");
    for by_name in [false, true] {
        let mut resume = shards.pipeline().open().await.unwrap();
        commit(&shards, &mut resume, if by_name { &[7, 9] } else { &[3, 5] }).await;
        let kept = shards.orders.holds().await.unwrap();
        let purpose = &kept.iter().find(|hold| !hold.purpose.is_empty()).unwrap().purpose;
        assert!(purpose.contains("revenue") && purpose.contains(&shards.revenue.id().to_string()), "{purpose}");
        match by_name {
            false => resume.clone().retire().await.unwrap(),
            true => assert_eq!(shards.pipeline().retire().await.unwrap(), 3),
        }
        assert_eq!(shards.held().await, [None, None]);
        assert_eq!(shards.revenue.holds().await.unwrap(), []);
        // It is told, and makes no new ones.
        let error = resume.committed(&at(20), &at(21)).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("retired"), "{error}");
        assert_eq!(shards.held().await, [None, None]);
        resume.retire().await.unwrap();
    }
    let _ = others.compare_and_downgrade_since(0, (0, &at(30))).await.unwrap();
    assert_eq!(shards.orders.inspect().await.unwrap().since, at(30), "only the other reader counts");
}

#[tokio::test(start_paused = true)]
async fn an_output_keeps_as_much_history_as_is_asked_for() {
    for (retention, kept) in [
        (Retention::All, [3, 3, 3, 3, 3]),
        (Retention::Latest, [3, 5, 6, 8, 9]),
        (Retention::Behind(2), [3, 3, 3, 5, 6]),
    ] {
        let stage = Stage::new();
        let shards = Shards::of(&stage.process(quiet()).await);
        begin_at(&shards.items, 3).await;
        let mut resume = shards.pipeline().keep(retention).open().await.unwrap();
        for (upper, kept) in [5, 6, 8, 9, 10].into_iter().zip(kept) {
            commit(&shards, &mut resume, &[upper]).await;
            assert_eq!(shards.revenue.inspect().await.unwrap().since, at(kept), "{retention:?} at {upper}");
        }
        // The next start has seen no commit yet, and moves nothing.
        let resume = shards.pipeline().keep(retention).open().await.unwrap();
        assert_eq!(resume.as_of(), at(9));
        assert_eq!(shards.revenue.inspect().await.unwrap().since, at(kept[4]));
    }
}

/// A pipeline that reads what it wrote: two readers on one shard.
#[tokio::test(start_paused = true)]
async fn an_output_may_be_an_input_too() {
    let stage = Stage::new();
    let shards = Shards::of(&stage.process(quiet()).await);
    let pipeline = || shards.pipeline().input(&shards.revenue);
    let mut resume = pipeline().open().await.unwrap();
    commit(&shards, &mut resume, &[5, 7, 9]).await;
    let sinces: Vec<_> = shards.revenue.holds().await.unwrap().into_iter().map(|hold| hold.since).collect();
    assert_eq!(sinces, [at(7), at(7)]);
    assert_eq!(pipeline().open().await.unwrap().as_of(), at(7));
    assert_eq!(pipeline().retire().await.unwrap(), 4);
}
