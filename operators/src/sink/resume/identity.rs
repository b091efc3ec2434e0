//! The names of a pipeline's critical readers: the same at every start, and nobody else's.
//!
//! An id is the 128-bit XXH3 of the bytes below, in this order. It is durable: a program that derived another would leave
//! the holds of the one before behind, for ever.
//!
//! | bytes | what |
//! | --- | --- |
//! | 32 | `timely-persist resume, version 1` |
//! | 1 | `0` for a hold on an input, `1` for the keeper of the output |
//! | 16 | the output's id, big-endian |
//! | 16 | the id of the shard that the reader is on, big-endian |
//! | all that follow | the pipeline's name |

use timely_persist::{CriticalReaderId, Error, ShardId};
use xxhash_rust::xxh3::xxh3_128;

/// The longest name of a pipeline, in bytes. 512: with what is said around it, it must fit into the purpose of a reader.
const NAME_BYTES_MAX: usize = 512;

const DOMAIN: &[u8; 32] = b"timely-persist resume, version 1";

/// What a critical reader of a pipeline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It keeps an input readable where a restart begins.
    Input,
    /// It keeps what the output holds.
    Output,
}

/// A pipeline: its name, and what it writes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pipeline<'a> {
    pub(super) name: &'a str,
    pub(super) output: ShardId,
}

impl Pipeline<'_> {
    /// Refuses a name that cannot be told from others, or is too long to be kept.
    pub(super) fn check(self) -> Result<(), Error> {
        let length = self.name.len();
        if (1..=NAME_BYTES_MAX).contains(&length) {
            return Ok(());
        }
        let message = format!("a pipeline's name of {length} bytes; it must be from 1 to {NAME_BYTES_MAX}");
        Err(Error::invalid(message).of_shard(self.output))
    }

    /// The id of its reader on this shard.
    pub(super) fn reader(self, role: Role, shard: ShardId) -> CriticalReaderId {
        let role = match role {
            Role::Input => 0,
            Role::Output => 1,
        };
        let ids = [self.output, shard].map(|shard| shard.as_u128().to_be_bytes());
        let bytes = [DOMAIN.as_slice(), &[role], ids[0].as_slice(), ids[1].as_slice(), self.name.as_bytes()].concat();
        CriticalReaderId::from_u128(xxh3_128(&bytes))
    }

    /// What the reader is for, in the words that `holds` shows.
    pub(super) fn purpose(self, role: Role) -> String {
        let Self { name, output } = self;
        match role {
            Role::Input => format!("an input of the pipeline {name}, which writes shard {output}"),
            Role::Output => format!("the output of the pipeline {name}, shard {output}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Durable: these ids are in stores.
    #[test]
    fn ids_are_the_same_in_every_version() {
        let (output, input) = (ShardId::from_u128(1), ShardId::from_u128(2));
        let revenue = Pipeline { name: "revenue", output };
        let ids = [revenue.reader(Role::Input, input), revenue.reader(Role::Output, output)];
        assert_eq!(
            ids.map(|id| id.to_string()),
            ["c228971fb-9621-4b86-7029-91bd8b28dfe9", "c8c1e7e4b-7e30-7f37-94b7-a010843c6f34"]
        );
    }

    #[test]
    fn no_two_readers_have_one_id() {
        let shards = [1, 2].map(ShardId::from_u128);
        let mut ids = std::collections::BTreeSet::new();
        let mut count = 0;
        for name in ["a", "b", "ab"] {
            for output in shards {
                for (role, shard) in [(Role::Input, shards[0]), (Role::Input, shards[1]), (Role::Output, output)] {
                    ids.insert(Pipeline { name, output }.reader(role, shard));
                    count += 1;
                }
            }
        }
        assert_eq!(ids.len(), count);
    }

    #[test]
    fn a_purpose_is_never_too_long() {
        let name = "n".repeat(NAME_BYTES_MAX);
        let pipeline = Pipeline { name: &name, output: ShardId::from_u128(u128::MAX) };
        pipeline.check().expect("it is allowed");
        for role in [Role::Input, Role::Output] {
            assert!(pipeline.purpose(role).len() <= 1 << 10);
        }
        for name in ["", &"n".repeat(NAME_BYTES_MAX + 1)] {
            assert!(Pipeline { name, ..pipeline }.check().is_err());
        }
    }
}
