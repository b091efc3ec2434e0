//! The collection, read back and aggregated: files and lines per file extension, maintained by differential dataflow.
//!
//! Each row of the collection becomes one unit of its extension's *difference*, a pair of files and lines: adding up
//! differences is what the system does with equal records anyway. So a worker reduces what it reads to one record per
//! extension and time before anything is sent to another worker, and the dataflow keeps one record per extension, not
//! one per file. `count_total` turns the sums back into data: the collection of `(extension, count)`.
//!
//! That is shown as it is computed; or a sink keeps it in a shard, and what is in the shard is shown: what an earlier run has
//! kept need not be computed again.

use std::fmt::Display;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use differential_dataflow::operators::CountTotal;
use differential_dataflow::{AsCollection, VecCollection};
use timely::communication::WorkerGuards;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist_operators::{Button, PersistSink, PersistSource};

use crate::board::{Board, News};
use crate::interrupt::Interrupt;
use crate::path_text::extension;
use crate::problem::Problem;
use crate::progress::Stage;
use crate::report::Hydrated;
use crate::shards::{Files, Kept};
use crate::store::{Extent, Store};
use crate::table::Count;

/// How often a worker that has nothing to do looks whether it should end, and the main thread whether all is well.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which part of the collection's history a dataflow computes.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The commit that it begins with.
    as_of: u64,
    /// Whether it goes on behind that.
    follow: bool,
}

impl Span {
    /// The commit before which it ends, if it does.
    fn until(self) -> Antichain<u64> {
        if self.follow { Antichain::new() } else { Antichain::from_elem(self.as_of + 1) }
    }
}

/// What a dataflow reads and writes.
#[derive(Clone)]
struct Shards {
    files: Files,
    /// The table, and how many commits were in it, if it is to be kept.
    kept: Option<(Kept, u64)>,
}

/// A dataflow that runs on threads of its own. Dropping it ends it.
pub(crate) struct Dataflow {
    board: Arc<Board>,
    workers: Option<WorkerGuards<()>>,
    /// The changes of all commits before this one were given out.
    next: u64,
}

impl Dataflow {
    /// Reads the collection as of a commit on so many workers, and goes on with what comes after if it should `follow`. If it
    /// should `keep` the table, that is what is read, and of the collection what is not in it yet.
    pub(crate) fn start(
        store: &mut Store,
        as_of: u64,
        follow: bool,
        keep: bool,
        workers: NonZeroUsize,
        interrupt: &Interrupt,
    ) -> Result<(Self, Hydrated), Problem> {
        let Some(files) = store.files() else { return Err(broken("there is nothing to read")) };
        let kept = if keep { store.keep()? } else { None };
        let span = Span { as_of, follow };
        // Of the kept table the end is not known yet.
        let before = if keep { Extent::default() } else { store.extent(as_of)? };
        let mut stage = Stage::start("hydrate", before.rows);
        let board = Arc::new(Board::default());
        let workers = timely::execute(timely::Config::process(workers.get()), {
            let told = Told { board: Arc::clone(&board), directory: store.directory().path().to_owned() };
            let shards = Shards { files, kept };
            move |worker| run(worker, &shards, span, &told)
        });
        let workers = workers.map_err(|reason| broken(&reason))?;
        let mut dataflow = Self { board, workers: Some(workers), next: as_of };
        // As of the commit, everything before it is a change from nothing.
        let table = loop {
            interrupt.check()?;
            stage.reach(dataflow.board.rows());
            if let News::Complete(table) = dataflow.news(LOOK_EVERY)? {
                break table;
            }
        };
        let (rows, took) = (dataflow.board.rows(), stage.finish());
        let Extent { parts, bytes, .. } = if keep { store.extent(as_of)? } else { before };
        let hydrated = Hydrated { table, rows, parts, bytes, took, kept: keep };
        Ok((dataflow, hydrated))
    }

    /// What the next commit changes. Waits for it for a while.
    pub(crate) fn news(&mut self, patience: Duration) -> Result<News, Problem> {
        let news = self.board.take(self.next, patience)?;
        if let News::Complete(_) = &news {
            self.next += 1;
        }
        Ok(news)
    }

    /// The commit that the next news is about.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Waits for a while, or until something is wrong.
    pub(crate) fn rest(&self, patience: Duration) -> Result<(), Problem> {
        self.board.take(u64::MAX, patience).map(|_| ())
    }
}

impl Drop for Dataflow {
    fn drop(&mut self) {
        self.board.stop();
        let Some(workers) = self.workers.take() else { return };
        if self.board.has_lost_worker() {
            // Workers wait for one another, and one is gone. They end with the program.
            std::mem::forget(workers);
            return;
        }
        for worker in workers.guards() {
            worker.thread().unpark();
        }
        for ended in workers.join() {
            // A worker that panicked has said so on the board.
            drop(ended);
        }
    }
}

/// What each worker does.
fn run(worker: &mut Worker, shards: &Shards, span: Span, told: &Told) {
    let board = &told.board;
    let _watch = Watch(Arc::clone(board));
    let buttons = worker.dataflow::<u64, _, _>(|scope| match &shards.kept {
        None => {
            let (weighed, button) = weigh(scope, &shards.files, span.as_of, span, told);
            post(count(counted(weighed, board)), span, Arc::clone(board));
            vec![button]
        }
        Some((kept, upper)) => {
            let mut buttons = Vec::new();
            if span.follow || *upper <= span.as_of {
                buttons.extend(keep(scope, &shards.files, kept, *upper, span, told));
            }
            let source = PersistSource::new(kept).name("git_history kept").as_of(Antichain::from_elem(span.as_of));
            let source = source.until(span.until()).build(scope);
            told.listen(source.errors, Problem::of_source);
            post(counted(source.updates, board), span, Arc::clone(board));
            buttons.push(source.button);
            buttons
        }
    });
    while worker.has_dataflows() && !board.is_stopped() {
        worker.step_or_park(Some(LOOK_EVERY));
    }
    drop(buttons); // in this order: a sink complains about a source that is stopped under it
}

/// Keeps the table, which has the commits before `upper`. It begins with the last one of these: what a source shows first, at
/// its `as_of`, are the contents so far, which the table has.
fn keep(scope: Scope<'_, u64>, files: &Files, kept: &Kept, upper: u64, span: Span, told: &Told) -> [Button; 2] {
    let begin = upper.saturating_sub(1);
    let (weighed, button) = weigh(scope, files, begin, span, told);
    let sink = PersistSink::new(kept).name("git_history kept").as_of(Antichain::from_elem(begin)).until(span.until());
    // The source ends there too, and is all that the dataflow reads: when it has ended, all rows are there.
    let sink = sink.close_at_end(!span.follow).build(count(weighed));
    told.listen(sink.errors, Problem::of_sink);
    [sink.button, button]
}

/// The collection from a commit on, each row as one unit of its extension's difference.
fn weigh<'scope>(
    scope: Scope<'scope, u64>,
    files: &Files,
    begin: u64,
    span: Span,
    told: &Told,
) -> (VecCollection<'scope, u64, String, (i64, i64)>, Button) {
    let source = PersistSource::new(files).name("git_history").as_of(Antichain::from_elem(begin)).until(span.until());
    // Rows are seen where they lie in the part: of a path, only the extension is ever copied.
    let weigh = |path: &str, lines: u64, commit: u64, diff: i64| {
        let lines = i64::try_from(lines).unwrap_or(i64::MAX).saturating_mul(diff);
        Some((extension(path).to_owned(), commit, (diff, lines)))
    };
    let source = source.map(weigh).build(scope);
    told.listen(source.errors, Problem::of_source);
    (source.stream.as_collection(), source.button)
}

/// The sums as data, with the diffs that a shard stores: `count_total` would give `isize`.
fn count(weighed: VecCollection<'_, u64, String, (i64, i64)>) -> VecCollection<'_, u64, (String, Count), i64> {
    let counted = weighed.consolidate_stream().count_total_core::<i64>();
    counted.map(|(extension, (files, lines))| (extension, Count { files, lines }))
}

/// The same rows, counted on the board.
fn counted<'scope, D: Clone + 'static, R: Clone + 'static>(
    rows: VecCollection<'scope, u64, D, R>,
    board: &Arc<Board>,
) -> VecCollection<'scope, u64, D, R> {
    let board = Arc::clone(board);
    rows.inspect_batch(move |_, rows| board.count_rows(rows.len()))
}

/// Brings the table's changes to one worker, which alone hears when they are complete, and to the board.
fn post(counts: VecCollection<'_, u64, (String, Count), i64>, span: Span, board: Arc<Board>) {
    counts.inner.sink(Exchange::new(|_| 0), "board", move |(input, frontier)| {
        input.for_each(|_, updates| {
            for ((extension, count), commit, times) in updates.drain(..) {
                board.add(commit, &extension, count.times(times));
            }
        });
        match frontier.frontier().as_option() {
            Some(commit) => board.complete_before(*commit),
            // The end: of the span, or because the dataflow was stopped.
            None if !span.follow => board.complete_before(span.as_of + 1),
            None => {}
        }
    });
}

/// Who is told what goes wrong.
#[derive(Clone)]
struct Told {
    board: Arc<Board>,
    directory: PathBuf,
}

impl Told {
    /// Hears what a source or a sink says of itself.
    fn listen<E: Display + Clone + 'static>(
        &self,
        errors: StreamVec<'_, u64, E>,
        problem: fn(&Path, &E) -> Option<Problem>,
    ) {
        let Self { board, directory } = self.clone();
        errors.inspect(move |error| match problem(&directory, error) {
            Some(problem) => board.fail(problem),
            None => note(error),
        });
    }
}

/// Says on the board that its worker panicked.
struct Watch(Arc<Board>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lose_worker(broken("a worker panicked"));
        }
    }
}

/// The run goes on, but the user may want to know.
fn note(notice: &impl Display) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "note: {notice}");
}

fn broken(reason: &str) -> Problem {
    Problem::new(
        format!("The dataflow cannot go on: {reason}"),
        "This is a bug: please report it with what stands above. Run again to try once more",
    )
}
