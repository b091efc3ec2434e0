//! Finding out the shape of a type: its `Deserialize` is run on answers made up, and what it asks for is written down.
//!
//! It is run again and again: each time an enum that is met gives a value of a variant not seen before, until all were.
//! A type that contains itself is cut where it does: there a sequence is empty and an option `None`. Where a value is
//! refused, the question asked last gets another answer.
//!
//! Always: it ends, within [`QUESTIONS_MAX`] and [`DEPTH_MAX`]. What it is: serde's counterpart of a reader of bincode,
//! which tells no names and no kinds, so that nothing here is asked that bincode could not answer.

mod answer;
mod parts;

use std::any::type_name;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeOwned, Visitor};

use super::super::bounded;
use super::samples::{BYTES, INTEGERS, LENGTHS, TEXTS, ZEROS};
use super::shape::{Format, Identity, Named, Status, Style, Variant, text};

/// So many questions are answered for one type: with them a type of thousands of variants is traced, in less than a
/// second, and one that would ask without end is given up.
const QUESTIONS_MAX: usize = 1 << 20;

/// So deep may values lie in one another: far less than a thread's stack holds.
const DEPTH_MAX: usize = 128;

/// So many times other answers are tried: enough for any of the samples at each of two places.
const TRIES_MAX: usize = 2_048;

/// Of so many questions before a refusal other answers are tried.
const RECONSIDERED_MAX: usize = 4;

/// The shape of a type as text, or why it has none.
pub(super) fn trace<T: DeserializeOwned>() -> Result<String, String> {
    let mut tracer = Tracer::default();
    let mut root = Format::Unknown;
    loop {
        tracer.begin();
        let outcome = T::deserialize(Asked { tracer: &mut tracer, format: &mut root, place: 0 });
        if let Some(reason) = tracer.hopeless.take() {
            return Err(reason);
        }
        match outcome {
            Ok(_) if tracer.is_complete() => return Ok(text(&root, &tracer.named)),
            Ok(_) if tracer.progressed => {}
            Ok(_) => return Err("some variants of an enum in it are never asked for".to_owned()),
            Err(_) if tracer.progressed && tracer.recounted => {}
            Err(Refusal(reason)) => tracer.reconsider(reason)?,
        }
    }
}

/// Why a value was not made.
#[derive(Debug)]
struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl serde::de::Error for Refusal {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self(bounded(format_args!("{message}")))
    }
}

#[derive(Debug, Default)]
struct Tracer {
    named: Vec<Named>,
    indices: HashMap<Identity, usize>,
    questions: usize,
    depth: usize,
    /// Why no answer helps, also if the type took the refusal for an answer.
    hopeless: Option<String>,
    /// Whether this run found out anything, and whether it is that an enum has fewer variants than names.
    progressed: bool,
    recounted: bool,
    /// The questions of this run that have several answers, in order, and how many.
    open: Vec<(u64, usize)>,
    /// Which answer a question gets, if not the first.
    answers: HashMap<u64, usize>,
    tries: usize,
    /// The innermost variant whose first value was refused before anything was asked for it.
    refused: Option<(usize, usize)>,
}

impl Tracer {
    fn begin(&mut self) {
        (self.depth, self.progressed, self.recounted, self.refused) = (0, false, false, None);
        self.open.clear();
    }

    fn is_complete(&self) -> bool {
        let seen = |variant: &Variant| variant.status != Status::Untraced;
        self.named.iter().all(|named| named.variants.iter().all(seen))
    }

    /// Gives up for good.
    fn give_up<R>(&mut self, reason: impl Into<String>) -> Result<R, Refusal> {
        let reason = reason.into();
        self.hopeless.get_or_insert_with(|| reason.clone());
        Err(Refusal(reason))
    }

    fn ask(&mut self) -> Result<(), Refusal> {
        self.questions += 1;
        if self.questions > QUESTIONS_MAX {
            return self.give_up("it is too large: it asks for too many values");
        }
        Ok(())
    }

    /// Which of so many answers the question at this place gets.
    fn choose(&mut self, place: u64, answers: usize) -> usize {
        self.open.push((place, answers));
        self.answers.get(&place).copied().unwrap_or(0).min(answers - 1)
    }

    /// After a refusal: another answer to one of the last questions.
    fn reconsider(&mut self, reason: String) -> Result<(), String> {
        if let Some((index, variant)) = self.refused {
            let variants = &mut self.named[index].variants;
            variants[variant].status = Status::Unreadable;
            // An enum without a value is refused.
            let readable = variants.iter().any(|variant| variant.status != Status::Unreadable);
            return if readable { Ok(()) } else { Err(reason) };
        }
        self.tries += 1;
        if self.tries > TRIES_MAX {
            return Err(reason);
        }
        let mut passed = Vec::new();
        for (place, answers) in self.open.iter().rev() {
            if passed.contains(place) {
                continue;
            }
            let answer = self.answers.entry(*place).or_insert(0);
            if *answer + 1 < *answers {
                *answer += 1;
                self.answers.retain(|place, _| !passed.contains(place));
                return Ok(());
            }
            passed.push(*place);
            if passed.len() == RECONSIDERED_MAX {
                break;
            }
        }
        Err(reason)
    }

    /// Writes down what is asked for. It must be the same each time.
    fn note(&mut self, format: &mut Format, asked: Format) -> Result<(), Refusal> {
        match format {
            Format::Busy => Ok(()),
            Format::Unknown => {
                *format = asked;
                self.progressed = true;
                Ok(())
            }
            known if std::mem::discriminant(known) != std::mem::discriminant(&asked) => self.unsteady(),
            Format::Leaf(known) if Format::Leaf(known) != asked => self.unsteady(),
            Format::Named(known) if Format::Named(*known) != asked => self.unsteady(),
            _ => Ok(()),
        }
    }

    fn unsteady<R>(&mut self) -> Result<R, Refusal> {
        self.give_up("what it asks for depends on what it was given before")
    }

    /// The index of a type with a name, known or new.
    fn identify(&mut self, identity: Identity, is_enum: bool) -> usize {
        if let Some(index) = self.indices.get(&identity) {
            return *index;
        }
        let index = self.named.len();
        let names = identity.2;
        let count = if is_enum { names.len() } else { 1 };
        let variants = std::iter::repeat_with(Variant::default).take(count).collect();
        self.named.push(Named { names, is_enum, variants });
        self.indices.insert(identity, index);
        index
    }

    /// Whether there is a variant not seen yet in what this refers to.
    fn is_wanted(&self, format: &Format, seen: &mut HashSet<usize>) -> bool {
        match format {
            Format::Unknown | Format::Busy | Format::Leaf(_) => false,
            Format::Option(inner) | Format::Seq(inner) => self.is_wanted(inner, seen),
            Format::Map(pair) => pair.iter().any(|format| self.is_wanted(format, seen)),
            Format::Tuple(formats) => formats.iter().any(|format| self.is_wanted(format, seen)),
            Format::Named(index) if !seen.insert(*index) => false,
            Format::Named(index) => self.named[*index].variants.iter().any(|variant| {
                let untraced = variant.status == Status::Untraced && !variant.in_use;
                untraced || variant.fields.iter().any(|format| self.is_wanted(format, seen))
            }),
        }
    }

    /// Whether to look into what may be empty.
    fn is_worth_a_look(&self, content: &Format) -> bool {
        *content == Format::Unknown || self.is_wanted(content, &mut HashSet::new())
    }

    /// The variant that an enum gives a value of.
    fn pick(&self, index: usize) -> Option<usize> {
        let variants = &self.named[index].variants;
        let free = |variant: &Variant| !variant.in_use && variant.status != Status::Unreadable;
        let untraced = |variant: &Variant| free(variant) && variant.status == Status::Untraced;
        let wanted = |variant: &Variant| {
            let seen = &mut HashSet::from([index]);
            free(variant) && variant.fields.iter().any(|format| self.is_wanted(format, seen))
        };
        let cheapest = || {
            let traced = variants.iter().enumerate().filter(|(_, variant)| free(variant));
            traced.min_by_key(|(_, variant)| variant.cost).map(|(index, _)| index)
        };
        variants.iter().position(untraced).or_else(|| variants.iter().position(wanted)).or_else(cheapest)
    }

    /// Says what fields a variant has.
    fn settle(
        &mut self,
        (index, variant): (usize, usize),
        style: Style,
        count: usize,
        names: &'static [&'static str],
    ) -> Result<(), Refusal> {
        let variant = &mut self.named[index].variants[variant];
        if variant.style == Style::Unknown {
            (variant.style, variant.names) = (style, names);
            variant.fields = vec![Format::Unknown; count];
        }
        if variant.style != style || variant.fields.len() > count {
            return self.unsteady();
        }
        Ok(())
    }

    /// Makes a value of a variant.
    fn make<R>(
        &mut self,
        (index, variant): (usize, usize),
        make: impl FnOnce(&mut Self) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let before = self.questions;
        let was_in_use = std::mem::replace(&mut self.named[index].variants[variant].in_use, true);
        let made = make(self);
        let cost = self.questions - before;
        let Some(known) = self.named[index].variants.get_mut(variant) else {
            return made; // it turned out not to exist
        };
        known.in_use = was_in_use;
        match (&made, known.status) {
            (Ok(_), Status::Untraced) => {
                (known.status, known.cost) = (Status::Traced, cost);
                self.progressed = true;
            }
            (Ok(_), _) => known.cost = known.cost.min(cost),
            (Err(_), Status::Untraced) if known.style == Style::Unknown && self.named[index].is_enum => {
                self.refused.get_or_insert((index, variant));
            }
            (Err(_), _) => {}
        }
        made
    }

    /// Has a field of a variant read.
    fn field<R>(
        &mut self,
        (index, variant): (usize, usize),
        field: usize,
        read: impl FnOnce(Asked<'_>) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let Some(format) = self.named[index].variants[variant].fields.get_mut(field) else {
            return self.unsteady();
        };
        let mut format = std::mem::replace(format, Format::Busy);
        let busy = format == Format::Busy;
        let place = within(within(within(1, index), variant), field);
        let made = read(Asked { tracer: self, format: &mut format, place });
        if !busy {
            self.named[index].variants[variant].fields[field] = format;
        }
        made
    }

    /// Forgets fields that were not asked for: serde gives more names than there are fields.
    fn trim(&mut self, (index, variant): (usize, usize)) {
        let fields = &mut self.named[index].variants[variant].fields;
        while fields.last() == Some(&Format::Unknown) {
            fields.pop();
        }
    }
}

/// A place within a place.
fn within(place: u64, index: usize) -> u64 {
    (place ^ index as u64).wrapping_mul(0x0100_0000_01b3).wrapping_add(1)
}

/// One question.
struct Asked<'a> {
    tracer: &'a mut Tracer,
    format: &'a mut Format,
    place: u64,
}

impl<'a> Asked<'a> {
    /// A value without parts: which of so many samples.
    fn leaf(&mut self, name: &'static str, samples: usize) -> Result<usize, Refusal> {
        self.tracer.ask()?;
        self.tracer.note(self.format, Format::Leaf(name))?;
        Ok(self.tracer.choose(self.place, samples))
    }

    fn integer(&mut self, name: &'static str) -> Result<u8, Refusal> {
        Ok(INTEGERS[self.leaf(name, INTEGERS.len())?])
    }

    fn text(&mut self) -> Result<&'static str, Refusal> {
        Ok(TEXTS[self.leaf("str", TEXTS.len())?])
    }

    fn bytes(&mut self) -> Result<&'static [u8], Refusal> {
        Ok(&ZEROS[..BYTES[self.leaf("bytes", BYTES.len())?]])
    }

    /// How many elements a sequence, or a map, has: one if it is worth a look, unless that was refused.
    fn length(&mut self, worth_a_look: bool) -> usize {
        match self.tracer.choose(self.place, LENGTHS.len() + 1) {
            0 => usize::from(worth_a_look),
            answer => LENGTHS[answer - 1],
        }
    }

    /// Something that lies one deeper.
    fn deeper<R>(self, read: impl FnOnce(&mut Tracer, &mut Format, u64) -> Result<R, Refusal>) -> Result<R, Refusal> {
        self.tracer.ask()?;
        if self.tracer.depth == DEPTH_MAX {
            return self.tracer.give_up("its values lie too deep in one another");
        }
        self.tracer.depth += 1;
        let made = read(self.tracer, self.format, self.place);
        self.tracer.depth -= 1;
        made
    }

    /// A struct of any kind.
    fn structure<'de, V: Visitor<'de>>(
        self,
        (name, names): (&'static str, &'static [&'static str]),
        (style, count): (Style, usize),
        visit: impl FnOnce(&mut Tracer, (usize, usize)) -> Result<V::Value, Refusal>,
    ) -> Result<V::Value, Refusal> {
        self.deeper(|tracer, format, _| {
            let index = tracer.identify((name, type_name::<V::Value>(), names), false);
            tracer.note(format, Format::Named(index))?;
            tracer.settle((index, 0), style, count, names)?;
            tracer.make((index, 0), |tracer| visit(tracer, (index, 0)))
        })
    }
}
