//! The one error type: what happened, to which shard and object, and what the caller should do about it.
//!
//! [`Error::kind`] is for programs, `Display` for people: where (shard, object), what, and the next step that can help.
//! Each kind has such a step; an error that knows a better one brings its own ([`Error::advise`]). `docs/errors.md` lists
//! the messages. An expected outcome (an upper mismatch, say) is never an
//! error: it is a variant of the operation's own result.
//!
//! An error is data, too: it clones, compares and sorts by what it says, and travels between the workers of a dataflow.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely::progress::Antichain;

use crate::codec::Codec64;
use crate::ids::{SchemaId, ShardId};

/// What went wrong, with what it concerns and where it came from.
///
/// One pointer wide: results that carry it stay small. A clone shares what caused it; what is serialized has the texts of
/// that, at most `CAUSES_MAX` of them. Errors that say the same are equal.
#[derive(Clone, Serialize, Deserialize)]
pub struct Error(Box<Details>);

#[derive(Clone, Serialize, Deserialize)]
struct Details {
    kind: ErrorKind,
    message: Cow<'static, str>,
    /// What to do next, where that is not what its kind says.
    advice: Option<Cow<'static, str>>,
    shard: Option<ShardId>,
    object: Option<String>,
    #[serde(serialize_with = "write_causes", deserialize_with = "read_causes")]
    source: Option<Cause>,
}

type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Causes of one error that are read from bytes. Each is the owner of the next, and no peer is to say how deep that goes;
/// the library's own errors have three or four.
const CAUSES_MAX: usize = 32;

/// What is said where no time is left to read at.
const UNREADABLE: &str = "; no time can be read any more: its since is empty, so its whole history was given up";

/// What the caller should do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The arguments do not make sense together, or code that came with them panicked, such as a codec. Nothing was
    /// written. Correct them and call again.
    Invalid,
    /// The time asked for is no longer kept apart. Read at `earliest` or later.
    Since {
        /// The smallest `as_of` that can still be read.
        earliest: EncodedFrontier,
    },
    /// Storage did not answer within the deadline, or refused. The operation may have taken effect. Try again later.
    Unavailable,
    /// The reader's lease has run out, so what it held may be gone. Open a reader again.
    LeaseExpired {
        /// The smallest `as_of` that a new reader can read.
        earliest: EncodedFrontier,
    },
    /// The client was shut down, or is that of the process that this one was forked from. Open a client; what was under
    /// way may have taken effect.
    Closed,
    /// Bytes from storage are not what was written there. Restore the object from a backup.
    Corrupt,
    /// An object or a log entry that must be there is gone. Restore it from a backup.
    Missing,
    /// A later version of this library wrote it. Upgrade this process.
    Newer,
    /// The shard holds other types than those it was opened with. Open it with the types it names.
    CodecMismatch,
    /// The shard was finalized: it is empty for ever.
    Finalized,
    /// The store does not keep the promises this library stands on. Use another.
    UnsafeStore,
    /// The library contradicts itself. Nothing was written. Report it.
    Bug,
    /// The shard's types have changed, or this program's have: they are of one kind, and not the same. Nothing was written.
    /// `newer`: the shard's are newer, upgrade the program; otherwise the program's are, evolve the shard.
    SchemaMismatch {
        /// The shard's latest.
        latest: SchemaId,
        /// Whether it is newer than this program's.
        newer: bool,
    },
    /// A newer generation of writers has taken the shard over. Nothing was written. Stop, or open a writer of that
    /// generation or a newer one if it is this program that is to write.
    Fenced {
        /// The shard's.
        generation: u64,
    },
}

/// A frontier without its type: errors are not generic over time, so it travels in encoded form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EncodedFrontier {
    codec: Cow<'static, str>,
    words: Vec<[u8; 8]>,
    text: String,
}

impl EncodedFrontier {
    /// Encodes a frontier.
    pub fn new<T: Codec64 + fmt::Debug>(frontier: &Antichain<T>) -> Self {
        let text = match frontier.elements() {
            [time] => format!("{time:?}"),
            times => format!("{times:?}"),
        };
        Self { codec: Cow::Borrowed(T::NAME), words: frontier.elements().iter().map(Codec64::encode).collect(), text }
    }

    /// Whether it is the empty one, which is beyond every time.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The frontier, if its times are of type `T`; `None` if they are of another.
    pub fn decode<T: Codec64 + timely::PartialOrder + Clone>(&self) -> Option<Antichain<T>> {
        if self.codec != T::NAME {
            return None;
        }
        let times = self.words.iter().map(|word| T::decode(*word));
        times.collect::<Result<Vec<T>, _>>().ok().map(Antichain::from)
    }
}

impl fmt::Display for EncodedFrontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for EncodedFrontier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error {
    /// An error of this kind, described by `message`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Details { kind, message: message.into(), advice: None, shard: None, object: None, source: None }))
    }

    /// A caller's mistake, described by `message`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Bytes from storage that are not what was written, described by `message`.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// Storage that did not answer, described by `message`.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// What it says, and what caused it: for a message that travels without the error.
    pub fn with_causes(&self) -> String {
        texts(self.0.source.as_ref()).fold(self.to_string(), |said, cause| format!("{said} (because: {cause})"))
    }

    /// The same error, naming the shard it concerns. The first name given stays.
    pub fn of_shard(mut self, shard: ShardId) -> Self {
        self.0.shard.get_or_insert(shard);
        self
    }

    /// The same error, naming the object it concerns. The first name given stays.
    pub fn of_object(mut self, object: impl Into<String>) -> Self {
        self.0.object.get_or_insert_with(|| object.into());
        self
    }

    /// The same error, with the next step that can help, in place of what its kind says. The first advice given stays.
    pub fn advise(mut self, advice: impl Into<Cow<'static, str>>) -> Self {
        self.0.advice.get_or_insert_with(|| advice.into());
        self
    }

    /// The same error, keeping what caused it.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind.clone()
    }

    /// The shard concerned, if it is one.
    pub fn shard(&self) -> Option<ShardId> {
        self.0.shard
    }

    /// The object concerned, if it is one: its name in the store.
    pub fn object(&self) -> Option<&str> {
        self.0.object.as_deref()
    }

    /// All that it says.
    fn said(&self) -> impl Ord + Hash + '_ {
        let Details { kind, message, advice, shard, object, source } = &*self.0;
        (kind, message, advice, shard, object, texts(source.as_ref()).collect::<Vec<_>>())
    }
}

/// The words of a cause, and of what caused that.
fn texts(cause: Option<&Cause>) -> impl Iterator<Item = String> + '_ {
    let first = cause.map(|cause| &**cause as &dyn std::error::Error);
    std::iter::successors(first, |error| error.source()).map(ToString::to_string)
}

/// A cause of which only the words are left.
#[derive(Debug)]
struct Words {
    text: String,
    source: Option<Cause>,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Words {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

fn write_causes<S: Serializer>(cause: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
    texts(cause.as_ref()).take(CAUSES_MAX).collect::<Vec<_>>().serialize(serializer)
}

fn read_causes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cause>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let known = texts.into_iter().take(CAUSES_MAX).rev();
    Ok(known.fold(None, |source, text| Some(Arc::new(Words { text, source }))))
}

impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Error {}

impl PartialOrd for Error {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Error {
    fn cmp(&self, other: &Self) -> Ordering {
        self.said().cmp(&other.said())
    }
}

impl Hash for Error {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.said().hash(state);
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(shard) = &self.0.shard {
            write!(f, "shard {shard}: ")?;
        }
        if let Some(object) = &self.0.object {
            write!(f, "object {object}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(advice) = &self.0.advice {
            return write!(f, "; {advice}");
        }
        match &self.0.kind {
            ErrorKind::Invalid => Ok(()),
            ErrorKind::Since { earliest } if earliest.is_empty() => f.write_str(UNREADABLE),
            ErrorKind::Since { earliest } => write!(f, "; the earliest readable as_of is {earliest}"),
            ErrorKind::Unavailable => f.write_str("; try again later, and look at the store if that does not help"),
            ErrorKind::LeaseExpired { earliest } if earliest.is_empty() => {
                write!(f, "; the lease has expired{UNREADABLE}")
            }
            ErrorKind::LeaseExpired { earliest } => {
                write!(f, "; the lease has expired, open a reader again (earliest as_of {earliest})")
            }
            ErrorKind::Closed => f.write_str(
                "; open a client; what was under way may have happened, and the same call with the same arguments settles it",
            ),
            ErrorKind::Corrupt => {
                f.write_str("; storage does not have what was written there, restore it from a backup")
            }
            ErrorKind::Missing => f.write_str("; it was there and must be: restore it from a backup"),
            ErrorKind::Newer => f.write_str("; a newer version of this library wrote it: upgrade this process"),
            ErrorKind::CodecMismatch => f.write_str("; open the shard with the types it was written with"),
            ErrorKind::Finalized => f.write_str("; the shard was finalized and is empty for ever"),
            ErrorKind::UnsafeStore => f.write_str("; this store cannot keep a shard safely, use another"),
            ErrorKind::Fenced { generation } => {
                write!(f, "; nothing was written: stop this writer, or open it with generation {generation} or a newer one")
            }
            ErrorKind::SchemaMismatch { latest, newer: true } => {
                write!(f, "; nothing was written: the shard has {latest} by now, upgrade this program")
            }
            ErrorKind::SchemaMismatch { latest, newer: false } => {
                write!(f, "; nothing was written: the shard has {latest}, evolve it to the types of this program")
            }
            ErrorKind::Bug => f.write_str(
                "; nothing was written; this is a mistake of the library: please report it with this text",
            ),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.with_causes())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_still_be_read_is_said_in_words() {
        let said = |earliest: Vec<u64>| {
            let earliest = EncodedFrontier::new(&Antichain::from(earliest));
            let kinds = [ErrorKind::Since { earliest: earliest.clone() }, ErrorKind::LeaseExpired { earliest }];
            kinds.map(|kind| Error::new(kind, "gone").to_string())
        };
        let [since, lease] = said(vec![7]);
        assert_eq!(since, "gone; the earliest readable as_of is 7");
        assert_eq!(lease, "gone; the lease has expired, open a reader again (earliest as_of 7)");
        for nothing in said(vec![]) {
            assert!(nothing.contains("no time can be read any more") && !nothing.contains("[]"), "{nothing}");
        }
    }

    // Hazard 54: what a kind says in general sent people the wrong way where the error knew better.
    #[test]
    fn an_error_says_its_own_advice_and_not_that_of_its_kind() {
        let plain = Error::corrupt("it is gone").of_object("part-1");
        assert_eq!(
            plain.to_string(),
            "object part-1: it is gone; storage does not have what was written there, restore it from a backup"
        );
        let advised = Error::corrupt("it is gone").advise("look behind the shelf").advise("buy another");
        assert_eq!(advised.to_string(), "it is gone; look behind the shelf");
        assert_eq!(Error::invalid("no such thing").to_string(), "no such thing");
    }

    #[test]
    fn each_kind_says_what_to_do_and_none_says_what_is_of_another() {
        let said = |kind| Error::new(kind, "what was found").to_string();
        let closed = said(ErrorKind::Closed);
        assert!(
            closed.contains("open a client") && !closed.contains("answer") && !closed.contains("store"),
            "{closed}"
        );
        assert!(said(ErrorKind::Missing).contains("restore it from a backup"));
        assert!(said(ErrorKind::Newer).contains("upgrade"));
        let bug = said(ErrorKind::Bug);
        assert!(bug.contains("nothing was written") && bug.contains("report it"), "{bug}");
    }

    fn error() -> Error {
        let disk = std::io::Error::other(Error::corrupt("the disk said no").because(std::io::Error::other("no power")));
        let error = Error::unavailable("the log did not answer").of_shard(ShardId::from_u128(1)).of_object("entry 1");
        error.advise("wait").because(disk)
    }

    #[test]
    fn a_clone_has_the_causes_too() {
        let (error, clone) = (error(), error().clone());
        assert_eq!(clone, error);
        assert_eq!(clone.with_causes(), error.with_causes());
        let cause = std::error::Error::source(&clone).and_then(|cause| cause.downcast_ref::<std::io::Error>());
        assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::Other));
    }

    #[test]
    fn an_error_that_travels_says_the_same_when_it_arrives() {
        let earliest = EncodedFrontier::new(&Antichain::from_elem(7_u64));
        for sent in [error(), Error::new(ErrorKind::Since { earliest }, "it is gone")] {
            let arrived: Error =
                bincode::deserialize(&bincode::serialize(&sent).expect("it is sent")).expect("it arrives");
            assert_eq!((arrived.kind(), arrived.shard(), arrived.object()), (sent.kind(), sent.shard(), sent.object()));
            assert_eq!(arrived.with_causes(), sent.with_causes());
            assert_eq!(arrived, sent);
        }
        assert_ne!(error(), error().because(std::io::Error::other("another cause")));
    }

    #[test]
    fn no_peer_says_how_deep_causes_go() {
        let texts = vec!["so".to_owned(); 1_000_000];
        let json = serde_json::to_string(&texts).expect("it is sent");
        let read = read_causes(&mut serde_json::Deserializer::from_str(&json)).expect("it arrives");
        assert_eq!(super::texts(read.as_ref()).count(), CAUSES_MAX);
    }
}
