//! Futures of a client that its callers poll: from any thread, also one without a runtime, until the client ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use tokio::task::JoinHandle;

use timely_persist_types::error::Error;

use super::{Life, ended};

impl Life {
    /// Polls `future` wherever the caller is, with this client's timers and I/O around it. Dropping it drops the work.
    pub fn within<R, F>(self: &Arc<Self>, future: F) -> Within<F>
    where
        F: Future<Output = Result<R, Error>> + Send,
    {
        Within { future: Box::pin(future), end: self.end_of(), life: Arc::clone(self) }
    }

    /// Carries `future` to its end, whether its caller waits for it, polls it late or drops it: for what others wait
    /// for too, such as a commit, and for what must not stop between two steps.
    ///
    /// It is polled once where the caller is: with a log that answers at once, no other thread is needed. If it has to
    /// wait, the pulse goes on with it, where no data I/O and no dataflow is in its way: renewals queue up behind
    /// commits. `Closed` if the client was shut down: then it may have happened.
    pub fn carry<R, F>(self: &Arc<Self>, future: F) -> Carried<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R, Error>> + Send + 'static,
    {
        Carried { work: Work::New(Box::pin(future)), life: Arc::clone(self) }
    }
}

/// A future that may be polled from anywhere, and says `Closed` once the client has ended.
pub struct Within<F> {
    future: Pin<Box<F>>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    life: Arc<Life>,
}

impl<R, F: Future<Output = Result<R, Error>>> Future for Within<F> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        let life = Arc::clone(&self.life);
        let _alive = match life.for_a_poll() {
            Ok(alive) => alive,
            Err(ended) => return Poll::Ready(Err(ended)),
        };
        let _entered = life.threads.work.enter();
        if let Poll::Ready(answer) = self.future.as_mut().poll(task) {
            return Poll::Ready(answer);
        }
        self.end.as_mut().poll(task).map(|()| Err(ended()))
    }
}

/// A future that, once begun, ends even if nobody waits for it: polled once by its caller, then by the pulse.
pub struct Carried<R> {
    work: Work<R>,
    life: Arc<Life>,
}

type Boxed<R> = Pin<Box<dyn Future<Output = Result<R, Error>> + Send>>;

enum Work<R> {
    New(Boxed<R>),
    HandedOver(JoinHandle<Result<R, Error>>),
    Done,
}

impl<R: Send + 'static> Carried<R> {
    fn begin(&self, mut future: Boxed<R>, task: &mut task::Context<'_>) -> Result<Poll<Result<R, Error>>, Work<R>> {
        let _alive = match self.life.for_a_poll() {
            Ok(alive) => alive,
            Err(ended) => return Ok(Poll::Ready(Err(ended))),
        };
        let pulse = &self.life.threads.pulse;
        let _entered = pulse.enter();
        match future.as_mut().poll(task) {
            Poll::Ready(answer) => Ok(Poll::Ready(answer)),
            // Whoever began it may never poll it again, and others wait for what it holds.
            Poll::Pending => Err(Work::HandedOver(pulse.spawn(future))),
        }
    }
}

impl<R: Send + 'static> Future for Carried<R> {
    type Output = Result<R, Error>;

    fn poll(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Self::Output> {
        loop {
            match std::mem::replace(&mut self.work, Work::Done) {
                Work::New(future) => match self.begin(future, task) {
                    Ok(polled) => return polled,
                    Err(handed_over) => self.work = handed_over,
                },
                Work::HandedOver(mut rest) => {
                    let Poll::Ready(joined) = Pin::new(&mut rest).poll(task) else {
                        self.work = Work::HandedOver(rest);
                        return Poll::Pending;
                    };
                    return Poll::Ready(match joined.map_err(tokio::task::JoinError::try_into_panic) {
                        Ok(answer) => answer,
                        Err(Ok(panic)) => std::panic::resume_unwind(panic),
                        Err(Err(stopped)) => Err(ended().because(stopped)),
                    });
                }
                Work::Done => return Poll::Pending, // polled after it was ready: nothing will ever come
            }
        }
    }
}
