//! Which store a URL names. Credentials come from the environment, as `object_store` reads it, or from the caller's
//! options, and are never repeated in an error.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use super::bucket;
use crate::config::Config;
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

/// The place that `text` names, reached with these options. Makes a local directory if that is missing; no other I/O.
pub(super) fn parse(text: &str, options: &[(String, String)], config: &Config) -> Result<Place, Error> {
    let url = Url::parse(text).map_err(|error| Error::invalid("this is no URL of a store").because(error))?;
    if url.fragment().is_some() {
        return Err(Error::invalid("a '#' in a store's URL is written %23"));
    }
    if !options.is_empty() && matches!(url.scheme(), "memory" | "file") {
        return Err(Error::invalid("only buckets have options"));
    }
    let database = database(&url)?;
    let mut place = match url.scheme() {
        "memory" => {
            let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
            Place { log: LogPlace::Here(Arc::new(ObjectLog::new(Arc::clone(&store)))), store, remote: false }
        }
        "file" if text.contains(":/") => directory(&url)?,
        "file" => return Err(Error::invalid("write file:///path/to/directory, an absolute path")),
        _ => in_bucket(&url, options, config)?,
    };
    if let Some(database) = database {
        place.log = LogPlace::Database(database);
    }
    Ok(place)
}

/// The database that the logs are to be kept in, if the URL names one.
fn database(url: &Url) -> Result<Option<String>, Error> {
    let mut database = None;
    for (key, value) in url.query_pairs() {
        match (key.as_ref(), Url::parse(&value).ok().map(|log| log.scheme().to_owned()).as_deref()) {
            ("consensus", Some("postgres" | "postgresql")) => database = Some(value.into_owned()),
            ("consensus", _) => return Err(Error::invalid("the consensus of a store's URL must be postgres://…")),
            // Its name is not repeated: what looks like one may be the rest of a password with a `&` in it.
            _ => return Err(Error::invalid("a store's URL has no parameter but consensus=postgres://…")),
        }
    }
    Ok(database)
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

fn in_bucket(url: &Url, options: &[(String, String)], config: &Config) -> Result<Place, Error> {
    let store = bucket::open(url, options, config)?;
    let log = ObjectLog::new(Arc::clone(&store)).polling();
    Ok(Place { store, log: LogPlace::Here(Arc::new(log)), remote: true })
}
