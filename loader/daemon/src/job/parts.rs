//! What the digests of a job are made of, in words: so that a state that does not fit says where.

use std::fmt::Display;

use forebay_plan::orders::Order;
use forebay_plan::{CONTENT_PARTS_BYTES_MAX, ORDER_PARTS_BYTES_MAX, ORDER_VERSION, Part, Parts};
use forebay_proto::v1::{self, transform::Op, windows};
use prost::Message as _;

use super::digest::NUMERICS_ID;
use super::images::{FLIP, IMAGENET_MEAN, IMAGENET_STD};
use super::order::JobOrder;
use super::spec::Policy;
use crate::transform::ImageOp;

/// The parts of an order; snapshot, seed and rows stand in a state by themselves.
pub fn of_order(order: &JobOrder, spec: Option<&v1::JobSpec>) -> Parts {
    let version = format!("order version {ORDER_VERSION}");
    let given = spec.and_then(|spec| Some((spec.order.as_ref()?, spec.sources.as_slice())));
    let part = match (order, given) {
        (JobOrder::Plain(Order::Single(spec)), _) => {
            Part::of_text("sampler", &format!("{}; {version}", spec.sampler))
        }
        (_, None) => Part::of_text("sampler", &format!("{}; {version}", order.name())),
        (_, Some((given, sources))) => {
            // Seed and version are told by themselves; what is named here is the rest, lists and weights and all.
            let mut bytes = v1::Order { seed: 0, version: 0, ..given.clone() }.encode_to_vec();
            bytes.extend(sources.iter().flat_map(|source| source.share.to_le_bytes()));
            Part::new("sampler", &bytes, format!("{}; {version}", words(order, given, sources)))
        }
    };
    Parts::fit(&[part], ORDER_PARTS_BYTES_MAX)
}

/// An order as a person would say it.
fn words(order: &JobOrder, given: &v1::Order, sources: &[v1::Source]) -> String {
    let mut words = match order {
        JobOrder::Windowed { windowed, .. } => windowed.order().name(),
        _ => order.name(),
    }
    .to_owned();
    if given.sampler() == v1::Sampler::Mixture {
        let shares = given.phases.first().map(|phase| phase.shares.as_slice()).unwrap_or_default();
        let share = |(index, source): (usize, &v1::Source)| {
            format!("{} {}", source.name, shares.get(index).unwrap_or(&source.share))
        };
        let named: Vec<_> = sources.iter().enumerate().map(share).collect();
        words = format!("{words} of {}", named.join(", "));
    }
    if !given.column.is_empty() {
        words = format!("{words} by {}", given.column);
    }
    if let Some(repeat) = given.repeat {
        words = format!("{words} {} times", repeat.times);
    }
    words + &given.windows.as_ref().map(windows).unwrap_or_default()
}

fn windows(given: &v1::Windows) -> String {
    let how = match &given.grouping {
        Some(windows::Grouping::Packed(packed)) => format!("packed to {}", packed.capacity),
        Some(windows::Grouping::Bucketed(bucketed)) => format!("{} rows a bucket", bucketed.batch_rows),
        Some(windows::Grouping::Budgeted(budget)) => format!("{} tokens a batch", budget.tokens),
        None => return String::new(),
    };
    format!(", {how} by {}", given.length_column)
}

/// The parts of a content. `fields`: every default filled in.
pub fn of_content(fields: &[v1::Field], policy: Policy) -> Parts {
    let names: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
    let field =
        |field: &v1::Field| Part::new(&format!("field {}", field.name), &field.encode_to_vec(), text(field));
    let mut parts: Vec<_> = fields.iter().map(field).collect();
    parts.push(Part::of_text("fields", &names.join("; ")));
    parts.push(Part::of_text("on_bad_sample", policy.as_str()));
    parts.push(Part::of_text("numerics", NUMERICS_ID));
    Parts::fit(&parts, CONTENT_PARTS_BYTES_MAX)
}

/// The parts for the wire.
pub fn to_proto(parts: &Parts) -> Vec<v1::Part> {
    parts.entries().map(|(name, value)| v1::Part { name: name.to_owned(), value: value.to_owned() }).collect()
}

/// A field as the Python that asks for it, with the defaults left out.
fn text(field: &v1::Field) -> String {
    let mut pieces = Vec::new();
    if field.column != field.name {
        pieces.push(format!("column {}", field.column));
    }
    if field.decode() == v1::Decode::Value {
        pieces.push("value".to_owned());
    }
    if field.decode() == v1::Decode::Raw {
        pieces.push("raw".to_owned());
        pieces.extend((field.capacity > 0).then(|| format!("capacity {}", field.capacity)));
    }
    if let (v1::Decode::Array, Some(shape)) = (field.decode(), &field.shape) {
        pieces.push(format!("array {:?}", shape.dims));
        pieces.extend((!field.member.is_empty()).then(|| format!("member {}", field.member)));
    }
    pieces.extend(field.clip.as_ref().map(about_clip));
    pieces.extend(about_tokens(field));
    pieces.extend(field.apply_exif_orientation.then(|| "apply_exif_orientation=True".to_owned()));
    let smaller = field.decode_scale() == v1::DecodeScale::Auto;
    pieces.extend(smaller.then(|| "decode_scale=auto".to_owned()));
    pieces.extend(
        field
            .device_decode
            .map(|device| format!("device_decode={} of up to {} bytes", device.ratio, device.max_bytes)),
    );
    pieces.extend(field.transforms.iter().filter_map(|transform| transform.op.as_ref()).map(operation));
    if field.views > 1 {
        pieces.push(format!("{} views", field.views));
    }
    if field.dtype() != v1::DType::DtypeUnspecified {
        pieces.push(dtype_name(field.dtype()));
    }
    if matches!(field.decode(), v1::Decode::Image | v1::Decode::Clip) {
        let row_major = field.memory_order() == v1::MemoryOrder::RowMajor;
        pieces.push(if row_major { "channels first" } else { "channels last" }.to_owned());
    }
    pieces.join("; ")
}

/// Which frames of a clip a row has.
fn about_clip(clip: &v1::ClipFrames) -> String {
    let start = match clip.start() {
        v1::ClipStart::Unspecified | v1::ClipStart::Random => "from anywhere",
        v1::ClipStart::Center => "from the middle",
        v1::ClipStart::First => "from the first on",
    };
    let short = if clip.on_short() == v1::ShortClip::Error { ", short ones are corrupt" } else { "" };
    format!("{} frames, stride {}, {start}{short}", clip.frames, clip.stride)
}

/// What a field of tokens says, or the name of one about them.
fn about_tokens(field: &v1::Field) -> Vec<String> {
    use v1::Decode::{Boundaries, Length, PositionIds, SegmentIds, Tokens};
    let decode = field.decode();
    let name = |text: &str| text.trim_start_matches("DECODE_").to_lowercase().replace('_', " ");
    if !matches!(decode, Tokens | Length | PositionIds | SegmentIds | Boundaries) {
        return Vec::new();
    }
    let mut pieces = vec![name(decode.as_str_name())];
    if field.stored_dtype() != v1::DType::DtypeUnspecified {
        pieces.push(format!("stored {}", dtype_name(field.stored_dtype())));
    }
    if !field.offset_column.is_empty() {
        pieces.push(format!("offset {}, length {}", field.offset_column, field.length_column));
    }
    if field.capacity > 0 {
        pieces.push(format!("capacity {}", field.capacity));
    }
    pieces.extend(field.fail_on_long.then(|| "long ones fail".to_owned()));
    pieces.extend((field.pad != 0).then(|| format!("pad {}", field.pad)));
    pieces
}

fn dtype_name(dtype: v1::DType) -> String {
    dtype.as_str_name().trim_start_matches("DTYPE_").to_lowercase()
}

fn operation(op: &Op) -> String {
    match op {
        Op::Resize(resize) => call(
            "Resize",
            [side(&resize.size)].into_iter().chain(filter(resize.interpolation(), resize.antialias)),
        ),
        Op::CenterCrop(crop) => call("CenterCrop", [square(&crop.size)]),
        Op::RandomResizedCrop(crop) => {
            let scale = (crop.scale != ImageOp::SCALE).then(|| format!("scale={}", tuple(&crop.scale)));
            let ratio = (crop.ratio != ImageOp::RATIO).then(|| format!("ratio={}", tuple(&crop.ratio)));
            let filter = filter(crop.interpolation(), crop.antialias);
            call(
                "RandomResizedCrop",
                [Some(square(&crop.size)), scale, ratio].into_iter().flatten().chain(filter),
            )
        }
        Op::RandomHorizontalFlip(flip) => {
            let p = flip.p.filter(|p| *p != FLIP).map(|p| p.to_string());
            call("RandomHorizontalFlip", p)
        }
        Op::Normalize(normalize) => {
            let own = normalize.mean != IMAGENET_MEAN || normalize.std != IMAGENET_STD;
            let numbers = own.then(|| [tuple(&normalize.mean), tuple(&normalize.std)]);
            call("Normalize", numbers.into_iter().flatten())
        }
    }
}

/// What of a filter is not the default.
fn filter(interpolation: v1::Interpolation, antialias: Option<bool>) -> impl Iterator<Item = String> {
    let name = || interpolation.as_str_name().trim_start_matches("INTERPOLATION_").to_lowercase();
    let by = (interpolation != v1::Interpolation::Unspecified)
        .then(|| format!("interpolation={}", name().replace('_', "-")));
    let smooth = (antialias == Some(false)).then(|| "antialias=False".to_owned());
    by.into_iter().chain(smooth)
}

/// `Name(one, two)`, or the name alone where there is nothing to say.
fn call(name: &str, arguments: impl IntoIterator<Item = String>) -> String {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.is_empty() { name.to_owned() } else { format!("{name}({})", arguments.join(", ")) }
}

/// Two equal sides of an exact size are one number, as people write it.
fn square(size: &[u32]) -> String {
    match size {
        [height, width] if height == width => height.to_string(),
        _ => side(size),
    }
}

/// One number is the shorter side where two are height and width, so both are kept as given.
fn side(size: &[u32]) -> String {
    if let [one] = size { one.to_string() } else { tuple(size) }
}

fn tuple(numbers: &[impl Display]) -> String {
    let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
    format!("({})", numbers.join(", "))
}
