//! Which store a URL names. Credentials come from the environment, as `object_store` reads it, and are never repeated in
//! an error.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::error::Error;
use crate::store::{Consensus, Directory, ObjectLog};

/// A store, before it was tried out.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) log: LogPlace,
    /// Whether its promises must be tried out: it is a server that somebody else runs.
    pub(super) remote: bool,
}

/// Where the logs are to be kept.
pub(super) enum LogPlace {
    /// Beside the objects.
    Here(Arc<dyn Consensus>),
    /// In the database of this URL, which has a password in it.
    Database(String),
}

impl std::fmt::Debug for LogPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LogPlace::Here(log) => write!(f, "Here({log:?})"),
            LogPlace::Database(_) => f.write_str("Database"),
        }
    }
}

/// The place that `text` names. Makes a local directory if that is missing; no other I/O.
pub(super) fn parse(text: &str) -> Result<Place, Error> {
    let url = Url::parse(text).map_err(|error| Error::invalid("this is no URL of a store").because(error))?;
    let mut place = match url.scheme() {
        "memory" => {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            Place { log: LogPlace::Here(Arc::new(ObjectLog::new(Arc::clone(&store)))), store, remote: false }
        }
        "file" if text.contains(":/") => directory(&url)?,
        "file" => return Err(Error::invalid("write file:///path/to/directory, an absolute path")),
        scheme => bucket(scheme, &url)?,
    };
    for (key, value) in url.query_pairs() {
        match (key.as_ref(), Url::parse(&value).ok().map(|log| log.scheme().to_owned()).as_deref()) {
            ("consensus", Some("postgres" | "postgresql")) => place.log = LogPlace::Database(value.into_owned()),
            ("consensus", _) => return Err(Error::invalid("the consensus of a store's URL must be postgres://…")),
            (key, _) => return Err(Error::invalid(format!("{key:?} is no parameter of a store's URL"))),
        }
    }
    Ok(place)
}

fn directory(url: &Url) -> Result<Place, Error> {
    let local = matches!(url.host_str(), None | Some("localhost"));
    let path: Option<PathBuf> = url.to_file_path().ok().filter(|_| local);
    let path = path.ok_or_else(|| Error::invalid("write file:///path/to/directory, an absolute path"))?;
    let directory = Directory::open(path)?;
    let root = directory.root().to_owned();
    let store: Arc<dyn ObjectStore> = Arc::new(directory);
    let log = ObjectLog::new(Arc::clone(&store)).watching_directory(root);
    Ok(Place { store, log: LogPlace::Here(Arc::new(log)), remote: false })
}

fn bucket(scheme: &str, url: &Url) -> Result<Place, Error> {
    let store = open_bucket(scheme, url)?;
    let prefix = object_store::path::Path::from_url_path(url.path().trim_matches('/'));
    let prefix = prefix.map_err(|error| Error::invalid("the prefix in the URL is no path").because(error))?;
    let store: Arc<dyn ObjectStore> = match prefix.as_ref().is_empty() {
        true => store,
        false => Arc::new(PrefixStore::new(store, prefix)),
    };
    let log = ObjectLog::new(Arc::clone(&store)).polling();
    Ok(Place { store, log: LogPlace::Here(Arc::new(log)), remote: true })
}

/// The bucket that the URL names, without its path.
fn open_bucket(scheme: &str, url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    let mut root = url.clone();
    root.set_path("");
    root.set_query(None);
    let refused = |error: object_store::Error| {
        Error::invalid("the bucket cannot be opened: check its URL and credentials").because(error)
    };
    match scheme {
        #[cfg(feature = "aws")]
        "s3" | "s3a" => {
            let builder = object_store::aws::AmazonS3Builder::from_env().with_url(root).with_retry(cloud::retries());
            Ok(Arc::new(builder.with_client_options(cloud::requests("AWS_ALLOW_HTTP")).build().map_err(refused)?))
        }
        #[cfg(feature = "gcp")]
        "gs" => {
            let builder = object_store::gcp::GoogleCloudStorageBuilder::from_env().with_url(root);
            let builder = builder.with_retry(cloud::retries());
            let options = cloud::requests("GOOGLE_ALLOW_HTTP");
            Ok(Arc::new(builder.with_client_options(options).build().map_err(refused)?))
        }
        #[cfg(feature = "azure")]
        "az" | "azure" | "abfs" | "abfss" => {
            let builder = object_store::azure::MicrosoftAzureBuilder::from_env().with_url(root);
            let builder = builder.with_retry(cloud::retries());
            let options = cloud::requests("AZURE_ALLOW_HTTP");
            Ok(Arc::new(builder.with_client_options(options).build().map_err(refused)?))
        }
        scheme => {
            let _ = refused;
            let message = format!(
                "{scheme:?} is no store this client knows: use memory:, file:///path, s3://bucket/prefix, gs://…, az://… \
                 (the last three need the features aws, gcp, azure of this crate)"
            );
            Err(Error::invalid(message))
        }
    }
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure"))]
mod cloud {
    //! How requests to a bucket are sent.

    use std::time::Duration;

    use object_store::{ClientOptions, RetryConfig};

    /// Retries below this library, which has its own: only what a load balancer drops in passing.
    const RETRIES_MAX: usize = 2;

    /// No retry is begun later than this after the first try.
    const RETRY_LIMIT: Duration = Duration::from_secs(5);

    /// One request, answer included. The library's own deadlines cut it shorter where they must.
    const REQUEST_LIMIT: Duration = Duration::from_secs(60);

    /// The longest wait for a connection.
    const CONNECT_LIMIT: Duration = Duration::from_secs(5);

    pub(super) fn retries() -> RetryConfig {
        RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_LIMIT, ..RetryConfig::default() }
    }

    /// Options of requests; plain HTTP only where the named variable of the environment allows it.
    pub(super) fn requests(allow_http: &str) -> ClientOptions {
        let allowed = std::env::var(allow_http).is_ok_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        let options = ClientOptions::new().with_allow_http(allowed);
        options.with_timeout(REQUEST_LIMIT).with_connect_timeout(CONNECT_LIMIT)
    }
}
