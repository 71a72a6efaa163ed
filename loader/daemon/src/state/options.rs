//! What `forebay state` was asked for.

use std::path::PathBuf;

use clap::Subcommand;

/// Options of `forebay state`.
#[derive(clap::Args, Clone, Debug)]
pub struct StateArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: StateVerb,
}

/// The verbs.
#[derive(Subcommand, Clone, Debug)]
pub enum StateVerb {
    /// Say where a saved loader state stands, and in what.
    #[command(after_help = SHOW_HELP)]
    Show(ShowArgs),
    /// Say whether a job goes on from a saved state, and what differs.
    #[command(after_help = DIFF_HELP)]
    Diff(DiffArgs),
    /// Write the state of the same run at another place.
    #[command(after_help = SEEK_HELP)]
    Seek(SeekArgs),
}

/// How states are found in files.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct FindArgs {
    /// Where the state stands in its file, as `loader` or `loaders.train`. Absent: the only one there is.
    #[arg(long, value_name = "NAME")]
    pub key: Option<String>,
    /// What messages call a file (used by `python -m forebay`).
    #[arg(long, hide = true, value_name = "FILE=NAME")]
    pub shown_as: Vec<String>,
}

/// Options of `forebay state show`.
#[derive(clap::Args, Clone, Debug)]
pub struct ShowArgs {
    /// JSON, or what Python's print made of the dict; - is standard input.
    pub file: PathBuf,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub find: FindArgs,
    /// Print the record itself, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `forebay state diff`.
#[derive(clap::Args, Clone, Debug)]
pub struct DiffArgs {
    /// The saved state.
    pub saved: PathBuf,
    /// A state of the job that is to go on from it, at any place.
    pub now: PathBuf,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub find: FindArgs,
    /// Print the differences as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Options of `forebay state seek`.
#[derive(clap::Args, Clone, Debug)]
pub struct SeekArgs {
    /// The saved state.
    pub file: PathBuf,
    #[allow(missing_docs, reason = "clap would print it")]
    #[command(flatten)]
    pub find: FindArgs,
    /// The epoch, from 0. Absent: the state's own.
    #[arg(long, value_name = "N")]
    pub epoch: Option<u64>,
    /// Batches of the epoch that are done.
    #[arg(long, value_name = "N", requires = "global_batch_size")]
    pub step: Option<u64>,
    /// Rows that all ranks together take a batch.
    #[arg(long, value_name = "ROWS", requires = "step", value_parser = clap::value_parser!(u32).range(1..))]
    pub global_batch_size: Option<u32>,
    /// Rows of the epoch that are done. Absent, as the step: 0.
    #[arg(long, value_name = "N", conflicts_with = "step")]
    pub row: Option<u64>,
    /// The file to write; - is standard output.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// Write over a file that exists.
    #[arg(long)]
    pub force: bool,
}

/// What `forebay state --help` ends with.
pub const STATE_HELP: &str = "\
A state is what state_dict() of a loader gives: some 800 bytes. Save it as JSON beside a checkpoint, or look into one
of torch with `python -m forebay state show model.pt`, which takes the same options.

Examples:
  forebay state show loader.json
  forebay state diff saved.json now.json
  forebay state seek loader.json --epoch 3 --step 1200 --global-batch-size 1024 -o there.json";

const SHOW_HELP: &str = "\
Examples:
  forebay state show loader.json
  forebay state show checkpoint.json --key loaders.train --json > train.json
  python -m forebay state show model.pt";

const DIFF_HELP: &str = "\
Exit status:
  0  the job goes on from the saved state: order and contents are the same
  1  it does not: the order of samples is another, or a file is no state
  2  the command line is wrong
  3  it does where the change of contents is accepted by name

Examples:
  forebay state diff saved.json now.json
  forebay state diff saved.json now.json --json | jq .content";

const SEEK_HELP: &str = "\
Examples:
  forebay state seek loader.json --epoch 3 --row 1228800 -o there.json
  forebay state seek loader.json --epoch 3 --step 1200 --global-batch-size 1024 -o there.json";
