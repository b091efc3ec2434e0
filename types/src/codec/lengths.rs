//! Bytes that say where they end, for the digest of a row.

/// Adds what `write` adds, behind its length: bytes of values that vary in length must say where they end.
pub(super) fn with_length(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; size_of::<u64>()]);
    write(bytes);
    let length = bytes.len() - start - size_of::<u64>();
    bytes[start..][..size_of::<u64>()].copy_from_slice(&(length as u64).to_le_bytes());
}
