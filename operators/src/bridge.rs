//! What an operator needs that asks something of an asynchronous service, and must not wait for it.
//!
//! A timely operator shares its thread with all others of its worker. If it waits, none of them goes on; if it does not,
//! nothing holds back what it asks for. So the asking is done by tasks on a tokio runtime, and two values connect the two
//! sides. The sources of this crate are built of the same ones:
//!
//! * A [`mailbox`] brings what tasks say to the operator, and wakes it. The task waits where the mailbox is full, the
//!   operator never does.
//! * [`Credit`] bounds what is asked for at one time, in bytes, and keeps for each question what is needed for its answer,
//!   above all the capability that holds the frontier until it comes.
//!
//! The example has an operator that asks a service for each of its records, has at most 1,000 bytes of answers under way,
//! and emits each answer at the time of its question:
//!
//! ```
//! use std::collections::VecDeque;
//! use timely::dataflow::channels::pact::Pipeline;
//! use timely::dataflow::operators::generic::Operator;
//! use timely::dataflow::operators::{Inspect, Probe, ToStream};
//! use timely_persist_operators::bridge::{Credit, Found, mailbox};
//!
//! /// Takes a moment, and may fail.
//! async fn ask(number: u64) -> String {
//!     tokio::time::sleep(std::time::Duration::from_millis(1)).await;
//!     assert_ne!(number, 5, "the service does not like this one");
//!     format!("{number} squared is {}", number * number)
//! }
//!
//! const BYTES_MAX: u64 = 1_000;
//! const ANSWER_BYTES: u64 = 100;
//!
//! let tokio = tokio::runtime::Runtime::new()?;
//! let runtime = tokio.handle().clone();
//! timely::execute(timely::Config::process(2), move |worker| {
//!     let runtime = runtime.clone();
//!     let probe = worker.dataflow::<u64, _, _>(|scope| {
//!         let numbers = (0..20).to_stream(scope).container::<Vec<u64>>();
//!         let answers = numbers.unary::<timely::container::CapacityContainerBuilder<Vec<_>>, _, _, _>(
//!             Pipeline,
//!             "ask",
//!             |_, info| {
//!                 let wake = scope.worker().sync_activator_for(info.address.to_vec());
//!                 let (sender, mut letters) = mailbox(16, wake);
//!                 let mut credit = Credit::new(1, BYTES_MAX);
//!                 let mut waiting = VecDeque::new();
//!                 let mut asked = 0u64;
//!                 move |input, output| {
//!                     input.for_each(|capability, numbers| {
//!                         let capability = capability.retain_stamp(0);
//!                         waiting.extend(numbers.drain(..).map(|number| (number, capability.clone())));
//!                     });
//!                     // What was answered: its credit is free again, and its capability goes once it is emitted.
//!                     while let Found::Letter((question, answer)) = letters.look() {
//!                         if let Some(capability) = credit.take_back(&question) {
//!                             output.session(&capability).give(answer);
//!                         }
//!                     }
//!                     // What there is room for.
//!                     while credit.allows(ANSWER_BYTES)
//!                         && let Some((number, capability)) = waiting.pop_front()
//!                     {
//!                         asked += 1;
//!                         credit.send(asked, ANSWER_BYTES, capability);
//!                         let (question, sender) = (asked, sender.clone());
//!                         runtime.spawn(async move {
//!                             // In a task of its own: so a panic is an answer, too, and its credit comes back.
//!                             let asking = tokio::spawn(ask(number));
//!                             let stop = asking.abort_handle();
//!                             tokio::select! {
//!                                 // The operator is gone, with its dataflow: nobody wants the answer.
//!                                 () = sender.closed() => stop.abort(),
//!                                 answer = asking => {
//!                                     let _ = sender.send((question, answer.map_err(|error| error.to_string()))).await;
//!                                 }
//!                             }
//!                         });
//!                     }
//!                 }
//!             },
//!         );
//!         let count = answers.inspect(|answer| match answer {
//!             Ok(answer) => println!("{answer}"),
//!             Err(error) => println!("no answer: {error}"),
//!         });
//!         count.probe().0
//!     });
//!     while !probe.done() {
//!         worker.step_or_park(None); // the mailbox wakes it
//!     }
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What happens when one side goes:
//!
//! * *The operator, its dataflow or its worker.* The [`Receiver`] is dropped with it. [`Sender::send`] says [`Closed`], also
//!   where it waits, and [`Sender::closed`] resolves; letters that were not taken are dropped. Nothing is waited for.
//! * *A task, by its end, a panic or an abort.* Its [`Sender`] is dropped, which wakes the operator; once all are gone and
//!   all letters taken, [`Receiver::look`] says [`Found::Ended`]. As long as others live, nothing tells the operator that one
//!   task is gone: what it had out stays out, its frontier held, and its credit used. So have the task answer in every case,
//!   as above, or give it a mailbox of its own. That it holds the frontier is right: it never had the answer.
//! * *The runtime.* It drops its tasks, and so their senders. `spawn` on a runtime that is shut down drops the task at once.
//!
//! Limits: a mailbox has at most `letters_max` letters; `bytes_max` of a [`Credit`] bounds what is out, or one piece; what an
//! operator keeps until there is credit (`waiting` above) is its own to bound. Records wait in front of an operator that does
//! not take them, but timely does not hold their producer back: who produces must watch a probe.

pub use crate::common::credit::Credit;
pub use crate::common::mailbox::{Closed, Found, Receiver, Sender, mailbox};
