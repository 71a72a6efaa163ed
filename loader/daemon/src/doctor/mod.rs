//! `forebay doctor`: what of this machine helps or hinders forebay, what that means, and what to do.
//!
//! Every check is a function from [`Facts`] to findings: it reads `/proc` and `/sys` beneath a folder and the answers
//! of a few system calls, so that a test can plant any machine. The doctor changes nothing.

mod cpu;
mod cuda;
mod daemon;
mod facts;
mod finding;
mod gpu;
mod kernel;
mod limits;
mod memory;
pub mod options;
mod probe;
mod report;
mod roots;
#[cfg(test)]
mod tests;

use std::env;
use std::path::PathBuf;

use crate::config::Config;
use crate::error::Fault;
use crate::machine::Machine;

pub use facts::Facts;
pub use finding::{Finding, Level};
pub use options::DoctorArgs;
pub use report::text;

use probe::Probes;

/// The topics, in the order of the report.
const CHECKS: [fn(&Facts) -> Vec<Finding>; 8] = [
    kernel::check,
    cpu::check,
    memory::check,
    limits::check,
    gpu::check,
    cuda::check,
    roots::check,
    daemon::check,
];

/// Looks at this machine.
pub fn run(args: &DoctorArgs) -> Vec<Finding> {
    let (config, unreadable) = match args.config.as_deref().map(Config::read) {
        Some(Err(fault)) => (Config::default(), Some(fault)),
        Some(Ok(config)) => (config, None),
        None => (Config::default(), None),
    };
    let socket_variable = env::var_os("FOREBAY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
    let socket = socket_variable.clone().unwrap_or_else(|| config.socket.clone());
    let configured = config.roots.iter().map(|root| root.path.clone());
    let paths: Vec<_> = configured.chain(args.paths.iter().cloned()).collect();
    let facts = Facts {
        machine: Machine::beneath("/"),
        config_path: args.config.clone().filter(|_| unreadable.is_none()),
        config,
        visible_devices: env::var("CUDA_VISIBLE_DEVICES").ok(),
        socket_variable,
        probes: Probes::take(&paths, &socket),
    };
    let mut findings: Vec<_> =
        args.config.iter().map(|path| configuration(path, unreadable.as_ref())).collect();
    findings.extend(examine(&facts));
    findings
}

/// What the facts mean.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    CHECKS.iter().flat_map(|check| check(facts)).collect()
}

/// Whether the findings end the command with an error.
pub fn fails(findings: &[Finding], strict: bool) -> bool {
    let bad = if strict { Level::Warn } else { Level::Fail };
    findings.iter().any(|finding| finding.level >= bad)
}

fn configuration(path: &std::path::Path, fault: Option<&Fault>) -> Finding {
    let id = "config.file";
    let Some(fault) = fault else {
        return Finding::ok(id, path.display().to_string(), "its keys and units are right");
    };
    let found = std::iter::once(&fault.message).chain(&fault.causes).cloned().collect::<Vec<_>>().join(": ");
    let means = "`forebay serve` would not start; what follows is of the defaults";
    Finding::fail(id, found, means).cure(fault.hint.clone().unwrap_or_default())
}
