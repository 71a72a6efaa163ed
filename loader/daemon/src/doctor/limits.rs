//! Limits of this process: descriptors, locked memory, threads, address space.

use super::facts::Facts;
use super::finding::{Finding, size};
use crate::machine::Limit;

/// The runtime, the sockets, the logs: what the daemon has open before the first client.
const OWN_FILES: u64 = 64;
/// Control socket, session socket, arena, pidfd.
const FILES_PER_SESSION: u64 = 4;
/// A full node: 8 GPUs, a few jobs each, training and evaluation.
const SESSIONS: u64 = 64;

pub fn check(facts: &Facts) -> Vec<Finding> {
    let checks = [
        ("Max open files", open_files as fn(&Facts, Limit) -> Finding),
        ("Max locked memory", locked),
        ("Max processes", threads),
        ("Max address space", address_space),
    ];
    checks.iter().filter_map(|(name, check)| Some(check(facts, facts.machine.limit(name)?))).collect()
}

fn open_files(facts: &Facts, limit: Limit) -> Finding {
    // The daemon raises its own limit as far as it may.
    let allowed = limit.hard.max(limit.soft);
    let (id, found) = ("limits.open_files", amount(allowed, |number| number.to_string()));
    let fixed = OWN_FILES + facts.config.read_threads_on(facts.machine.processors()).get() as u64;
    let sessions = allowed.saturating_sub(fixed) / FILES_PER_SESSION;
    let means =
        format!("enough for {sessions} sessions of {FILES_PER_SESSION} beside {fixed} of the daemon's own");
    let cure = "LimitNOFILE=65536 in the service file, or `ulimit -Hn 65536` before `forebay serve`";
    match sessions {
        0 => Finding::fail(id, found, "not enough for one session").cure(cure),
        1..SESSIONS => Finding::warn(id, found, means).cure(cure),
        _ if allowed == u64::MAX => Finding::ok(id, found, "as many as the kernel has"),
        _ => Finding::ok(id, found, means),
    }
}

/// Forebay itself locks nothing. Trainers that copy to a GPU pin their arenas, which are at most the budget together.
fn locked(facts: &Facts, limit: Limit) -> Finding {
    let (id, found) = ("limits.locked_memory", amount(limit.soft, size));
    let cure = "LimitMEMLOCK=infinity in the service file, or docker run --ulimit memlock=-1";
    let arenas = match facts.config.arena_budget.0 {
        0 => facts.machine.memory_bytes() / 2,
        bytes => bytes,
    };
    if !facts.machine.gpus().is_empty() && limit.soft < arenas {
        let means = format!(
            "arenas of up to {} may be pinned for GPUs. Where the driver counts that against this limit, a larger arena is served unpinned and its copies are slower; trainers have limits of their own",
            size(arenas)
        );
        return Finding::note(id, found, means).cure(cure);
    }
    let budget = facts.config.read_budget.0;
    if limit.soft >= budget {
        return Finding::ok(id, found, "the daemon locks none");
    }
    let means = format!(
        "no loss: the daemon locks none. Kernels before 5.12 count io_uring's rings, 100 KiB each, and registered buffers of read_budget ({}) would not fit",
        size(budget)
    );
    Finding::note(id, found, means).cure(cure)
}

fn threads(facts: &Facts, limit: Limit) -> Finding {
    let (id, found) = ("limits.threads", amount(limit.soft, |number| number.to_string()));
    let needed = (facts.config.read_threads_on(facts.machine.processors()).get() + facts.machine.processors())
        as u64
        + 16;
    if limit.soft < needed {
        let means =
            format!("the daemon starts {needed} threads, and all processes of the user count together");
        Finding::fail(id, found, means)
            .cure("LimitNPROC=infinity in the service file, or a higher `ulimit -u`")
    } else {
        Finding::ok(id, found, format!("the daemon starts about {needed}"))
    }
}

fn address_space(_: &Facts, limit: Limit) -> Finding {
    let (id, found) = ("limits.address_space", amount(limit.soft, size));
    if limit.soft == u64::MAX {
        return Finding::ok(id, found, "arenas can be mapped whatever their size");
    }
    let means = "arenas are mapped whole, in the daemon and in the trainer; CUDA reserves far more";
    Finding::warn(id, found, means).cure("ulimit -v unlimited")
}

fn amount(value: u64, show: impl Fn(u64) -> String) -> String {
    if value == u64::MAX { "unlimited".to_owned() } else { show(value) }
}
