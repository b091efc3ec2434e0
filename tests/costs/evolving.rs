//! What a change of types costs: one commit, however much the shard has.

use super::*;
use timely_persist::{Evolution, Evolved, SchemaId};

#[tokio::test(start_paused = true)]
async fn evolving_a_shard_costs_one_commit() {
    let mut costs = Vec::new();
    for commits in AGES {
        let store = Arc::new(InMemory::new());
        aged(&store, &Age { commits, tail: 5, batches: 30.min(commits), parts_each: 2 }).await;
        let process = Process::new(&store, writing()).await;
        let mut writer = process.shard.open_writer("old").await.unwrap();
        let first = upper(&mut writer).await;
        let optional: Shard<String, Option<u64>, u64, i64> = process.client.shard(process.shard.id());
        let latest = SchemaId(0);
        let (checked, checking) = process.cost(optional.check_evolution()).await;
        assert_eq!((checked.unwrap(), checking.commits), (Evolution::Possible { latest }, 0));
        let (evolved, evolving) = process.cost(optional.evolve(latest)).await;
        assert_eq!(evolved.unwrap(), Evolved::Added(SchemaId(1)));
        assert_eq!((evolving.commits, evolving.requests.creates, evolving.requests.gets), (1, 1, 0), "{evolving:?}");
        optional.evolve(latest).await.unwrap(); // who has lapsed meanwhile is removed along with it
        let (again, nothing) = process.cost(optional.evolve(latest)).await;
        assert_eq!((again.unwrap(), nothing.commits), (Evolved::Unchanged, 0), "{nothing:?}");
        // And then an append costs what it did.
        let mut writer = optional.open_writer("new").await.unwrap();
        let mut appending = Vec::new();
        for time in first..first + 3 {
            let rows = vec![(("row".to_owned(), Some(time)), time, 1)];
            let (appended, cost) = process.cost(writer.compare_and_append(rows, at(time), at(time + 1))).await;
            assert_eq!(appended.unwrap(), Appended::Committed);
            appending.push(cost);
        }
        assert_eq!(
            (appending[2].commits, appending[2].requests.creates, appending[2].requests.gets),
            (1, 1, 0),
            "{appending:?}"
        );
        // A reader of the new types needs nothing of the old parts before it fetches them.
        let (_, opening) = process.cost(optional.open_reader("new")).await;
        assert_eq!((opening.commits, opening.requests.gets), (1, 0), "{opening:?}");
        costs.push([checking, evolving, nothing, appending[2], opening]);
    }
    for (index, what) in ["checking", "evolving", "nothing", "an append", "opening a reader"].iter().enumerate() {
        costs.iter().for_each(|cost| cost[index].assert_same(costs[0][index], what));
    }
}
