//! What the attacked store stands on: a directory, or servers of the run's own that fail now and then.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::runtime::Runtime;

use crate::attack::Pace;
use crate::place::{DATABASE, URL};
use crate::random::Random;
use crate::servers::{BUCKET, Kind};
use crate::{postgres, proxy, servers};

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Store {
    /// A local directory.
    Directory,
    /// A local directory for objects, and PostgreSQL for logs.
    Postgres,
    /// A bucket of a server that speaks S3.
    S3,
    /// One after the other.
    All,
}

/// The servers, behind what can be done to them.
pub enum Stand {
    Directory,
    Postgres(Arc<postgres::Server>),
    Bucket { server: servers::Server, proxy: proxy::Proxy },
}

impl Stand {
    /// Starts what is needed.
    pub fn start(store: Store, runtime: &Runtime) -> Self {
        match store {
            Store::Directory | Store::All => Self::Directory,
            Store::Postgres => Self::Postgres(Arc::new(postgres::Server::start())),
            Store::S3 => runtime.block_on(async {
                let server = servers::Server::start(Kind::Moto).await;
                let proxy = proxy::Proxy::before(server.port()).await;
                Self::Bucket { server, proxy }
            }),
        }
    }

    /// Where the store is, in variables of the environment.
    pub fn place(&self, directory: &Path) -> Vec<(String, String)> {
        let local = (URL, format!("file://{}", directory.join("store").display()));
        let variables = match self {
            Self::Directory => vec![local],
            Self::Postgres(server) => vec![local, (DATABASE, server.url())],
            Self::Bucket { server, proxy } => vec![
                (URL, server.url()),
                ("AWS_ENDPOINT", server.endpoint_at(proxy.port())),
                ("AWS_REGION", "us-east-1".to_owned()),
                ("AWS_ALLOW_HTTP", "true".to_owned()),
                ("AWS_ACCESS_KEY_ID", servers::ACCESS_KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", servers::SECRET.to_owned()),
            ],
        };
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// What the guard has to clean up.
    pub fn to_guard(&self) -> Vec<String> {
        match self {
            Self::Directory => Vec::new(),
            Self::Postgres(server) => {
                let directory = server.directory().display();
                vec![format!("postgres {directory}"), format!("remove {directory}")]
            }
            Self::Bucket { server, .. } => server.id().map(|id| format!("process {id}")).into_iter().collect(),
        }
    }

    /// Does something to the servers, which they recover from by themselves. What, if anything.
    pub fn trouble(&self, random: &mut Random) -> Option<&'static str> {
        let pause = Duration::from_millis(match random.percent(20) {
            true => random.below(4_000),
            false => random.below(500),
        } as u64);
        match self {
            Self::Directory => None,
            Self::Postgres(server) if Arc::strong_count(server) > 1 => None, // it is down still
            Self::Postgres(server) => {
                let server = Arc::clone(server);
                // On a thread: the others are attacked meanwhile.
                std::thread::spawn(move || {
                    server.kill();
                    std::thread::sleep(pause);
                    server.resume();
                });
                Some("servers killed")
            }
            Self::Bucket { proxy, .. } => {
                use proxy::Twist;
                proxy.calm();
                proxy.come_up();
                proxy.take_seen();
                let twists = [
                    Twist::Cut,
                    Twist::Hang,
                    Twist::LoseAnswer,
                    Twist::HangAnswer,
                    Twist::Answer(503, "slow down"),
                    Twist::ReplaceAnswer(500),
                ];
                match random.below(8) {
                    0 => proxy.go_down(),
                    // Of any requests, or of those that make log entries.
                    1..3 => proxy.twist(1 + random.below(4), *random.pick(&twists), |request| request.creates),
                    3..5 => proxy.twist(1 + random.below(8), *random.pick(&twists), |_| true),
                    _ => return None,
                }
                Some("servers cut")
            }
        }
    }

    /// How often there is trouble: about once in so long.
    pub fn trouble_interval(&self) -> Duration {
        match self {
            Self::Directory => Duration::from_secs(3_600),
            Self::Postgres(_) => Duration::from_secs(12),
            Self::Bucket { .. } => Duration::from_millis(500),
        }
    }

    /// What it can take: a process that comes again must have time to do something.
    pub fn pace(&self, clock_days: u32) -> Pace {
        let (processes, hit_pause_ms_max) = match self {
            Self::Directory | Self::Postgres(_) => ([4, 3, 2], 250),
            Self::Bucket { .. } => ([3, 2, 1], 500),
        };
        Pace { processes, hit_pause_max: Duration::from_millis(hit_pause_ms_max), clock_days }
    }

    /// No more trouble: waits until the servers answer.
    pub fn calm(&self) {
        match self {
            Self::Directory => {}
            // One that a thread is about to start again is not started twice.
            Self::Postgres(server) => {
                while Arc::strong_count(server) > 1 {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Self::Bucket { proxy, .. } => {
                proxy.calm();
                proxy.come_up();
            }
        }
    }

    /// Copies what the servers have to the directory of the run, for whoever looks for what went wrong.
    pub fn keep(&self, directory: &Path, runtime: &Runtime) {
        match self {
            Self::Directory => {}
            Self::Postgres(server) => {
                let dump = server.directory().join("logs.dump");
                server.run("pg_dump", |command| {
                    command.args(["-Fc", "-n", "timely_persist", "-f"]).arg(&dump).arg(server.url())
                });
                let _ = std::fs::copy(&dump, directory.join("logs.dump")); // best effort: the run has failed anyway
            }
            Self::Bucket { server, .. } => {
                let _ = runtime.block_on(copy_bucket(server, &directory.join(BUCKET)));
            }
        }
    }
}

async fn copy_bucket(server: &servers::Server, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    use object_store::ObjectStoreExt;
    let store = server.store();
    let mut objects = store.list(None);
    while let Some(object) = objects.try_next().await? {
        let path = folder.join(object.location.as_ref());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, store.get(&object.location).await?.bytes().await?)?;
    }
    Ok(())
}
