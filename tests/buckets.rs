//! Clients of buckets over HTTP, on real servers: what works, which server is refused, and what each mistake is called.
#![cfg(all(feature = "aws", feature = "azure"))]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/proxy.rs"]
#[allow(dead_code)] // some are for other tests
mod proxy;
#[path = "support/servers.rs"]
#[allow(dead_code)] // some are for other tests
mod servers;

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proxy::{Proxy, Twist};
use servers::{ACCESS_KEY, ACCOUNT, ACCOUNT_KEY, Kind, SECRET, Server};
use timely::progress::Antichain;
use timely_persist::store::qualify;
use timely_persist::{Appended, Client, ClientBuilder, Config, Error, ErrorKind, ListenEvent, Shard, ShardId};
use timely_persist_io::store::keys;
use timely_persist_io::store::probe::{ROUNDS, Verdict, probe};
use timely_persist_testing::CountingStore;

type Row = ((String, u64), u64, i64);

fn at(time: u64) -> Antichain<u64> {
    Antichain::from_elem(time)
}

/// One row in the log entry, one too large for it.
fn rows(time: u64) -> Vec<Row> {
    vec![((format!("small {time}"), time), time, 1), ((format!("{time} large").repeat(3_000), time), time, 1)]
}

fn shard(client: &Client) -> Shard<String, u64, u64, i64> {
    client.shard(ShardId::from_u128(1))
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

async fn write_listen_and_restart(kind: Kind) {
    let server = Server::start(kind).await;
    let (one, other) = (server.client().open().await.unwrap(), server.client().open().await.unwrap());
    let mut writer = shard(&one).open_writer("test").await.unwrap();
    assert_eq!(writer.compare_and_append(rows(0), at(0), at(1)).await.unwrap(), Appended::Committed);
    let mut listen = shard(&other).open_reader("test").await.unwrap().listen(at(0)).await.unwrap();
    let mut heard = Vec::new();
    for time in 1..4 {
        assert_eq!(writer.compare_and_append(rows(time), at(time), at(time + 1)).await.unwrap(), Appended::Committed);
    }
    while *listen.frontier() != at(4) {
        for event in listen.fetch_next().await.unwrap() {
            if let ListenEvent::Updates(updates) = event {
                heard.extend(updates);
            }
        }
    }
    assert_eq!(sorted(heard), sorted((1..4).flat_map(rows).collect()));
    one.shutdown().await.unwrap();
    other.shutdown().await.unwrap();

    let again = server.client().open().await.unwrap();
    let reader = shard(&again).open_reader("test").await.unwrap();
    let found = sorted(reader.snapshot_and_fetch(at(3)).await.unwrap());
    let advanced = (0..4).flat_map(rows).map(|(row, _, diff)| (row, 3, diff)).collect();
    assert_eq!(found, sorted(advanced));
}

#[tokio::test]
async fn s3_is_written_listened_to_and_opened_again() {
    write_listen_and_restart(Kind::Moto).await;
}

#[tokio::test]
async fn azure_is_written_listened_to_and_opened_again() {
    write_listen_and_restart(Kind::Azurite).await;
}

/// Opens what cannot be opened.
async fn refused(builder: ClientBuilder) -> Error {
    let error = builder.open().await.unwrap_err();
    for text in [error.to_string(), format!("{error:?}")] {
        for secret in [SECRET, ACCOUNT_KEY, "mistaken", "bWlzdGFrZW4="] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    error
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, words: &str) {
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.to_string().contains(words), "no {words:?} in {error:?}");
}

async fn names(store: &dyn ObjectStore) -> Vec<String> {
    store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.unwrap()
}

#[tokio::test]
async fn the_probe_passes_careful_servers_once_and_leaves_its_verdict() {
    for kind in [Kind::Moto, Kind::Azurite] {
        let server = Server::start(kind).await;
        let store = server.store();
        let verdict = probe(&*store).await.unwrap();
        assert_eq!(verdict.races as usize, ROUNDS, "{kind:?}");
        assert_eq!(names(&*store).await, [keys::verdict(&store.to_string()).to_string()], "{kind:?}");
        let counted = CountingStore::new(store);
        assert_eq!(qualify(&counted).await.unwrap(), Verdict { store: counted.to_string(), ..verdict.clone() });
        let first = counted.counts();
        qualify(&counted).await.unwrap();
        assert_eq!((counted.counts() - first).operations(), 1, "the verdict is read, nothing is raced");
    }
}

/// Limits that all processes must have alike are kept by a bucket too, and changed there by numbered objects.
#[tokio::test]
async fn a_bucket_keeps_the_limits_of_its_processes() {
    for kind in [Kind::Moto, Kind::Azurite] {
        let server = Server::start(kind).await;
        let hours = |hours: u64| {
            let mut config = Config::default();
            config.limits.orphan_age_min = std::time::Duration::from_secs(hours * 3600);
            server.client().config(config)
        };
        let (one, other) = tokio::join!(hours(5).open(), hours(6).open());
        assert!(one.is_ok() != other.is_ok(), "{kind:?}: one of them was first");
        let (client, loser, won) = match one {
            Ok(client) => (client, other.unwrap_err(), 5),
            Err(loser) => (other.unwrap(), loser, 6),
        };
        says(&loser, ErrorKind::Invalid, "orphan_age_min");
        let adopted = hours(7).adopt_limits().open().await.unwrap();
        assert_eq!(adopted.config().limits, client.config().limits, "{kind:?}");
        hours(8).change_limits().open().await.unwrap();
        says(&refused(hours(won)).await, ErrorKind::Invalid, "orphan_age_min is 28800s in this store");
        hours(8).open().await.unwrap();
        let limits = names(&*server.store()).await.into_iter().filter(|name| name.contains("/limits/"));
        assert_eq!(limits.count(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_server_that_lets_two_creators_win_is_refused() {
    let server = Server::start(Kind::S3s).await;
    let error = refused(server.client()).await;
    says(&error, ErrorKind::UnsafeStore, "creators win one name");
    assert_eq!(names(&*server.store()).await, [""; 0], "it leaves nothing");
}

// A backup that is restored elsewhere, a bucket that is moved: what was found out of the one server says nothing of the other.
#[tokio::test]
async fn a_bucket_that_was_copied_to_another_server_is_tried_out_there() {
    let (careful, careless) = (Server::start(Kind::Moto).await, Server::start(Kind::S3s).await);
    careful.client().open().await.unwrap();
    let (from, to) = (careful.store(), careless.store());
    for name in names(&*from).await {
        let name = Path::from(name);
        to.put(&name, from.get(&name).await.unwrap().bytes().await.unwrap().into()).await.unwrap();
    }
    says(&refused(careless.client()).await, ErrorKind::UnsafeStore, "creators win one name");
}

#[tokio::test]
async fn mistakes_about_a_bucket_of_s3_are_named_at_open() {
    let lax = Server::start(Kind::Moto).await;
    let missing = refused(lax.client_at("s3://elsewhere/prefix", lax.port())).await;
    says(&missing, ErrorKind::Invalid, "is there such a bucket?");
    let server = Server::start(Kind::S3s).await;
    let wrong = [("aws_access_key_id", ACCESS_KEY), ("aws_secret_access_key", "mistaken key")];
    let wrong = refused(server.client_of(server.url(), &server.endpoint(), &wrong)).await;
    says(&wrong, ErrorKind::Invalid, "are the credentials right");
    let unknown = [("aws_access_key_id", "mistaken"), ("aws_secret_access_key", SECRET)];
    let unknown = refused(server.client_of(server.url(), &server.endpoint(), &unknown)).await;
    says(&unknown, ErrorKind::Invalid, "are the credentials right");
    let encrypted = server.endpoint().replace("http:", "https:");
    let encrypted = refused(server.client_of(server.url(), &encrypted, &server.credentials())).await;
    says(&encrypted, ErrorKind::Unavailable, "");
    let plain = refused(server.client().option("allow_http", "false")).await;
    says(&plain, ErrorKind::Invalid, "allow_http");
}

#[tokio::test]
async fn mistakes_about_a_container_of_azure_are_named_at_open() {
    let server = Server::start(Kind::Azurite).await;
    let port = server.port();
    let missing = refused(server.client_at("az://elsewhere/prefix", port)).await;
    says(&missing, ErrorKind::Invalid, "is there such a bucket?");
    for key in ["bWlzdGFrZW4=", "no base64, and mistaken"] {
        let wrong = [("azure_storage_account_name", ACCOUNT), ("azure_storage_account_key", key)];
        let wrong = refused(server.client_of(server.url(), &server.endpoint(), &wrong)).await;
        says(&wrong, ErrorKind::Invalid, "credentials");
    }
}

#[tokio::test]
async fn a_wrong_region_is_named_at_open() {
    let server = Server::start(Kind::Moto).await;
    for (status, text) in [
        (301, ""),
        (301, "<Error><Code>PermanentRedirect</Code><Message>Use another endpoint.</Message></Error>"),
        (400, "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting eu-west-1</Message></Error>"),
    ] {
        let proxy = Proxy::before(server.port()).await;
        proxy.twist(usize::MAX, Twist::Answer(status, text), |_| true);
        let error = refused(server.client_at(server.url(), proxy.port())).await;
        says(&error, ErrorKind::Invalid, "region");
    }
}

#[tokio::test]
async fn a_server_that_is_down_or_hangs_is_unavailable() {
    let server = Server::start(Kind::Moto).await;
    let proxy = Proxy::before(server.port()).await;
    proxy.twist(usize::MAX, Twist::Hang, |_| true);
    let mut config = timely_persist::Config::default();
    config.bucket.request_deadline = std::time::Duration::from_millis(100);
    let hung = refused(server.client_at(server.url(), proxy.port()).config(config)).await;
    says(&hung, ErrorKind::Unavailable, "try again later");
    server.stop();
    says(&refused(server.client()).await, ErrorKind::Unavailable, "try again later");
}

#[tokio::test]
async fn what_is_no_bucket_is_refused_before_any_request() {
    for (url, words) in [
        ("s3://user:mistaken@box/prefix", "credentials"),
        ("s3://mistaken@box/prefix", "credentials"),
        ("gs://user:mistaken@box/prefix", "credentials"),
        ("az://user:mistaken@box/prefix", "credentials"),
        ("s4://box/prefix", "\"s4\" is no store"),
        ("s3://", ""),
        ("s3://box/prefix?mistaken=1", "consensus=postgres"),
        ("s3://box/prefix?consensus=mysql://user:mistaken@host/db", "postgres://"),
        ("s3://box/prefix?consensus=postgres://u:p#mistaken@host/db", "%23"),
        ("s3://box/a//b", "prefix"),
        ("s3://box/../b%2F..%2F..", "prefix"),
    ] {
        let error = refused(Client::at(url)).await;
        says(&error, ErrorKind::Invalid, words);
    }
    says(
        &refused(Client::at("s3://box").option("azure_storage_account_key", "mistaken")).await,
        ErrorKind::Invalid,
        "no option",
    );
    says(&refused(Client::at("memory:").option("aws_token", "mistaken")).await, ErrorKind::Invalid, "options");
}
