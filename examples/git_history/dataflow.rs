//! The collection, read back and aggregated: files and lines per file extension, maintained by differential dataflow.
//!
//! Each row of the collection becomes one unit of its extension's *difference*, a pair of files and lines: adding up
//! differences is what the system does with equal records anyway. So a worker reduces what it reads to one record per
//! extension and time before anything is sent to another worker, and the dataflow keeps one record per extension, not
//! one per file. `count_total` turns the sums back into data: the collection of `(extension, (files, lines))`.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use differential_dataflow::operators::CountTotal;
use differential_dataflow::{AsCollection, VecCollection};
use timely::communication::WorkerGuards;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::generic::Operator;
use timely::progress::Antichain;
use timely::worker::Worker;
use timely_persist_operators::{PersistSource, SourceError};

use crate::board::{Board, News};
use crate::interrupt::Interrupt;
use crate::path_text::extension;
use crate::problem::Problem;
use crate::progress::Stage;
use crate::report::Hydrated;
use crate::shards::Files;
use crate::store::Store;
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

/// A dataflow that runs on threads of its own. Dropping it ends it.
pub(crate) struct Dataflow {
    board: Arc<Board>,
    workers: Option<WorkerGuards<()>>,
    /// The changes of all commits before this one were given out.
    next: u64,
}

impl Dataflow {
    /// Reads the collection as of a commit on so many workers, and goes on with what comes after if it should `follow`.
    pub(crate) fn start(
        store: &Store,
        as_of: u64,
        follow: bool,
        workers: NonZeroUsize,
        interrupt: &Interrupt,
    ) -> Result<(Self, Hydrated), Problem> {
        let Some(files) = store.files() else { return Err(broken("there is nothing to read")) };
        let extent = store.extent(as_of)?;
        let mut stage = Stage::start("hydrate", extent.rows);
        let board = Arc::new(Board::default());
        let workers = timely::execute(timely::Config::process(workers.get()), {
            let (board, directory) = (Arc::clone(&board), store.directory().path().to_owned());
            move |worker| run(worker, &files, Span { as_of, follow }, &board, &directory)
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
        let hydrated = Hydrated { table, rows, parts: extent.parts, bytes: extent.bytes, took };
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
fn run(worker: &mut Worker, files: &Files, span: Span, board: &Arc<Board>, directory: &Path) {
    let _watch = Watch(Arc::clone(board));
    let button = worker.dataflow::<u64, _, _>(|scope| {
        let source = PersistSource::new(files).name("git_history").as_of(Antichain::from_elem(span.as_of));
        let source = match span.follow {
            true => source,
            false => source.until(Antichain::from_elem(span.as_of + 1)),
        };
        // Rows are seen where they lie in the part: of a path, only the extension is ever copied.
        let weigh = |path: &str, lines: u64, commit: u64, diff: i64| {
            let lines = i64::try_from(lines).unwrap_or(i64::MAX).saturating_mul(diff);
            Some((extension(path).to_owned(), commit, (diff, lines)))
        };
        let source = source.map(weigh).build(scope);

        source.errors.inspect({
            let (board, directory) = (Arc::clone(board), directory.to_owned());
            move |error| match Problem::of_source(&directory, error) {
                Some(problem) => board.fail(problem),
                None => note(error),
            }
        });
        let weighed = source.stream.as_collection().inspect_batch({
            let board = Arc::clone(board);
            move |_, rows| board.count_rows(rows.len())
        });
        let counts = weighed.consolidate_stream().count_total();
        post(counts, span, Arc::clone(board));
        source.button
    });
    while worker.has_dataflows() && !board.is_stopped() {
        worker.step_or_park(Some(LOOK_EVERY));
    }
    drop(button);
}

/// Brings the table's changes to one worker, which alone hears when they are complete, and to the board.
fn post(counts: VecCollection<'_, u64, (String, (i64, i64)), isize>, span: Span, board: Arc<Board>) {
    counts.inner.sink(Exchange::new(|_| 0), "board", move |(input, frontier)| {
        input.for_each(|_, updates| {
            for ((extension, (files, lines)), commit, diff) in updates.drain(..) {
                let times = diff as i64;
                let count = Count { files: files.saturating_mul(times), lines: lines.saturating_mul(times) };
                board.add(commit, &extension, count);
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
fn note(notice: &SourceError) {
    // Nobody is left to tell if this fails.
    let _ = writeln!(io::stderr(), "note: {notice}");
}

fn broken(reason: &str) -> Problem {
    Problem::new(
        format!("The dataflow cannot go on: {reason}"),
        "This is a bug: please report it with what stands above. Run again to try once more",
    )
}
