//! A process that maintains all shards, and lets go of their history but for the newest.

use std::time::Duration;

use timely::progress::Antichain;
use timely_persist::{CriticalReaderId, Error};

use crate::place::Stage;
use crate::rows::Rows;
use crate::say;

/// Times that stay readable behind the upper, for readers that begin somewhere.
const HISTORY: u64 = 40;

/// The critical reader that holds them: one of each shard, of all maintainers.
const HISTORIAN: u128 = 1;

/// Maintains until the end.
pub async fn maintain(stage: Stage) {
    let mut maintainers = Vec::new();
    let mut number = 0;
    while !stage.is_over() {
        let shard = stage.shard(number % stage.part.shards);
        if number < stage.part.shards {
            match shard.maintain().await {
                Ok(maintainer) => maintainers.push(maintainer),
                Err(error) => {
                    say::judge(&error, "beginning to maintain");
                    stage.rest(Duration::from_millis(100)).await;
                    continue;
                }
            }
        }
        if let Err(error) = let_go(&shard).await {
            say::judge(&error, "letting go of history");
        }
        number += 1;
        stage.rest(Duration::from_millis(300)).await;
    }
}

async fn let_go(shard: &Rows) -> Result<(), Error> {
    let upper = shard.inspect().await?.upper;
    let Some(upper) = upper.as_option() else { return Ok(()) };
    let mut historian = shard.open_critical_since(CriticalReaderId::from_u128(HISTORIAN), 0).await?;
    let since = Antichain::from_elem(upper.saturating_sub(HISTORY));
    let _ = historian.compare_and_downgrade_since(0, (0, &since)).await?; // all use one token
    Ok(())
}
