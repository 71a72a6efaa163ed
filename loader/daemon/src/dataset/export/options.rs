//! What `forebay dataset export` was asked for.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::catalog::dataset::{Part, Selection};

/// Options of `forebay dataset export`.
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct ExportArgs {
    /// The data set, or the data that it lies beside; with --again the folder of an earlier export.
    pub place: String,
    /// The folder to make. One that an export was stopped in is gone on with.
    pub out: PathBuf,
    /// Make an earlier export anew, byte for byte, by the recipe that it carries.
    #[arg(long, conflicts_with_all = ["split", "filter", "fraction", "limit", "balanced", "at", "format", "resize", "crop", "encode", "column", "change"])]
    pub again: bool,
    /// A side of a split, or a frozen set.
    #[arg(long, value_name = "SIDE")]
    pub split: Option<String>,
    /// A condition on columns, or the name of a recorded one.
    #[arg(long = "where", value_name = "CONDITION")]
    pub filter: Option<String>,
    /// This part of what is left, from 0 to 1.
    #[arg(long, value_name = "PART")]
    pub fraction: Option<f64>,
    /// At most so many samples of what is left.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// As many samples of each class.
    #[arg(long)]
    pub balanced: bool,
    /// The number of a commit. Absent: the newest.
    #[arg(long, value_name = "COMMIT")]
    pub at: Option<u64>,
    /// Where the data is mounted, if not where it was indexed.
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// What is made.
    #[arg(long, value_enum, default_value_t = Format::Webdataset)]
    pub format: Format,
    /// Samples of a shard.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub shard_samples: u64,
    /// Resize images: the shorter side, in pixels. Absent, and without --crop: files are taken as they are.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub resize: Option<u32>,
    /// Keep the middle square of so many pixels.
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub crop: Option<u32>,
    /// What changed images are stored as.
    #[arg(long, value_enum, default_value_t = Coding::Jpeg)]
    pub encode: Coding,
    /// Of JPEGs.
    #[arg(long, value_name = "1-100", default_value_t = 95, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub quality: u8,
    /// The columns of files or texts that are exported. Absent: the first column of files; of samples in shards all their
    /// files, images first, and their texts.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub column: Vec<String>,
    /// Those of them that --resize and --crop change, all frames where they are clips. Absent: the first.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    pub change: Vec<String>,
    /// Threads. Absent: one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What is made of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tar shards as WebDataset reads them: a sample's files, its class and its columns.
    Webdataset,
    /// The files under their own paths, those out of shards under their keys, clips as folders of frames, and samples.csv.
    Files,
}

/// How a changed image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Coding {
    /// Smaller, and not quite the same pixels.
    Jpeg,
    /// The very pixels.
    Png,
}

impl ExportArgs {
    /// The samples that are wanted.
    pub fn selection(&self) -> Selection {
        let part = Part { fraction: self.fraction, limit: self.limit, balanced: self.balanced };
        Selection { split: self.split.clone(), filter: self.filter.clone(), part }
    }
}

const HELP: &str = "Examples:
  forebay dataset export /data/photos /scratch/val --split val
      the validation side as tar shards, files as they are
  forebay dataset export /data/photos /scratch/p256 --resize 256 --shard-samples 5000
      all samples, the shorter side 256 pixels, JPEGs of quality 95
  forebay dataset export /data/train.forebay /scratch/cats --where 'label = 3' --column image,txt
      images and captions out of the shards that they lie in, as shards of their own
  forebay dataset export /data/videos /scratch/v112 --format files --resize 112 --where 'frames >= 32'
      clips, each a folder of frames whose shorter side is 112 pixels
  forebay dataset export /data/stereo /scratch/s256 --column left,right,depth --change left,right --resize 256
      two images of each sample resized, its depth map as it is
  forebay dataset export --again /scratch/p256 /scratch/p256-again
      the same bytes once more, by the recipe in /scratch/p256/recipe.json";
