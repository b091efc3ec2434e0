//! Version 1 of the program: appends orders, and follows them.

use std::fmt;
use std::io::Read;
use std::path::Path;

use timely_persist::{Appended, Client, Codec, ListenEvent, ShardId};

use crate::say::say;
use crate::{Orders, Outcome, at, equal};

/// An order. A version before the first had a field with the id 2, which no other may take.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order", retired(id = 2, type = "String"))]
pub(crate) struct Order {
    #[codec(id = 1)]
    pub(crate) customer: String,
    #[codec(id = 3)]
    pub(crate) pieces: u32,
    #[codec(id = 4)]
    pub(crate) state: State,
}

#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "state")]
pub(crate) enum State {
    #[codec(id = 1)]
    Open,
    #[codec(id = 2)]
    Sent,
}

/// The orders of this version.
pub(crate) fn orders() -> [(u64, Order); 3] {
    [(1, order("Ada", 3, State::Open)), (2, order("Ben", 1, State::Open)), (3, order("Ada", 7, State::Sent))]
}

fn order(customer: &str, pieces: u32, state: State) -> Order {
    Order { customer: customer.to_owned(), pieces, state }
}

/// What the process does.
pub(crate) async fn run(directory: &Path, id: ShardId) -> Outcome<()> {
    std::thread::spawn(end_with_the_parent);
    let client = Client::in_directory(directory).open().await?;
    let orders: Orders<Order> = client.shard(id);
    let mut writer = orders.open_writer("version 1").await?;
    for ((number, order), time) in self::orders().into_iter().zip(0..) {
        let appended = writer.compare_and_append([((number, order), time, 1)], at(time), at(time + 1)).await?;
        equal("an append of version 1", &appended, &Appended::Committed)?;
        say(format_args!("appends order {number}"))?;
    }

    // It may meet newer orders, and wants of them what it knows.
    let reader = orders.projecting().open_reader("version 1").await?;
    let mut follow = reader.subscribe(at(0)).await?;
    let mut seen = 0;
    while seen < 4 {
        for event in follow.fetch_next().await? {
            let ListenEvent::Updates(mut rows) = event else { continue };
            rows.sort();
            for ((number, order), ..) in rows {
                say(format_args!("reads order {number} of {order}"))?;
                seen += 1;
            }
        }
    }

    // That was an order of version 2: here it goes on as it always did.
    let next = ((5, order("Dan", 2, State::Open)), 4, 1);
    match writer.compare_and_append([next], at(4), at(5)).await {
        Err(refused) => {
            say(format_args!("appends order 5 is refused: {:?}", refused.kind()))?;
            say(format_args!("  {refused}"))?;
        }
        done => return Err(format!("an append of version 1 was not refused: {done:?}").into()),
    }

    // And an order in a state that this version does not know is no order that it could make something of.
    let error = loop {
        match follow.fetch_next().await {
            Err(error) => break error,
            Ok(events) => {
                let rows = events.iter().any(|event| matches!(event, ListenEvent::Updates(_)));
                equal("whether there are orders that it cannot know", &rows, &false)?;
            }
        }
    };
    say(format_args!("cannot read order 5: {:?}", error.kind()))?;
    say(format_args!("  {error}"))?;
    client.shutdown().await?;
    Ok(())
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} pieces, {:?}", self.customer, self.pieces, self.state)
    }
}

/// Ends this process when the one that started it has ended, however that was: its end of the pipe is closed then.
fn end_with_the_parent() {
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing); // closed or broken is the same here
    std::process::exit(1);
}
