//! The edge for fields of arrays that numpy saved: what a client says of them, or what the first sample does.

use forebay_plan::{DType, MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::fields::FieldMaker;
use super::located::Located;
use super::order::JobOrder;
use super::raw_fields::located;
use super::spec::{Planned, dtype, no_transforms, not_packed, only_one_view, views};
use super::token_fields::no_token_settings;
use super::{JobSource, dtype_to_proto};
use crate::catalog::Snapshot;
use crate::decode::array::{ArraySpec, header_of, needs_whole, npy};
use crate::error::{Fault, Kind};
use crate::storage::{self, ReadBuf, StorageError};

/// A batch has one dimension more, and the wire has room for eight.
const DIMS_MAX: usize = 7;
/// Of one sample. Arenas are smaller; this keeps sums of such sizes inside of 64 bits.
const SAMPLE_BYTES_MAX: u64 = 1 << 40;
const MEMBER_BYTES_MAX: usize = 256;
/// An archive that is read whole for the shape in it alone.
const FIRST_BYTES_MAX: u64 = 1 << 30;

/// A field of arrays, over one source. What it does not say of its array is read off the source's first sample.
///
/// # Errors
/// Invalid, naming the field and the cure; or what is wrong with the first sample.
pub fn plan_array(given: &v1::Field, source: &JobSource, order: &JobOrder) -> Result<Planned, Fault> {
    not_packed(given, order)?;
    no_token_settings(given)?;
    no_transforms(given)?;
    let mut field = given.clone();
    field.views = views(&field)?;
    only_one_view(&field)?;
    if field.member.len() > MEMBER_BYTES_MAX {
        let message = format!("field {}: a member's name of {} bytes", field.name, field.member.len());
        return Err(Fault::invalid(message).hint(format!("at most {MEMBER_BYTES_MAX} bytes are allowed")));
    }
    let place = located(&mut field, &source.snapshot)?;
    let (dtype, dims) = match (dtype(&field)?, &field.shape) {
        (Some(dtype), Some(shape)) => (dtype, shape.dims.clone()),
        (None, Some(_)) => {
            let message = format!("field {}: a shape without a dtype", field.name);
            return Err(
                Fault::invalid(message).hint("give both, or none to have them read off the first sample")
            );
        }
        (asked, None) => read_off(&field, asked, &source.snapshot, place)?,
    };
    check_shape(&field, dtype, &dims)?;
    field.set_dtype(dtype_to_proto(dtype));
    field.shape = Some(v1::Shape { dims: dims.clone() });
    field.set_memory_order(v1::MemoryOrder::RowMajor);
    let (name, member) = (field.name.clone(), field.member.clone());
    let spec = TensorSpec { name, dtype, dims: dims.clone(), order: MemoryOrder::RowMajor };
    Ok((field, spec, FieldMaker::Array { place, spec: ArraySpec { dtype, dims, member } }))
}

/// Refuses what only a field of arrays has, so that nothing is left without effect.
///
/// # Errors
/// Invalid.
pub fn no_array_settings(field: &v1::Field) -> Result<(), Fault> {
    if field.shape.is_none() && field.member.is_empty() {
        return Ok(());
    }
    let message = format!("field {}: shape and member are of arrays", field.name);
    Err(Fault::invalid(message).hint("leave them out of this field"))
}

fn check_shape(field: &v1::Field, dtype: DType, dims: &[u32]) -> Result<(), Fault> {
    if dtype == DType::Bf16 {
        let fault = Fault::invalid(format!("field {}: numpy has no bfloat16", field.name));
        return Err(fault.hint("name the type that the arrays were saved with"));
    }
    let bytes = dims.iter().try_fold(dtype.size_bytes(), |bytes, &dim| bytes.checked_mul(dim.into()));
    let fits = bytes.is_some_and(|bytes| (1..=SAMPLE_BYTES_MAX).contains(&bytes));
    if fits && dims.len() <= DIMS_MAX {
        return Ok(());
    }
    let message = format!("field {}: arrays of shape {dims:?}", field.name);
    let hint =
        format!("at most {DIMS_MAX} dimensions, none of them 0, and {SAMPLE_BYTES_MAX} bytes are allowed");
    Err(Fault::invalid(message).hint(hint))
}

/// Type and shape of the first sample.
fn read_off(
    field: &v1::Field,
    asked: Option<DType>,
    snapshot: &Snapshot,
    place: Located,
) -> Result<(DType, Vec<u32>), Fault> {
    const FIRST: u64 = 0;
    let key = String::from_utf8_lossy(&snapshot.key(FIRST)).into_owned();
    let told = |fault: Fault| {
        let fault = fault.context(format!("field {}: read the shape off sample {key}", field.name));
        fault
            .object(key.clone())
            .hint("give the field the dtype and shape of its arrays, or mend that sample")
    };
    let path = snapshot.columns()[place.column()].path(FIRST);
    let bytes = first_bytes(snapshot, path, place.extent(snapshot, FIRST));
    let bytes = bytes.map_err(|error| told(Fault::from_error(Kind::Unavailable, &error)))?;
    let header = header_of(&bytes, &field.member);
    let header = header.map_err(|error| told(Fault::from_error(Kind::Corrupt, &error)))?;
    let dims = header.shape.iter().map(|&dim| u32::try_from(dim)).collect::<Result<Vec<_>, _>>();
    match dims {
        Ok(dims) if asked.is_none_or(|asked| asked == header.dtype) => Ok((header.dtype, dims)),
        _ => Err(told(Fault::invalid(format!("it is {}", header.words())))),
    }
}

/// As much of a file, or of a part of it, as says what is in it.
fn first_bytes(
    snapshot: &Snapshot,
    path: &[u8],
    extent: Option<(u64, u64)>,
) -> Result<Vec<u8>, StorageError> {
    let no_root = storage::Root::unbacked("no files");
    let root = snapshot.root().unwrap_or(&no_root);
    let read = |extent: Option<(u64, u64)>| {
        let mut buf = ReadBuf::default();
        buf.set_path(path);
        storage::read_now(root, &mut buf, extent, FIRST_BYTES_MAX)?;
        Ok(buf.bytes.to_vec())
    };
    let head_bytes = npy::HEADER_BYTES_MAX as u64;
    let start = match extent {
        None => storage::head(root, path, head_bytes)?.bytes,
        Some((offset, len)) => read(Some((offset, len.min(head_bytes))))?,
    };
    if needs_whole(&start) { read(extent) } else { Ok(start) }
}
