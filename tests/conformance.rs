//! Every log keeps the one contract: the suite of `support/conformance.rs` on each implementation and decorator.
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/conformance.rs"]
mod conformance;
#[path = "support/logs.rs"]
mod logs;
#[cfg(all(feature = "aws", feature = "azure"))]
#[path = "support/servers.rs"]
#[allow(dead_code)] // some are for other tests
mod servers;

use std::sync::Arc;
use std::time::Duration;

use conformance::Log;
use logs::{InTurn, Insistent, Seeded};
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tempfile::TempDir;
use timely_persist::store::{Directory, ObjectLog};
use timely_persist_testing::{
    CountingLog, CountingStore, Fault, FaultRates, Faults, FaultyLog, FaultyStore, HookedLog, Operation, Rule,
};

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

fn directory() -> (Directory, TempDir) {
    let temporary = tempfile::tempdir().unwrap();
    (Directory::open(temporary.path()).unwrap(), temporary)
}

/// As a process of its own would open it.
fn directory_log(directory: &Directory) -> Log {
    Arc::new(ObjectLog::new(Arc::new(Directory::open(directory.root()).unwrap())).watching_directory(directory.root()))
}

fn flaky(store: Arc<dyn ObjectStore>, rates: FaultRates) -> Arc<dyn ObjectStore> {
    let faults = Faults::random(rates, Arc::new(Seeded::new(42)));
    // A truncation that is interrupted in its deletions finds less the next time, and the suite counts.
    faults.add(Rule::every(Operation::Delete, Fault::Delay(Duration::ZERO)));
    Arc::new(FaultyStore::new(store, faults))
}

conformance_suite!(object_log_in_memory, async { (Arc::new(ObjectLog::new(memory())) as Log, ()) });

conformance_suite!(object_log_in_a_directory, async {
    let (directory, temporary) = directory();
    (directory_log(&directory), temporary)
});

conformance_suite!(two_processes_over_a_directory, async {
    let (directory, temporary) = directory();
    let log = InTurn::logs([directory_log(&directory), directory_log(&directory)]);
    (Arc::new(log) as Log, temporary)
});

conformance_suite!(polling_object_log, async { (Arc::new(ObjectLog::new(memory()).polling()) as Log, ()) });

conformance_suite!(counting_log, async {
    let log = ObjectLog::new(Arc::new(CountingStore::new(memory())));
    (Arc::new(CountingLog::new(Arc::new(log))) as Log, ())
});

conformance_suite!(slow_log, async {
    let faults = Faults::scripted();
    for operation in [Operation::LogHead, Operation::LogScan, Operation::LogCompareAndSet, Operation::LogTruncate] {
        faults.add(Rule::every(operation, Fault::Delay(Duration::from_micros(10))));
    }
    (Arc::new(FaultyLog::new(Arc::new(ObjectLog::new(memory())), faults)) as Log, ())
});

conformance_suite!(object_log_over_a_jittery_store, async {
    let rates = FaultRates { delay: 0.5, delay_max: Duration::from_millis(2), ..FaultRates::default() };
    (Arc::new(ObjectLog::new(flaky(memory(), rates))) as Log, ())
});

conformance_suite!(object_log_over_a_failing_store, async {
    let rates = FaultRates { fail_before: 0.03, fail_after: 0.03, ..FaultRates::default() };
    (Arc::new(HookedLog::with_hook(Arc::new(ObjectLog::new(flaky(memory(), rates))), Insistent)) as Log, ())
});

/// On a real server, as two processes would open it.
#[cfg(all(feature = "aws", feature = "azure"))]
async fn bucket(kind: servers::Kind) -> (Log, servers::Server) {
    let server = servers::Server::start(kind).await;
    let log = || Arc::new(ObjectLog::new(server.store()).polling());
    (Arc::new(InTurn::logs([log(), log()])), server)
}

#[cfg(all(feature = "aws", feature = "azure"))]
conformance_suite!(on_one_log object_log_on_s3, bucket(servers::Kind::Moto));
#[cfg(all(feature = "aws", feature = "azure"))]
conformance_suite!(on_one_log object_log_on_azure, bucket(servers::Kind::Azurite));
