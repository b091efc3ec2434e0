//! A value in column statistics, and how a long one becomes a short bound.

/// The most bytes of a string in statistics: enough to tell keys apart, little enough for every copy of the state.
pub(super) const VALUE_BYTES_MAX: usize = 64;

/// A bound of a column's values, in the order that the column's type has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum StatValue {
    /// Of a boolean column.
    Bool(bool),
    /// Of a column of integers of up to 64 bits, of times or of diffs. Of one of dates, the days since 1970-01-01; of one of
    /// timestamps, the microseconds since then; of one of decimals, their digits without the point.
    Int(i128),
    /// Of a column of strings. Possibly shortened: a bound, not necessarily a value that occurs.
    Utf8(String),
    /// Of a column of byte strings, uuids (their bytes) or 128-bit integers (their bytes in order). Possibly shortened.
    Bytes(Vec<u8>),
}

impl StatValue {
    /// Whether the two are values of one column type, so that their order means something.
    pub(super) fn comparable(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The longest beginning of `text` that fits: at most `text`.
pub(super) fn utf8_lower(text: &str) -> String {
    text[..text.floor_char_boundary(VALUE_BYTES_MAX)].to_owned()
}

/// The beginning of `text` that fits, with its last character increased if something was cut off: at least `text`.
/// `None` if no character can be increased.
pub(super) fn utf8_upper(text: &str) -> Option<String> {
    let mut bound = utf8_lower(text);
    if bound.len() == text.len() {
        return Some(bound);
    }
    while let Some(last) = bound.pop() {
        // The code points between the two ranges of characters are surrogates, which are none.
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(other as u32 + 1),
        };
        if let Some(next) = next
            && bound.len() + next.len_utf8() <= VALUE_BYTES_MAX
        {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}

/// As [`utf8_lower`].
pub(super) fn bytes_lower(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(VALUE_BYTES_MAX)].to_owned()
}

/// As [`utf8_upper`].
pub(super) fn bytes_upper(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bound = bytes_lower(bytes);
    if bound.len() == bytes.len() {
        return Some(bound);
    }
    while let Some(last) = bound.pop() {
        if let Some(next) = last.checked_add(1) {
            bound.push(next);
            return Some(bound);
        }
    }
    None
}
