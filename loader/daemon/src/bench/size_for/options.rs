//! What `forebay bench --size-for` was asked for.

use std::path::PathBuf;

use super::super::emulate::workload::{Accelerator, Model};

/// Options of the sizing.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Sizing a node")]
pub struct SizeArgs {
    /// Say what a node needs to feed its GPUs in training MODEL, from what is measured here; with the arithmetic.
    #[arg(long, value_enum, value_name = "MODEL", conflicts_with_all = ["emulate", "stage", "consumers", "storage", "html", "compare"])]
    pub size_for: Option<Model>,
    /// GPUs of the node.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "size_for", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub gpus: u32,
    /// Which GPU; its demand must be published, or given with --samples-per-second.
    #[arg(long, value_enum, requires = "size_for")]
    pub gpu: Option<Accelerator>,
    /// Samples a second that one GPU trains on, where no published figure fits.
    #[arg(long, value_name = "X", requires = "size_for", value_parser = rate)]
    pub samples_per_second: Option<f64>,
    /// Take the measurements from an earlier run's --json instead of running.
    #[arg(long, value_name = "FILE", requires = "size_for", conflicts_with_all = ["path", "synthetic"])]
    pub from: Option<PathBuf>,
    /// Say whether so many cores suffice; default: the node that such GPUs are sold in.
    #[arg(long, value_name = "N", requires = "size_for", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub cores: Option<u32>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e9 => Ok(value),
        _ => Err("give samples a second, above 0, as in 2500".to_owned()),
    }
}
