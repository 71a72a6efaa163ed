//! Image fields at the edge: transforms, types and memory order as a client sent them -> a pipeline.

use forebay_plan::{DType, MemoryOrder};
use forebay_proto::v1::{self, transform::Op};

use super::device_decode::device_decode;
use super::dtype_to_proto;
use super::fields::{FieldMaker, FieldPlan};
use super::located::Located;
use super::spec::{Planned, dtype};
use crate::decode::SHRINKS;
use crate::error::{Fault, Kind};
use crate::transform::{Filter, ImageOp, ImagePipeline, OutputOrder, OutputType, ResizeSize};

const TRANSFORMS_MAX: usize = 32;
const SIDE_MAX: u32 = 16_384;
/// RandomHorizontalFlip's probability.
pub(super) const FLIP: f64 = 0.5;
pub(super) const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
pub(super) const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// An image, at its place.
///
/// # Errors
/// Invalid, naming the field and what is wrong in it.
pub(super) fn image_field(field: v1::Field, place: Located) -> Result<Planned, Fault> {
    let mut pixels = pixels(field)?;
    let device = device_decode(&mut pixels)?;
    let Pixels { field, pipeline, dtype, order } = pixels;
    let (views, pipeline) = (field.views, Box::new(pipeline));
    let spec = match device {
        Some(device) => device.spec(&field.name, &pipeline),
        None => FieldPlan::image_spec(&field.name, &pipeline, views, dtype, order),
    };
    Ok((field, spec, FieldMaker::Image { place, pipeline, views, device }))
}

/// What is done to the pixels of a field.
pub(super) struct Pixels {
    /// Every default filled in.
    pub(super) field: v1::Field,
    pub(super) pipeline: ImagePipeline,
    pub(super) dtype: DType,
    pub(super) order: MemoryOrder,
}

/// Reads the transforms, the type and the memory order of a field of pixels.
///
/// # Errors
/// As [`image_field`].
pub(super) fn pixels(mut field: v1::Field) -> Result<Pixels, Fault> {
    if field.transforms.len() > TRANSFORMS_MAX {
        return Err(Fault::invalid(format!("field {}: more than {TRANSFORMS_MAX} transforms", field.name)));
    }
    let ops = field.transforms.iter_mut().map(image_op).collect::<Result<Vec<_>, _>>();
    let ops = ops.map_err(|fault| fault.context(format!("field {}", field.name)))?;
    let normalised = ops.iter().any(|op| matches!(op, ImageOp::Normalize { .. }));
    let asked = dtype(&field)?.unwrap_or(if normalised { DType::F32 } else { DType::U8 });
    let out = match asked {
        DType::U8 => OutputType::U8,
        DType::F32 => OutputType::F32,
        DType::F16 => OutputType::F16,
        DType::Bf16 => OutputType::Bf16,
        other => {
            let message = format!("field {}: an image can't be {}", field.name, other.as_str());
            return Err(Fault::invalid(message).hint("choose uint8, float16, bfloat16 or float32"));
        }
    };
    let order = match field.memory_order() {
        v1::MemoryOrder::RowMajor => MemoryOrder::RowMajor,
        v1::MemoryOrder::Unspecified | v1::MemoryOrder::ChannelsLast => MemoryOrder::ChannelsLast,
    };
    let written = match order {
        MemoryOrder::RowMajor => OutputOrder::ChannelsFirst,
        MemoryOrder::ChannelsLast => OutputOrder::ChannelsLast,
    };
    let pipeline = ImagePipeline::new(&ops, out, written)
        .map_err(|error| Fault::from_error(Kind::Invalid, &error).context(format!("field {}", field.name)))?
        .with_exif_orientation(field.apply_exif_orientation);
    let pipeline = decode_scale(&mut field, pipeline)?;
    field.set_dtype(dtype_to_proto(asked));
    // The memory order moves bytes, not values, and is part of the content all the same: a batch's bytes are promised.
    field.set_memory_order(if order == MemoryOrder::RowMajor {
        v1::MemoryOrder::RowMajor
    } else {
        v1::MemoryOrder::ChannelsLast
    });
    Ok(Pixels { field, pipeline, dtype: asked, order })
}

/// Sets whether images may be decoded smaller; not at all has one name.
fn decode_scale(field: &mut v1::Field, pipeline: ImagePipeline) -> Result<ImagePipeline, Fault> {
    if field.decode_scale() != v1::DecodeScale::Auto {
        field.set_decode_scale(v1::DecodeScale::Unspecified);
        return Ok(pipeline);
    }
    if !SHRINKS {
        let fault = Fault::unimplemented(format!("field {}: decode_scale auto", field.name));
        return Err(fault.hint("this build decodes JPEG in Rust alone; take one with libjpeg-turbo"));
    }
    pipeline
        .with_decode_scale()
        .map_err(|error| Fault::from_error(Kind::Invalid, &error).context(format!("field {}", field.name)))
}

/// What is no image can't be asked to be treated as one.
///
/// # Errors
/// Invalid, naming the field and the setting.
pub(super) fn no_image_settings(field: &v1::Field) -> Result<(), Fault> {
    let setting = match (field.apply_exif_orientation, field.decode_scale()) {
        (true, _) => "apply_exif_orientation",
        (false, v1::DecodeScale::Auto) => "decode_scale",
        (false, v1::DecodeScale::Unspecified | v1::DecodeScale::Full) => return Ok(()),
    };
    let message = format!("field {}: {setting} of what is no image", field.name);
    Err(Fault::invalid(message).hint("leave it out of this field"))
}

/// Reads one transform and writes its defaults into the spec, so that "absent" and "the default" have one name.
fn image_op(transform: &mut v1::Transform) -> Result<ImageOp, Fault> {
    let op = transform.op.as_mut().ok_or_else(|| Fault::invalid("a transform without an operation"))?;
    Ok(match op {
        Op::Resize(resize) => {
            let size = match *resize.size.as_slice() {
                [side] => ResizeSize::ShorterSide(side_of(side)?),
                [height, width] => ResizeSize::Exact { height: side_of(height)?, width: side_of(width)? },
                _ => return Err(size_fault("Resize")),
            };
            let filter = filter(&mut resize.interpolation, &mut resize.antialias);
            ImageOp::Resize { size, filter }
        }
        Op::CenterCrop(crop) => {
            let (height, width) = two_sides(&crop.size, "CenterCrop")?;
            crop.size = vec![height, width];
            ImageOp::CenterCrop { height, width }
        }
        Op::RandomResizedCrop(crop) => {
            let (height, width) = two_sides(&crop.size, "RandomResizedCrop")?;
            let scale = pair(&crop.scale, ImageOp::SCALE, "scale")?;
            let ratio = pair(&crop.ratio, ImageOp::RATIO, "ratio")?;
            let filter = filter(&mut crop.interpolation, &mut crop.antialias);
            *crop = v1::RandomResizedCrop {
                size: vec![height, width],
                scale: scale.to_vec(),
                ratio: ratio.to_vec(),
                ..*crop
            };
            ImageOp::RandomResizedCrop { height, width, scale, ratio, filter }
        }
        Op::RandomHorizontalFlip(flip) => {
            let p = *flip.p.get_or_insert(FLIP);
            if !(0.0..=1.0).contains(&p) {
                return Err(Fault::invalid(format!("RandomHorizontalFlip: p {p} is no probability"))
                    .hint("use 0 to 1"));
            }
            ImageOp::RandomHorizontalFlip { p }
        }
        Op::Normalize(normalize) => {
            let mean = channels(&normalize.mean, IMAGENET_MEAN, "mean")?;
            let std = channels(&normalize.std, IMAGENET_STD, "std")?;
            if std.iter().any(|value| *value <= 0.0) {
                return Err(Fault::invalid("Normalize: std must be positive"));
            }
            *normalize = v1::Normalize { mean: mean.to_vec(), std: std.to_vec() };
            ImageOp::Normalize { mean, std }
        }
    })
}

/// How pixels are weighed; what is the default, or changes nothing, is taken out of the spec.
fn filter(interpolation: &mut i32, antialias: &mut Option<bool>) -> Filter {
    use v1::Interpolation::{Bicubic, Bilinear, Nearest, NearestExact, Unspecified};
    let by = v1::Interpolation::try_from(*interpolation).expect("`known` has seen the spec");
    let smooth = antialias.unwrap_or(true);
    let filter = match by {
        Unspecified | Bilinear => Filter::Bilinear { antialias: smooth },
        Bicubic => Filter::Bicubic { antialias: smooth },
        Nearest => Filter::Nearest,
        NearestExact => Filter::NearestExact,
    };
    *interpolation = if by == Bilinear { Unspecified } else { by }.into();
    let counts =
        matches!(filter, Filter::Bilinear { antialias: false } | Filter::Bicubic { antialias: false });
    *antialias = counts.then_some(false);
    filter
}

fn side_of(side: u32) -> Result<u32, Fault> {
    if (1..=SIDE_MAX).contains(&side) {
        return Ok(side);
    }
    Err(Fault::invalid(format!("size {side} is not between 1 and {SIDE_MAX}")))
}

fn two_sides(size: &[u32], name: &str) -> Result<(u32, u32), Fault> {
    match *size {
        [side] => Ok((side_of(side)?, side_of(side)?)),
        [height, width] => Ok((side_of(height)?, side_of(width)?)),
        _ => Err(size_fault(name)),
    }
}

fn size_fault(name: &str) -> Fault {
    Fault::invalid(format!("{name}: size must be one number or height and width"))
}

fn pair(given: &[f64], default: [f64; 2], name: &str) -> Result<[f64; 2], Fault> {
    match *given {
        [] => Ok(default),
        [low, high] if low > 0.0 && low <= high && high.is_finite() => Ok([low, high]),
        _ => Err(Fault::invalid(format!(
            "RandomResizedCrop: {name} must be two positive numbers, the smaller first"
        ))),
    }
}

fn channels(given: &[f32], default: [f32; 3], name: &str) -> Result<[f32; 3], Fault> {
    match *given {
        [] => Ok(default),
        [r, g, b] if given.iter().all(|value| value.is_finite()) => Ok([r, g, b]),
        _ => Err(Fault::invalid(format!("Normalize: {name} must be three finite numbers, for R, G and B"))),
    }
}
