//! What became of each row, as it goes over the wire.

use std::fs::File;
use std::os::unix::fs::FileExt;

use forebay_plan::orders::Pick;
use forebay_plan::{DType, TensorSpec};
use forebay_proto::v1::{self, RowState};
use half::{bf16, f16};

use crate::decode::Rect;
use crate::error::{Fault, Kind};
use crate::job::{CLASS_COLUMN, EpochRows, FieldMaker, FieldPlan, Job, PartPlan, START_VIEW};
use crate::prefetch::BadRow;
use crate::server::fetch::Made;
use crate::trace::{TracedRow, Verdict};
use crate::transform::{DeviceRow, Drawn};

/// Numbers of a vector, tokens of a row, and characters of a text, that are told.
const NUMBERS_TOLD: usize = 8;
const TOKENS_TOLD: usize = 4;
const CHARS_TOLD: usize = 120;

/// One report a row, in the order of the batch.
pub fn of(made: &Made, traced: &[TracedRow]) -> Result<Vec<v1::RowReport>, Fault> {
    let file = made.file()?;
    let ledger = {
        let mut outcome = made.work.outcome.lock().expect("no thread panics with the lock");
        std::mem::take(&mut outcome.bad)
    };
    traced.iter().map(|row| report(made, &file, row, &ledger)).collect()
}

fn report(made: &Made, file: &File, row: &TracedRow, ledger: &[BadRow]) -> Result<v1::RowReport, Fault> {
    let (work, job) = (&made.work, &made.work.job);
    let planned = work.planned(row.row);
    let state = match row.verdict {
        Verdict::Failed => RowState::Failed,
        Verdict::Masked => RowState::Masked,
        Verdict::Made if !planned.valid => RowState::Repeated,
        Verdict::Made if row.attempt > 0 => RowState::Substituted,
        Verdict::Made => RowState::Ok,
    };
    let stands = row.verdict == Verdict::Made;
    let nothing = row.verdict == Verdict::Failed;
    let values = if nothing { Vec::new() } else { values(made, file, row)? };
    Ok(v1::RowReport {
        epoch: work.range.epoch,
        position: planned.position,
        state: state.into(),
        valid: planned.valid && stands,
        key: job.key(row.pick),
        attempt: row.attempt,
        images: row.images.iter().flat_map(|image| image_reports(job, image.field, &image.drawn)).collect(),
        class_name: if stands { class_name(job, row.pick).unwrap_or_default() } else { String::new() },
        values,
        bad: bad(work.range.epoch, planned.position, ledger),
        source: source_name(job, row.pick),
        parts: if job.order.packed_capacity().is_some() {
            parts(job, work.rows.parts(row.row))
        } else {
            Vec::new()
        },
        ..Default::default()
    })
}

/// What a packed row holds, end to end.
pub fn parts(job: &Job, parts: &[PartPlan]) -> Vec<v1::PartReport> {
    let report =
        |part: &PartPlan| v1::PartReport { key: job.key(part.pick), start: part.start, count: part.len };
    parts.iter().map(report).collect()
}

/// The corrupt samples that one row met. A row that comes twice in a batch met the same ones twice.
fn bad(epoch: u64, position: u64, ledger: &[BadRow]) -> Vec<v1::BadSample> {
    let mut met: Vec<_> = ledger.iter().filter(|bad| bad.position == position).collect();
    met.sort_unstable_by_key(|bad| bad.attempt);
    met.dedup_by_key(|bad| bad.attempt);
    let told = met.into_iter().map(|bad| v1::BadSample {
        epoch,
        position,
        attempt: bad.attempt,
        key: bad.key.clone(),
        reason: bad.reason.clone(),
    });
    told.collect()
}

/// One report a view.
pub fn image_reports(job: &Job, field: usize, drawn: &Drawn) -> impl Iterator<Item = v1::ImageReport> {
    let pipeline = super::pipeline(job, field).expect("only image fields are drawn");
    let (field, stored) = (&job.fields[field], drawn.image);
    drawn.views.iter().zip(0..).map(move |(draw, view)| v1::ImageReport {
        field: field.spec.name.clone(),
        width: stored.width,
        height: stored.height,
        crop: Some(rect(draw.shows(pipeline.height(), pipeline.width()))),
        flip: draw.flip,
        taken: Some(rect(draw.crop)),
        resized_width: draw.resized_width,
        resized_height: draw.resized_height,
        left: draw.left,
        top: draw.top,
        view,
    })
}

/// A rectangle for the wire.
pub fn rect(rect: Rect) -> v1::Rect {
    v1::Rect { left: rect.left, top: rect.top, width: rect.width, height: rect.height }
}

/// The name of a sample's source, where it says something.
pub fn source_name(job: &Job, pick: Pick) -> String {
    if job.sources.len() > 1 { job.sources[pick.source as usize].name.clone() } else { String::new() }
}

/// The class of a sample of a folder.
pub fn class_name(job: &Job, pick: Pick) -> Option<String> {
    let source = pick.source;
    let snapshot = job.snapshot(source);
    snapshot.class_map()?;
    let columns = snapshot.columns();
    let label = |maker: &FieldMaker| match maker {
        FieldMaker::Value(value) if columns[value.column()].name() == CLASS_COLUMN => {
            Some(value.label(columns[value.column()].int(pick.sample.0)))
        }
        _ => None,
    };
    let label = job.fields.iter().find_map(|field| label(field.maker(source)))?;
    job.classes.get(usize::try_from(label).ok()?).cloned()
}

/// The values of a row, from the bytes that a trainer gets.
fn values(made: &Made, file: &File, row: &TracedRow) -> Result<Vec<v1::ValueReport>, Fault> {
    let job = &made.work.job;
    let fields = job.fields.iter().zip(made.layout.tensors());
    let mut told = Vec::new();
    for (field, place) in fields {
        let numbers = |most: usize| move |bytes: &[u8]| numbers(field.spec.dtype, bytes, most);
        let tell: &dyn Fn(&[u8]) -> String = match &field.makers[0] {
            FieldMaker::Value(value) if value.is_text() => &text,
            FieldMaker::Value(_) | FieldMaker::Source | FieldMaker::Length { .. } => &numbers(NUMBERS_TOLD),
            FieldMaker::Tokens(_) | FieldMaker::Packed(_) => &numbers(TOKENS_TOLD),
            FieldMaker::DeviceNumbers => &of_device,
            FieldMaker::Clip { .. } => {
                let frames = |part| frames(job, field, &made.work.epoch, part, row.attempt);
                told.extend(frames(PartPlan { pick: row.pick, ..made.work.part(row.row) }));
                continue;
            }
            FieldMaker::Image { .. }
            | FieldMaker::Raw { .. }
            | FieldMaker::Array { .. }
            | FieldMaker::Stored(_) => continue,
        };
        let mut bytes = vec![0; place.stride_bytes as usize];
        file.read_exact_at(&mut bytes, place.sample_offset_bytes(row.row))
            .map_err(|error| Fault::from_error(Kind::Internal, &error))?;
        told.push(v1::ValueReport { name: field.spec.name.clone(), text: tell(&bytes) });
    }
    Ok(told)
}

/// Which frames of its clip a row has.
pub fn frames(
    job: &Job,
    field: &FieldPlan,
    epoch: &EpochRows,
    part: PartPlan,
    attempt: u32,
) -> Option<v1::ValueReport> {
    let FieldMaker::Clip { clip, .. } = field.maker(part.pick.source) else { return None };
    let draws = || epoch.draws(part.position, START_VIEW, attempt);
    let chosen = clip.chosen(job.snapshot(part.pick.source), part.pick.sample.0, draws);
    Some(v1::ValueReport { name: field.spec.name.clone(), text: clip.words(&chosen) })
}

/// One value from its bytes in a tensor.
pub fn value(spec: &TensorSpec, is_text: bool, bytes: &[u8]) -> v1::ValueReport {
    let text = if is_text { text(bytes) } else { numbers(spec.dtype, bytes, NUMBERS_TOLD) };
    v1::ValueReport { name: spec.name.clone(), text }
}

/// Who decodes a row.
fn of_device(bytes: &[u8]) -> String {
    match DeviceRow::read(bytes) {
        DeviceRow::Pixels => "pixels".to_owned(),
        DeviceRow::Jpeg(len_bytes, _) => format!("JPEG of {len_bytes} bytes"),
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut told: String = text.chars().take(CHARS_TOLD).collect();
    if told.len() < text.len() {
        told.push_str("...");
    }
    told
}

/// A number as it is; several in brackets, and of a long vector its first `most` and its length.
fn numbers(dtype: DType, bytes: &[u8], most: usize) -> String {
    let size = dtype.size_bytes() as usize;
    let count = bytes.len() / size;
    let mut told: Vec<_> = bytes.chunks_exact(size).take(most).map(|bytes| number(dtype, bytes)).collect();
    if count == 1 {
        return told.remove(0);
    }
    if count > most {
        told.push(format!("... {count} in all"));
    }
    format!("[{}]", told.join(", "))
}

fn number(dtype: DType, bytes: &[u8]) -> String {
    const FITS: &str = "as long as its type";
    match dtype {
        DType::Bool => (bytes[0] != 0).to_string(),
        DType::U8 => bytes[0].to_string(),
        DType::U16 => u16::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::U32 => u32::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::I8 => (bytes[0] as i8).to_string(),
        DType::I16 => i16::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::I32 => i32::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::I64 => i64::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::F16 => f16::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::Bf16 => bf16::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::F32 => f32::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
        DType::F64 => f64::from_ne_bytes(bytes.try_into().expect(FITS)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_as_the_type_that_a_trainer_gets() {
        assert_eq!(numbers(DType::I64, &7_i64.to_ne_bytes(), 8), "7");
        assert_eq!(numbers(DType::F16, &f16::from_f32(0.5).to_ne_bytes(), 8), "0.5");
        assert_eq!(numbers(DType::Bf16, &bf16::from_f32(-2.0).to_ne_bytes(), 8), "-2");
        assert_eq!(numbers(DType::Bool, &[1], 8), "true");
        let floats: Vec<u8> = [0.5_f32, -2.0].iter().flat_map(|value| value.to_ne_bytes()).collect();
        assert_eq!(numbers(DType::F32, &floats, 8), "[0.5, -2]");
        assert_eq!(numbers(DType::U8, &[1; 20], 4), "[1, 1, 1, 1, ... 20 in all]");
    }

    #[test]
    fn texts_end_at_their_padding_and_long_ones_are_cut() {
        assert_eq!(text("a dog\0\0\0".as_bytes()), "a dog");
        assert_eq!(text(&[0; 4]), "");
        assert_eq!(text("ä".repeat(200).as_bytes()), "ä".repeat(120) + "...");
    }
}
