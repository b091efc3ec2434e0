//! Changes that are not safe: what the library says of each.

use timely_persist::{Client, Codec, Data, Evolution, ShardId};

use crate::say::say;
use crate::v2::{self, State};
use crate::{Orders, Outcome, all_orders, at, equal, rows};

/// The order of version 2, with a change.
macro_rules! order {
    ($change:ident { $([$($key:tt)*] $field:ident: $type:ty,)* }) => {
        #[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[codec(name = "order", retired(id = 2, type = "String"))]
        struct $change {
            $(#[codec($($key)*)] $field: $type,)*
        }
    };
}

order!(Dropped { [id = 1] buyer: String, [id = 3] pieces: u64, [id = 4] state: State, });
order!(Moved { [id = 3] pieces: u64, [id = 1] buyer: String, [id = 4] state: State, [id = 5, default] note: Option<String>, });
order!(Narrow { [id = 1] buyer: String, [id = 3] pieces: u32, [id = 4] state: State, [id = 5, default] note: Option<String>, });
order!(NoOption { [id = 1] buyer: String, [id = 3] pieces: u64, [id = 4] state: State, [id = 5, default] note: String, });
order!(OtherType { [id = 1] buyer: u64, [id = 3] pieces: u64, [id = 4] state: State, [id = 5, default] note: Option<String>, });
order!(Inserted { [id = 1] buyer: String, [id = 3] pieces: u64, [id = 4] state: Between, [id = 5, default] note: Option<String>, });
order!(OtherDefault {
    [id = 1] buyer: String, [id = 3] pieces: u64, [id = 4] state: State, [id = 5, default = Some("-".to_owned())] note: Option<String>,
});

/// A state between others.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "state")]
enum Between {
    #[codec(id = 1)]
    Open,
    #[codec(id = 4)]
    Paid,
    #[codec(id = 2)]
    Sent,
    #[codec(id = 3)]
    Returned {
        #[codec(id = 1)]
        day: u32,
    },
}

/// A new field by the id of one that there was.
#[derive(Codec, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[codec(name = "order")]
struct UsedAgain {
    #[codec(id = 1)]
    buyer: String,
    #[codec(id = 3)]
    pieces: u64,
    #[codec(id = 4)]
    state: State,
    #[codec(id = 5, default)]
    note: Option<String>,
    #[codec(id = 2, default)]
    weight: u32,
}

/// Asks what would come of each: nothing.
pub(crate) async fn ask(client: &Client, id: ShardId) -> Outcome<()> {
    say("v2  asks what would come of changes that are not safe: nothing, because of")?;
    let asked = Asked { client, id };
    asked.of::<Dropped>("drop a field", "order.note: it was taken away (id 5)").await?;
    asked.of::<Moved>("reorder fields", "order.buyer: it was moved").await?;
    asked.of::<Narrow>("narrow a field", "order.pieces: u64 cannot become u32").await?;
    asked.of::<NoOption>("Option<T> to T", "order.note: Option<String> cannot become String").await?;
    asked.of::<OtherType>("change a type", "order.buyer: String cannot become u64").await?;
    asked.of::<Inserted>("insert a variant", "order.state::Sent: it was variant 2 and is 3 now").await?;
    asked.of::<OtherDefault>("change a default", "order.note: its default was changed").await?;
    asked.of::<UsedAgain>("use an id again", "order.weight: id 2 is retired").await
}

/// Copies the orders into a shard of its own, without the field that cannot be dropped here.
pub(crate) async fn rewrite(client: &Client, orders: &Orders<v2::Order>) -> Outcome<()> {
    let into: Orders<Dropped> = client.shard(ShardId::new());
    let drop_the_note = |number, v2::Order { buyer, pieces, state, .. }| (number, Dropped { buyer, pieces, state });
    orders.rewrite_into(&into, drop_the_note).until(at(5)).await?;
    let reader = into.open_reader("version 2").await?;
    let found = rows(reader.snapshot_and_fetch(at(4)).await?);
    let expected: Vec<_> = all_orders().into_iter().map(|(number, order)| drop_the_note(number, order)).collect();
    equal("the copy", &found, &expected)?;
    say(format_args!(
        "v2  copies all {} orders into a shard of orders without a note, with rewrite_into",
        found.len()
    ))?;
    reader.expire().await?;
    Ok(())
}

struct Asked<'a> {
    client: &'a Client,
    id: ShardId,
}

impl Asked<'_> {
    /// Asks of one, and expects this reason.
    async fn of<V: Data>(&self, change: &str, expected: &str) -> Outcome<()> {
        let orders: Orders<V> = self.client.shard(self.id);
        match orders.check_evolution().await? {
            Evolution::Impossible(said) if said.contains(expected) => {
                // Behind the reasons it says what to do, which is the same for all.
                let reasons = said.rsplit_once("; ").map_or(said.as_str(), |(reasons, _)| reasons);
                say(format_args!("    {change:16}  {reasons}"))?;
                Ok(())
            }
            other => Err(format!("{change}: expected that it is impossible ({expected}), and found {other:?}").into()),
        }
    }
}
