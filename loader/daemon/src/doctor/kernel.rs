//! The kernel: its version, io_uring, the clock.

use super::facts::Facts;
use super::finding::Finding;
use super::probe::Uring;

/// `pidfd_open`, by which a daemon learns at once that a client has died.
const PIDFD: (u32, u32) = (5, 3);
/// `MADV_POPULATE_WRITE`, by which an arena's pages are all there before the first batch.
const POPULATE: (u32, u32) = (5, 14);

/// What every finding about io_uring means today.
const NO_USE_YET: &str = "no loss today: the storage engine of this version is `threads`, which does without";

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
    let sysctl = facts.machine.number("/proc/sys/kernel/io_uring_disabled").unwrap_or(0);
    let filtered = facts.machine.field("/proc/self/status", "Seccomp").is_some_and(|mode| mode == "2");
    match &facts.probes.io_uring {
        Uring::Works => {
            Finding::ok(id, "allowed", "a later engine may use it; that of this version is `threads`")
        }
        Uring::Refused(errno) if *errno == rustix::io::Errno::NOSYS.raw_os_error() => {
            Finding::note(id, "not there (ENOSYS)", NO_USE_YET).cure("a kernel built with CONFIG_IO_URING")
        }
        Uring::Refused(errno) if *errno == rustix::io::Errno::PERM.raw_os_error() && sysctl > 0 => {
            let who = if sysctl == 1 { "for all but root and one group" } else { "for everybody" };
            let found = format!("forbidden (EPERM) by kernel.io_uring_disabled = {sysctl}, {who}");
            Finding::note(id, found, NO_USE_YET).cure("sudo sysctl kernel.io_uring_disabled=0")
        }
        Uring::Refused(errno) if *errno == rustix::io::Errno::PERM.raw_os_error() => {
            let by = if filtered { "a seccomp filter" } else { "a security module" };
            Finding::note(id, format!("forbidden (EPERM) by {by}"), NO_USE_YET)
                .cure("run the container with a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register")
        }
        Uring::Refused(errno) => {
            let error = std::io::Error::from_raw_os_error(*errno);
            Finding::note(id, format!("refused: {error}"), NO_USE_YET)
        }
        Uring::Killed(signal) => {
            let found = format!("whoever tries is killed (signal {signal})");
            Finding::note(id, found, NO_USE_YET)
                .cure("a later engine must be set by hand here: engine = \"threads\"")
        }
        Uring::Untried(why) => Finding::note(id, format!("not tried: {why}"), NO_USE_YET),
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
