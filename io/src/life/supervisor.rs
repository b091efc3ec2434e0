//! What watches over the tasks that live as long as a client, a shard or a reader.
//!
//! Always: such a task ends because it is done or because its owner is, never because it panicked. What panicked is said
//! (an `error` event, and the owner hears of it), and begun again after a pause that grows while it goes on panicking.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use timely_persist_types::ids::ProcessId;

/// What a task is called, and how long it rests after it panicked.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// What it does, for people.
    pub name: &'static str,
    /// The first pause; doubled each time.
    pub pause_min: Duration,
    /// The longest pause. A task that ran for longer than this begins with the first one again.
    pub pause_max: Duration,
}

/// A task that is begun again when it panics. Dropping it stops it.
#[derive(Debug)]
pub struct Supervised {
    task: AbortHandle,
    home: ProcessId,
}

impl Supervised {
    /// Starts what `begin` begins, and begins it again when it panics; `hear` is told of each panic.
    pub fn start<F>(
        runtime: &Handle,
        post: Post,
        begin: impl FnMut() -> F + Send + 'static,
        hear: impl FnMut(&str) + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = runtime.spawn(supervise(post, begin, hear)).abort_handle();
        Self { task, home: ProcessId::current() }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // In a process that was forked there is no such task, and a thread that is not there may hold its runtime's locks.
        if self.home.is_current() {
            self.task.abort();
        }
    }
}

/// Carries out what `begin` begins until it ends by itself. If it panics, `hear` is told the panic's text, and after a
/// pause it is begun again. Cancelling ends it.
pub(super) async fn supervise<F: Future<Output = ()>>(
    post: Post,
    mut begin: impl FnMut() -> F,
    mut hear: impl FnMut(&str),
) {
    let mut pause = post.pause_min;
    loop {
        let begun = Instant::now();
        // Beginning is part of it. What it shares with others is locked without regard to panics.
        let work = AssertUnwindSafe(async { begin().await }).catch_unwind();
        let Err(panic) = work.await else {
            return;
        };
        let panic = panic_text(&*panic);
        tracing::error!(task = post.name, panic, "a task of the library panicked and is begun again: please report it");
        hear(panic);
        if begun.elapsed() > post.pause_max {
            pause = post.pause_min;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(post.pause_max);
    }
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: Post =
        Post { name: "test", pause_min: Duration::from_millis(20), pause_max: Duration::from_millis(100) };

    #[tokio::test(start_paused = true)]
    async fn what_panicked_is_begun_again_after_pauses_that_grow() {
        let start = Instant::now();
        let (mut begun, mut heard) = (Vec::new(), Vec::new());
        let work = || {
            begun.push(start.elapsed().as_millis());
            let number = begun.len();
            async move {
                match number {
                    1 => panic!("one"),
                    2 => panic!("{number}"),
                    3 | 5 => std::panic::panic_any(number),
                    // It worked for a while: the pauses begin anew.
                    4 => {
                        tokio::time::sleep(Duration::from_millis(101)).await;
                        panic!("four")
                    }
                    _ => {}
                }
            }
        };
        supervise(POST, work, |panic| heard.push(panic.to_owned())).await;
        assert_eq!(begun, [0, 20, 60, 140, 261, 301]);
        assert_eq!(heard, ["one", "2", "it did not say why", "four", "it did not say why"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_panics_at_its_beginning_is_begun_again() {
        let mut begun = 0;
        let work = || {
            begun += 1;
            assert!(begun > 1, "too early");
            async {}
        };
        supervise(POST, work, |_| ()).await;
        assert_eq!(begun, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_drops_it_stops_it() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let work = move || {
            let sender = sender.clone();
            async move {
                let _ = sender.send(()).await;
                std::future::pending::<()>().await;
            }
        };
        let task = Supervised::start(&Handle::current(), POST, work, |_| ());
        assert_eq!(receiver.recv().await, Some(()));
        drop(task);
        assert_eq!(receiver.recv().await, None);
    }
}
