//! Encrypted connections to PostgreSQL: a real server, certificates of the test's own.
#![cfg(feature = "postgres")]
#![allow(clippy::unwrap_used)] // a test that panics fails

#[path = "support/postgres.rs"]
#[allow(dead_code)] // some is for other tests
mod server;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use object_store::memory::InMemory;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use server::Server;
use timely_persist::store::{CompareAndSet, PostgresLog};
use timely_persist::{Client, Consensus, ErrorKind, SeqNo, ShardId};
use tokio_postgres::NoTls;

/// An authority that nobody else knows.
fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server with a certificate for `name`, the files of its authority and of another one.
async fn start(name: &'static str) -> (Server, PathBuf, PathBuf) {
    tokio::task::spawn_blocking(move || {
        let (ours, other) = (authority("ours"), authority("another"));
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
        let server = Server::start_with_tls(&certificate.pem(), &key.serialize_pem());
        let file = |name: &str, authority: &CertifiedIssuer<'static, KeyPair>| {
            let path = server.directory().join(name);
            std::fs::write(&path, authority.pem()).unwrap();
            path
        };
        let files = (file("ours.pem", &ours), file("another.pem", &other));
        (server, files.0, files.1)
    })
    .await
    .unwrap()
}

/// How many sessions of the library are encrypted, and how many are not.
async fn sessions(server: &Server) -> (i64, i64) {
    let url = format!("{}?sslmode=disable", server.url_of_port("127.0.0.1"));
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let counts = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl
        JOIN pg_stat_activity USING (pid) WHERE application_name = 'timely-persist'";
    let row = client.query_one(counts, &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[tokio::test]
async fn a_connection_is_encrypted_as_asked_and_the_server_trusted_as_asked() {
    let (server, ours, another) = start("localhost").await;
    let (ours, another) = (ours.display(), another.display());
    // By name, and by an address that the certificate is not for.
    for (host, parameters, encrypted) in [
        ("localhost", "sslmode=disable".to_owned(), Ok(false)),
        ("localhost", "sslmode=prefer".to_owned(), Ok(true)),
        ("localhost", "connect_timeout=9".to_owned(), Ok(true)),
        ("localhost", "sslmode=require".to_owned(), Ok(true)),
        ("localhost", format!("sslmode=require&sslrootcert={ours}"), Ok(true)),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={ours}"), Ok(true)),
        ("localhost", format!("sslmode=verify-full&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=require&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-ca&sslrootcert={ours}"), Ok(true)),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ours}"), Err("certificate is refused")),
        ("localhost", format!("sslmode=require&sslrootcert={another}"), Err("certificate is refused")),
        ("localhost", format!("sslmode=verify-ca&sslrootcert={another}"), Err("certificate is refused")),
        ("localhost", format!("sslmode=verify-full&sslrootcert={another}"), Err("certificate is refused")),
        // The system knows nothing of ours.
        ("localhost", "sslmode=verify-full".to_owned(), Err("")),
        ("localhost", "sslmode=verify-ca&sslrootcert=system".to_owned(), Err("")),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem".to_owned(), Err("sslrootcert")),
        ("localhost", "sslmode=perhaps".to_owned(), Err("no PostgreSQL connection string")),
    ] {
        let opened = PostgresLog::open(&format!("{}?{parameters}", server.url_of_port(host))).await;
        match (opened, encrypted) {
            (Ok(log), Ok(encrypted)) => {
                let expected = if encrypted { (1, 0) } else { (0, 1) };
                assert_eq!(sessions(&server).await, expected, "{host} {parameters}");
                drop(log);
                let gone = async { while sessions(&server).await != (0, 0) {} };
                tokio::time::timeout(Duration::from_secs(120), gone).await.expect("sessions end with their log");
            }
            (Err(error), Err(part)) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{host} {parameters}: {error:?}");
                assert!(error.to_string().contains(part), "{host} {parameters}: {error}");
                assert!(!format!("{error:?} {error}").contains("sesame"), "{error:?}");
            }
            (opened, _) => panic!("{host} {parameters}: {opened:?}"),
        }
    }
}

#[tokio::test]
async fn commits_and_their_announcements_are_encrypted() {
    let (server, ours, _) = start("localhost").await;
    let url = format!("{}?sslmode=verify-full&sslrootcert={}", server.url_of_port("localhost"), ours.display());
    let (one, two, shard) =
        (PostgresLog::open(&url).await.unwrap(), PostgresLog::open(&url).await.unwrap(), ShardId::new());
    let mut watch = two.watch(shard);
    let deadline = Duration::from_secs(120);
    assert_eq!(tokio::time::timeout(deadline, watch.changed()).await.unwrap(), None, "it listens now");
    let committed = one.compare_and_set(shard, SeqNo(0), Bytes::from_static(b"entry")).await.unwrap();
    assert_eq!(committed, CompareAndSet::Committed);
    assert_eq!(tokio::time::timeout(deadline, watch.changed()).await.unwrap(), Some(SeqNo(1)));
    let (encrypted, plain) = sessions(&server).await;
    assert!(encrypted >= 3 && plain == 0, "{encrypted} encrypted, {plain} plain: the one that listens included");
}

#[tokio::test]
async fn a_server_without_encryption_is_used_or_refused_as_asked() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    for mode in ["prefer", "disable"] {
        assert!(PostgresLog::open(&format!("{}?sslmode={mode}", server.url())).await.is_ok(), "{mode}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{}?sslmode={mode}", server.url());
        let error = PostgresLog::open(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("offers no encryption") || error.to_string().contains("trusts no root"));
        // A client that cannot be opened says so, and nothing more happens.
        let opened = Client::builder(std::sync::Arc::new(InMemory::new())).database(url).open().await;
        assert_eq!(opened.unwrap_err().kind(), ErrorKind::Invalid);
    }
}
