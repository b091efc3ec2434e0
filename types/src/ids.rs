//! Names of things: shards, readers, writers, leases, positions in a log.
//!
//! Ids are UUIDs behind a one-letter prefix (`s…`, `r…`, `c…`, `w…`). They print, parse and serialize as that one
//! string, so that a log line, a command line and a durable object agree. A [`SeqNo`] counts the entries of one shard's
//! log; the empty log stands at [`SeqNo::ZERO`].
//!
//! This module draws no randomness on its own, except in the `new` of each id, which asks the operating system.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A process of this machine, for as long as it runs: one that was forked from it is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessId(u32);

impl ProcessId {
    /// The process that asks. A system call: what it says must not be kept across a fork.
    pub fn current() -> Self {
        Self(std::process::id())
    }

    /// Whether it is the process that asks.
    pub fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// A text that is not an id of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseIdError {
    text: String,
    expected: &'static str,
}

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a {}", self.text, self.expected)
    }
}

impl std::error::Error for ParseIdError {}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh id, never given out before.
            #[allow(clippy::new_without_default)] // a default that differs at each call would surprise
            pub fn new() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id with these bits: for names that are derived from something else, and for reproducible tests.
            pub fn from_u128(bits: u128) -> Self {
                Self(Uuid::from_u128(bits))
            }

            /// The bits behind the name.
            pub fn as_u128(&self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let refuse = || ParseIdError { text: text.to_owned(), expected: $expected };
                let uuid = text.strip_prefix($prefix).ok_or_else(refuse)?;
                let parsed = Uuid::parse_str(uuid).map_err(|_| refuse())?;
                // One id, one spelling: braces, URNs and capitals parse as UUIDs but would name other objects.
                if parsed.to_string() == uuid { Ok(Self(parsed)) } else { Err(refuse()) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<De: Deserializer<'de>>(deserializer: De) -> Result<Self, De::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// Names a shard: one durable time-varying collection.
    ShardId, "s", "shard id: 's' and a lower-case UUID with dashes"
);
id!(
    /// Names a leased reader, which expires when its process stops renewing it.
    LeasedReaderId, "r", "leased reader id: 'r' and a lower-case UUID with dashes"
);
id!(
    /// Names a critical reader, which never expires. Its owner keeps the id.
    CriticalReaderId, "c", "critical reader id: 'c' and a lower-case UUID with dashes"
);
id!(
    /// Names a writer.
    WriterId, "w", "writer id: 'w' and a lower-case UUID with dashes"
);
id!(
    /// Names one attempt to change a shard, so that "did it happen?" always has an answer.
    Token, "t", "token: 't' and a lower-case UUID with dashes"
);

impl Token {
    /// The token of no attempt.
    pub const NONE: Token = Token(Uuid::nil());
}

/// Names one lease in the ledger of the reader that gave it out. Meaningless to any other reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaseId {
    /// The reader whose ledger holds the lease.
    pub reader: LeasedReaderId,
    /// Its number there, never used twice.
    pub number: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {} of {}", self.number, self.reader)
    }
}

/// The position of an entry in a shard's log. Entries are dense: after `n` comes `n + 1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SeqNo(pub u64);

impl SeqNo {
    /// The position before the first entry: that of a shard nobody has written to.
    pub const ZERO: SeqNo = SeqNo(0);

    /// The position after this one. Saturates: no log grows that long, but a forged number must not overflow.
    pub fn next(self) -> SeqNo {
        SeqNo(self.0.saturating_add(1))
    }

    /// The position before this one; [`SeqNo::ZERO`] has itself before it.
    pub fn previous(self) -> SeqNo {
        SeqNo(self.0.saturating_sub(1))
    }
}

impl fmt::Display for SeqNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// Which of a shard's schemas: they are numbered as they came, from 0 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SchemaId(pub u32);

impl fmt::Display for SchemaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schema {}", self.0)
    }
}

/// The first word of a part's name.
pub const PART_KIND: &str = "part";

/// The first word of a rollup's name.
pub const ROLLUP_KIND: &str = "rollup";

/// A name for a new blob. Its age counts from `made_ms`, the wall time of its making.
pub fn blob_name(kind: &str, made_ms: u64, bits: u128) -> String {
    format!("{kind}-{made_ms:0MADE_DIGITS$}-{}", Uuid::from_u128(bits))
}

/// When the blob of this name was made, in milliseconds of wall time. `None` for a name that is not of our making.
pub fn blob_made_ms(name: &str) -> Option<u64> {
    let (_kind, rest) = name.split_once('-')?;
    let (digits, _id) = rest.split_once('-')?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// Milliseconds since 1970 up to the year 2286; later ones take a digit more and still parse.
const MADE_DIGITS: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_parse_and_serialize_as_one_string() {
        let id = LeasedReaderId::from_u128(7);
        let text = "r00000000-0000-0000-0000-000000000007";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(serde_json::to_string(&id).ok(), Some(format!("{text:?}")));
        assert_eq!(serde_json::from_str::<LeasedReaderId>(&format!("{text:?}")).ok(), Some(id));
    }

    #[test]
    fn a_blob_name_tells_its_age() {
        assert_eq!(blob_name("part", 7, 9), "part-0000000000007-00000000-0000-0000-0000-000000000009");
        assert_eq!(blob_made_ms(&blob_name("rollup", 1_700_000_000_000, 1)), Some(1_700_000_000_000));
        assert_eq!(blob_made_ms(&blob_name("part", u64::MAX, 1)), Some(u64::MAX));
        for foreign in ["", "part", "part-x-y", "part-12", "something else"] {
            assert_eq!(blob_made_ms(foreign), None);
        }
    }

    #[test]
    fn bad_ids_are_refused_and_named() {
        let bad =
            ["", "r", "s00000000-0000-0000-0000-000000000007", "rnonsense", "00000000-0000-0000-0000-000000000007"];
        for text in bad {
            let error = text.parse::<LeasedReaderId>().err().map(|e| e.to_string());
            assert!(error.is_some_and(|e| e.contains(&format!("{text:?}"))), "{text}");
        }
        // A UUID parser accepts these spellings; two spellings of one id would be two names.
        assert!("r{00000000-0000-0000-0000-000000000007}".parse::<LeasedReaderId>().is_err());
        assert!("r0000000000000000000000000000000A".parse::<LeasedReaderId>().is_err());
        assert!("r00000000-0000-0000-0000-00000000000A".parse::<LeasedReaderId>().is_err());
    }
}
