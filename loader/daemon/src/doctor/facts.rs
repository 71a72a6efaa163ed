//! What the checks look at: a machine's files, and what system calls answered.

use std::path::PathBuf;

use super::probe::Probes;
use crate::config::Config;
use crate::machine::Machine;

/// Everything that is known; a test plants it.
#[derive(Debug)]
pub struct Facts {
    /// `/proc`, `/sys` and `/dev`.
    pub machine: Machine,
    /// What the daemon would run with.
    pub config: Config,
    /// Where it was read; `None`: the defaults.
    pub config_path: Option<PathBuf>,
    /// `CUDA_VISIBLE_DEVICES`.
    pub visible_devices: Option<String>,
    /// `FOREBAY_SOCKET`.
    pub socket_variable: Option<PathBuf>,
    /// What system calls answered.
    pub probes: Probes,
}
