//! The one way from tokio to timely: a bounded queue that wakes its operator.
//!
//! Always: the sending side waits, asynchronously, where the queue is full; the receiving side never waits. When the
//! operator is gone, the senders notice; when the last sender is gone, the operator is woken once more.

use std::fmt;

use timely::scheduling::SyncActivator;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{Semaphore, mpsc};

/// A mailbox for `letters_max` letters, at least one, whose arrival wakes the operator that `wake` names.
///
/// What is in it is at most `letters_max` letters, whatever they weigh, and one more of each task that waits in
/// [`Sender::send`]. A bound in bytes is for [`Credit`](crate::bridge::Credit) to keep, before anything is asked for.
pub fn mailbox<M>(letters_max: usize, wake: SyncActivator) -> (Sender<M>, Receiver<M>) {
    // Tokio panics outside these bounds; above, no memory would hold so many.
    let (letters, receiver) = mpsc::channel(letters_max.clamp(1, Semaphore::MAX_PERMITS));
    (Sender { letters: Some(letters), wake }, Receiver { letters: receiver })
}

/// The end of a mailbox for tasks. Each task has one: clones send into the same mailbox.
#[derive(Debug)]
pub struct Sender<M> {
    /// `None` only while it is being dropped.
    letters: Option<mpsc::Sender<M>>,
    wake: SyncActivator,
}

/// The operator is gone, with its dataflow or its worker: nobody wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operator that a task sends to is gone")
    }
}

impl std::error::Error for Closed {}

impl<M> Sender<M> {
    /// Puts a letter into the mailbox and wakes the operator; waits while the mailbox is full. Letters of one sender arrive
    /// in the order in which they were sent.
    ///
    /// [`Closed`] if the operator is gone: the letter is lost then. Cancelled, it has sent nothing.
    pub async fn send(&self, letter: M) -> Result<(), Closed> {
        let letters = self.letters.as_ref().ok_or(Closed)?;
        letters.send(letter).await.map_err(|_| Closed)?;
        // A worker that is gone needs no waking.
        let _ = self.wake.activate();
        Ok(())
    }

    /// Resolves when the operator is gone: what a task selects on beside its work, to end early. Cancelling leaves nothing.
    pub async fn closed(&self) {
        if let Some(letters) = &self.letters {
            letters.closed().await;
        }
    }
}

impl<M> Clone for Sender<M> {
    fn clone(&self) -> Self {
        Self { letters: self.letters.clone(), wake: self.wake.clone() }
    }
}

impl<M> Drop for Sender<M> {
    fn drop(&mut self) {
        // First the queue, then the bell: the operator that is woken finds that the sender is gone.
        self.letters = None;
        let _ = self.wake.activate();
    }
}

/// The end of a mailbox for the operator. Dropping it tells the tasks, and drops the letters that were not taken.
#[derive(Debug)]
pub struct Receiver<M> {
    letters: mpsc::Receiver<M>,
}

/// What a look into the mailbox finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<M> {
    /// A letter.
    Letter(M),
    /// Nothing now. The operator is woken when there is.
    Nothing,
    /// Nothing any more: all senders are gone, and all letters were taken.
    Ended,
}

impl<M> Receiver<M> {
    /// Whether there is no letter now.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Takes the next letter, if there is one. Never waits.
    ///
    /// The operator is woken once or more for any number of letters: it looks until there is nothing, or activates itself
    /// again where it left some.
    pub fn look(&mut self) -> Found<M> {
        match self.letters.try_recv() {
            Ok(letter) => Found::Letter(letter),
            Err(TryRecvError::Empty) => Found::Nothing,
            Err(TryRecvError::Disconnected) => Found::Ended,
        }
    }
}
