//! Whether a change is safe, and what it does to columns.

use super::super::names::difference;
use super::super::{
    Constant, DecodeError, EnumShape, FieldShape, Leaf, RetiredField, Shape, ShapeError, StructShape, VariantShape,
};
use super::leaf::Number;
use super::refused::{Incompatible, Refused};
use super::repeat::Repeated;
use super::step::{Fields, Retired, Source, Step, VariantSource, Variants};
use super::target::Target;

/// Compares two shapes and collects what is refused. Where something is, the step that it answers is of no use.
pub(super) struct Judge {
    /// Whether the new shape is that of a reader who leaves out what he does not know.
    projecting: bool,
    refused: Vec<Refused>,
}

impl Judge {
    pub(super) fn strict() -> Self {
        Self { projecting: false, refused: Vec::new() }
    }

    pub(super) fn projecting() -> Self {
        Self { projecting: true, refused: Vec::new() }
    }

    /// What is done to columns of `old`, or every reason why nothing can be.
    pub(super) fn judge(&mut self, old: &Shape, new: &Shape) -> Result<Step, Incompatible> {
        let mut malformed = |which, error: ShapeError| self.refuse("", format!("{which} is malformed: {}", error.0));
        old.check().unwrap_or_else(|error| malformed("what is stored", error));
        new.check().unwrap_or_else(|error| malformed("what it is to become", error));
        // Only what is well-formed can be walked.
        let step = if self.refused.is_empty() { self.shape(old, new, root(new)) } else { Step::Keep };
        match self.refused.is_empty() {
            true => Ok(step),
            false => Err(Incompatible { refused: std::mem::take(&mut self.refused) }),
        }
    }

    fn refuse(&mut self, path: &str, reason: impl Into<String>) {
        self.refused.push(Refused { path: path.to_owned(), reason: reason.into() });
    }

    fn shape(&mut self, old: &Shape, new: &Shape, path: &str) -> Step {
        match (old, new) {
            (Shape::Leaf(old), Shape::Leaf(new)) => self.leaf(*old, *new, path),
            (Shape::Option(old_some), Shape::Option(new_some)) => {
                let step = self.shape(old_some, new_some, path);
                if matches!(step, Step::Some(..) | Step::Unwrap(..)) {
                    let reason = "nothing says which `None` it would be that is `None` now";
                    self.refuse(path, format!("{old} cannot become {new}: {reason}"));
                }
                self.columns(vec![step], Target::option(new_some))
            }
            (old, Shape::Option(some)) => Step::Some(Box::new(self.shape(old, some, path)), Target::option(some)),
            (Shape::Option(some), new) if self.projecting => {
                Step::Unwrap(Box::new(self.shape(some, new, path)), place(path).to_owned())
            }
            (Shape::Option(_), new) => {
                self.refuse(path, format!("{old} cannot become {new}: where it is `None` there would be no value"));
                Step::Keep
            }
            (Shape::Tuple(old), Shape::Tuple(new)) if old.len() == new.len() => {
                let steps = old.iter().zip(new).enumerate();
                let steps = steps.map(|(index, (old, new))| self.shape(old, new, &below(path, &index.to_string())));
                let steps = steps.collect();
                self.columns(steps, Target::tuple(new))
            }
            (Shape::List(old), Shape::List(new)) => match self.shape(old, new, &format!("{path}[]")) {
                Step::Keep => Step::Keep,
                step => Step::List(Box::new(step), new.is_nullable()),
            },
            (Shape::Struct(old), Shape::Struct(new)) => self.structure(old, new, path),
            (Shape::Enum(old), Shape::Enum(new)) => self.variants(old, new, path),
            (Shape::Opaque(known), Shape::Opaque(name)) => {
                if let Some(what) = difference(known, name) {
                    self.refuse(path, format!("only its own codec knows the type, so it never changes: {what}"));
                }
                Step::Keep
            }
            (old, new) => self.other(old, new, path),
        }
    }

    /// Types that have nothing to do with each other.
    fn other(&mut self, old: &Shape, new: &Shape, path: &str) -> Step {
        let advice = "another type is another field, with an id and a default of its own";
        self.refuse(path, format!("{old} cannot become {new}: {advice}"));
        Step::Keep
    }

    fn leaf(&mut self, old: Leaf, new: Leaf, path: &str) -> Step {
        if old == new {
            return Step::Keep;
        }
        match Number::between(old, new, place(path)) {
            Some(number) if number.is_total() || self.projecting => Step::Number(number),
            Some(_) => {
                self.refuse(path, format!("{old} cannot become {new}: narrowing loses values"));
                Step::Keep
            }
            None => self.other(&Shape::Leaf(old), &Shape::Leaf(new), path),
        }
    }

    /// An option or a tuple, of these columns.
    fn columns(&self, steps: Vec<Step>, target: Target) -> Step {
        if steps.iter().all(|step| matches!(step, Step::Keep)) {
            return Step::Keep;
        }
        let old = steps.len();
        let sources = steps.into_iter().enumerate().map(|(index, step)| Source::Column(index, step)).collect();
        Step::Fields(Fields { old, sources, retired: Vec::new(), target })
    }

    fn structure(&mut self, old: &StructShape, new: &StructShape, path: &str) -> Step {
        if !self.projecting {
            self.still_retired(old, new, path);
        }
        self.fields(&old.fields, &new.fields, &new.retired, path)
    }

    /// An id that was retired is so for ever.
    fn still_retired(&mut self, old: &StructShape, new: &StructShape, path: &str) {
        for RetiredField { id, shape } in &old.retired {
            let again = new.fields.iter().find(|field| field.id == *id);
            let retired = new.retired.iter().find(|field| field.id == *id);
            match (again, retired) {
                (Some(field), _) => {
                    let reason = format!("id {id} is retired, and never used again: take another");
                    self.refuse(&below(path, &field.name), reason);
                }
                (None, Some(retired)) => drop(self.shape(shape, &retired.shape, &below(path, &format!("(id {id})")))),
                (None, None) => {
                    self.refuse(&below(path, &format!("(id {id})")), format!("it stays retired: say so, as a {shape}"));
                }
            }
        }
    }

    /// The fields of a struct or a variant.
    fn fields(&mut self, old: &[FieldShape], new: &[FieldShape], retired: &[RetiredField], path: &str) -> Step {
        let before = self.refused.len();
        let mut last = None;
        let mut sources = Vec::new();
        for field in new {
            let path = below(path, &field.name);
            let known = old.iter().position(|known| known.id == field.id);
            if known.is_some() && known < last {
                let reason = "the order of fields is that of rows: leave it where it was";
                self.refuse(&path, format!("it was moved: {reason}"));
            }
            last = last.max(known);
            sources.extend(match known {
                Some(index) => self.known_field(&old[index], field, &path).map(|step| Source::Column(index, step)),
                None => self.new_field(field, &path).map(Source::Default),
            });
        }
        let retired = self.gone(old, new, retired, path);
        if self.refused.len() > before {
            return Step::Keep;
        }
        let keep = |(index, source): (usize, &Source)| {
            matches!(source, Source::Column(from, Step::Keep) if *from == index) && new[index].name == old[index].name
        };
        if old.len() == new.len() && sources.iter().enumerate().all(keep) {
            return Step::Keep;
        }
        Step::Fields(Fields { old: old.len(), sources, retired, target: Target::structure(new) })
    }

    fn known_field(&mut self, old: &FieldShape, new: &FieldShape, path: &str) -> Option<Step> {
        let before = self.refused.len();
        let step = self.shape(&old.shape, &new.shape, path);
        if self.refused.len() > before {
            return None;
        }
        match (&old.default, &new.default) {
            (None, None) => {}
            (Some(known), Some(default)) => match same(known, &old.shape, default, &new.shape, &step) {
                Ok(true) => {}
                Ok(false) => self.refuse(path, "its default was changed: it is that of stored rows, for ever"),
                Err(error) => self.refuse(path, error.0),
            },
            (None, Some(_)) => {
                self.refuse(path, "it has a default now: one that stored rows do not need, and would never have");
            }
            (Some(_), None) => self.refuse(path, "its default was taken away: it is that of stored rows, for ever"),
        }
        Some(step)
    }

    fn new_field(&mut self, field: &FieldShape, path: &str) -> Option<Repeated> {
        let Some(default) = &field.default else {
            self.refuse(path, "it is new and has no default: stored rows have nothing there");
            return None;
        };
        let default = Repeated::of(default, &field.shape);
        default.map_err(|error| self.refuse(path, error.0)).ok()
    }

    /// Fields that are no more, and which of them rows must have had the default of.
    fn gone(&mut self, old: &[FieldShape], new: &[FieldShape], retired: &[RetiredField], path: &str) -> Vec<Retired> {
        let mut found = Vec::new();
        for (column, field) in old.iter().enumerate() {
            if self.projecting || new.iter().any(|known| known.id == field.id) {
                continue;
            }
            let path = below(path, &field.name);
            let retired = retired.iter().find(|retired| retired.id == field.id);
            match (retired, &field.default) {
                (None, _) => {
                    self.refuse(&path, format!("it was taken away (id {}): rows may hold something there", field.id))
                }
                (Some(_), None) => self.refuse(&path, "it is retired and had no default: rows hold something there"),
                (Some(retired), Some(default)) => {
                    self.shape(&field.shape, &retired.shape, &path);
                    match Repeated::of(default, &field.shape) {
                        Ok(default) => found.push(Retired { column, default, path }),
                        Err(error) => self.refuse(&path, error.0),
                    }
                }
            }
        }
        found
    }

    fn variants(&mut self, old: &EnumShape, new: &EnumShape, path: &str) -> Step {
        let before = self.refused.len();
        self.places(old, new, path);
        if self.refused.len() > before {
            return Step::Keep;
        }
        let sources: Vec<_> = (0..new.variants.len()).filter_map(|index| self.variant(old, new, index, path)).collect();
        let target = new.has_data().then(|| Target::variants(new));
        let with_data = |shape: &EnumShape| shape.variants.iter().filter(|v| !v.fields.is_empty()).count();
        let known = [old.variants.len(), new.variants.len()];
        let same_name = |(old, new): (&VariantShape, &VariantShape)| old.name == new.name;
        let same_names = || old.variants.iter().zip(&new.variants).filter(|(v, _)| !v.fields.is_empty()).all(same_name);
        let kept = |(index, source): (usize, &VariantSource)| matches!(source, VariantSource::Column(from, Step::Keep) if *from == index);
        if known[0] <= known[1]
            && with_data(old) == sources.len()
            && sources.iter().enumerate().all(kept)
            && same_names()
        {
            return Step::Keep;
        }
        let columns = old.has_data().then(|| 1 + with_data(old));
        Step::Variants(Variants { old: columns, known, sources, target, path: place(path).to_owned() })
    }

    /// Variants are where they were, and new ones are behind them.
    fn places(&mut self, old: &EnumShape, new: &EnumShape, path: &str) {
        for (place, variant) in old.variants.iter().enumerate() {
            let path = format!("{path}::{}", variant.name);
            match new.variants.iter().position(|known| known.id == variant.id) {
                Some(now) if now == place => {}
                Some(now) => {
                    let reason = "new variants come last, and others stay where they were";
                    self.refuse(&path, format!("it was variant {} and is {} now: {reason}", place + 1, now + 1));
                }
                // The reader is older: this one came later.
                None if self.projecting && place >= new.variants.len() => {}
                None => self.refuse(&path, format!("it was taken away (id {}): rows may hold it", variant.id)),
            }
        }
    }

    /// Where the data of the new variant at this place comes from, if it has any.
    fn variant(&mut self, old: &EnumShape, new: &EnumShape, place: usize, path: &str) -> Option<VariantSource> {
        let variant = &new.variants[place];
        if variant.fields.is_empty() && old.variants.get(place).is_none_or(|old| old.fields.is_empty()) {
            return None;
        }
        let path = format!("{path}::{}", variant.name);
        let Some(known) = old.variants.get(place) else {
            let absent = Repeated::absent(&variant.fields);
            if absent.is_none() {
                self.refuse(
                    &path,
                    "it is new and holds a type that only its own codec knows: nothing can stand for it",
                );
            }
            return absent.map(VariantSource::Absent);
        };
        let column = old.variants[..place].iter().filter(|variant| !variant.fields.is_empty()).count();
        let step = self.fields(&known.fields, &variant.fields, &[], &path);
        match (variant.fields.is_empty(), known.fields.is_empty(), step) {
            (true, ..) => None,
            (_, true, Step::Fields(fields)) => Some(VariantSource::Defaults(place as u8, fields)), // `VARIANTS_MAX`
            (_, _, step) => Some(VariantSource::Column(column, step)),
        }
    }
}

/// Whether the default that a field has is what it had, in the new shape.
fn same(
    old: &Constant,
    old_shape: &Shape,
    new: &Constant,
    new_shape: &Shape,
    step: &Step,
) -> Result<bool, DecodeError> {
    if matches!(step, Step::Keep) {
        return Ok(old == new);
    }
    let (old, new) = (Repeated::of(old, old_shape)?, Repeated::of(new, new_shape)?);
    let (mapped, _) = step.map((old.one(), old.is_nullable()), None)?;
    Ok(mapped.to_data() == new.one().to_data())
}

/// The path of the whole type: its name, if it has one.
fn root(shape: &Shape) -> &str {
    match shape {
        Shape::Struct(shape) => &shape.name,
        Shape::Enum(shape) => &shape.name,
        _ => "",
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A path in a message.
fn place(path: &str) -> &str {
    if path.is_empty() { "the value" } else { path }
}
