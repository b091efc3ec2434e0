//! Bucket servers of the test's own: real processes, each on a free port and in a temporary directory, gone with the value.
//!
//! `scripts/setup.sh` installs them; their versions stand there and here.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::{AzureAccessKey, AzureAuthorizer, AzureCredential, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, ObjectStore};
use tempfile::TempDir;
use timely_persist::{Client, ClientBuilder};

/// The bucket, or container, that is there.
pub const BUCKET: &str = "box";

/// The credentials that servers accept which look at them.
pub const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
pub const ACCOUNT: &str = "tester";
pub const ACCOUNT_KEY: &str = "dGhpcyBpcyBub3QgYSBzZWNyZXQsIG9yIGlzIGl0PyE=";

/// How long a server may take to come up, on a machine with other things to do.
const START_LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// S3, all in memory. Accepts any credentials.
    Moto,
    /// Azure, on disk. Checks credentials.
    Azurite,
    /// S3, on disk. Checks credentials, and lets two creators win one name.
    S3s,
}

/// A server with an empty bucket.
pub struct Server {
    kind: Kind,
    port: AtomicU16,
    process: Mutex<Option<Process>>,
    directory: TempDir,
}

impl Server {
    pub async fn start(kind: Kind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Self { kind, port: AtomicU16::new(0), process: Mutex::default(), directory };
        let server = tokio::task::spawn_blocking(move || {
            server.resume();
            server
        });
        let server = server.await.unwrap();
        match kind {
            Kind::Moto => put(request(format!("{}/{BUCKET}", server.endpoint()))).await,
            Kind::Azurite => {
                let mut request = request(format!("{}/{BUCKET}?restype=container", server.endpoint()));
                let credential = AzureCredential::AccessKey(AzureAccessKey::try_new(ACCOUNT_KEY).unwrap());
                AzureAuthorizer::new(&credential, ACCOUNT).try_authorize(&mut request).unwrap();
                put(request).await;
            }
            Kind::S3s => std::fs::create_dir(server.directory.path().join(BUCKET)).unwrap(),
        }
        server
    }

    /// The port it listens on, the same after each start.
    pub fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    /// Its process, while it runs.
    #[allow(dead_code)] // not every test needs it
    pub fn id(&self) -> Option<u32> {
        self.process.lock().unwrap().as_ref().map(|process| process.0.id())
    }

    pub fn endpoint(&self) -> String {
        self.endpoint_at(self.port())
    }

    /// Where it is for those who reach it through another port.
    pub fn endpoint_at(&self, port: u16) -> String {
        match self.kind {
            Kind::Azurite => format!("http://127.0.0.1:{port}/{ACCOUNT}"),
            Kind::Moto | Kind::S3s => format!("http://127.0.0.1:{port}"),
        }
    }

    /// The URL of the bucket.
    pub fn url(&self) -> String {
        let scheme = if self.kind == Kind::Azurite { "az" } else { "s3" };
        format!("{scheme}://{BUCKET}/some/prefix")
    }

    /// A client of the bucket.
    pub fn client(&self) -> ClientBuilder {
        self.client_of(self.url(), &self.endpoint(), &self.credentials())
    }

    /// A client of `url`, reached through another port.
    pub fn client_at(&self, url: impl Into<String>, port: u16) -> ClientBuilder {
        self.client_of(url, &self.endpoint_at(port), &self.credentials())
    }

    pub fn client_of(&self, url: impl Into<String>, endpoint: &str, credentials: &[(&str, &str)]) -> ClientBuilder {
        let place = self.place(endpoint);
        let options = place.iter().chain(credentials);
        options.fold(Client::at(url), |builder, (name, value)| builder.option(*name, *value))
    }

    /// The bucket itself, without this library.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        let endpoint = self.endpoint();
        let options = self.place(&endpoint).into_iter().chain(self.credentials());
        match self.kind {
            Kind::Azurite => {
                let builder = MicrosoftAzureBuilder::new().with_container_name(BUCKET);
                let with = |builder: MicrosoftAzureBuilder, (name, value): (&str, &str)| {
                    builder.with_config(name.parse().unwrap(), value)
                };
                Arc::new(options.fold(builder, with).build().unwrap())
            }
            Kind::Moto | Kind::S3s => {
                let builder = AmazonS3Builder::new().with_bucket_name(BUCKET);
                let with = |builder: AmazonS3Builder, (name, value): (&str, &str)| {
                    builder.with_config(name.parse().unwrap(), value)
                };
                Arc::new(options.fold(builder, with).build().unwrap())
            }
        }
    }

    fn place<'a>(&self, endpoint: &'a str) -> Vec<(&'a str, &'a str)> {
        match self.kind {
            Kind::Azurite => vec![("azure_endpoint", endpoint), ("allow_http", "true")],
            Kind::Moto | Kind::S3s => {
                vec![("aws_endpoint", endpoint), ("aws_region", "us-east-1"), ("allow_http", "true")]
            }
        }
    }

    pub fn credentials(&self) -> [(&'static str, &'static str); 2] {
        match self.kind {
            Kind::Azurite => [("azure_storage_account_name", ACCOUNT), ("azure_storage_account_key", ACCOUNT_KEY)],
            Kind::Moto | Kind::S3s => [("aws_access_key_id", ACCESS_KEY), ("aws_secret_access_key", SECRET)],
        }
    }

    /// Starts it, and waits until it listens.
    pub fn resume(&self) {
        let (program, arguments, variables) = self.command();
        assert!(
            program.exists() && installed(self.kind).join("installed").exists(),
            "no {:?} in {}; install it with: scripts/setup.sh",
            self.kind,
            installed(self.kind).display()
        );
        let mut command = Command::new(program);
        command.args(arguments).envs(variables).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (found, port) = sync_channel(2);
        let said = Arc::new(Mutex::new(String::new()));
        listen_for_port(child.stdout.take().unwrap(), found.clone(), Arc::clone(&said));
        listen_for_port(child.stderr.take().unwrap(), found, Arc::clone(&said));
        *self.process.lock().unwrap() = Some(Process(child));
        let port = port.recv_timeout(START_LIMIT).unwrap_or_else(|_| {
            panic!("{:?} does not say where it listens, but: {}", self.kind, said.lock().unwrap());
        });
        self.port.store(port, Ordering::Relaxed);
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&self) {
        let Some(mut process) = self.process.lock().unwrap().take() else { return };
        let asked = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", process.0.id())).status().unwrap();
        assert!(asked.success());
        process.0.wait().unwrap();
    }

    fn command(&self) -> (PathBuf, Vec<String>, Vec<(&'static str, String)>) {
        let installed = installed(self.kind);
        let directory = self.directory.path().display().to_string();
        let port = self.port().to_string();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match self.kind {
            Kind::Moto => {
                let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/s3_server.py");
                (installed.join("bin/python"), words(&[script, &port]), vec![])
            }
            Kind::Azurite => {
                let program = installed.join("node_modules/.bin/azurite-blob");
                let arguments = ["--location", &directory, "--blobPort", &port, "--skipApiVersionCheck", "--silent"];
                let account = ("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{ACCOUNT_KEY}"));
                (program, words(&[&arguments[..], &["--disableTelemetry"]].concat()), vec![account])
            }
            Kind::S3s => {
                let arguments = ["--host", "127.0.0.1", "--port", &port, "--access-key", ACCESS_KEY];
                let arguments = words(&[&arguments[..], &["--secret-key", SECRET, &directory]].concat());
                (installed.join("bin/s3s-fs"), arguments, vec![("RUST_LOG", "s3s_fs=info".to_owned())])
            }
        }
    }
}

/// Ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// Where `scripts/setup.sh` puts a server.
fn installed(kind: Kind) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let directory = match kind {
        Kind::Moto => "moto-5.2.5",
        Kind::Azurite => "azurite-3.35.0",
        Kind::S3s => "s3s-fs-0.14.1",
    };
    cache.expect("a home directory").join("timely-persist").join(directory)
}

/// Reads what a server says to its end, so that it never waits for a reader, and tells the first port it names. What it says
/// before that is kept.
fn listen_for_port(output: impl Read + Send + 'static, found: SyncSender<u16>, said: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            let port = line.split_once("http://127.0.0.1:").map(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()));
            if let Some(port) = port.and_then(|mut digits| digits.next()?.parse().ok()) {
                let _ = found.try_send(port); // nobody may wait any more
                break;
            }
            said.lock().unwrap().extend([&line, "\n"]);
        }
        drop((found, said));
        lines.for_each(drop);
    });
}

fn request(url: String) -> HttpRequest {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = "PUT".parse().unwrap();
    *request.uri_mut() = url.parse().unwrap();
    request
}

async fn put(request: HttpRequest) {
    let client = ReqwestConnector::default().connect(&ClientOptions::new().with_allow_http(true)).unwrap();
    let answer = client.execute(request).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}
