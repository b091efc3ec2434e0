//! Rust source as words and marks: comments, strings and characters left out.
//!
//! Enough of Rust's lexical structure to tell code from what only looks like it: nested block comments, raw and byte
//! strings, character literals beside lifetimes. Source that does not lex (an open string, say) ends early; the compiler
//! refuses it anyway.

/// A word or a mark of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// An identifier, keyword or number, or one mark such as `{`; two colons in a row are one token.
    pub(crate) text: String,
    /// The line it begins in, from 1.
    pub(crate) line: usize,
}

/// The tokens of a file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_whitespace() {
                self.skip(first.len_utf8());
            } else if self.rest.starts_with("//") {
                self.skip(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.skip(block_comment(self.rest));
            } else if let Some(length) = string(self.rest) {
                self.skip(length);
            } else if first == '\'' {
                self.skip(character(self.rest).unwrap_or(1)); // else a lifetime, whose name is a word like any
            } else if is_word(first) {
                let length = self.rest.find(|next| !is_word(next)).unwrap_or(self.rest.len());
                return Some(self.take(length));
            } else if self.rest.starts_with("::") {
                return Some(self.take(2));
            } else {
                return Some(self.take(first.len_utf8()));
            }
        }
    }

    fn take(&mut self, length: usize) -> Token {
        let token = Token { text: self.rest[..length].to_owned(), line: self.line };
        self.skip(length);
        token
    }

    fn skip(&mut self, length: usize) {
        self.line += self.rest[..length].matches('\n').count();
        self.rest = &self.rest[length..];
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of the block comment that begins here.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// The length of the string literal of any kind that begins here, if one does.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        let behind = rest.strip_prefix(prefix).unwrap_or("");
        let hashes = if prefix.ends_with('r') { behind.trim_start_matches('#') } else { behind };
        hashes.starts_with('"')
    })?;
    let body = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix.len() + hashes + 1;
        return Some(rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len()));
    }
    Some(prefix.len() + quoted(body, '"').unwrap_or(body.len()))
}

/// The length of the character literal that begins here; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let inside = rest[1..].chars().next()?;
    if inside == '\\' {
        return quoted(rest, '\'');
    }
    rest[1 + inside.len_utf8()..].starts_with('\'').then_some(inside.len_utf8() + 2)
}

/// The length of what begins and ends with `quote`, a backslash hiding what follows it.
fn quoted(rest: &str, quote: char) -> Option<usize> {
    let mut hidden = false;
    for (at, character) in rest.char_indices().skip(1) {
        match character {
            _ if hidden => hidden = false,
            '\\' => hidden = true,
            _ if character == quote => return Some(at + character.len_utf8()),
            _ => {}
        }
    }
    None
}
