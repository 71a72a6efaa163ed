//! What became of each row of a batch, noted by those who make it: for people who look at a batch, and off else.

use std::sync::Mutex;

use forebay_plan::orders::Pick;

use crate::decode::ImageDecoder;
use crate::transform::{Drawn, SampleError, Scratch, Thumbnail, thumbnail};

/// A batch's notes.
#[derive(Debug, Default)]
pub struct Trace {
    original: Option<Original>,
    rows: Mutex<Vec<TracedRow>>,
}

/// Which field's stored images are kept beside its samples, and how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Number of an image field.
    pub field: usize,
    /// In pixels.
    pub width_max: u32,
    /// In pixels.
    pub height_max: u32,
}

/// One row.
#[derive(Debug)]
pub struct TracedRow {
    /// Of the batch.
    pub row: u32,
    /// What stands in it; where nothing does, the last that was tried.
    pub pick: Pick,
    /// 0: the row's own sample; 1..=8: a substitute.
    pub attempt: u32,
    /// How it ended.
    pub verdict: Verdict,
    /// Its image fields, in the job's order; none where nothing stands in the row.
    pub images: Vec<TracedImage>,
}

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A sample stands in it.
    Made,
    /// Corrupt, zeros in its place.
    Masked,
    /// Corrupt, and a session would end here; zeros in its place, so that the other rows can be looked at.
    Failed,
}

/// What one image field drew.
#[derive(Debug)]
pub struct TracedImage {
    /// Its number among the job's fields.
    pub field: usize,
    /// Image and draws, as the pipeline itself used them.
    pub drawn: Drawn,
    /// All of the stored image, where it was asked for.
    pub original: Option<Thumbnail>,
}

impl Trace {
    /// An empty one, that keeps stored images where asked to.
    pub fn new(original: Option<Original>) -> Self {
        Self { original, rows: Mutex::default() }
    }

    /// One image field of a row that was just made of `encoded`, turned as its EXIF block says or not.
    ///
    /// # Errors
    /// As the decoder's, of an image that was decoded a moment ago: none.
    pub fn image(
        &self,
        (field, exif): (usize, bool),
        drawn: Drawn,
        encoded: &[u8],
        decoder: &mut ImageDecoder,
        scratch: &mut Scratch,
    ) -> Result<TracedImage, SampleError> {
        let original = match self.original {
            Some(Original { field: wanted, width_max, height_max }) if wanted == field => {
                Some(thumbnail(encoded, (width_max, height_max), exif, decoder, scratch)?)
            }
            _ => None,
        };
        Ok(TracedImage { field, drawn, original })
    }

    /// Notes a row, before its sample is committed.
    pub fn note(&self, row: TracedRow) {
        self.rows.lock().expect("no thread panics with the lock").push(row);
    }

    /// Takes the notes, in the order of the batch.
    pub fn take(&self) -> Vec<TracedRow> {
        let mut rows = std::mem::take(&mut *self.rows.lock().expect("no thread panics with the lock"));
        rows.sort_unstable_by_key(|row| row.row);
        rows
    }
}
