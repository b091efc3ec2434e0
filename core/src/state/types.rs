//! How the types of a program stand to those of a shard.

use std::sync::Arc;

use timely_persist_types::codec::{Data, Diff, Incompatible, Shape, Time};
use timely_persist_types::error::{Error, ErrorKind};
use timely_persist_types::ids::SchemaId;
use xxhash_rust::xxh3::xxh3_64;

use crate::part::RowLens;

use super::{CodecNames, Schema, State};

impl Schema {
    /// What the names of types say of their shapes.
    pub fn of_names(names: &CodecNames) -> Self {
        Self { key: Shape::of_name(&names.key), value: Shape::of_name(&names.value) }
    }
}

/// The types of a program, as a shard sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Types {
    /// What they are called.
    pub names: Arc<CodecNames>,
    /// What keys and values look like.
    pub schema: Arc<Schema>,
    /// Whether their names say all that there is to say of their shapes, so that no schema need be written down.
    names_say_all: bool,
    /// Whether they are those of a reader who sees newer rows without what these have no place for.
    projects: bool,
    /// Stands for them where they travel with each part. Equal types, or an accident of one in 2⁶⁴.
    pub digest: u64,
}

impl Types {
    /// Of these.
    pub fn of<K: Data, V: Data, T: Time, D: Diff>() -> Self {
        let (names, schema) = (Arc::new(CodecNames::of::<K, V, T, D>()), Arc::new(Schema::of::<K, V>()));
        let names_say_all = Schema::of_names(&names) == *schema;
        let digest = match names_say_all {
            true => names.digest(),
            false => xxh3_64(format!("{names} {schema:?}").as_bytes()),
        };
        Self { names, schema, names_say_all, projects: false, digest }
    }

    /// The same for a reader who sees newer rows without what these have no place for.
    pub fn projecting(self) -> Self {
        // What a reader gives out is fetched by one who sees it so, too.
        Self { projects: true, digest: !self.digest, ..self }
    }

    /// Whether they are those of such a reader.
    pub fn projects(&self) -> bool {
        self.projects
    }

    /// How rows of this schema become those of these types; `None` if they are. Or why they cannot.
    pub fn lens(&self, stored: &Schema) -> Result<Option<Arc<RowLens>>, Incompatible> {
        if self.projects { stored.projection_to(&self.schema) } else { stored.lens_to(&self.schema) }
    }

    /// The schema of this number, if rows of it are not as those of these types; `None` if they are.
    pub fn stored<T: Time>(&self, state: &State<T>, id: SchemaId) -> Option<Arc<Schema>> {
        let stored = match (state.schema(id), &state.codecs) {
            (Some(schema), _) => Arc::clone(schema),
            (None, Some(known)) if known.difference(&self.names).is_some() => Arc::new(Schema::of_names(known)),
            (None, _) => return None,
        };
        (stored != self.schema).then_some(stored)
    }

    /// How rows of the shard's schema of this number become those of these types; `None` if they are. `SchemaMismatch` if they
    /// cannot, because the shard's are newer; `CodecMismatch` if not even a projection is possible.
    pub fn lens_of<T: Time>(&self, state: &State<T>, id: SchemaId) -> Result<Option<Arc<RowLens>>, Error> {
        self.stored(state, id).map_or(Ok(None), |stored| self.lens_from(&stored, state, id))
    }

    /// The same, of what [`Types::stored`] gave for it.
    pub fn lens_from<T: Time>(
        &self,
        stored: &Schema,
        state: &State<T>,
        id: SchemaId,
    ) -> Result<Option<Arc<RowLens>>, Error> {
        self.lens(stored).map_err(|incompatible| {
            let message = format!("its rows of {id} are not those of this program: {incompatible}");
            // Nobody's newer program sees more of them than a projection does.
            let kind = match self.projects {
                true => ErrorKind::CodecMismatch,
                false => ErrorKind::SchemaMismatch { latest: state.latest_schema(), newer: true },
            };
            Error::new(kind, message).of_shard(state.shard)
        })
    }

    /// Whether times and diffs are those of the shard: they never change.
    pub fn count_alike<T: Time>(&self, state: &State<T>) -> bool {
        state.codecs.as_ref().is_none_or(|known| known.count_alike(&self.names))
    }

    /// Whether their names say all that there is to say of their shapes, so that no schema need be written down.
    pub fn names_say_all(&self) -> bool {
        self.names_say_all
    }
}

/// What rows that are staged look like, and which schema of the shard that was when they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedTypes {
    /// What their types are called.
    pub names: Arc<CodecNames>,
    /// What keys and values look like.
    pub schema: Arc<Schema>,
    /// The schema's number, which each of the parts has.
    pub id: SchemaId,
}

impl StagedTypes {
    /// Of a writer that has these types, which are this schema of the shard.
    pub fn of(types: &Types, id: SchemaId) -> Self {
        Self { names: Arc::clone(&types.names), schema: Arc::clone(&types.schema), id }
    }

    /// Whether a writer of these types, which are this schema of the shard, may append the rows. Or why not.
    pub fn admit(&self, types: &Types, id: SchemaId) -> Result<(), String> {
        let (mine, theirs) = (&self.names, &types.names);
        let count_alike = mine.count_alike(theirs);
        if count_alike && self.schema == types.schema && self.id <= id {
            return Ok(());
        }
        if !count_alike || self.id >= id {
            let otherwise = || format!("{} of the shard, not {id}", self.id);
            return Err(mine.difference(theirs).map_or_else(otherwise, |difference| format!("the {difference}")));
        }
        let lens = self.schema.lens_to(&types.schema).map_err(|incompatible| incompatible.to_string())?;
        // Nobody has looked at them.
        match lens.map(|lens| lens.partial()).unwrap_or_default().as_slice() {
            [] => Ok(()),
            paths => Err(format!("a row may hold something in a retired field: {}", paths.join(", "))),
        }
    }
}

/// How the types of a program stand to those of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The shard has none yet.
    Fresh,
    /// They are the shard's.
    Latest,
    /// They are what the shard's were before they changed.
    Older(SchemaId),
    /// The shard's may become these: all its rows can be read as theirs.
    Next,
}

impl Standing {
    /// Where these types stand. Or why they have nothing to do with the shard's.
    pub fn of<T: Time>(types: &Types, state: &State<T>) -> Result<Self, String> {
        let Some(known) = &state.codecs else { return Ok(Self::Fresh) };
        let Types { names, schema, .. } = types;
        let written_down = !state.schemas.is_empty();
        if !written_down && known.difference(names).is_none() {
            return Ok(Self::Latest);
        }
        if !known.count_alike(names) {
            return Err(known.difference(names).unwrap_or_default());
        }
        // The latest most often; an older one, where it came back, by its last number.
        if let Some(id) = state.schemas.iter().rposition(|other| other == schema) {
            let id = SchemaId(u32::try_from(id).unwrap_or(u32::MAX));
            return Ok(if id == state.latest_schema() { Self::Latest } else { Self::Older(id) });
        }
        let implied = || Arc::new(Schema::of_names(known));
        let latest = state.schemas.last().cloned().unwrap_or_else(implied);
        match latest.lens_to(schema) {
            Ok(_) => Ok(Self::Next),
            Err(incompatible) => Err(match known.difference(names).filter(|_| !written_down) {
                Some(difference) => difference,
                None => incompatible.to_string(),
            }),
        }
    }
}

impl<T: Time> State<T> {
    /// The schema of this number, if one is written down.
    pub fn schema(&self, id: SchemaId) -> Option<&Arc<Schema>> {
        self.schemas.get(usize::try_from(id.0).ok()?)
    }

    /// The number of the latest.
    pub fn latest_schema(&self) -> SchemaId {
        SchemaId(u32::try_from(self.schemas.len().saturating_sub(1)).unwrap_or(u32::MAX))
    }

    /// The number of the next.
    pub fn next_schema(&self) -> SchemaId {
        SchemaId(u32::try_from(self.schemas.len()).unwrap_or(u32::MAX))
    }
}
