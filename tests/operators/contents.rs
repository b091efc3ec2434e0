//! What a source shows is exactly what the shard holds, whoever reads and however it lies in parts.

use crate::support::*;

#[test]
fn contents_are_exact_for_any_workers_and_parts() {
    for parts in [0, 1, 3, 1000] {
        let client = memory(config());
        let shard = filled(&client, parts, 3);
        advance(&shard, at(2000));
        let rows = [1, 2, 4, 8].map(|workers| (workers, Kind::Rows));
        for (workers, kind) in rows.into_iter().chain([(2, Kind::ByKey)]) {
            for as_of in [0, 2, 1500] {
                let seen = run_as(kind, workers, &shard, move |source| source.as_of(at(as_of)), at(2000));
                assert_eq!(seen.rows(), expected(0..parts, 3, as_of), "{workers} workers, {parts} parts, {kind:?}");
                assert_eq!(seen.errors(), vec![]);
            }
        }
        without_readers(&shard);
    }
}
