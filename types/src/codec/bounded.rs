//! What a value says of itself, in few bytes, for messages.

use std::fmt;

/// Bytes of a value, or of what a type's own code says, that are repeated in a message.
const SHOWN_BYTES_MAX: usize = 200;

/// The text, cut where it is long: a value may say a gigabyte.
pub fn bounded(said: fmt::Arguments<'_>) -> String {
    let mut text = Bounded(String::new());
    if fmt::write(&mut text, said).is_err() {
        text.0.push('…');
    }
    text.0
}

/// Takes so much text and no more.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = SHOWN_BYTES_MAX.saturating_sub(self.0.len());
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
