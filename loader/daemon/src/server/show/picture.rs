//! The sheet of a batch: its samples as a trainer gets them, what they were cut from, and the words below.

use std::os::unix::fs::FileExt;

use forebay_proto::v1;
use image::RgbImage;

use super::rows::rect;
use super::words;
use crate::error::{Fault, Kind};
use crate::server::fetch::Made;
use crate::sheet::{self, Cut, Scale, Tile};
use crate::trace::TracedRow;

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

/// The pixels of one row, read out of the batch itself.
fn sample(made: &Made, field: usize, row: u32) -> Result<RgbImage, Fault> {
    let pipeline = super::pipeline(&made.work.job, field).expect("an image field was chosen");
    let offset = made.layout.tensors()[field].sample_offset_bytes(row);
    let mut bytes = vec![0; pipeline.sample_bytes()];
    made.file()?
        .read_exact_at(&mut bytes, offset)
        .map_err(|error| Fault::from_error(Kind::Internal, &error))?;
    let rgb = pipeline.rgb(&bytes);
    Ok(RgbImage::from_raw(pipeline.width(), pipeline.height(), rgb).expect("a sample has its pixels"))
}

fn original(row: &mut TracedRow, report: &v1::RowReport, field: usize, name: &str) -> Option<Cut> {
    let image = row.images.iter_mut().find(|image| image.field == field)?.original.take()?;
    let report = report.images.iter().find(|image| image.field == name)?;
    let part = report.crop?;
    let part = crate::decode::Rect { left: part.left, top: part.top, width: part.width, height: part.height };
    Some(Cut { image, part, stored: (report.width, report.height) })
}
