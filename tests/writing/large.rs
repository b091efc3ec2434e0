//! Appends large enough that the memory of one serves the next.

use timely_persist::Appended;

use crate::stage::{Process, Row, Stage, at, quiet, row};

/// As many as are collected in memory of another append, and some.
const ROWS: u64 = 5_000;

/// Rows in no order, with duplicates, of one length in each append and another in the next.
fn rows(time: u64, count: u64) -> Vec<Row> {
    let key = |i: u64| format!("{:0width$}", i * 7_919 % count, width = 4 + time as usize % 5 * 3);
    (0..count).chain(0..10).map(|i| row(&key(i), time, time, 1)).collect()
}

fn consolidated(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable();
    rows.dedup_by(|later, first| {
        let same = first.0 == later.0 && first.1 == later.1;
        first.2 += if same { later.2 } else { 0 };
        same
    });
    rows
}

async fn check_at(process: &Process, time: u64, expected: Vec<Row>) {
    let found = process.contents(time).await.into_iter().filter(|((_, value), ..)| *value == time);
    assert_eq!(found.collect::<Vec<_>>(), consolidated(expected), "rows of {time}");
}

#[tokio::test(start_paused = true)]
async fn rows_collected_in_the_memory_of_others_are_their_own() {
    // As one run; as several; as runs smaller than a part that may stay inline; and without memory kept.
    for (run_bytes_max, inline_part_bytes_max, spare_rows_bytes_max) in [
        (48 << 20, 0, 32 << 20),
        (50_000, 0, 32 << 20),
        (20_000, 8 << 10, 32 << 20),
        (4 << 10, 8 << 10, 32 << 20),
        (48 << 20, 0, 0),
    ] {
        let stage = Stage::new();
        let mut config = quiet();
        (config.write.run_bytes_max, config.write.part_bytes_max) = (run_bytes_max, 40_000);
        (config.write.inline_part_bytes_max, config.write.spare_rows_bytes_max) =
            (inline_part_bytes_max, spare_rows_bytes_max);
        let process = stage.process(config).await;
        let mut writer = process.writer().await;
        for (time, count) in [ROWS, ROWS + 1_000, 10, ROWS, 2 * ROWS].into_iter().enumerate() {
            let time = time as u64;
            let appended = writer.compare_and_append(rows(time, count), at(time), at(time + 1)).await.unwrap();
            assert_eq!(appended, Appended::Committed);
            check_at(&process, time, rows(time, count)).await;
        }
        let mut builder = writer.batch_builder(at(5));
        for ((key, value), time, diff) in &rows(5, ROWS) {
            builder.add(key, value, time, diff).await.unwrap();
        }
        let mut batch = builder.finish(at(6)).await.unwrap();
        let appended = writer.compare_and_append_batch(&mut [&mut batch], at(5), at(6)).await.unwrap();
        assert_eq!(appended, Appended::Committed);
        check_at(&process, 5, rows(5, ROWS)).await;
    }
}
