//! The mailbox, as the author of another operator uses it.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely_persist_operators::bridge::{Closed, Found, mailbox};
use tokio::time::Instant;

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_full_mailbox_holds_its_senders_back_and_an_emptied_one_lets_them_go() {
    timely::execute_directly(|worker| {
        for (asked, holds) in [(0, 1), (1, 1), (3, 3)] {
            let (sender, mut receiver) = mailbox(asked, worker.sync_activator_for(vec![0]));
            assert!(receiver.is_empty());
            for letter in 0..holds {
                assert_eq!(poll(pin!(sender.send(letter))), Poll::Ready(Ok(())));
            }
            let mut more = pin!(sender.send(holds));
            assert_eq!(poll(more.as_mut()), Poll::Pending, "a mailbox of {asked} takes more than {holds}");
            assert_eq!(receiver.look(), Found::Letter(0));
            assert_eq!(poll(more), Poll::Ready(Ok(())));
            for letter in 1..=holds {
                assert_eq!(receiver.look(), Found::Letter(letter));
            }
            assert_eq!(receiver.look(), Found::Nothing);
        }
        // As many as anybody can name, and no panic.
        let (sender, _receiver) = mailbox(usize::MAX, worker.sync_activator_for(vec![0]));
        assert_eq!(poll(pin!(sender.send(()))), Poll::Ready(Ok(())));
    });
}

#[test]
fn senders_hear_that_the_operator_is_gone() {
    timely::execute_directly(|worker| {
        let (sender, receiver) = mailbox(1, worker.sync_activator_for(vec![0]));
        assert_eq!(poll(pin!(sender.send(1))), Poll::Ready(Ok(())));
        let (mut waiting, mut closed) = (pin!(sender.send(2)), pin!(sender.closed()));
        assert_eq!((poll(waiting.as_mut()), poll(closed.as_mut())), (Poll::Pending, Poll::Pending));
        drop(receiver);
        assert_eq!((poll(waiting), poll(closed)), (Poll::Ready(Err(Closed)), Poll::Ready(())));
        assert_eq!(poll(pin!(sender.clone().send(3))), Poll::Ready(Err(Closed)));
    });
}

/// An operator that parks until its tasks are gone, whatever became of them: none of them says goodbye.
#[test]
fn the_end_of_the_last_task_wakes_the_operator() {
    const LONG: Duration = Duration::from_secs(60);
    let started = Instant::now();
    let heard = timely::execute_directly(move |worker| {
        let (tell, told) = std::sync::mpsc::sync_channel(100);
        let (probe, sender) = worker.dataflow::<u64, _, _>(|scope| {
            let mut builder = OperatorBuilder::new("listens".to_owned(), scope);
            let (sender, mut letters) =
                mailbox(1, scope.worker().sync_activator_for(builder.operator_info().address.to_vec()));
            let (_output, stream) = builder.new_output::<Vec<()>>();
            builder.build(move |capabilities| {
                let mut capabilities = Some(capabilities);
                move |_frontiers| loop {
                    match letters.look() {
                        Found::Letter(letter) => tell.send(letter).unwrap(),
                        Found::Nothing => break,
                        Found::Ended => {
                            capabilities = None;
                            break;
                        }
                    }
                    let _ = &capabilities;
                }
            });
            (stream.probe().0, sender)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let another = sender.clone();
        runtime.spawn(async move {
            for letter in 0..10 {
                another.send(letter).await.unwrap();
            }
            panic!("a task that goes in the middle of its work");
        });
        runtime.spawn(async move {
            tokio::task::yield_now().await;
            drop(sender);
        });
        while !probe.done() {
            worker.step_or_park(Some(LONG));
            assert!(started.elapsed() < LONG, "it was not woken");
        }
        told.try_iter().collect::<Vec<_>>()
    });
    assert_eq!(heard, (0..10).collect::<Vec<_>>());
}
