//! Rows of images that a device decodes: the edge where a client asks for them, and which rows they are.

use forebay_plan::{DType, MemoryOrder, TensorSpec};
use forebay_proto::v1;

use super::fields::{FieldMaker, FieldPlan};
use super::images::Pixels;
use super::spec::Policy;
use crate::error::Fault;
use crate::transform::{DEVICE_NUMBERS, ImagePipeline};

/// Behind a field's name: the field of the numbers beside its rows.
const NUMBERS: &str = ".decode";
/// As long as a tensor's name may be.
const NAME_BYTES_MAX: usize = 64;
/// Room for a longer file in every row of a batch would be a mistake.
const FILE_BYTES_MAX: u32 = 64 << 20;
/// Rows begin at cache lines, where the batch does.
const ROW_ALIGN_BYTES: u64 = 64;

/// Which rows of a field a device decodes, and how long their files may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeviceDecode {
    /// Of all rows; above 0, at most 1.
    pub ratio: f64,
    /// Longer files are decoded by the CPU.
    pub bytes_max: u32,
}

/// Reads what a client says of a device, its defaults filled in; `None` where it says nothing.
///
/// # Errors
/// Invalid, naming the field and the cure: what a device can't do.
pub(super) fn device_decode(pixels: &mut Pixels) -> Result<Option<DeviceDecode>, Fault> {
    let Some(mut given) = pixels.field.device_decode else { return Ok(None) };
    let fault = |what: String, cure: &str| {
        Fault::invalid(format!("field {}: device_decode {what}", pixels.field.name)).hint(cure)
    };
    let is_whole = pixels.field.decode_scale() == v1::DecodeScale::Unspecified;
    let refused = [
        (pixels.dtype != DType::U8, "of other than uint8", "leave Normalize and dtype to the device"),
        (pixels.order != MemoryOrder::ChannelsLast, "of planes", "use the memory order channels_last"),
        (pixels.field.views > 1, "of several views", "leave views out of this field"),
        (!is_whole, "beside decode_scale", "leave one of the two out: devices decode whole images"),
        (
            pixels.field.name.len() + NUMBERS.len() > NAME_BYTES_MAX,
            "of so long a name",
            "use at most 57 characters: NAME.decode is a tensor, too",
        ),
    ];
    if let Some((_, what, cure)) = refused.into_iter().find(|(is_so, ..)| *is_so) {
        return Err(fault(what.to_owned(), cure));
    }
    if given.max_bytes == 0 {
        given.max_bytes = pixels.pipeline.view_bytes() as u32;
    }
    pixels.field.device_decode = Some(given);
    Ok(Some(DeviceDecode { ratio: given.ratio, bytes_max: given.max_bytes }))
}

/// Checks what a client says of a device before anything else is made of the field.
///
/// # Errors
/// Invalid: numbers that mean nothing, or a field that is no single image.
pub(super) fn check_device_decode(field: &v1::Field, decode: v1::Decode) -> Result<(), Fault> {
    let Some(given) = field.device_decode else { return Ok(()) };
    let fault = |what: String, cure: &str| {
        Err(Fault::invalid(format!("field {}: device_decode {what}", field.name)).hint(cure))
    };
    if decode != v1::Decode::Image {
        let cure = "leave it out of this field: devices decode JPEGs, one a sample";
        return fault("of what is no single image".to_owned(), cure);
    }
    if !(given.ratio > 0.0 && given.ratio <= 1.0) {
        let cure =
            "use a share of the rows above 0 and up to 1; leave device_decode out to decode all on CPUs";
        return fault(format!("with ratio {}", given.ratio), cure);
    }
    if given.max_bytes > FILE_BYTES_MAX {
        let cure = "every row of a batch has room for so many: use at most 67108864, or leave max_bytes out";
        return fault(format!("with max_bytes {}", given.max_bytes), cure);
    }
    Ok(())
}

/// What is wrong with the pixels of a device's row shows on the device, too late for another sample.
///
/// # Errors
/// Invalid.
pub(super) fn device_can_do(fields: &[v1::Field], policy: Policy) -> Result<(), Fault> {
    let Some(field) = fields.iter().find(|field| field.device_decode.is_some()) else { return Ok(()) };
    if policy == Policy::Fail {
        return Ok(());
    }
    let message = format!("field {}: device_decode with on_bad_sample {:?}", field.name, policy.as_str());
    Err(Fault::invalid(message)
        .hint("use \"fail\"; `forebay dataset verify` finds corrupt samples before the run"))
}

/// How many fields of numbers stand among the first `count` fields of a job, which a client does not list.
pub(super) fn numbers_before(fields: &[v1::Field], count: usize) -> usize {
    fields[..count].iter().filter(|field| field.device_decode.is_some()).count()
}

/// The name of the field of numbers, where there is one.
pub(super) fn numbers_name(field: &v1::Field) -> Option<String> {
    field.device_decode.map(|_| format!("{}{NUMBERS}", field.name))
}

/// The field that stands behind one of images that a device may have to decode.
pub(super) fn numbers_field(name: String, sources: usize) -> FieldPlan {
    let spec = TensorSpec {
        name,
        dtype: DType::I32,
        dims: vec![DEVICE_NUMBERS as u32],
        order: MemoryOrder::RowMajor,
    };
    FieldPlan { spec, makers: (0..sources).map(|_| FieldMaker::DeviceNumbers).collect() }
}

impl DeviceDecode {
    /// The tensor of a field whose rows are pixels or files: `row_bytes` bytes, the longer of both, zeros behind them.
    pub(super) fn spec(self, name: &str, pipeline: &ImagePipeline) -> TensorSpec {
        let longest = (pipeline.view_bytes() as u64).max(self.bytes_max.into());
        // Results have at most 16,384 x 16,384 pixels.
        let row_bytes = longest.next_multiple_of(ROW_ALIGN_BYTES) as u32;
        let (name, dtype, order) = (name.to_owned(), DType::U8, MemoryOrder::RowMajor);
        TensorSpec { name, dtype, dims: vec![row_bytes], order }
    }
}
