//! What `forebay replay` was asked for.

use std::ops::Range;

/// Options of `forebay replay`.
#[derive(clap::Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Where the run kept its records: a folder, or s3://bucket/prefix with AWS_* in the environment.
    #[arg(long, value_name = "PLACE", env = "FOREBAY_STATE_ROOT")]
    pub(super) state_root: String,
    /// The run.
    #[arg(long, value_name = "ID")]
    pub(super) job: String,
    /// The epoch whose samples are named, from 0. Absent: what the run is, and its pins.
    #[arg(long, value_name = "N")]
    pub(super) epoch: Option<u64>,
    /// Rows of the epoch, as in 1200..1232. Absent: all.
    #[arg(long, value_name = "FROM..TO", requires = "epoch", value_parser = rows)]
    pub(super) rows: Option<Range<u64>>,
    /// Print one JSON object a line.
    #[arg(long)]
    pub(super) json: bool,
}

fn rows(text: &str) -> Result<Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed
        .filter(|rows: &Range<u64>| rows.start <= rows.end)
        .ok_or_else(|| "two rows, as in 1200..1232".to_owned())
}

/// What `forebay replay --help` ends with.
pub const REPLAY_HELP: &str = "\
Neither the data nor a daemon is needed: a pin leads to the snapshot that the epoch was made from, and the order is a
function of it. A row is printed as its place in the epoch, a tab, and the keys of its samples. Substitutes for corrupt
samples are not in it: they depend on bytes.

Examples:
  forebay replay --state-root /shared/forebay --job run-7
  forebay replay --state-root /shared/forebay --job run-7 --epoch 3 > stream.txt
  forebay replay --state-root s3://bucket/forebay --job run-7 --epoch 3 --rows 1200..1232 --json";
