//! What `forebay dataset` was asked for.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Subcommand, ValueEnum};

use super::export::options::ExportArgs;
use super::freeze::{FREEZE_HELP, FreezeArgs};
use super::split::{SPLIT_HELP, SplitArgs};
use super::{filter, release, remove, verify};
use crate::losses::By;

/// Options of `forebay dataset`.
#[derive(clap::Args, Clone, Debug)]
pub struct DatasetArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: DatasetVerb,
}

/// The verbs.
#[derive(Subcommand, Clone, Debug)]
pub enum DatasetVerb {
    /// Write samples as tar shards or files, with the recipe to make them again.
    Export(ExportArgs),
    /// Hold samples apart: hold-outs, folds, official sides, whole groups on one side.
    #[command(after_help = SPLIT_HELP)]
    Split(SplitArgs),
    /// Hold samples back from training for ever, as a named evaluation set.
    #[command(after_help = FREEZE_HELP)]
    Freeze(FreezeArgs),
    /// The samples that meet a condition on columns: count them, or record it under a name that jobs use.
    #[command(after_help = filter::FILTER_HELP)]
    Filter(filter::FilterArgs),
    /// Take samples out of quarantine, or list what is in it.
    #[command(after_help = release::RELEASE_HELP)]
    Release(release::ReleaseArgs),
    /// Remove samples for ever: no later snapshot has them, and no later index brings them back.
    #[command(after_help = remove::REMOVE_HELP)]
    Remove(remove::RemoveArgs),
    /// Read and decode every sample; corrupt ones go into quarantine, copies are found.
    #[command(after_help = verify::VERIFY_HELP)]
    Verify(verify::VerifyArgs),
    /// The samples with the highest losses, or those that were NaN.
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// The steps whose loss stood out from those before them, and the samples in them.
    #[command(after_help = SPIKES_HELP)]
    Spikes(SpikesArgs),
    /// Write one weight a sample, made of its loss: for sampler="weighted" of a later run.
    #[command(after_help = WEIGHTS_HELP)]
    Weights(WeightsArgs),
    /// Give samples labels, predictions, scores or other columns from a list, by key.
    #[command(after_help = super::join::HELP)]
    Join(super::join::JoinArgs),
    /// Add the rows of lists that pandas, DuckDB or Spark wrote as samples.
    #[command(after_help = super::add::HELP)]
    Add(super::add::AddArgs),
    /// List the commits, newest first.
    #[command(after_help = super::log::HELP)]
    Log(super::log::LogArgs),
    /// Say what is in a data set: samples, columns, classes, splits.
    #[command(after_help = super::show::HELP)]
    Show(super::show::ShowArgs),
    /// Say what changed between two commits.
    #[command(after_help = super::diff::HELP)]
    Diff(super::diff::DiffArgs),
    /// Name the files of a data set, or the samples of a selection; write the selection as one Parquet file.
    #[command(after_help = super::files::HELP)]
    Files(super::files::FilesArgs),
}

/// Where the losses are.
#[derive(clap::Args, Clone, Debug)]
pub struct PlaceArgs {
    /// The run, as in DataLoader(job_id=...). Absent: the only one there is.
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Stored ledgers: the daemon's ledger_dir, or one of the files in it. Absent: a running daemon is asked.
    #[arg(long, value_name = "PATH", visible_alias = "state-root")]
    pub ledgers: Option<PathBuf>,
    /// The daemon's socket.
    #[arg(long, env = "FOREBAY_SOCKET", default_value = "/run/forebay/forebay.sock")]
    pub socket: PathBuf,
}

/// How it is printed.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct FormatArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Print CSV.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// Options of `forebay dataset top`.
#[derive(clap::Args, Clone, Debug)]
pub struct TopArgs {
    /// What they are looked at for.
    #[arg(long, value_enum, default_value = "loss")]
    pub by: By,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub place: PlaceArgs,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub format: FormatArgs,
}

/// Options of `forebay dataset spikes`.
#[derive(clap::Args, Clone, Debug)]
pub struct SpikesArgs {
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub count: u32,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub place: PlaceArgs,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub format: FormatArgs,
}

/// What makes a weight of a loss.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum WeightBy {
    /// The mean of its losses.
    Loss,
    /// The highest of them.
    Max,
    /// The last one.
    Last,
    /// The moving average: mostly the last three.
    Recent,
}

impl From<WeightBy> for By {
    fn from(by: WeightBy) -> Self {
        match by {
            WeightBy::Loss => Self::Loss,
            WeightBy::Max => Self::Max,
            WeightBy::Last => Self::Last,
            WeightBy::Recent => Self::Recent,
        }
    }
}

/// The lowest and the highest weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// No weight is lower.
    pub least: f64,
    /// None is higher.
    pub most: f64,
}

impl FromStr for Clip {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(',').and_then(|(least, most)| {
            Some(Self { least: least.trim().parse().ok()?, most: most.trim().parse().ok()? })
        });
        let parsed =
            parsed.filter(|clip| clip.least >= 0.0 && clip.least <= clip.most && clip.most.is_finite());
        parsed.ok_or_else(|| "write two numbers, the lower first, as in \"0.1,10\"".to_owned())
    }
}

/// Options of `forebay dataset weights`.
#[derive(clap::Args, Clone, Debug)]
pub struct WeightsArgs {
    /// Which loss of a sample.
    #[arg(long, value_enum, default_value = "loss")]
    pub by: WeightBy,
    /// 1 is proportional to the loss; more is flatter.
    #[arg(long, value_name = "T", default_value_t = 1.0)]
    pub temperature: f64,
    /// No weight is lower than the first or higher than the second, where 1 is an average sample's.
    #[arg(long, value_name = "LEAST,MOST", default_value = "0.1,10")]
    pub clip: Clip,
    /// The source, of a job with several.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// The file to write: .npy (float64).
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Write over a file that exists.
    #[arg(long)]
    pub force: bool,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// What `forebay dataset --help` ends with.
pub const DATASET_HELP: &str = "\
Losses are those that `loader.report(losses)` told. A running daemon knows what it was told itself; stored ledgers
(ledger_dir) of all ranks, nodes and restarts of a run are added up. They are Parquet files, for pandas too.

Examples:
  forebay dataset top --by loss
  forebay dataset spikes --job resnet-50-3
  forebay dataset weights --ledgers /shared/forebay --job resnet-50-3 -o weights.npy";

const TOP_HELP: &str = "\
Examples:
  forebay dataset top -n 50
  forebay dataset top --by nan --job resnet-50-3
  forebay dataset top --by max --ledgers /shared/forebay --csv > worst.csv";

const SPIKES_HELP: &str = "\
A step stands out from 4 standard deviations above the moving average of those before it, or where a loss is NaN or
infinite. Kept are the 32 worst, and the first 32 that were not finite.

Examples:
  forebay dataset spikes
  forebay dataset spikes -n 3 --json | jq '.steps[0].worst'";

const WEIGHTS_HELP: &str = "\
A weight is (loss / average) ^ (1 / temperature), clipped. A sample without a finite loss has 1, as an average one. The
file is in the order of the snapshot that the run read; a run that reads other data refuses it by its length.
Nothing uses it until a run names it:

  DataLoader(..., sampler=\"weighted\", weights=numpy.load(\"weights.npy\"))

and then it is part of that run's order digest.

Examples:
  forebay dataset weights -o weights.npy
  forebay dataset weights --by recent --temperature 2 --clip 0.2,5 --ledgers /shared/forebay --job resnet-50-3 -o weights.npy";
