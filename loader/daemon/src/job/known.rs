//! Whether this version knows every choice in a spec. Protobuf hands on numbers that it has no name for, and a newer
//! client's sampler must not quietly become the first of ours.

use forebay_proto::v1::{self, source::Origin, transform::Op};

use crate::error::Fault;

/// Checks every enumeration in a spec. The JSON mapping refuses unknown ones by itself.
///
/// # Errors
/// Invalid, naming the first that is unknown.
pub fn check(spec: &v1::JobSpec) -> Result<(), Fault> {
    spec.sources.iter().try_for_each(source)?;
    for field in &spec.fields {
        known::<v1::Decode>("decode", field.decode)?;
        known::<v1::DType>("dtype", field.dtype)?;
        known::<v1::DType>("stored_dtype", field.stored_dtype)?;
        known::<v1::MemoryOrder>("memory_order", field.memory_order)?;
        known::<v1::DecodeScale>("decode_scale", field.decode_scale)?;
        if let Some(clip) = &field.clip {
            known::<v1::ClipStart>("clip start", clip.start)?;
            known::<v1::ShortClip>("on_short", clip.on_short)?;
        }
        field.transforms.iter().filter_map(|transform| transform.op.as_ref()).try_for_each(transform)?;
    }
    if let Some(order) = &spec.order {
        known::<v1::Sampler>("sampler", order.sampler)?;
    }
    let policy = spec.on_bad_sample.as_ref().map_or(0, |given| given.policy);
    known::<v1::BadSamplePolicy>("on_bad_sample policy", policy)
}

fn transform(op: &Op) -> Result<(), Fault> {
    match op {
        Op::Resize(resize) => known::<v1::Interpolation>("interpolation", resize.interpolation),
        Op::RandomResizedCrop(crop) => known::<v1::Interpolation>("interpolation", crop.interpolation),
        Op::CenterCrop(_) | Op::RandomHorizontalFlip(_) | Op::Normalize(_) => Ok(()),
    }
}

fn source(source: &v1::Source) -> Result<(), Fault> {
    known::<v1::Sampler>("sampler", source.sampler)?;
    let columns = match &source.origin {
        Some(Origin::List(list)) => {
            known::<v1::ListFormat>("format", list.format)?;
            &list.columns
        }
        Some(Origin::Records(records)) => &records.columns,
        Some(Origin::Shards(shards)) => return known::<v1::ShardFormat>("format", shards.format),
        Some(Origin::Folder(_) | Origin::Frames(_) | Origin::Dataset(_) | Origin::Range(_)) | None => {
            return Ok(());
        }
    };
    columns.iter().try_for_each(|column| known::<v1::ColumnKind>("kind", column.kind))
}

fn known<E: TryFrom<i32>>(what: &str, number: i32) -> Result<(), Fault> {
    match E::try_from(number) {
        Ok(_) => Ok(()),
        Err(_) => Err(Fault::invalid(format!("{what} {number} is unknown"))
            .hint("the client may be newer than the daemon; upgrade the daemon")),
    }
}
