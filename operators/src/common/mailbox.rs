//! The one way from tokio to timely: a bounded queue that wakes its operator.
//!
//! Always: the sending side waits, asynchronously, where the queue is full; the receiving side never waits. When the
//! operator is gone, the senders notice.

use timely::scheduling::SyncActivator;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// A mailbox for `letters_max` letters, whose arrival activates the operator that `wake` names.
pub(crate) fn mailbox<M>(letters_max: usize, wake: SyncActivator) -> (Sender<M>, Receiver<M>) {
    let (letters, receiver) = mpsc::channel(letters_max.max(1));
    (Sender { letters: Some(letters), wake }, Receiver { letters: receiver })
}

/// The end for tasks.
#[derive(Debug)]
pub(crate) struct Sender<M> {
    /// `None` only while it is being dropped.
    letters: Option<mpsc::Sender<M>>,
    wake: SyncActivator,
}

/// The operator is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl<M> Sender<M> {
    /// Puts a letter into the mailbox and wakes the operator; waits while the mailbox is full. Cancelled, it has sent
    /// nothing.
    pub(crate) async fn send(&self, letter: M) -> Result<(), Closed> {
        let letters = self.letters.as_ref().ok_or(Closed)?;
        letters.send(letter).await.map_err(|_| Closed)?;
        // A worker that is gone needs no waking.
        let _ = self.wake.activate();
        Ok(())
    }

    /// Resolves when the operator is gone.
    pub(crate) async fn closed(&self) {
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

/// The end for the operator. Dropping it tells the tasks.
#[derive(Debug)]
pub(crate) struct Receiver<M> {
    letters: mpsc::Receiver<M>,
}

/// What a look into the mailbox finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<M> {
    /// A letter.
    Letter(M),
    /// Nothing now.
    Nothing,
    /// Nothing any more: all senders are gone.
    Ended,
}

impl<M> Receiver<M> {
    /// Whether there is no letter now.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Takes the next letter, if there is one.
    pub(crate) fn look(&mut self) -> Found<M> {
        match self.letters.try_recv() {
            Ok(letter) => Found::Letter(letter),
            Err(TryRecvError::Empty) => Found::Nothing,
            Err(TryRecvError::Disconnected) => Found::Ended,
        }
    }
}
