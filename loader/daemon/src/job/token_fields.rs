//! The edge for fields of tokens: what a client asked for, checked against columns, lengths and the order.

use forebay_plan::{DType, MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::JobSource;
use super::device_decode::numbers_before;
use super::fields::FieldMaker;
use super::order::JobOrder;
use super::spec::{Planned, Policy, column_of, decode_of, dtype, no_transforms, only_one_view, views};
use super::tokens::{PackedIds, TokenFile, TokensMaker, can_hold_tokens};
use crate::catalog::{Column, ColumnKind, Snapshot};
use crate::decode::tokens::StoredToken;
use crate::error::Fault;

/// The most tokens of a row outside of packed ones.
const CAPACITY_MAX: u32 = 1 << 28;

/// What packed rows may hold.
pub fn is_of_tokens(decode: v1::Decode) -> bool {
    use v1::Decode::{Boundaries, Length, PositionIds, SegmentIds, Tokens};
    matches!(decode, Tokens | Length | PositionIds | SegmentIds | Boundaries)
}

/// A field of tokens over one source, or one about them.
///
/// * `all`: the fields of the job, among which a length finds its tokens.
///
/// # Errors
/// Invalid, naming the field and the cure.
pub fn plan_tokens(
    given: &v1::Field,
    decode: v1::Decode,
    all: &[v1::Field],
    source: &JobSource,
    source_index: usize,
    order: &JobOrder,
) -> Result<Planned, Fault> {
    let mut field = given.clone();
    field.views = views(&field)?;
    only_one_view(&field)?;
    field.set_decode(decode);
    no_transforms(&field)?;
    if decode == v1::Decode::Tokens {
        let column = column_of(&mut field, &source.snapshot)?;
        return tokens_field(field, order, source, source_index, column);
    }
    no_token_settings(&field)?;
    let of = if decode == v1::Decode::Length { length_of(&field, all, &source.snapshot)? } else { 0 };
    ids_field(field, order, of)
}

/// The number of the field of tokens or bytes that a length is of.
fn length_of(length: &v1::Field, all: &[v1::Field], snapshot: &Snapshot) -> Result<usize, Fault> {
    let column =
        |field: &v1::Field| if field.column.is_empty() { field.name.clone() } else { field.column.clone() };
    let is_it = |field: &v1::Field| {
        matches!(decode_of(field, snapshot), v1::Decode::Tokens | v1::Decode::Raw)
            && (length.column.is_empty() || length.column == column(field))
    };
    let mut found = (0..all.len()).filter(|&index| is_it(&all[index]));
    match (found.next(), found.next()) {
        (Some(index), None) => Ok(index + numbers_before(all, index)),
        (None, _) => {
            let message = format!("field {}: a length of tokens that no field has", length.name);
            Err(Fault::invalid(message).hint("add the field of tokens or raw bytes, or name its column"))
        }
        _ => Err(Fault::invalid(format!("field {}: a length of which tokens?", length.name))
            .hint("name the column of the field that is meant")),
    }
}

/// A packed row holds several samples, none of which another can stand in for.
///
/// # Errors
/// Invalid.
pub fn packed_can_do(order: &JobOrder, policy: Policy) -> Result<(), Fault> {
    if order.packed_capacity().is_none() || policy != Policy::Substitute {
        return Ok(());
    }
    Err(Fault::invalid("on_bad_sample \"substitute\" of packed rows: no other document has the right length")
        .hint("use \"mask\", which leaves the whole row out, or \"fail\""))
}

fn tokens_field(
    mut field: v1::Field,
    order: &JobOrder,
    source: &JobSource,
    source_index: usize,
    column: usize,
) -> Result<Planned, Fault> {
    let kind = source.snapshot.columns()[column].kind();
    if !can_hold_tokens(kind) {
        let message =
            format!("field {}: column {} is {}, and no tokens", field.name, field.column, kind.name());
        return Err(Fault::invalid(message).hint(
            "tokens are a column of lists, of the kind `tokens`, or the paths of files that hold them",
        ));
    }
    let dtype = int_dtype(&field, DType::I64)?;
    if dtype == DType::I32 && i32::try_from(field.pad).is_err() {
        return Err(Fault::invalid(format!("field {}: pad {} does not fit int32", field.name, field.pad)));
    }
    let file = if kind == ColumnKind::Path { Some(file(&field, source)?) } else { in_column(&field)? };
    let maker = TokensMaker { column, dtype, pad: field.pad, fail_on_long: field.fail_on_long, file };
    let capacity = match order.packed_capacity() {
        Some(capacity) => {
            packed_only(&field, capacity)?;
            check_lengths(&field, &maker, order, source, source_index)?;
            // It says nothing that the order does not.
            field.capacity = 0;
            capacity
        }
        None => capacity(&field, &maker, source)?,
    };
    field.set_dtype(if dtype == DType::I32 { v1::DType::DtypeInt32 } else { v1::DType::DtypeInt64 });
    Ok(planned(field, dtype, vec![capacity], FieldMaker::Tokens(maker)))
}

/// A field that says something of other fields' tokens: lengths, places and spans. `of`: the number of the field that a
/// LENGTH is of.
fn ids_field(field: v1::Field, order: &JobOrder, of: usize) -> Result<Planned, Fault> {
    let decode = field.decode();
    if decode == v1::Decode::Length {
        int_dtype(&field, DType::I32).and_then(|dtype| only_int32(&field, dtype))?;
        return Ok(planned(field, DType::I32, Vec::new(), FieldMaker::Length { of }));
    }
    let Some((capacity, documents_max)) = order.packed_capacity().zip(order.documents_max()) else {
        let message = format!("field {}: {} of rows that are not packed", field.name, decode.as_str_name());
        return Err(Fault::invalid(message).hint("leave the field out, or set Order.windows to `packed`"));
    };
    if !field.column.is_empty() {
        return Err(Fault::invalid(format!("field {}: it has no column", field.name)).hint("leave it out"));
    }
    let (ids, count) = match decode {
        v1::Decode::PositionIds => (PackedIds::Positions(int_dtype(&field, DType::I64)?), capacity),
        v1::Decode::SegmentIds => (PackedIds::Segments, capacity),
        _ => (PackedIds::Boundaries, documents_max.saturating_add(1)),
    };
    let dtype = match ids {
        PackedIds::Positions(dtype) => dtype,
        PackedIds::Segments | PackedIds::Boundaries => {
            int_dtype(&field, DType::I32).and_then(|dtype| only_int32(&field, dtype))?
        }
    };
    Ok(planned(field, dtype, vec![count], FieldMaker::Packed(ids)))
}

/// Refuses what only a field of tokens has, so that nothing is left without effect.
///
/// # Errors
/// Invalid.
pub fn no_token_settings(field: &v1::Field) -> Result<(), Fault> {
    let none = v1::Field {
        stored_dtype: 0,
        offset_column: String::new(),
        length_column: String::new(),
        capacity: 0,
        fail_on_long: false,
        pad: 0,
        ..field.clone()
    };
    if none == *field {
        return Ok(());
    }
    let message = format!(
        "field {}: stored_dtype, offset_column, length_column, capacity, fail_on_long and pad are of tokens",
        field.name
    );
    Err(Fault::invalid(message).hint("leave them out of this field"))
}

fn planned(mut field: v1::Field, dtype: DType, dims: Vec<u32>, maker: FieldMaker) -> Planned {
    field.set_dtype(if dtype == DType::I32 { v1::DType::DtypeInt32 } else { v1::DType::DtypeInt64 });
    field.set_memory_order(v1::MemoryOrder::RowMajor);
    let (name, order) = (field.name.clone(), MemoryOrder::RowMajor);
    (field, TensorSpec { name, dtype, dims, order }, maker)
}

fn int_dtype(field: &v1::Field, default: DType) -> Result<DType, Fault> {
    match dtype(field)? {
        None => Ok(default),
        Some(dtype @ (DType::I32 | DType::I64)) => Ok(dtype),
        Some(other) => {
            let message = format!("field {}: whole numbers can't be {}", field.name, other.as_str());
            Err(Fault::invalid(message).hint("choose int32 or int64"))
        }
    }
}

fn only_int32(field: &v1::Field, dtype: DType) -> Result<DType, Fault> {
    if dtype == DType::I32 {
        return Ok(dtype);
    }
    Err(Fault::invalid(format!("field {}: it is int32", field.name)).hint("leave dtype out"))
}

/// A column of lists says by itself what is stored where.
fn in_column(field: &v1::Field) -> Result<Option<TokenFile>, Fault> {
    if field.stored_dtype == 0 && field.offset_column.is_empty() && field.length_column.is_empty() {
        return Ok(None);
    }
    let message = format!("field {}: column {} holds the tokens themselves", field.name, field.column);
    Err(Fault::invalid(message).hint("stored, offset and length are for paths of files: leave them out"))
}

fn file(field: &v1::Field, source: &JobSource) -> Result<TokenFile, Fault> {
    let stored = match field.stored_dtype() {
        v1::DType::DtypeUint8 => StoredToken::U8,
        v1::DType::DtypeUint16 => StoredToken::U16,
        v1::DType::DtypeUint32 => StoredToken::U32,
        v1::DType::DtypeInt32 => StoredToken::I32,
        v1::DType::DtypeInt64 => StoredToken::I64,
        other => {
            let message = format!("field {}: tokens stored as {}", field.name, other.as_str_name());
            return Err(
                Fault::invalid(message).hint("say what a file holds: uint8, uint16, uint32, int32 or int64")
            );
        }
    };
    let extent = match (field.offset_column.as_str(), field.length_column.as_str()) {
        ("", "") => None,
        ("", _) | (_, "") => {
            let message = format!("field {}: an offset without a length, or the other way round", field.name);
            return Err(Fault::invalid(message).hint("name both columns, or none for whole files"));
        }
        (offset, length) => {
            let extent = (int_column(field, source, offset)?, int_column(field, source, length)?);
            check_extents(field, source, extent, stored)?;
            Some(extent)
        }
    };
    Ok(TokenFile { stored, extent })
}

fn int_column(field: &v1::Field, source: &JobSource, name: &str) -> Result<usize, Fault> {
    let columns = source.snapshot.columns();
    let found = columns.iter().position(|column| column.name() == name && column.kind() == ColumnKind::Int);
    found.ok_or_else(|| {
        let ints = columns.iter().filter(|column| column.kind() == ColumnKind::Int).map(Column::name);
        Fault::invalid(format!("field {}: no column {name:?} of whole numbers", field.name))
            .hint(format!("the source has {}", ints.collect::<Vec<_>>().join(", ")))
    })
}

/// What lies where no file can have it is wrong before anything is read.
fn check_extents(
    field: &v1::Field,
    source: &JobSource,
    (offset, length): (usize, usize),
    stored: StoredToken,
) -> Result<(), Fault> {
    let columns = source.snapshot.columns();
    let end_max = i64::MAX / stored.size_bytes() as i64;
    for sample in 0..source.snapshot.len() {
        let (first, count) = (columns[offset].int(sample), columns[length].int(sample));
        let sound = first >= 0
            && (0..=i64::from(u32::MAX)).contains(&count)
            && first.checked_add(count).is_some_and(|end| end <= end_max);
        if !sound {
            let key = key_of(source, sample);
            let message = format!("field {}: {count} tokens from {first} on, of sample {key}", field.name);
            return Err(
                Fault::invalid(message).hint("offset and length count tokens, and are zero or greater")
            );
        }
    }
    Ok(())
}

fn packed_only(field: &v1::Field, capacity: u32) -> Result<(), Fault> {
    if field.capacity != 0 && field.capacity != capacity {
        let message = format!(
            "field {}: a capacity of {} in rows that are packed to {capacity}",
            field.name, field.capacity
        );
        return Err(Fault::invalid(message).hint("leave the field's capacity out"));
    }
    if field.fail_on_long {
        let message = format!("field {}: whether long documents fail is the packing's to say", field.name);
        return Err(Fault::invalid(message).hint("set fail_on_long of Order.windows.packed"));
    }
    Ok(())
}

/// Packing goes by a column of lengths: where the tokens' own columns say something else, nothing would fit.
fn check_lengths(
    field: &v1::Field,
    maker: &TokensMaker,
    order: &JobOrder,
    source: &JobSource,
    source_index: usize,
) -> Result<(), Fault> {
    let wrong = |sample: u64, count: u64| {
        order.length_at(source_index, sample).is_some_and(|len| u64::from(len) != count)
    };
    let Some((sample, count)) = maker.find(source, wrong) else { return Ok(()) };
    let (key, len) = (key_of(source, sample), order.length_at(source_index, sample).unwrap_or(0));
    let message = format!(
        "field {}: sample {key} has {count} tokens, and the column of lengths says {len}",
        field.name
    );
    Err(Fault::invalid(message)
        .hint("mend that column, or pack by the lengths of the tokens: name their own column"))
}

/// Tokens of a row: what was asked for, or what the longest sample has.
fn capacity(field: &v1::Field, maker: &TokensMaker, source: &JobSource) -> Result<u32, Fault> {
    let most = if field.capacity == 0 { CAPACITY_MAX } else { field.capacity };
    if most > CAPACITY_MAX {
        let message = format!("field {}: a capacity of {most}, at most {CAPACITY_MAX}", field.name);
        return Err(Fault::invalid(message));
    }
    let is_checked = field.fail_on_long || field.capacity == 0;
    if let Some((sample, count)) = maker.find(source, |_, count| is_checked && count > u64::from(most)) {
        let key = key_of(source, sample);
        let message = format!("field {}: sample {key} has {count} tokens, more than {most}", field.name);
        return Err(
            Fault::invalid(message).hint("raise the capacity, leave the sample out, or have long ones cut")
        );
    }
    if field.capacity > 0 {
        return Ok(field.capacity);
    }
    let counts = (0..source.snapshot.len()).map(|sample| maker.count(&source.snapshot, sample));
    let longest = counts.max().flatten().ok_or_else(|| {
        Fault::invalid(format!(
            "field {}: how many tokens a file holds is not known before it is read",
            field.name
        ))
        .hint("give the field a capacity, or name columns of offset and length")
    })?;
    Ok(longest.max(1) as u32)
}

fn key_of(source: &JobSource, sample: u64) -> String {
    String::from_utf8_lossy(&source.snapshot.key(sample)).into_owned()
}
