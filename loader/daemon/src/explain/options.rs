//! What `forebay explain` was asked for.

use std::path::PathBuf;

/// Options of `forebay explain`.
#[derive(clap::Args, Clone, Debug)]
pub struct ExplainArgs {
    /// The daemon's socket.
    #[arg(long, env = "FOREBAY_SOCKET", default_value = "/run/forebay/forebay.sock")]
    pub socket: PathBuf,
    /// One session alone, by the number that the page and `forebay stats` show.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub session: Option<u64>,
    /// Print the findings as JSON, with the steps of the last minute and more names.
    #[arg(long)]
    pub json: bool,
}

/// What stands under `forebay explain --help`.
pub const EXPLAIN_HELP: &str = "\
Causes:
  storage      decode threads wait for bytes
  decode       the processors are busy decoding
  transform    the processors are busy resizing, flipping, normalising
  throttled    the cgroup's processor quota stops the daemon
  processors   others have the processors that the decode threads want
  slots        the trainer holds its batches, so the next ones are copied or wait
  python       batch_transform, in the training process
  hand_over    ready, and late at the trainer
  trainer      batches stand ready: nothing to gain in the loader

Examples:
  forebay explain
  forebay explain --socket /tmp/forebay.sock --session 3
  forebay explain --json | jq '.sessions[] | {session, cause, advice}'";
