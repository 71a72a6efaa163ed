//! The kernel: its version, io_uring, the clock.

use std::io;

use rustix::io::Errno;

use super::facts::Facts;
use super::finding::Finding;
use crate::config::EngineName;
use crate::storage::UringProbe;

/// `pidfd_open`, by which a daemon learns at once that a client has died.
const PIDFD: (u32, u32) = (5, 3);
/// `MADV_POPULATE_WRITE`, by which an arena's pages are all there before the first batch.
const POPULATE: (u32, u32) = (5, 14);

/// What it means where io_uring is not there and nobody insists.
const THREADS_DO: &str = "threads read everything: the same bytes and the same rate of small files; random parts of large local files take more \
     processor time";
const USE_AUTO: &str = "engine = \"auto\"";
const SECCOMP_CURE: &str = "run the container with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register";

pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = version(facts).into_iter().collect();
    found.push(io_uring(facts));
    found.extend(clock(facts));
    found
}

fn version(facts: &Facts) -> Option<Finding> {
    let release = facts.machine.text("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let id = "kernel.version";
    Some(if version >= POPULATE {
        Finding::ok(id, release, "has every call that forebay uses")
    } else if version >= PIDFD {
        let means =
            "before 5.14 the pages of an arena are taken by fallocate: the same memory, a slower first epoch";
        Finding::note(id, release, means)
    } else {
        let means = "before 5.3 there is no pidfd: a client's death is noticed by its socket alone, which a forked child keeps open";
        Finding::warn(id, release, means).cure("use a kernel from 5.14 on")
    })
}

fn io_uring(facts: &Facts) -> Finding {
    let id = "kernel.io_uring";
    let engine = facts.config.engine;
    let (found, cure) = match &facts.probes.io_uring {
        UringProbe::Works => {
            let means = match engine {
                EngineName::Auto => "parts of large local files are read through it, the rest by threads",
                EngineName::Uring => "every read goes through it, as it is set",
                EngineName::Threads => "unused: engine = \"threads\" is set",
            };
            return Finding::ok(id, "allowed", means);
        }
        UringProbe::Refused(errno) => refused(facts, *errno),
        UringProbe::Killed(signal) => {
            (format!("whoever tries is killed (signal {signal})"), Some(SECCOMP_CURE))
        }
        UringProbe::Untried(why) => (format!("not tried: {why}"), None),
    };
    let finding = match engine {
        EngineName::Uring => {
            let finding =
                Finding::fail(id, found, "engine = \"uring\" is set, and the daemon would not start");
            return finding.cure(cure.map_or(USE_AUTO.to_owned(), |cure| format!("{cure}; or {USE_AUTO}")));
        }
        EngineName::Threads => Finding::note(id, found, "no loss: engine = \"threads\" is set"),
        EngineName::Auto => Finding::note(id, found, THREADS_DO),
    };
    Finding { cure: cure.map(str::to_owned), ..finding }
}

/// What an error number comes from, and what would change it.
fn refused(facts: &Facts, errno: i32) -> (String, Option<&'static str>) {
    let sysctl = facts.machine.number("/proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    let filtered = facts.machine.field("/proc/self/status", "Seccomp").is_some_and(|mode| mode == "2");
    match Errno::from_raw_os_error(errno) {
        Errno::NOSYS => ("not there (ENOSYS)".to_owned(), Some("a kernel built with CONFIG_IO_URING")),
        Errno::PERM if sysctl > 0 => {
            let who = if sysctl == 1 { "for all but root and one group" } else { "for everybody" };
            let found = format!("forbidden (EPERM) by kernel.io_uring_disabled = {sysctl}, {who}");
            (found, Some("sudo sysctl kernel.io_uring_disabled=0"))
        }
        Errno::PERM => {
            let by = if filtered { "a seccomp filter" } else { "a security module" };
            (format!("forbidden (EPERM) by {by}"), Some(SECCOMP_CURE))
        }
        Errno::NOMEM => (
            format!("refused: {}", io::Error::from_raw_os_error(errno)),
            Some("LimitMEMLOCK=infinity in the service file"),
        ),
        _ => (format!("refused: {}", io::Error::from_raw_os_error(errno)), None),
    }
}

fn clock(facts: &Facts) -> Option<Finding> {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let source = facts.machine.text(&format!("{folder}/current_clocksource"))?;
    let id = "kernel.clock";
    // These are read by the vDSO, without entering the kernel.
    let quick = ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page"].contains(&source.as_str());
    if quick {
        return Some(Finding::ok(id, source, "reading the time costs nanoseconds"));
    }
    let others = facts.machine.text(&format!("{folder}/available_clocksource")).unwrap_or_default();
    let means = "reading the time is a system call, and every read, decode and batch is timed";
    let cure = if others.split_whitespace().any(|name| name == "tsc") {
        format!("echo tsc | sudo tee {folder}/current_clocksource")
    } else {
        "`dmesg | grep -i tsc` says why the kernel does not trust it".to_owned()
    };
    Some(Finding::warn(id, source, means).cure(cure))
}
