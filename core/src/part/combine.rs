//! Parts that are in memory into one run: for many small ones, of which each would be read by itself.
//!
//! Always: the rows that come out are those that went in, as a merge leaves them ([`Merge`]); equal parts give equal bytes.
//! Rows that their reader will not see, because they are outside its batch, stay: whose batch it is, is not known here.

use std::ops::ControlFlow;
use std::vec;

use timely_persist_types::codec::{Data, Diff, Time};
use timely_persist_types::error::Error;

use super::chunk::Chunk;
use super::decode_part;
use super::merge::{Merge, MergeStep};
use super::meta::EncodedPart;
use super::writer::{EncodeOptions, SortedPartWriter};

/// The rows of these parts, each sorted, as the parts of one run, of about `part_bytes_max` bytes each. A single one of at
/// most `small_bytes_max` may be a message, to lie in a log entry; all others are files.
///
/// `Corrupt` if a part is not what was written, or has other types.
pub fn combine<K: Data, V: Data, T: Time, D: Diff>(
    parts: &[EncodedPart<T>],
    options: &EncodeOptions,
    small_bytes_max: usize,
    part_bytes_max: usize,
) -> Result<Vec<EncodedPart<T>>, Error> {
    if may_fit_a_message(parts, options) {
        let mut rows = Rows::<K, V, T, D>::of(parts)?;
        let mut writer = SortedPartWriter::message(options)?;
        // An error here may be that it does not fit after all. If it is another, it comes again below.
        if rows.write(&mut writer, usize::MAX).is_ok()
            && let Ok(small) = writer.finish()
            && small.as_ref().is_none_or(|small| small.bytes.len() <= small_bytes_max)
        {
            return Ok(small.into_iter().collect());
        }
    }
    let mut rows = Rows::<K, V, T, D>::of(parts)?;
    let mut files = Vec::new();
    loop {
        let mut writer = SortedPartWriter::new(options)?;
        let step = rows.write(&mut writer, part_bytes_max)?;
        files.extend(writer.finish()?);
        if step == MergeStep::Done {
            return Ok(files);
        }
    }
}

/// Whether one record batch may take all rows: what they take in builders is not known before.
fn may_fit_a_message<T: Time>(parts: &[EncodedPart<T>], options: &EncodeOptions) -> bool {
    let sum = |of: fn(&EncodedPart<T>) -> u64| parts.iter().map(of).fold(0, u64::saturating_add);
    sum(|part| part.meta.rows) <= options.chunk_rows_max as u64
        && sum(|part| part.meta.decoded_bytes) <= options.chunk_bytes_max as u64
}

/// The rows of several parts, on their way into others.
struct Rows<K: Data, V: Data, T: Time, D: Diff> {
    merge: Merge<K, V, T, D>,
    chunks: Vec<vec::IntoIter<Chunk<K, V, T, D>>>,
}

impl<K: Data, V: Data, T: Time, D: Diff> Rows<K, V, T, D> {
    fn of(parts: &[EncodedPart<T>]) -> Result<Self, Error> {
        let decode = |part: &EncodedPart<T>| Ok(decode_part(part.bytes.clone(), &part.meta)?.into_iter());
        let chunks = parts.iter().map(decode).collect::<Result<Vec<_>, Error>>()?;
        // Diffs that come to too much for one row are for its readers to hear of, as if the parts stood side by side.
        Ok(Self { merge: Merge::new(chunks.len()).splitting(), chunks })
    }

    /// Writes until all are written, or so many bytes are.
    fn write(&mut self, writer: &mut SortedPartWriter<K, V, T, D>, bytes_max: usize) -> Result<MergeStep, Error> {
        loop {
            let step = self.merge.step(
                |_, time| Some(time),
                |key, value, time, diff| match writer.push(key, value, time, diff) {
                    Ok(()) if writer.encoded_bytes() < bytes_max => ControlFlow::Continue(()),
                    pushed => ControlFlow::Break(pushed),
                },
            )?;
            match step {
                MergeStep::NeedChunk(input) => match self.chunks.get_mut(input).and_then(Iterator::next) {
                    Some(chunk) => self.merge.push_chunk(input, chunk)?,
                    None => self.merge.finish_input(input),
                },
                MergeStep::Paused(pushed) => return pushed.map(MergeStep::Paused),
                MergeStep::Done => return Ok(MergeStep::Done),
            }
        }
    }
}
