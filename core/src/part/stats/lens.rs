//! Statistics of rows of one shape as those of another: what a lens does to columns, done to what is known of them.
//!
//! | the lens | the statistics |
//! | --- | --- |
//! | keeps a column, whatever its name is now | the same |
//! | makes numbers wider, or optional | the same numbers |
//! | puts in a default | its bounds are the default |
//! | adds a variant | no row has it |
//! | takes a column away | none |
//!
//! Always: columns are found as the lens finds them, by ids and places, never by a name: a field that has the name of another one
//! now knows nothing of that one's rows. No mapped row is beyond the mapped bounds; where that is not sure, nothing is known,
//! and the part is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_schema::Field;
use bytes::Bytes;
use timely_persist_types::codec::{EnumShape, FieldShape, FixedCodec, Leaf, Shape};

use super::collect::{leaf_paths, of_value};
use super::column::{ColumnStats, PartStats};
use super::encoding::STATS_BYTES_MAX;
use crate::part::value::StatValue;

/// The most bytes of encoded statistics that were mapped: what a part had, with numbers twice as wide, and as much again for
/// defaults. They are in memory with a part that is read, and on its way to another process, and in no state.
const MAPPED_STATS_BYTES_MAX: usize = 4 * STATS_BYTES_MAX;

/// The tags of an enum with data, among its columns.
const TAG: &str = "tag";

/// Where the statistics of each column come from.
#[derive(Debug)]
pub struct StatsLens {
    columns: Vec<Mapped>,
    /// The columns that it maps, and those below them. All others are kept.
    roots: Vec<&'static str>,
}

/// A column of the new shape.
#[derive(Debug)]
struct Mapped {
    path: String,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// This column, whose numbers had the first type and have the second now.
    Column(String, Option<[Leaf; 2]>),
    /// This column and all below it, of a type that only its own codec knows.
    Tree(String),
    /// It is the same in all rows of the scope: what is known of one of them.
    Default(ColumnStats, Arc<Scope>),
    /// It is in no row.
    Absent,
}

/// The rows that have a struct: all of them, or those where it is within no `None` and of the right variant.
#[derive(Debug)]
enum Scope {
    All,
    Some {
        /// Columns that have a value in exactly these rows.
        required: Vec<String>,
        /// The column of tags, and which of them these rows have.
        tag: Option<(String, i128)>,
    },
}

/// What is recorded, by path.
type Known<'a> = BTreeMap<&'a str, &'a ColumnStats>;

impl StatsLens {
    /// Of the columns of these names from the first shapes to the second, between which there is a lens, also one that projects.
    pub fn between(columns: [(&'static str, &Shape, &Shape); 2]) -> Self {
        let mut walk = Walk { columns: Vec::new() };
        for (name, old, new) in columns {
            // Paths would not tell columns apart.
            if !has_dots(old) && !has_dots(new) {
                walk.shape((old, name), (new, name), &Arc::new(Scope::All));
            }
        }
        Self { columns: walk.columns, roots: columns.map(|(name, ..)| name).to_vec() }
    }

    /// Maps the durable form of statistics to that of others; nothing, that is unknown, to itself.
    pub(in crate::part) fn map_encoded(&self, stats: &[u8]) -> Bytes {
        let mapped = PartStats::decode(stats).map(|stats| self.map(&stats));
        mapped.map(|stats| stats.encode_within(MAPPED_STATS_BYTES_MAX)).unwrap_or_default()
    }

    /// What is known of the mapped rows. Of columns in which that is not sure, nothing.
    pub fn map(&self, stats: &PartStats) -> PartStats {
        let known: Known<'_> = stats.columns.iter().map(|column| (&*column.path, column)).collect();
        let mut columns: Vec<_> = self.columns.iter().flat_map(|mapped| mapped.columns(&known, stats.rows)).collect();
        let root = |column: &ColumnStats| column.path.split('.').next().is_some_and(|root| self.roots.contains(&root));
        columns.extend(stats.columns.iter().filter(|column| !root(column)).cloned());
        PartStats { rows: stats.rows, encoded_bytes: stats.encoded_bytes, columns }
    }
}

impl Mapped {
    /// What becomes of it, and of those below; none if nothing is known.
    fn columns(&self, known: &Known<'_>, rows: u64) -> Vec<ColumnStats> {
        let path = || self.path.clone();
        let one = match &self.origin {
            Origin::Tree(from) => return self.tree(from, known),
            Origin::Column(from, types) => known.get(&**from).map(|column| {
                let bound = |value: &Option<StatValue>| value.as_ref().and_then(|value| number(*types, value));
                let (min, max) = (bound(&column.min), bound(&column.max));
                ColumnStats { path: path(), null_count: column.null_count, min, max }
            }),
            Origin::Default(one, scope) => scope.nulls(known, rows).map(|nulls| {
                let null_count = nulls + one.null_count * rows.saturating_sub(nulls);
                ColumnStats { null_count, ..one.clone() }
            }),
            Origin::Absent => Some(ColumnStats { path: path(), null_count: rows, min: None, max: None }),
        };
        one.into_iter().collect()
    }

    /// A column and all below it, under another path.
    fn tree(&self, from: &str, known: &Known<'_>) -> Vec<ColumnStats> {
        let all = known.range(from..).take_while(|(path, _)| path.starts_with(from));
        let renamed = |(path, column): (&&str, &&ColumnStats)| {
            let below = path.strip_prefix(from).filter(|below| below.is_empty() || below.starts_with('.'))?;
            Some(ColumnStats { path: format!("{}{below}", self.path), ..(*column).clone() })
        };
        all.filter_map(renamed).collect()
    }
}

/// A bound of numbers of one type as one of another.
fn number(types: Option<[Leaf; 2]>, value: &StatValue) -> Option<StatValue> {
    let Some([old, new]) = types else { return Some(value.clone()) };
    let bytes = |bytes: &[u8]| bytes.try_into().ok();
    match (old, new, value) {
        (_, Leaf::Unsigned(128), StatValue::Int(value)) => {
            Some(StatValue::Bytes(u128::try_from(*value).ok()?.to_bytes().to_vec()))
        }
        (_, Leaf::Signed(128), StatValue::Int(value)) => Some(StatValue::Bytes(value.to_bytes().to_vec())),
        // A lens that projects.
        (Leaf::Unsigned(128), _, StatValue::Bytes(value)) => {
            Some(StatValue::Int(u128::from_bytes(bytes(value)?).try_into().ok()?))
        }
        (Leaf::Signed(128), _, StatValue::Bytes(value)) => Some(StatValue::Int(i128::from_bytes(bytes(value)?))),
        (_, _, StatValue::Int(value)) => Some(StatValue::Int(*value)),
        _ => None,
    }
}

impl Scope {
    fn within(some: &Shape, path: &str) -> Arc<Self> {
        let mut required = Vec::new();
        require(some, path, &mut required);
        Arc::new(Self::Some { required, tag: None })
    }

    fn variant(fields: &[FieldShape], path: &str, tags: &str, tag: usize) -> Arc<Self> {
        let mut required = Vec::new();
        fields.iter().for_each(|field| require(&field.shape, &below(path, &field.name), &mut required));
        Arc::new(Self::Some { required, tag: i128::try_from(tag).ok().map(|tag| (tags.to_owned(), tag)) })
    }

    /// How many rows it does not have, if that is known.
    fn nulls(&self, known: &Known<'_>, rows: u64) -> Option<u64> {
        let Self::Some { required, tag } = self else { return Some(0) };
        if let Some(column) = required.iter().find_map(|path| known.get(&**path)) {
            return Some(column.null_count);
        }
        let (tags, tag) = tag.as_ref()?;
        let (tags, tag) = (known.get(&**tags)?, StatValue::Int(*tag));
        match (&tags.min, &tags.max) {
            (Some(min), Some(max)) if *min == tag && *max == tag => Some(tags.null_count),
            _ => (!tags.may_contain(&tag)).then_some(rows),
        }
    }
}

/// The columns of a shape that have a value wherever it has one.
fn require(shape: &Shape, path: &str, required: &mut Vec<String>) {
    match shape {
        Shape::Leaf(_) | Shape::List(_) => required.push(path.to_owned()),
        Shape::Tuple(shapes) => {
            let shapes = shapes.iter().enumerate();
            shapes.for_each(|(index, shape)| require(shape, &below(path, &index.to_string()), required));
        }
        Shape::Struct(of) => {
            of.fields.iter().for_each(|field| require(&field.shape, &below(path, &field.name), required))
        }
        Shape::Enum(of) => required.push(tags(of, path)),
        Shape::Option(_) | Shape::Opaque(_) => {}
    }
}

/// Walks two shapes, as what judges them does.
struct Walk {
    columns: Vec<Mapped>,
}

impl Walk {
    fn add(&mut self, path: &str, origin: Origin) {
        self.columns.push(Mapped { path: path.to_owned(), origin });
    }

    fn shape(&mut self, (old, from): (&Shape, &str), (new, to): (&Shape, &str), scope: &Arc<Scope>) {
        match (old, new) {
            (Shape::Option(old), Shape::Option(new)) => {
                self.shape((old, from), (new, to), &Scope::within(old, from));
            }
            (old, Shape::Option(new)) => self.shape((old, from), (new, to), scope),
            // A lens that projects: a row without a value is an error.
            (Shape::Option(old), new) => self.shape((old, from), (new, to), &Scope::within(old, from)),
            (Shape::Leaf(old), Shape::Leaf(new)) => {
                self.add(to, Origin::Column(from.to_owned(), (old != new).then_some([*old, *new])));
            }
            (Shape::List(_), Shape::List(_)) => self.add(to, Origin::Column(from.to_owned(), None)),
            (Shape::Tuple(old), Shape::Tuple(new)) => {
                for (index, (old, new)) in old.iter().zip(new).enumerate() {
                    let name = index.to_string();
                    self.shape((old, &below(from, &name)), (new, &below(to, &name)), scope);
                }
            }
            (Shape::Struct(old), Shape::Struct(new)) => self.fields((&old.fields, from), (&new.fields, to), scope),
            (Shape::Enum(old), Shape::Enum(new)) => self.variants((old, from), (new, to)),
            (Shape::Opaque(_), Shape::Opaque(_)) => self.add(to, Origin::Tree(from.to_owned())),
            // No lens does that.
            _ => {}
        }
    }

    fn fields(&mut self, (old, from): (&[FieldShape], &str), (new, to): (&[FieldShape], &str), scope: &Arc<Scope>) {
        for field in new {
            let to = below(to, &field.name);
            match old.iter().find(|known| known.id == field.id) {
                Some(known) => self.shape((&known.shape, &below(from, &known.name)), (&field.shape, &to), scope),
                None => self.default(field, &to, scope),
            }
        }
    }

    fn default(&mut self, field: &FieldShape, to: &str, scope: &Arc<Scope>) {
        let value = field.default.as_ref().and_then(|default| default.array(&field.shape).ok());
        for column in value.iter().flat_map(|value| of_value(to, value)) {
            self.columns.push(Mapped { path: column.path.clone(), origin: Origin::Default(column, Arc::clone(scope)) });
        }
    }

    fn variants(&mut self, (old, from): (&EnumShape, &str), (new, to): (&EnumShape, &str)) {
        let old_tags = tags(old, from);
        self.add(&tags(new, to), Origin::Column(old_tags.clone(), None));
        for (place, variant) in new.variants.iter().enumerate() {
            let to = below(to, &variant.name);
            match old.variants.get(place) {
                Some(known) => {
                    let from = below(from, &known.name);
                    let scope = Scope::variant(&known.fields, &from, &old_tags, place);
                    self.fields((&known.fields, &from), (&variant.fields, &to), &scope);
                }
                None => variant.fields.iter().for_each(|field| self.absent(field, &to)),
            }
        }
    }

    fn absent(&mut self, field: &FieldShape, to: &str) {
        let column: Option<Field> = field.shape.field(&below(to, &field.name));
        for path in column.iter().flat_map(leaf_paths) {
            self.columns.push(Mapped { path, origin: Origin::Absent });
        }
    }
}

/// The column of an enum's tags.
fn tags(of: &EnumShape, path: &str) -> String {
    let has_data = of.variants.iter().any(|variant| !variant.fields.is_empty());
    if has_data { below(path, TAG) } else { path.to_owned() }
}

fn below(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

/// Whether the name of a column has a dot, which no field of Rust has.
fn has_dots(shape: &Shape) -> bool {
    let fields = |fields: &[FieldShape]| fields.iter().any(|field| field.name.contains('.') || has_dots(&field.shape));
    match shape {
        Shape::Leaf(_) | Shape::List(_) | Shape::Opaque(_) => false,
        Shape::Option(some) => has_dots(some),
        Shape::Tuple(shapes) => shapes.iter().any(has_dots),
        Shape::Struct(of) => fields(&of.fields),
        Shape::Enum(of) => of.variants.iter().any(|variant| variant.name.contains('.') || fields(&variant.fields)),
    }
}
