//! What must not get out: credentials, by no error, log line or `Debug`; and names, which stay below their prefix.
#![cfg(all(feature = "aws", feature = "azure", feature = "gcp", feature = "postgres"))]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/proxy.rs"]
#[allow(dead_code)] // some are for other tests
mod proxy;
#[path = "support/servers.rs"]
#[allow(dead_code)]
mod servers;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use proxy::{Proxy, Twist};
use servers::{ACCOUNT_KEY, Kind, SECRET, Server};
use timely::progress::Antichain;
use timely_persist::store::ObjectLog;
use timely_persist::{
    Appended, Client, ClientBuilder, Config, CriticalReaderId, Error, LeasedReaderId, ListenEvent, Shard, ShardId,
    WriterId,
};
use timely_persist_io::store::keys;
use timely_persist_testing::{CountingLog, CountingStore, Faults, FaultyLog, FaultyStore};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A password, a token and a private key, each of which would be recognised anywhere.
const PASSWORD: &str = "correct+horse/battery";
const TOKEN: &str = "FwoGZXIvYXdzEBYaDExampleSessionToken==";
const PRIVATE_KEY: &str = "-----BEGIN PRIVATE KEY-----\\nMIIEexampleOfAKeyThatIsNone\\n-----END PRIVATE KEY-----";

/// Everything that was logged in this process, by the library and below it.
static LOGGED: Mutex<String> = Mutex::new(String::new());

/// Writes down every event and span, of every level.
struct Recorder;

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What HTTP libraries say of bytes and headers is theirs, and nobody's at this level.
        ["timely_persist", "object_store", "tokio_postgres"].iter().any(|name| metadata.target().starts_with(name))
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Fields(&mut LOGGED.lock().unwrap()));
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut LOGGED.lock().unwrap()));
    }

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut logged = LOGGED.lock().unwrap();
        write!(logged, "\n{} {}", event.metadata().level(), event.metadata().target()).unwrap();
        event.record(&mut Fields(&mut logged));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

fn record_logs() {
    let _ = tracing::subscriber::set_global_default(Recorder); // another test of this process was first
}

/// The secrets, as they are, as they look in a URL, and as bytes print.
fn spellings() -> Vec<String> {
    let key_bytes = "this is not a secret, or is it?!";
    let mut all = vec![format!("{:?}", key_bytes.as_bytes()).trim_matches(['[', ']']).to_owned(), key_bytes.to_owned()];
    for secret in [SECRET, ACCOUNT_KEY, PASSWORD, TOKEN, "MIIEexampleOfAKeyThatIsNone"] {
        all.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
        all.push(secret.to_owned());
    }
    all
}

#[track_caller]
fn is_discreet(text: &str) {
    for secret in spellings() {
        assert!(!text.contains(&secret), "{secret:?} got out: {text}");
    }
}

#[track_caller]
fn logs_are_discreet() {
    is_discreet(&LOGGED.lock().unwrap());
}

/// The error, with all that it says looked through.
async fn refused(builder: ClientBuilder) -> Error {
    is_discreet(&format!("{builder:?} {builder:#?}"));
    let error = builder.open().await.unwrap_err();
    check(&error);
    error
}

#[track_caller]
fn check(error: &Error) {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        write!(text, "{cause} {cause:?}").unwrap();
        source = cause.source();
    }
    is_discreet(&text);
}

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(1))
}

#[test]
fn the_spellings_would_be_found() {
    for leak in [format!("x{SECRET}"), "sig=wJalrXUtnFEMI%2FK7MDENG%2BbPxRfiCYEXAMPLEKEY".into()] {
        assert!(std::panic::catch_unwind(|| is_discreet(&leak)).is_err());
    }
}

#[tokio::test]
async fn a_client_at_work_prints_no_credentials() {
    record_logs();
    for kind in [Kind::Moto, Kind::Azurite] {
        let server = Server::start(kind).await;
        let builder = server.client().config(Config::default());
        is_discreet(&format!("{builder:?}"));
        let client = builder.open().await.unwrap();
        let shard = shard(&client);
        let mut writer = shard.open_writer("test").await.unwrap();
        let row = (("key".repeat(5_000), 1), 0, 1);
        assert_eq!(writer.compare_and_append([row], at(0), at(1)).await.unwrap(), Appended::Committed);
        let reader = shard.open_reader("test").await.unwrap();
        let parts = reader.snapshot(at(0)).await.unwrap();
        is_discreet(&format!("{client:#?} {:#?} {shard:#?} {writer:#?} {reader:#?} {parts:#?}", client.config()));
        let mut listen = reader.subscribe(at(0)).await.unwrap();
        let events: Vec<ListenEvent<_, _>> = listen.fetch_next().await.unwrap();
        is_discreet(&format!("{:#?} {events:?} {:?}", shard.inspect().await.unwrap(), shard.holds().await.unwrap()));
        client.shutdown().await.unwrap();
    }
    logs_are_discreet();
}

/// The `Debug` of a bucket itself prints its keys: none of what is put around it does.
#[tokio::test]
async fn decorators_of_a_bucket_print_its_name() {
    let server = Server::start(Kind::Azurite).await;
    let store = server.store();
    let raw = format!("{store:?}");
    assert!(std::panic::catch_unwind(|| is_discreet(&raw)).is_err(), "if it does not, neither could these: {raw}");
    let (counting, faulty) =
        (CountingStore::new(Arc::clone(&store)), FaultyStore::new(Arc::clone(&store), Faults::scripted()));
    let log = Arc::new(ObjectLog::new(Arc::clone(&store)));
    let (counting_log, faulty_log) = (CountingLog::new(log.clone()), FaultyLog::new(log.clone(), Faults::scripted()));
    let client = Client::builder(store).consensus(log.clone());
    is_discreet(&format!("{counting:#?} {faulty:#?} {log:#?} {counting_log:#?} {faulty_log:#?} {client:#?}"));
    is_discreet(&format!("{:#?}", client.open().await.unwrap()));
}

/// Servers repeat what they were sent.
#[tokio::test]
async fn what_a_server_repeats_is_not_passed_on() {
    record_logs();
    const ECHO: &str = "<?xml version=\"1.0\"?><Error><Code>InvalidToken</Code><Message>It is malformed.</Message>\
                        <Token-0>FwoGZXIvYXdzEBYaDExampleSessionToken==</Token-0></Error>";
    const PLAIN: &str = "you are FwoGZXIvYXdzEBYaDExampleSessionToken== and wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    let server = Server::start(Kind::Moto).await;
    let calm = server.client().open().await.unwrap();
    let mut writer = shard(&calm).open_writer("test").await.unwrap();
    let row = (("key".repeat(5_000), 1), 0, 1);
    assert_eq!(writer.compare_and_append([row], at(0), at(1)).await.unwrap(), Appended::Committed);
    for (status, text) in [(400, ECHO), (403, PLAIN), (409, ECHO), (500, PLAIN)] {
        let proxy = Proxy::before(server.port()).await;
        let builder = || server.client_at(server.url(), proxy.port()).option("aws_session_token", TOKEN);
        let mut config = Config::default();
        config.log.commit_deadline = std::time::Duration::from_secs(3);
        config.store.deadline = std::time::Duration::from_secs(3);
        let client = builder().config(config).open().await.unwrap();
        let mut writer = shard(&client).open_writer("test").await.unwrap();
        let reader = shard(&client).open_reader("test").await.unwrap();
        let parts = reader.snapshot(at(0)).await.unwrap();
        proxy.twist(usize::MAX, Twist::Answer(status, text), |_| true);
        let (shard, fetcher) = (shard(&client), reader.fetcher());
        let append = writer.compare_and_append([(("k".to_owned(), 1), 1, 1)], at(1), at(2));
        let (_, appended, fetched, inspected) =
            futures::join!(refused(builder()), append, fetcher.fetch(&parts[0]), shard.inspect());
        check(&appended.unwrap_err());
        check(&fetched.unwrap_err());
        check(&inspected.unwrap_err());
    }
    logs_are_discreet();
    assert!(LOGGED.lock().unwrap().contains("timely_persist"), "something was logged");
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_without_credentials() {
    record_logs();
    let encoded: String = url::form_urlencoded::byte_serialize(PASSWORD.as_bytes()).collect();
    for url in [
        format!("s3://key:{encoded}@box/prefix"),
        format!("gs://key:{encoded}@box/prefix"),
        format!("az://key:{encoded}@box/prefix"),
        format!("abfss://box:{encoded}@account.dfs.core.windows.net/prefix"),
        format!("https://key:{encoded}@box/prefix"),
        format!("postgres://key:{encoded}@host/database"),
        format!("memory:?consensus=mysql://key:{encoded}@host/database"),
        format!("memory:?consensus=postgres://key:{PASSWORD}&{PASSWORD}=1@host/database"),
        format!("memory:?consensus=postgres://key:x#{PASSWORD}@host/database"),
        format!("memory:?{PASSWORD}"),
        format!("memory:?consensus=postgres://key:{encoded}@127.0.0.1:1/database"),
        format!("memory:?consensus=postgres://key:{encoded}@%20/database"),
        format!("://{PASSWORD}"),
        format!("s3://[{PASSWORD}"),
    ] {
        refused(Client::at(&url)).await;
    }
    for database in [
        format!("postgres://key:{encoded}@127.0.0.1:1/database"),
        format!("postgres://key:{encoded}@127.0.0.1:1/database?sslmode=require"),
        format!("postgres://key:{encoded}@127.0.0.1:1/database?{PASSWORD}=1"),
        format!("host=127.0.0.1 port={PASSWORD}"),
        format!("password='{PASSWORD}"),
    ] {
        refused(Client::at("memory:").database(database)).await;
    }
    let account = format!("{{\"private_key\": {PRIVATE_KEY:?}, \"private_key_id\": 7, \"client_email\": \"e\"}}");
    for (url, name, value) in [
        ("az://box/prefix", "azure_storage_account_key", PASSWORD),
        ("az://box/prefix", "azure_storage_sas_key", PASSWORD),
        ("az://box/prefix", "azure_storage_nonsense_key", PASSWORD),
        ("gs://box/prefix", "google_service_account_key", PASSWORD),
        ("gs://box/prefix", "google_service_account_key", &account),
        ("gs://box/prefix", "google_service_account_key", &format!("{PASSWORD:?}")),
        ("s3://box/prefix", "proxy_url", &format!("nonsense://key:{encoded}@[")),
        ("s3://box/prefix", "aws_secret_nonsense", PASSWORD),
    ] {
        let builder = Client::at(url).option("azure_storage_account_name", "account");
        let builder = if url.starts_with("az") { builder } else { Client::at(url) };
        refused(builder.option(name, value)).await;
    }
    logs_are_discreet();
}

#[tokio::test]
async fn a_bucket_of_google_prints_no_credentials() {
    record_logs();
    let server = Server::start(Kind::Moto).await;
    let proxy = Proxy::before(server.port()).await;
    proxy.twist(usize::MAX, Twist::Answer(403, "you are not allowed"), |_| true);
    let account = format!(
        "{{\"gcs_base_url\": \"http://127.0.0.1:{}\", \"disable_oauth\": true, \"client_email\": \"e\", \
         \"private_key\": {:?}, \"private_key_id\": \"i\"}}",
        proxy.port(),
        "MIIEexampleOfAKeyThatIsNone"
    );
    let builder = Client::at("gs://box/prefix").option("google_service_account_key", account);
    let error = refused(builder.option("allow_http", "true")).await;
    assert!(error.to_string().contains("credentials"), "{error:?}");
    logs_are_discreet();
}

async fn names(store: &dyn ObjectStore) -> Vec<String> {
    store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn no_object_is_outside_the_prefix() {
    let server = Server::start(Kind::Moto).await;
    for (prefix, folder) in [
        ("/plain/prefix/", "plain/prefix/"),
        ("/dots/../../up", "up/"),
        ("/%2e%2e/%2E%2E/encoded", "encoded/"),
        ("/white%20space/%25/%C3%BC", "white space/%/\u{fc}/"),
    ] {
        let before = names(&*server.store()).await;
        let client = server.client_at(format!("s3://box{prefix}"), server.port()).open().await.unwrap();
        let mut writer = shard(&client).open_writer("test").await.unwrap();
        let row = (("key".repeat(5_000), 1), 0, 1);
        assert_eq!(writer.compare_and_append([row], at(0), at(1)).await.unwrap(), Appended::Committed);
        let made: Vec<String> =
            names(&*server.store()).await.into_iter().filter(|name| !before.contains(name)).collect();
        let shards = [ShardId::from_u128(1)];
        let blobs = shards.map(|shard| format!("{folder}{}", keys::blob_folder(shard)));
        assert!(made.len() >= 3 && made.iter().all(|name| name.starts_with(folder)), "{made:?}");
        assert!(made.iter().any(|name| name.starts_with(&blobs[0])), "{made:?}");
    }
    for prefix in ["/a%2F..%2F..%2Fup", "/a//b", "/%00", "/a%2F%2Fb", "/..%2Fup", "/%ff"] {
        let error = Client::open(&format!("s3://box{prefix}")).await.unwrap_err();
        assert!(error.to_string().contains("prefix"), "{prefix}: {error:?}");
    }
}

#[test]
fn names_of_blobs_stay_in_their_folder() {
    let shard = ShardId::from_u128(1);
    let folder = keys::blob_folder(shard);
    for name in ["../../other", "..", ".", "/", "a/../../b", "\0", "a//b", "%2e%2e/x", "\\..\\x"] {
        let path = keys::blob(shard, name);
        assert!(path.prefix_matches(&folder), "{name:?} is {path}");
        let inside = path.parts().count() - folder.parts().count();
        assert!(inside <= 1 && path.parts().all(|part| part.as_ref() != ".."), "{name:?} is {path}");
        assert_eq!(Path::parse(path.as_ref()).unwrap(), path, "{name:?}");
    }
}

#[test]
fn ids_from_outside_are_ids_or_errors() {
    let uuid = "00000000-0000-0000-0000-000000000001";
    let hostile = |letter: &str| {
        [
            String::new(),
            letter.to_owned(),
            uuid.to_owned(),
            format!("x{uuid}"),
            format!("{letter}{uuid}/../x"),
            format!("../{letter}{uuid}"),
            format!("{letter}../../{uuid}"),
            format!("{letter}{uuid}\0"),
            format!(" {letter}{uuid}"),
            format!("{letter}{}", uuid.replace('0', "\u{ff10}")),
            format!("{letter}{}", uuid.replace('-', "")),
            format!("{letter}{}", "9".repeat(10_000)),
        ]
    };
    macro_rules! refuses {
        ($id:ty, $letter:literal) => {
            for text in hostile($letter) {
                assert!(text.parse::<$id>().is_err(), "{text:?}");
                assert!(serde_json::from_str::<$id>(&serde_json::to_string(&text).unwrap()).is_err(), "{text:?}");
            }
            let good: $id = format!("{}{uuid}", $letter).parse().unwrap();
            assert_eq!(good.to_string(), format!("{}{uuid}", $letter));
        };
    }
    refuses!(ShardId, "s");
    refuses!(LeasedReaderId, "r");
    refuses!(CriticalReaderId, "c");
    refuses!(WriterId, "w");
}
