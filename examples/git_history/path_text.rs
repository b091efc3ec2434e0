//! A path of a git tree as text.
//!
//! Git's paths are bytes. Nearly all are UTF-8 and stand in the collection as they are. The others are written as git
//! prints them, in double quotes with octal escapes; so is a path that begins with a double quote, so that no two paths
//! share a text.

use std::fmt::Write;

/// The text that stands for a path, different for different paths.
pub(crate) fn path_text(path: &[u8]) -> String {
    match std::str::from_utf8(path) {
        Ok(text) if !text.starts_with('"') => text.to_owned(),
        _ => quoted(path),
    }
}

/// The extension of a path's text: what follows the last dot of the file name. A name without a dot has none, nor has one
/// whose only dot is its first character (`.gitignore`) or its last (`name.`): the answer is empty then.
pub(crate) fn extension(path_text: &str) -> &str {
    let unquoted = match path_text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').unwrap_or(rest),
        None => path_text,
    };
    let name = unquoted.rsplit('/').next().unwrap_or(unquoted);
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => extension,
        _ => "",
    }
}

fn quoted(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len() + 8);
    text.push('"');
    for &byte in path {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\{byte:03o}");
            }
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf8_stays_and_the_rest_is_quoted() {
        assert_eq!(path_text("src/größe.rs".as_bytes()), "src/größe.rs");
        assert_eq!(path_text(b"caf\xe9.txt"), r#""caf\351.txt""#);
        assert_eq!(path_text(b"\"caf\\351.txt\""), r#""\"caf\\351.txt\"""#);
        assert_eq!(path_text(b"a\nb"), "a\nb");
    }

    #[test]
    fn extensions() {
        let cases = [
            ("src/main.rs", "rs"),
            ("a.tar.gz", "gz"),
            ("Makefile", ""),
            (".gitignore", ""),
            ("dir.d/Makefile", ""),
            ("dir.d/.hidden", ""),
            (".hidden.toml", "toml"),
            ("ends.", ""),
            ("UPPER.RS", "RS"),
            (r#""caf\351.txt""#, "txt"),
        ];
        for (path, expected) in cases {
            assert_eq!(extension(path), expected, "{path}");
        }
    }
}
