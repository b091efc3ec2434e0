//! The buffers that a schema's record batches consist of, in the order of Arrow's IPC format.
//!
//! Arrow's reader takes for granted that a buffer is a whole number of its values and panics if not, so the widths are
//! checked before it looks. Not here: types whose number of buffers varies or that stand beside the batch (views,
//! unions, dictionaries, run ends); no part holds them.

use arrow_data::{BufferSpec, layout};
use arrow_schema::{DataType, Schema};

use timely_persist_types::error::Error;

/// For each buffer of a record batch the bytes that its length is a multiple of. `Invalid` names the type that no part
/// can hold.
pub(super) fn widths(schema: &Schema) -> Result<Vec<u64>, Error> {
    let mut widths = Vec::new();
    let collected = schema.fields().iter().try_for_each(|field| collect(field.data_type(), &mut widths));
    collected.map_err(|other| Error::invalid(format!("a part cannot hold {other}")))?;
    Ok(widths)
}

fn collect(data_type: &DataType, widths: &mut Vec<u64>) -> Result<(), DataType> {
    use DataType::{BinaryView, Dictionary, LargeListView, ListView, RunEndEncoded, Union, Utf8View};
    if let BinaryView | Utf8View | Dictionary(..) | ListView(_) | LargeListView(_) | RunEndEncoded(..) | Union(..) =
        data_type
    {
        return Err(data_type.clone());
    }
    let layout = layout(data_type);
    // Validity.
    widths.extend(layout.can_contain_null_mask.then_some(1));
    widths.extend(layout.buffers.iter().map(|buffer| match buffer {
        BufferSpec::FixedWidth { byte_width, .. } => (*byte_width).max(1) as u64,
        BufferSpec::VariableWidth | BufferSpec::BitMap | BufferSpec::AlwaysNull => 1,
    }));
    match data_type {
        DataType::Struct(children) => children.iter().try_for_each(|child| collect(child.data_type(), widths)),
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => collect(child.data_type(), widths),
        _ => Ok(()),
    }
}
