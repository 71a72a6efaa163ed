//! What `forebay bench --emulate` was asked for.

use super::workload::{Accelerator, Model};

/// Options of the emulation; DIR is the bench's PATH.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Emulated accelerators (MLPerf-Storage-like, unverified)")]
pub struct EmulateArgs {
    /// Feed accelerators that are emulated by sleeping their published step times, from made-up data beneath DIR.
    #[arg(long, value_enum, value_name = "MODEL", requires = "accelerator", conflicts_with_all = STAGES)]
    pub emulate: Option<Model>,
    /// Which accelerator is emulated.
    #[arg(long, value_enum, requires = "emulate")]
    pub accelerator: Option<Accelerator>,
    /// So many of them at the same time, each with a session of its own.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "emulate", value_parser = clap::value_parser!(u32).range(1..=ACCELERATORS_MAX))]
    pub accelerators: u32,
    /// Search for the most accelerators that are kept at work for the published share of the time.
    #[arg(long, requires = "emulate", conflicts_with = "accelerators")]
    pub find_max: bool,
    /// Measured runs, after one to warm up.
    #[arg(long, value_name = "N", default_value_t = 5, requires = "emulate", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// Make at most so many GB (10^9 bytes) of data; default: what DIR holds already, else 4.
    #[arg(long, value_name = "GB", requires = "emulate", value_parser = gigabytes)]
    pub emulate_gb: Option<f64>,
    /// Drop each record from the page cache just before it is read. With --stage read or read-floor: all files before each
    /// turn, which reads every file once at most; --seconds then says nothing.
    #[arg(long)]
    pub cold: bool,
}

/// More threads than this tell nothing about a node.
pub const ACCELERATORS_MAX: i64 = 256;

/// Options of the stages, which mean nothing here.
const STAGES: [&str; 11] = [
    "stage",
    "rows",
    "batch",
    "transform",
    "dtype",
    "consumers",
    "rounds",
    "synthetic",
    "storage",
    "html",
    "compare",
];

fn gigabytes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.001..=1_000_000.0).contains(&value) => Ok(value),
        _ => Err("give gigabytes, from 0.001 to 1000000, as in 4 or 0.5".to_owned()),
    }
}
