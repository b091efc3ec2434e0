//! What two codec names say of one another: whether columns of the one can be read as the other, and if not, why.
//!
//! A name is compared as it is, but for the shapes of serde types in it (`serde(Row){…}`, see `serde::shape`). A shard
//! that was made before names had shapes is known by the name alone, for ever: then the shape is not compared.

use std::collections::{HashSet, VecDeque};

/// The most bytes of a shape in a name, which every copy of a shard's state has: some hundred fields. A longer one is
/// there as its digest, and a type of another shape is still refused, but not told in which field.
pub const SHAPE_BYTES_MAX: usize = 4 << 10;

/// Begins a shape that could not be found out, and what follows is why.
pub(super) const UNTRACED: char = '!';

/// Begins the digest of a shape that is too long.
pub(super) const DIGEST: char = '#';

/// Characters of a name that are repeated in a message.
const SHOWN_MAX: usize = 200;

/// Why columns of the codec `known` cannot be read by the one named `here`; `None` if they can.
pub fn difference(known: &str, here: &str) -> Option<String> {
    if known == here {
        return None;
    }
    let (known_name, known_shapes) = take_apart(known);
    let (name, shapes) = take_apart(here);
    if known_name != name || known_shapes.len() != shapes.len() {
        return Some(format!("{} as stored, {} here", shown(&known_name), shown(&name)));
    }
    known_shapes.iter().zip(shapes).find_map(|(known, here)| {
        let (known, here) = ((*known)?, here?);
        match here.strip_prefix(UNTRACED) {
            Some(reason) => {
                Some(format!("{} is remembered with its shape, and that of the type here {reason}", shown(&name)))
            }
            None if is_opaque(known) || is_opaque(here) => {
                (known != here).then(|| format!("{} is of another shape, which is too large to say how", shown(&name)))
            }
            None => Shape::new(known).difference(&Shape::new(here)).map(|what| format!("in {}, {what}", shown(&name))),
        }
    })
}

/// Whether a shape tells nothing: it is a digest, or longer than any that was ever remembered.
fn is_opaque(shape: &str) -> bool {
    shape.starts_with(DIGEST) || shape.len() > SHAPE_BYTES_MAX
}

/// Why nothing should be stored under this name: it has a type whose shape could not be found out.
pub fn untraced(name: &str) -> Option<String> {
    let (bare, shapes) = take_apart(name);
    let reason = shapes.into_iter().flatten().find_map(|shape| shape.strip_prefix(UNTRACED))?;
    Some(format!("the shape of {} {reason}", shown(&bare)))
}

/// The name without the shapes of serde types, and those: `None` for a type that has none.
fn take_apart(name: &str) -> (String, Vec<Option<&str>>) {
    const SERDE: &str = "serde(";
    let (mut bare, mut shapes, mut rest) = (String::new(), Vec::new(), name);
    while let Some(start) = rest.find(SERDE) {
        let end = start + SERDE.len() - 1;
        let end = end + closing(&rest[end..], '(', ')').unwrap_or(rest.len() - end);
        bare.push_str(&rest[..end]);
        rest = &rest[end..];
        let shape = closing(rest, '{', '}').map(|end| rest.split_at(end));
        if let Some((_, behind)) = shape {
            rest = behind;
        }
        shapes.push(shape.and_then(|(shape, _)| shape.strip_prefix('{')?.strip_suffix('}')));
    }
    bare.push_str(rest);
    (bare, shapes)
}

/// The length of what a bracket that `text` begins with encloses, with both brackets.
fn closing(text: &str, open: char, close: char) -> Option<usize> {
    if !text.starts_with(open) {
        return None;
    }
    let mut depth = 0;
    for (index, c) in text.char_indices() {
        if c == open {
            depth += 1;
        } else if c == close {
            depth -= 1;
            if depth == 0 {
                return Some(index + c.len_utf8());
            }
        }
    }
    None
}

/// A name, shortened.
fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

/// A shape, taken apart so far that another can be held against it.
struct Shape<'a> {
    root: &'a str,
    named: Vec<&'a str>,
}

/// Two formats to be held against each other, the shard's first, and where they are.
type Pair<'a, 'b> = (&'a str, &'b str, String);

impl<'a> Shape<'a> {
    fn new(text: &'a str) -> Self {
        let mut parts = text.split(';');
        Self { root: parts.next().unwrap_or_default(), named: parts.collect() }
    }

    /// In what the shape here differs from this one, the shard's. Without recursion: the one comes from storage.
    fn difference<'b>(&self, here: &Shape<'b>) -> Option<String> {
        let (mut todo, mut seen) = (VecDeque::from([(self.root, here.root, String::new())]), HashSet::new());
        while let Some((known, format, path)) = todo.pop_front() {
            // What nobody ever asked for fits everything.
            if known == "_" || format == "_" || !seen.insert((known, format)) {
                continue;
            }
            let what = match (self.named(known), here.named(format)) {
                (Some(known), Some(format)) => types(known, format, &path, &mut todo),
                (None, None) if formats(known, format, &path, &mut todo) => None,
                _ => Some(self.kinds(known, here, format, &path)),
            };
            if what.is_some() {
                return what;
            }
        }
        None
    }

    fn kinds(&self, known: &str, here: &Shape<'_>, format: &str, path: &str) -> String {
        format!("{}: {} as stored, {} here", place(path), self.kind(known), here.kind(format))
    }

    fn named(&self, format: &str) -> Option<&'a str> {
        let index: usize = format.strip_prefix('@')?.parse().ok()?;
        self.named.get(index).copied()
    }

    /// A format in a message.
    fn kind(&self, format: &str) -> String {
        match self.named(format) {
            Some(body) if body.starts_with('|') => format!("an enum of {} variants", body.split('|').count() - 1),
            Some(body) => format!("a struct of {} fields", fields(body).len()),
            None => match split(format) {
                Parts { kind: "?", .. } => "an option".to_owned(),
                Parts { kind: "[", count: 2, .. } => "a map".to_owned(),
                Parts { kind: "[", .. } => "a sequence".to_owned(),
                Parts { kind: "(", count, .. } => format!("a tuple of {count}"),
                Parts { kind, .. } => shown(kind),
            },
        }
    }
}

/// Whether two formats may be the same: `todo` is what is left to be compared.
fn formats<'a, 'b>(known: &'a str, here: &'b str, path: &str, todo: &mut VecDeque<Pair<'a, 'b>>) -> bool {
    let (known, here) = (split(known), split(here));
    if known.kind != here.kind || known.count != here.count {
        return false;
    }
    let longest = known.inner.len().max(here.inner.len());
    for index in 0..longest {
        let of = |inner: &[&'a str]| inner.get(index).or(inner.first()).copied();
        let of_here = |inner: &[&'b str]| inner.get(index).or(inner.first()).copied();
        if let (Some(known), Some(format)) = (of(&known.inner), of_here(&here.inner)) {
            let path = if here.kind == "(" { below(path, &index.to_string()) } else { path.to_owned() };
            todo.push_back((known, format, path));
        }
    }
    true
}

/// What differs between two structs or enums; `todo` is what is left to be compared.
fn types<'a, 'b>(known: &'a str, here: &'b str, path: &str, todo: &mut VecDeque<Pair<'a, 'b>>) -> Option<String> {
    let (known, here) = match (known.strip_prefix('|'), here.strip_prefix('|')) {
        (Some(known), Some(here)) => (known, here),
        (None, None) => return structs(known, here, path, todo),
        (known, here) => {
            let kind = |is_enum: bool| if is_enum { "an enum" } else { "a struct" };
            return Some(format!(
                "{}: {} as stored, {} here",
                place(path),
                kind(known.is_some()),
                kind(here.is_some())
            ));
        }
    };
    let (known, here): (Vec<_>, Vec<_>) = (known.split('|').collect(), here.split('|').collect());
    let names = |variants: &[&str]| -> Vec<String> { variants.iter().map(|v| variant_name(v).to_owned()).collect() };
    let what = names_difference("variant", path, &names(&known), &names(&here));
    what.or_else(|| {
        known.iter().zip(&here).find_map(|(known, here)| {
            let (name, at) = (variant_name(here), variant_name(here).len());
            structs(&known[at..], &here[at..], &below(path, name), todo)
        })
    })
}

/// What differs between the fields of two structs, or of variants of one name.
fn structs<'a, 'b>(known: &'a str, here: &'b str, path: &str, todo: &mut VecDeque<Pair<'a, 'b>>) -> Option<String> {
    if [known, here].contains(&"_") || [known, here].contains(&"?") {
        return None;
    }
    let (known, here) = (fields(known), fields(here));
    let names = |fields: &[(Option<&str>, &str)]| -> Vec<String> {
        let name = |(index, field): (usize, &(Option<&str>, &str))| field.0.map_or(index.to_string(), str::to_owned);
        fields.iter().enumerate().map(name).collect()
    };
    let (known_names, names) = (names(&known), names(&here));
    let what = names_difference("field", path, &known_names, &names);
    if what.is_none() {
        let pairs = known.iter().zip(&here).zip(&names);
        todo.extend(pairs.map(|((known, here), name)| (known.1, here.1, below(path, name))));
    }
    what
}

/// A format's outermost part, and those within it: one for all where they are equal.
struct Parts<'a> {
    kind: &'a str,
    count: usize,
    inner: Vec<&'a str>,
}

fn split(format: &str) -> Parts<'_> {
    if let Some(some) = format.strip_prefix('?') {
        return Parts { kind: "?", count: 1, inner: vec![some] };
    }
    if let Some(inner) = format.strip_prefix('[').and_then(|format| format.strip_suffix(']')) {
        let inner = top_level(inner, '>');
        return Parts { kind: "[", count: inner.len(), inner };
    }
    if let Some(inner) = format.strip_prefix('(').and_then(|format| format.strip_suffix(')')) {
        let repeated = inner.rsplit_once('*').and_then(|(one, count)| Some((one, count.parse().ok()?)));
        let (count, inner) = match repeated {
            Some((one, count)) => (count, vec![one]),
            None => {
                let inner = top_level(inner, ' ');
                (inner.len(), inner)
            }
        };
        return Parts { kind: "(", count, inner };
    }
    Parts { kind: format, count: 0, inner: Vec::new() }
}

/// The fields of a struct or a variant: the name, if it has one, and the format.
fn fields(body: &str) -> Vec<(Option<&str>, &str)> {
    let inner = |open, close| body.strip_prefix(open).and_then(|body: &str| body.strip_suffix(close));
    if let Some(inner) = inner('{', '}') {
        return top_level(inner, ',')
            .into_iter()
            .filter_map(|field| field.split_once(':'))
            .map(|(n, f)| (Some(n), f))
            .collect();
    }
    inner('(', ')')
        .map(|inner| top_level(inner, ',').into_iter().map(|field| (None, field)).collect())
        .unwrap_or_default()
}

fn variant_name(variant: &str) -> &str {
    // Of a variant that nobody can make only the name is known, and a question mark is behind it.
    variant.find(['(', '{', '?']).map_or(variant, |end| &variant[..end])
}

/// Splits at a separator outside all brackets.
fn top_level(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            c if c == separator && depth == 0 => {
                parts.push(&text[start..index]);
                start = index + c.len_utf8();
            }
            _ => {}
        }
    }
    if !text.is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

fn names_difference(what: &str, path: &str, known: &[String], here: &[String]) -> Option<String> {
    let at = known.iter().zip(here).position(|(known, here)| known != here);
    let within = if path.is_empty() { String::new() } else { format!(" of `{path}`") };
    if let Some(at) = at {
        let moved = here.iter().position(|name| *name == known[at]);
        return Some(match moved.filter(|to| known.get(*to) == Some(&here[at])) {
            Some(to) => {
                format!("{what}s {} and {}{within}, `{}` and `{}`, are swapped", at + 1, to + 1, known[at], known[to])
            }
            None => format!("{what} {}{within} is `{}` as stored, `{}` here", at + 1, known[at], here[at]),
        });
    }
    match known.len().cmp(&here.len()) {
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Less => Some(format!("{what} `{}`{within} is here only", here[known.len()])),
        std::cmp::Ordering::Greater => Some(format!("{what} `{}`{within} is stored only", known[here.len()])),
    }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn place(path: &str) -> String {
    if path.is_empty() { "the value".to_owned() } else { format!("field `{path}`") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_without_a_shape_is_compared_as_it_is() {
        assert_eq!(difference("serde(Row)", "serde(Row){@0;{a:u32}}"), None);
        assert_eq!(difference("(serde(A),serde(B<(u8, C)>))", "(serde(A){u8},serde(B<(u8, C)>){!is odd})"), None);
        assert!(difference("serde(Row)", "serde(Other){@0;{a:u32}}").is_some());
        assert!(difference("option(serde(Row))", "serde(Row){u8}").is_some());
        assert_eq!(difference("u64", "i64").unwrap(), "u64 as stored, i64 here");
        // Braces of others' are no shapes.
        assert!(difference("mine{1}", "mine{2}").is_some());
    }

    #[test]
    fn a_type_without_a_shape_is_refused_where_shapes_are_known() {
        let odd = "(u8,serde(Row){!cannot be found out: it is odd})";
        assert!(untraced(odd).unwrap().contains("it is odd"));
        assert_eq!(untraced("(u8,serde(Row){u8})"), None);
        assert!(difference("(u8,serde(Row){u8})", odd).unwrap().contains("it is odd"));
        assert_eq!(difference("(u8,serde(Row))", odd), None);
    }

    #[test]
    fn formats_of_every_kind_are_told_apart() {
        let what =
            |known: &str, here: &str| difference(&format!("serde(R){{{known}}}"), &format!("serde(R){{{here}}}"));
        for (known, here) in [
            ("u8", "u16"),
            ("?u8", "u8"),
            ("[u8]", "[u16]"),
            ("[u8>u8]", "[u8]"),
            ("[u8>u8]", "[u8>u16]"),
            ("(u8 u16)", "(u16 u8)"),
            ("(u8*2)", "(u8*3)"),
            ("(u8*2)", "(u8 u16)"),
            ("((u8*2)*2)", "((u8*2) (u8*3))"),
            ("@0;(u8)", "u8"),
            ("@0;()", "@0;(u8)"),
            ("@0;(u8)", "@0;{a:u8}"),
            ("@0;{a:u8}", "@0;|a(u8)"),
            ("@0;|A|B", "@0;|A|B(u8)"),
            ("@0;|A|B", "@0;|B|A"),
            ("@0;|A{a:@0,b:u8}|B", "@0;|A{a:@0,b:i8}|B"),
            ("@0;{a:@1};{b:u8}", "@0;{a:@1};{b:@1}"),
            ("#00", "#01"),
            ("#00", "u8"),
        ] {
            assert!(what(known, here).is_some(), "{known} {here}");
            assert!(what(here, known).is_some(), "{here} {known}");
            assert_eq!(what(known, known), None);
        }
        // What nobody could find out is not held against anybody.
        assert_eq!(what("@0;|A([_])|B?", "@0;|A([u8])|B(u16)"), None);
    }

    proptest! {
        /// Names come from storage.
        #[test]
        fn any_names_are_compared(known in "[@0-2;|AB(){}\\[\\]<>?*,:_# é]{0,40}", here in "[@0-2;|AB(){}\\[\\]>?*,:_#! é]{0,40}") {
            let names = [known, here].map(|shape| format!("serde(R){{{shape}}}"));
            let _ = (difference(&names[0], &names[1]), untraced(&names[1]), difference(&names[0][3..], &names[1]));
        }
    }

    #[test]
    fn a_long_name_is_no_deep_recursion() {
        let nested =
            |depth: usize, inner: &str| format!("serde(R){{{}{inner}{}}}", "[".repeat(depth), "]".repeat(depth));
        for depth in [0, 1, 100, SHAPE_BYTES_MAX / 2 - 8, 1 << 20] {
            assert!(difference(&nested(depth, "u8"), &nested(depth, "u16")).is_some());
        }
    }
}
