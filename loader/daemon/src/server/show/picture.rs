//! The sheet of a batch: its samples as a trainer gets them, what they were cut from, and the words below.

use std::os::unix::fs::FileExt;

use forebay_proto::v1;
use image::{RgbImage, imageops};

use super::rows::rect;
use super::words;
use crate::decode::{ImageDecoder, Rect};
use crate::error::{Fault, Kind};
use crate::job::{FieldMaker, Job};
use crate::server::fetch::Made;
use crate::sheet::{self, Cut, PAPER, Scale, Tile};
use crate::trace::TracedRow;
use crate::transform::{DeviceRow, ImagePipeline, Scratch};

/// Pictures of a sample that a sheet has room for: of more, so many are shown, evenly apart.
const PICTURES_MAX: u32 = 16;

/// Which image is shown, and how large.
pub struct Looks {
    /// Number of an image field.
    pub field: usize,
    /// Of its samples.
    pub scale: Scale,
}

/// Draws the sheet, as PNG, and notes in `reports` where each sample is. Takes the stored images out of `traced`.
pub fn draw(
    made: &Made,
    looks: &Looks,
    head: &[String],
    traced: &mut [TracedRow],
    reports: &mut [v1::RowReport],
) -> Result<Vec<u8>, Fault> {
    let name = &made.work.job.fields[looks.field].spec.name;
    let mut tiles = Vec::with_capacity(reports.len());
    for (row, report) in traced.iter_mut().zip(reports.iter()) {
        tiles.push(Tile {
            sample: sample(made, looks.field, row.row)?,
            original: original(row, report, looks.field, name),
            lines: words::below(report, name),
            mark: words::ink(report.state()),
        });
    }
    let drawn = sheet::draw(head, tiles, &looks.scale);
    for (report, place) in reports.iter_mut().zip(drawn.places) {
        report.tile = Some(rect(place));
    }
    Ok(sheet::png(&drawn.image))
}

/// Width and height of a field's sample on the sheet, in pixels: its views, or frames, in a grid.
pub fn sides(job: &Job, field: usize) -> (u32, u32) {
    let pipeline = super::pipeline(job, field).expect("an image field was chosen");
    let shown = shown(job, field);
    let (columns, gap) = (columns(shown), gap(pipeline));
    let along = |count: u32, side: u32| count * (side + gap) - gap;
    (along(columns, pipeline.width()), along(shown.div_ceil(columns), pipeline.height()))
}

/// How many pictures of a sample stand on the sheet.
pub fn shown(job: &Job, field: usize) -> u32 {
    job.fields[field].pictures().min(PICTURES_MAX)
}

/// Between two views, in pixels of a view: seen, and not much of the sheet.
fn gap(pipeline: &ImagePipeline) -> u32 {
    (pipeline.width().max(pipeline.height()) / 56).max(1)
}

/// Views beside each other: as many as below each other, or one more.
fn columns(views: u32) -> u32 {
    (1..=views).find(|side| side * side >= views).unwrap_or(1)
}

/// The pixels of one row, read out of the batch itself.
fn sample(made: &Made, field: usize, row: u32) -> Result<RgbImage, Fault> {
    let pipeline = super::pipeline(&made.work.job, field).expect("an image field was chosen");
    let bytes = row_bytes(made, field, row)?;
    let bytes = match made.work.job.fields.get(field + 1).map(|next| &next.makers[0]) {
        Some(FieldMaker::DeviceNumbers) => {
            decoded(made, pipeline, &bytes, &row_bytes(made, field + 1, row)?)?
        }
        _ => bytes,
    };
    let (width, height) = sides(&made.work.job, field);
    let (pictures, shown) = (made.work.job.fields[field].pictures(), shown(&made.work.job, field));
    let (columns, gap) = (columns(shown), gap(pipeline));
    let mut sample = RgbImage::from_pixel(width, height, PAPER);
    for place in 0..shown {
        let start = (place * pictures / shown) as usize * pipeline.view_bytes();
        let rgb = pipeline.rgb(&bytes[start..][..pipeline.view_bytes()]);
        let pixels = RgbImage::from_raw(pipeline.width(), pipeline.height(), rgb);
        let (x, y) =
            (place % columns * (pipeline.width() + gap), place / columns * (pipeline.height() + gap));
        imageops::replace(&mut sample, &pixels.expect("a view has its pixels"), x.into(), y.into());
    }
    Ok(sample)
}

/// What a row of the batch holds of one tensor.
fn row_bytes(made: &Made, tensor: usize, row: u32) -> Result<Vec<u8>, Fault> {
    let place = made.layout.tensors()[tensor];
    let mut bytes = vec![0; place.stride_bytes as usize];
    made.file()?
        .read_exact_at(&mut bytes, place.sample_offset_bytes(row))
        .map_err(|error| Fault::from_error(Kind::Internal, &error))?;
    Ok(bytes)
}

/// The pixels of a row that a device may have to decode, from what the device would get.
fn decoded(made: &Made, pipeline: &ImagePipeline, row: &[u8], numbers: &[u8]) -> Result<Vec<u8>, Fault> {
    let DeviceRow::Jpeg(len_bytes, draw) = DeviceRow::read(numbers) else { return Ok(row.to_vec()) };
    let (mut decoder, mut scratch) = (ImageDecoder::new(made.image_limits), Scratch::new());
    let (file, mut pixels) = (&row[..len_bytes as usize], vec![0; pipeline.view_bytes()]);
    let run = pipeline.run_drawn(file, &mut decoder, &mut scratch, &draw, &mut pixels);
    run.map_err(|error| Fault::from_error(Kind::Internal, &error))?;
    Ok(pixels)
}

fn original(row: &mut TracedRow, report: &v1::RowReport, field: usize, name: &str) -> Option<Cut> {
    let image = row.images.iter_mut().find(|image| image.field == field)?.original.take()?;
    let views: Vec<_> = report.images.iter().filter(|image| image.field == name).collect();
    let stored = views.first().map(|view| (view.width, view.height))?;
    let parts = views.iter().filter_map(|view| view.crop);
    let parts =
        parts.map(|part| Rect { left: part.left, top: part.top, width: part.width, height: part.height });
    Some(Cut { image, parts: parts.collect(), stored })
}
