//! Values to answer with when a type asks for one and nobody has any.
//!
//! A type may refuse a value: a number that must not be zero, a text that must be a date. Then the next one is tried. The
//! texts are what types of the standard library and of widely used crates read; one that takes none of them is refused.

/// Integers. All are values of every integer type.
pub(super) const INTEGERS: &[u8] = &[1, 0, 2, 4, 12, 16, 100];

pub(super) const FLOATS: &[f32] = &[1.0, 0.0, 0.5, 2.0];

pub(super) const CHARS: &[char] = &['a', 'A', '0', ' '];

/// Lengths of sequences, behind the one that tracing itself would choose.
pub(super) const LENGTHS: &[usize] = &[0, 1, 2, 3, 4, 8, 12, 16, 32];

/// Lengths of byte strings.
pub(super) const BYTES: &[usize] = &[1, 16, 0, 4, 8, 12, 20, 24, 28, 32, 48, 64];

/// As many zeros as the longest of them.
pub(super) const ZEROS: &[u8] = &[0; 64];

pub(super) const TEXTS: &[&str] = &[
    "a",
    "",
    "1",
    "0",
    "A",
    "2000-01-01",
    "2000-01-01T00:00:00",
    "2000-01-01T00:00:00Z",
    "2000-01-01T00:00:00+00:00[UTC]",
    "2000-01-01 00:00:00",
    "00:00:00",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "::1",
    "127.0.0.1:80",
    "127.0.0.0/8",
    "http://a.aa/",
    "a@a.aa",
    "a.aa",
    "0.0.0",
    "UTC",
    "Europe/Paris",
    "+00:00",
    "Mon",
    "Jan",
    "1s",
    "PT1S",
    "EUR",
    "en",
    "/a",
    "00",
    "text/plain",
    "#000000",
    "{}",
];
