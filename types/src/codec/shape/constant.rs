//! A value that is part of a shape: to Arrow's bytes and back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::writer::StreamWriter;
use arrow_ipc::{MessageHeader, root_as_message};
use arrow_schema::{ArrowError, FieldRef, Schema};

use super::super::{Builder, Codec, DecodeError, field};
use super::{CONSTANT_COLUMN_BYTES_MAX, Constant};

/// What the column is called; nobody asks.
const COLUMN: &str = "value";

/// What begins a message, by Arrow's format, and its length behind it, four bytes each.
const CONTINUATION_MARKER: [u8; 4] = [0xff; 4];

impl Constant {
    /// The constant of a value. Of one that its codec cannot store, a constant without a column, with which no shape is
    /// well-formed ([`Shape::check`](super::Shape::check)).
    pub fn of<C: Codec>(value: &C) -> Self {
        let mut digest = Vec::new();
        C::digest_bytes(value.as_ref(), &mut digest);
        Self { digest, column: column(value).unwrap_or_default() }
    }

    /// The array of one row, and the field of its column. The bytes may come from storage.
    pub(in super::super) fn decode(&self) -> Result<(ArrayRef, FieldRef), DecodeError> {
        let wrong = |why: &str| DecodeError(format!("a default that does not decode: {why}"));
        if self.column.len() > CONSTANT_COLUMN_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        check(&self.column).ok_or_else(|| wrong("its messages are malformed"))?;
        // Behind the checks above nothing is known to panic. What Arrow's next version does, nobody knows.
        let batch = catch_unwind(AssertUnwindSafe(|| read(&self.column)));
        let batch = batch.map_err(|_| wrong("Arrow panicked"))?.map_err(|error| wrong(&error.to_string()))?;
        match (batch.as_ref().map(RecordBatch::columns), batch.as_ref().map(|batch| batch.schema())) {
            (Some([column]), Some(schema)) if column.len() == 1 => {
                Ok((Arc::clone(column), Arc::clone(&schema.fields()[0])))
            }
            _ => Err(wrong("it is not one value")),
        }
    }
}

fn column<C: Codec>(value: &C) -> Option<Vec<u8>> {
    C::check(value.as_ref()).ok()?;
    let mut builder = C::Builder::default();
    builder.push(value.as_ref());
    let schema = Arc::new(Schema::new(vec![field::<C>(COLUMN)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![builder.finish().ok()?]).ok()?;
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).ok()?;
    writer.write(&batch).ok()?;
    writer.finish().ok()?;
    writer.into_inner().ok()
}

fn read(bytes: &[u8]) -> Result<Option<RecordBatch>, ArrowError> {
    let mut buffer = Buffer::from(bytes);
    StreamDecoder::new().decode(&mut buffer)
}

/// Whether what Arrow's reader takes for granted is so: it slices by the offsets of a message and allocates by its lengths.
fn check(bytes: &[u8]) -> Option<()> {
    let mut rest = bytes;
    while let Some((marker, behind)) = rest.split_first_chunk::<4>() {
        let (length, behind) = behind.split_first_chunk::<4>()?;
        if *marker != CONTINUATION_MARKER {
            return None;
        }
        let length = usize::try_from(i32::from_le_bytes(*length)).ok()?;
        if length == 0 {
            break;
        }
        let (message, behind) = behind.split_at_checked(length)?;
        let message = root_as_message(message).ok()?;
        let (body, behind) = behind.split_at_checked(usize::try_from(message.bodyLength()).ok()?)?;
        rest = behind;
        match message.header_type() {
            MessageHeader::Schema => {}
            MessageHeader::RecordBatch => check_batch(&message.header_as_record_batch()?, body)?,
            _ => return None,
        }
    }
    Some(())
}

fn check_batch(batch: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Option<()> {
    if batch.length() != 1 || batch.compression().is_some() {
        return None;
    }
    // A column has a value; one within may have more (a list's), but few without bytes.
    let length_max = (body.len() as i64).max(1) * 8;
    let length = |node: &arrow_ipc::FieldNode| (0..=length_max).contains(&node.length());
    let nulls = |node: &arrow_ipc::FieldNode| (0..=node.length()).contains(&node.null_count());
    let within = |buffer: &arrow_ipc::Buffer| {
        let (start, len) = (usize::try_from(buffer.offset()).ok()?, usize::try_from(buffer.length()).ok()?);
        body.get(start..start.checked_add(len)?).map(|_| ())
    };
    let nodes = batch.nodes().into_iter().flatten().all(|node| length(node) && nulls(node));
    let buffers = batch.buffers().into_iter().flatten().all(|buffer| within(buffer).is_some());
    (nodes && buffers).then_some(())
}
