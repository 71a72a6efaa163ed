//! Data of our own to measure: drawn once, kept in the user's cache folder, used again.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::Serialize;

use super::emulate::cache;
use super::options::Amount;
use super::progress::Progress;
use crate::error::{Fault, Kind};
use crate::synth::{SynthOptions, SynthSize, synth};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Synthetic {
    /// Photographs of ImageNet's sizes and bytes per pixel.
    Photos,
    /// At most 64 pixels a side: what a sample costs besides its pixels.
    Tiny,
}

const CLASSES: u32 = 10;

impl Synthetic {
    /// Its folder's name, pictures, and megabytes as measured.
    fn recipe(self) -> (&'static str, u32, u32, SynthSize) {
        match self {
            Self::Photos => ("photos", 1000, 110, SynthSize::Photo),
            Self::Tiny => ("tiny", 1000, 1, SynthSize::Tiny),
        }
    }
}

/// The folder of class folders, made now where it is not there yet.
///
/// # Errors
/// Unavailable: no space in the cache folder, or something else stands there.
pub fn folder(kind: Synthetic, progress: &Progress) -> Result<PathBuf, Fault> {
    let (name, images, megabytes, size) = kind.recipe();
    let directory = cache(&format!("bench-{name}-{images}"));
    let place = directory.display();
    if directory.exists() {
        progress.say(&format!("synthetic data: {images} pictures in {place}"));
    } else {
        progress.say(&format!(
            "synthetic data: drawing {images} pictures ({megabytes} MB) into {place}, kept for the next time"
        ));
    }
    progress.begin("drawing pictures".to_owned(), Amount::Rows(images.into()));
    let options =
        SynthOptions { directory: directory.clone(), classes: CLASSES, images, seed: 0, size, threads: None };
    let made = synth(&options, |_, _| progress.add(1));
    progress.end();
    made.map_err(|error| Fault::from_error(Kind::Unavailable, &error).hint(error.hint()))?;
    Ok(directory.join("train"))
}
