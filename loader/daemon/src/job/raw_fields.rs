//! The edge for fields of raw bytes: a path column, and how many bytes of a sample a row has.

use forebay_plan::{DType, MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::JobSource;
use super::fields::FieldMaker;
use super::located::{Located, ints};
use super::order::JobOrder;
use super::spec::{Planned, column_of, no_transforms, not_packed, only_one_view, views};
use super::token_fields::no_token_settings;
use crate::catalog::{ColumnKind, Snapshot};
use crate::error::Fault;

/// The most bytes of a row: a length beside it is int32.
const CAPACITY_MAX: u32 = i32::MAX as u32;
/// What a data set that was indexed with `--stat` calls the sizes of its files.
pub const SIZE_COLUMN: &str = "size_bytes";

/// A field of bytes as they are stored, over one source.
///
/// # Errors
/// Invalid, naming the field and the cure.
pub fn plan_raw(given: &v1::Field, source: &JobSource, order: &JobOrder) -> Result<Planned, Fault> {
    not_packed(given, order)?;
    no_token_settings(&v1::Field { capacity: 0, ..given.clone() })?;
    no_transforms(given)?;
    let mut field = given.clone();
    field.views = views(&field)?;
    only_one_view(&field)?;
    if !matches!(field.dtype(), v1::DType::DtypeUnspecified | v1::DType::DtypeUint8) {
        let message = format!("field {}: bytes are uint8", field.name);
        return Err(Fault::invalid(message).hint("leave dtype out, and view the tensor as what it holds"));
    }
    let place = located(&mut field, &source.snapshot)?;
    let row_bytes = capacity(&field, &source.snapshot, place)?;
    field.set_dtype(v1::DType::DtypeUint8);
    field.set_memory_order(v1::MemoryOrder::RowMajor);
    let (name, dims) = (field.name.clone(), vec![row_bytes]);
    let spec = TensorSpec { name, dtype: DType::U8, dims, order: MemoryOrder::RowMajor };
    Ok((field, spec, FieldMaker::Raw { place }))
}

/// Where the bytes of a field lie, whose column holds paths.
///
/// # Errors
/// Invalid: there is no column of the name, or it holds something else.
pub fn located(field: &mut v1::Field, snapshot: &Snapshot) -> Result<Located, Fault> {
    let column = path_column(field, snapshot)?;
    Located::of(snapshot, column).map_err(|fault| fault.context(format!("field {}", field.name)))
}

/// The number of the column of paths that a field names.
///
/// # Errors
/// As [`located`].
pub fn path_column(field: &mut v1::Field, snapshot: &Snapshot) -> Result<usize, Fault> {
    let column = column_of(field, snapshot)?;
    let kind = snapshot.columns()[column].kind();
    if kind != ColumnKind::Path {
        let message =
            format!("field {}: column {} is {}, and no paths", field.name, field.column, kind.name());
        return Err(Fault::invalid(message).hint("name the column's kind where it was inferred wrong"));
    }
    Ok(column)
}

/// Bytes of a row: what was asked for, or what the longest sample has.
fn capacity(field: &v1::Field, snapshot: &Snapshot, place: Located) -> Result<u32, Fault> {
    let place = Some(place).filter(Located::has_lengths);
    let len = |sample: u64| place.and_then(|place| place.value(snapshot, sample)).map(|(_, len)| len as i64);
    let sizes = ints(snapshot, SIZE_COLUMN).map(|column| &snapshot.columns()[column]);
    let size = |sample: u64| len(sample).or_else(|| sizes.map(|column| column.int(sample)));
    let bytes = match field.capacity {
        0 => (0..snapshot.len()).map(size).max().flatten().map(|longest| longest.max(1)),
        capacity => Some(capacity.into()),
    };
    let Some(bytes) = bytes else {
        let message =
            format!("field {}: how long its samples are is not known before they are read", field.name);
        return Err(Fault::invalid(message).hint(format!(
            "give the field a capacity in bytes, or the data a column {}.length or {SIZE_COLUMN}, as `forebay index --stat` does",
            field.column
        )));
    };
    u32::try_from(bytes).ok().filter(|&bytes| bytes <= CAPACITY_MAX).ok_or_else(|| {
        Fault::invalid(format!("field {}: {bytes} bytes a row, at most {CAPACITY_MAX}", field.name))
    })
}
