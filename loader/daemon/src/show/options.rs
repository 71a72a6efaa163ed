//! What `forebay show` was asked for.

use std::path::PathBuf;

use forebay_plan::Tail;

use crate::bench::options::{Dtype, Transform};
use crate::transform::VIEWS_MAX;

/// Options of `forebay show`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    pub(super) what: What,
    #[command(flatten)]
    pub(super) which: Which,
    #[command(flatten)]
    pub(super) samples: Samples,
    #[command(flatten)]
    pub(super) digest: Digested,
    /// What happens to the images of PATH: RandomResizedCrop(224) and flip, or Resize(256) and CenterCrop(224).
    #[arg(long, value_enum, default_value_t = Transform::Train)]
    pub(super) transform: Transform,
    /// Of the images of PATH; float32 is normalised with ImageNet's mean and deviation, and shown de-normalised.
    #[arg(long, value_enum, default_value_t = Dtype::Uint8)]
    pub(super) dtype: Dtype,
    /// Random crops of each image of PATH.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(VIEWS_MAX)))]
    pub(super) views: u32,
    /// Of PATH's order and crops.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) seed: u64,
    /// Beside each sample the image it was cut from, with the crop drawn in.
    #[arg(long)]
    pub(super) original: bool,
    /// The image field to draw; default: the first.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub(super) field: String,
    /// Longest side of a tile; default: the sample's own, where the sheet stays below 8 MiB.
    #[arg(long, value_name = "PX", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(u32).range(0..=512))]
    pub(super) tile: u32,
    /// Where the sheet goes; - is standard output, and the table then goes to standard error.
    #[arg(short, long, value_name = "FILE", default_value = "forebay-show.png")]
    pub(super) output: PathBuf,
    /// Print the rows as JSON instead of the table.
    #[arg(long)]
    pub(super) json: bool,
}

/// The job whose rows are shown.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct What {
    /// A folder of class folders, or a .csv, .tsv, .jsonl or .parquet list.
    pub path: Option<PathBuf>,
    /// A job as JSON instead, a forebay.v1.JobSpec: any pipeline can be shown.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "transform", "dtype", "views", "seed"])]
    pub spec: Option<PathBuf>,
    /// Ask the daemon that listens here, not one of this command's own.
    #[arg(long, value_name = "PATH", env = "FOREBAY_SOCKET")]
    pub socket: Option<PathBuf>,
    /// A job that the daemon knows, or a run that keeps records, by its job_id.
    #[arg(long, value_name = "ID", conflicts_with_all = ["path", "spec", "order_digest", "transform", "dtype", "seed"])]
    pub job: Option<String>,
    /// Where the run of --job kept its records (job_id= and state_root= of its loader): its data of that epoch, its ranks
    /// and batch sizes, its corrupt samples. No daemon is asked.
    #[arg(long, value_name = "PLACE", env = "FOREBAY_STATE_ROOT")]
    pub state_root: Option<String>,
    /// A job that the daemon knows, by its two digests.
    #[arg(long, value_name = "HEX", requires_all = ["content_digest", "socket"], conflicts_with_all = ["path", "spec", "transform", "dtype", "views", "seed"])]
    pub order_digest: Option<String>,
    /// The other one.
    #[arg(long, value_name = "HEX", requires = "order_digest")]
    pub content_digest: Option<String>,
}

/// The batch, and how much of it.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Which {
    /// The epoch, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub epoch: u64,
    /// The step of the epoch, from 0.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub step: u64,
    /// The step that begins at this row of the epoch, as a saved state has it.
    #[arg(long, value_name = "ROW", conflicts_with = "step")]
    pub position: Option<u64>,
    /// Whose batch, of --world.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub rank: u32,
    /// Data-parallel ranks; default: 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub world: Option<u32>,
    /// Rows of one rank's batch; default: 256.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub batch: Option<u32>,
    /// What becomes of the rows at the end of an epoch: drop, partial or pad; default: partial.
    #[arg(long, value_name = "TAIL")]
    pub tail: Option<Tail>,
    /// The first so many of its rows; default: 8 of a sheet, all with --samples.
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    pub rows: Option<u32>,
}

/// Names in place of pictures.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Samples {
    /// Name the samples of the whole batch, with crops, flips, views and substitutes, and draw nothing. Nothing is
    /// decoded: crops follow from the sizes in the images' headers.
    #[arg(long)]
    pub samples: bool,
    /// Decode them all the same, to see which were corrupt and what took their place.
    #[arg(long, requires = "samples")]
    pub recompute: bool,
}

/// The sums of an epoch in place of a batch.
#[derive(clap::Args, Clone, Copy, Debug)]
pub(super) struct Digested {
    /// Print the order digest of the epoch instead of a batch: what the sums of `loader.digest()` come to over all ranks.
    /// Nothing is read but the plan.
    #[arg(long, conflicts_with = "samples")]
    pub digest: bool,
    /// The content digest, too: makes every row of the epoch, which takes as long as training's loading of it.
    #[arg(long, requires = "digest")]
    pub content: bool,
    /// From this row of the epoch on.
    #[arg(long, value_name = "ROW", requires = "digest", default_value_t = 0)]
    pub from_row: u64,
    /// Up to this row and without it, as where `drop_last` ended the epoch; default: the end.
    #[arg(long, value_name = "ROW", requires = "digest", value_parser = clap::value_parser!(u64).range(1..))]
    pub to_row: Option<u64>,
}

/// What `forebay show --help` ends with.
pub const SHOW_HELP: &str = "\
A row is a function of the data, the job, the epoch and its place, so this shows what a training run gets, before,
while and after it runs, and disturbs nothing. Corrupt samples are shown with what the job's policy makes of them.

Examples:
  forebay show /data/imagenet/train
  forebay show /data/imagenet/train --epoch 3 --step 1200 --rank 5 --world 8 --batch 128 --original
  forebay show /data/train.csv --transform eval --rows 32 -o sheet.png
  forebay show /data/photos --views 2 --original
  forebay show --spec job.json --rows 16 --json
  forebay show --job run-7 --state-root /shared/forebay --epoch 3 --step 1200 --rank 5 --samples
  forebay show --job run-7 --socket /run/forebay/forebay.sock --epoch 3 --step 1200 --rank 5 --world 8 --samples
  forebay show --spec job.json --epoch 3 --digest --content
  forebay show /data/photos -o - | display -";
