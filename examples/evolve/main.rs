//! Version 1 and version 2 of one program, at the same time, on one directory.
//!
//! ```text
//! cargo run --example evolve              # in a temporary directory
//! cargo run --example evolve -- DIR       # in this one
//! ```
//!
//! Version 1 is a process of its own (`v1`): it appends orders and follows them. Version 2 (`v2`) has other orders: one field
//! more, one renamed, one wider, and one more state that an order can be in. It makes the shard's types its own while version 1
//! runs. Version 1 can append no more, and is told so; it reads on, without what it does not know. Version 2 reads all rows, of
//! both, and compares them with what they must be. Then it asks of each change that is not safe what would come of it, and
//! copies the shard for one of them (`refused`).
//!
//! The exit code is 1, with a message, if anything is not as it is said here.

#![allow(clippy::disallowed_methods)] // a program: one that was started by another ends with it

mod neighbour;
mod refused;
mod say;
mod v1;
mod v2;

use std::env;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use timely::progress::Antichain;
use timely_persist::{Appended, Client, Data, Evolution, Evolved, SchemaId, Shard, ShardId, WriteHandle};

use neighbour::Neighbour;
use say::say;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Orders by their number.
type Orders<V> = Shard<u64, V, u64, i64>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match arguments[..] {
                [] => both(tempfile::tempdir()?.path()).await,
                ["v1", directory, shard] => v1::run(Path::new(directory), shard.parse()?).await,
                [directory] if !directory.starts_with('-') => both(Path::new(directory)).await,
                _ => Err("usage: evolve [DIR]".into()),
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Version 1 in a process, and version 2 here.
async fn both(directory: &Path) -> Outcome<()> {
    say(format_args!("two versions of one program in {}", directory.display()))?;
    let directory = std::path::absolute(directory)?;
    let client = Client::in_directory(&directory).open().await?;
    let id = ShardId::new();
    let orders: Orders<v2::Order> = client.shard(id);

    let mut v1 = Neighbour::start(&directory, id)?;
    for number in 1..=3 {
        v1.says(&format!("appends order {number}"), "").await?;
    }
    for line in ["order 1 of Ada: 3 pieces, Open", "order 2 of Ben: 1 pieces, Open", "order 3 of Ada: 7 pieces, Sent"] {
        v1.says("reads", line).await?;
    }

    evolve(&orders).await?;
    let mut writer = orders.open_writer("version 2").await?;
    append(&mut writer, 3, v2::known_to_both()).await?;
    v1.says("reads", "order 4 of Cleo: 12 pieces, Open").await?;
    v1.says("appends order 5", "is refused: SchemaMismatch { latest: SchemaId(1), newer: true }").await?;
    v1.says("  shard ", "nothing was written: the shard has schema 1 by now, upgrade this program").await?;
    append(&mut writer, 4, v2::known_to_itself()).await?;
    v1.says("cannot read order 5", "CodecMismatch").await?;
    v1.says("  shard ", "order.state; read it with types that have a place for it").await?;
    v1.ends().await?;

    read_all(&orders).await?;
    refused::ask(&client, id).await?;
    equal("what the shard's types are", &orders.check_evolution().await?, &Evolution::Same)?;
    refused::rewrite(&client, &orders).await?;
    client.shutdown().await?;
    Ok(())
}

/// Makes the shard's types those of version 2.
async fn evolve(orders: &Orders<v2::Order>) -> Outcome<()> {
    // What would come of it: nothing is changed yet.
    let checked = orders.check_evolution().await?;
    say(format_args!("v2  may the shard's orders become its own? {checked:?}"))?;
    equal("the dry run", &checked, &Evolution::Possible { latest: SchemaId(0) })?;
    let evolved = orders.evolve(SchemaId(0)).await?;
    say(format_args!("v2  evolves the shard, in one commit: {evolved:?}"))?;
    equal("the evolution", &evolved, &Evolved::Added(SchemaId(1)))
}

/// Appends an order at a time.
async fn append(writer: &mut WriteHandle<u64, v2::Order, u64, i64>, time: u64, order: (u64, v2::Order)) -> Outcome<()> {
    say(format_args!("v2  appends order {}: {:?}", order.0, order.1))?;
    let appended = writer.compare_and_append([(order, time, 1)], at(time), at(time + 1)).await?;
    equal("the append", &appended, &Appended::Committed)
}

/// Reads the orders of both versions as those of version 2, and compares each.
async fn read_all(orders: &Orders<v2::Order>) -> Outcome<()> {
    let reader = orders.open_reader("version 2").await?;
    let found = rows(reader.snapshot_and_fetch(at(4)).await?);
    equal("what version 2 reads", &found, &all_orders())?;
    say(format_args!("v2  reads all {} orders, and they are what they must be; the first is", found.len()))?;
    say(format_args!("    {:?}", found[0].1))?;
    reader.expire().await?;
    Ok(())
}

/// The orders of both versions.
fn all_orders() -> Vec<(u64, v2::Order)> {
    let before = v1::orders().into_iter().map(|(number, order)| (number, order.into()));
    before.chain([v2::known_to_both(), v2::known_to_itself()]).collect()
}

/// Rows as often as each is there, sorted.
fn rows<V: Data>(rows: Vec<((u64, V), u64, i64)>) -> Vec<(u64, V)> {
    let mut rows: Vec<_> = rows.into_iter().flat_map(|(row, _, diff)| (0..diff).map(move |_| row.clone())).collect();
    rows.sort();
    rows
}

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// An error that says what is not as it should be.
fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Outcome<()> {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, and found {found:?}").into())
}
