//! What `forebay doctor` was asked for.

use std::path::PathBuf;

/// Options of `forebay doctor`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct DoctorArgs {
    /// Folders or files that jobs will read, besides the roots of the configuration.
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The node's configuration, TOML: its roots, socket, threads and budgets are examined too.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the findings as a JSON array.
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 on a warning too.
    #[arg(long)]
    pub strict: bool,
}

/// What `forebay doctor --help` ends with.
pub const DOCTOR_HELP: &str = "\
Each finding has a level: ok; note, worth knowing; warn, costs speed or will bite; fail, forebay or a job will not work.
Notes, warnings and failures say what they mean for forebay and the command that changes it. Nothing is changed.

Exit codes: 0 without a failure, 1 with one (--strict: or a warning), 2 for a wrong command line.

Examples:
  forebay doctor
  forebay doctor /data/imagenet
  forebay doctor --config /etc/forebay/node.toml --strict
  forebay doctor --json | jq '.[] | select(.level == \"fail\")'";
