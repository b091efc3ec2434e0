//! Texts of the caller that go into the log are bounded.

use timely_persist::ErrorKind;
use timely_persist_types::config::PURPOSE_BYTES_MAX;

use crate::stage::{Stage, at, quiet};

#[tokio::test(start_paused = true)]
async fn a_purpose_that_is_too_long_is_refused_before_anything_is_written() {
    let stage = Stage::new();
    let process = stage.process(quiet()).await;
    let (longest, longer) = ("é".repeat(PURPOSE_BYTES_MAX / 2), "x".repeat(PURPOSE_BYTES_MAX + 1));
    let huge = "x".repeat(50 << 20);
    let reader = process.shard.open_reader(&longest).await.unwrap();
    let commits = process.log.counts().compare_and_sets;
    for purpose in [&longer, &huge] {
        let refused = [
            process.shard.open_writer(purpose).await.map(drop),
            process.shard.open_reader(purpose).await.map(drop),
            process.shard.open_reader_at(purpose, at(0)).await.map(drop),
            reader.fork(purpose).await.map(drop),
        ];
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{}", error.kind() == ErrorKind::Invalid);
            let said = error.to_string();
            assert!(said.contains(&purpose.len().to_string()) && said.contains("PURPOSE_BYTES_MAX"), "{said}");
            assert!(said.len() < 200, "it repeats the purpose");
        }
    }
    assert_eq!(process.log.counts().compare_and_sets, commits);
    assert_eq!(process.shard.holds().await.unwrap().len(), 1);
    process.shard.open_writer(&longest).await.unwrap();
    assert_eq!(reader.fork(&longest).await.unwrap().purpose(), longest);
}
