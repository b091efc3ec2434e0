//! Which store a URL names. Credentials come from the environment, as `object_store` reads it, or from the caller's
//! options, and are never repeated in an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use url::Url;

use super::bucket;
use timely_persist_io::store::{Consensus, Directory, ObjectLog};
use timely_persist_types::config::Config;
use timely_persist_types::error::Error;

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
    check_text(text)?;
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
        "file" if text.contains(":/") => directory_of(text, &url)?,
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

/// Refuses what the parser would leave out without a word: another place would be meant.
fn check_text(text: &str) -> Result<(), Error> {
    let control = text.char_indices().find(|(_, character)| character.is_ascii_control());
    let (last, edge) = (text.len().saturating_sub(1), |at| text.get(at..=at) == Some(" "));
    let space = [0, last].into_iter().find(|at| edge(*at)).map(|at| (at, ' '));
    let Some((at, character)) = control.or(space) else { return Ok(()) };
    // Credentials may be around it: only the character is said, and where it stands.
    Err(Error::invalid(format!(
        "a store's URL has {character:?} at byte {at}: take it out, or write %{:02X} where it is meant",
        u32::from(character)
    )))
}

/// The directory of a `file:` URL, whose path is written with `%` and two hexadecimal digits where it has other characters
/// than a URL may have.
fn directory_of(text: &str, url: &Url) -> Result<Place, Error> {
    let misread =
        |what: &str| Error::invalid(format!("{what} in a file URL; Client::in_directory takes a path as it is"));
    let path = text.split('?').next().unwrap_or_default();
    let is_digit = |digit: Option<&u8>| digit.is_some_and(u8::is_ascii_hexdigit);
    let bytes = path.as_bytes();
    let escapes = (0..bytes.len()).filter(|at| bytes[*at] == b'%');
    if escapes.into_iter().any(|at| !is_digit(bytes.get(at + 1)) || !is_digit(bytes.get(at + 2))) {
        return Err(misread("a '%' is written %25"));
    }
    if path.contains('\\') {
        return Err(misread("a '\\' is written %5C"));
    }
    let local = matches!(url.host_str(), None | Some("localhost"));
    let path: Option<PathBuf> = url.to_file_path().ok().filter(|_| local);
    directory(&path.ok_or_else(|| Error::invalid("write file:///path/to/directory, an absolute path"))?)
}

/// The local directory at `path`, made if it is missing.
pub(super) fn directory(path: &Path) -> Result<Place, Error> {
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
