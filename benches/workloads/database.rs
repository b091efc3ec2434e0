//! The PostgreSQL server that logs lie in, which the benchmark starts and its children are told of.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use timely_persist::Config;
use timely_persist::store::{Consensus, PostgresLog};
use tokio::runtime::Runtime;

use crate::args::{Args, LogPlace};
use crate::place::folder;
use crate::postgres::Server;

/// Stops the server when dropped.
pub struct Started(Arc<Mutex<Option<Server>>>);

impl Drop for Started {
    fn drop(&mut self) {
        stop(&self.0);
    }
}

fn stop(server: &Mutex<Option<Server>>) {
    drop(server.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// Starts a server where the log is to lie in one, and leaves its address in `args`. Its files lie where those of other
/// stores would.
pub fn start(args: &mut Args) -> Option<Started> {
    if args.log() != LogPlace::Postgres {
        return None;
    }
    let server = Server::start_in(folder(args));
    args.database = Some(server.url());
    let server = Arc::new(Mutex::new(Some(server)));
    let interrupted = Arc::clone(&server);
    runtime().spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop(&interrupted); // it is in no process group of ours
            std::process::exit(130);
        }
    });
    Some(Started(server))
}

/// A log in that server.
pub async fn open(args: &Args) -> Arc<dyn Consensus> {
    let url = args.database.clone().unwrap();
    let log = runtime().spawn(async move { PostgresLog::open(&url).await });
    Arc::new(log.await.unwrap().unwrap())
}

/// Where connections are looked after, also while a workload looks after none: threads as a client has them.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let threads = Config::default().threads.work;
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
    })
}
