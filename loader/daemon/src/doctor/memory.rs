//! Memory: how much, what the arenas may take of it, and what they are made of.

use super::facts::Facts;
use super::finding::{Finding, size};
use crate::machine::chosen;

/// Docker gives a container 64 MiB; torch's workers pass whole batches through it.
const DEV_SHM_SMALL_BYTES: u64 = 1 << 30;

pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<_> = machine(facts).into_iter().collect();
    found.push(limit(facts));
    found.push(arenas(facts));
    found.push(memfd(facts));
    found.extend(overcommit(facts));
    found.extend(huge_pages(facts));
    found.push(dev_shm(facts));
    found
}

fn machine(facts: &Facts) -> Option<Finding> {
    let (total, free) = (facts.machine.memory("MemTotal")?, facts.machine.memory("MemAvailable")?);
    let found = format!("{}, {} available", size(total), size(free));
    Some(Finding::ok("memory.size", found, "available counts the page cache, which reads refill"))
}

fn limit(facts: &Facts) -> Finding {
    let id = "memory.limit";
    let machine = facts.machine.memory("MemTotal").unwrap_or(u64::MAX);
    match facts.machine.cgroups().memory_limit().filter(|limit| limit.bytes < machine) {
        None => Finding::ok(id, "none", "no cgroup bounds the memory"),
        Some(limit) => {
            let found = format!("{} ({})", size(limit.bytes), limit.file.display());
            let means = "arenas count towards it, and so do the pages of files that were read; past it the kernel kills";
            Finding::note(id, found, means)
                .cure("keep arena_budget well below it; trainers in the group need theirs")
        }
    }
}

fn arenas(facts: &Facts) -> Finding {
    let (id, memory) = ("memory.arenas", facts.machine.memory_bytes());
    let budget = match facts.config.arena_budget.0 {
        0 => memory / 2,
        bytes => bytes,
    };
    let found = format!("arena_budget = {} of {}", size(budget), size(memory));
    let available = facts.machine.memory("MemAvailable").unwrap_or(memory);
    let cure = format!("set arena_budget = \"{}MiB\" or less", (memory / 2) >> 20);
    if budget > memory {
        Finding::fail(
            id,
            found,
            "sessions may fill more memory than there is: the kernel would kill one of them",
        )
        .cure(cure)
    } else if budget > memory / 10 * 8 {
        Finding::warn(id, found, "little is left for trainers and the page cache").cure(cure)
    } else if budget > available {
        let means = format!("only {} is available now: other programs hold the rest", size(available));
        Finding::note(id, found, means)
    } else {
        Finding::ok(id, found, "what all sessions' batches together may take")
    }
}

fn memfd(facts: &Facts) -> Finding {
    let id = "memory.memfd";
    match &facts.probes.memfd {
        Ok(()) => Finding::ok(id, "made, sealed and mapped", "batches can be handed over without a copy"),
        Err(why) => Finding::fail(id, why.clone(), "no session can open: every batch lies in a memfd")
            .cure("allow memfd_create and F_ADD_SEALS in the container's seccomp profile; check `ulimit -v`"),
    }
}

fn overcommit(facts: &Facts) -> Option<Finding> {
    let mode = facts.machine.number("/proc/sys/vm/overcommit_memory")?;
    let (id, found) = ("memory.overcommit", format!("vm.overcommit_memory = {mode}"));
    Some(if mode == 2 {
        let means = "strict: a page that can't be had is a SIGBUS in whoever touches it, daemon or trainer";
        Finding::warn(id, found, means).cure("sudo sysctl vm.overcommit_memory=0")
    } else {
        Finding::ok(id, found, "memory is taken when it is touched")
    })
}

fn huge_pages(facts: &Facts) -> Option<Finding> {
    let id = "memory.huge_pages";
    let folder = "/sys/kernel/mm/transparent_hugepage";
    let transparent = facts.machine.text(&format!("{folder}/enabled"))?;
    let shared = facts.machine.text(&format!("{folder}/shmem_enabled")).unwrap_or_default();
    let found = format!("transparent: {}, for shared memory: {}", chosen(&transparent), chosen(&shared));
    let reserved = facts.machine.number("/proc/sys/vm/nr_hugepages").unwrap_or(0) as u64;
    let page = facts.machine.memory("Hugepagesize").unwrap_or(0);
    Some(if reserved > 0 {
        let found = format!("{found}; reserved: {}", size(reserved * page));
        let means =
            "reserved huge pages are taken from the machine whether used or not, and forebay uses none";
        Finding::note(id, found, means)
            .cure("sudo sysctl vm.nr_hugepages=0, if nothing else on the node needs them")
    } else {
        Finding::ok(id, found, "forebay asks for none: its arenas are in whatever pages the kernel gives")
    })
}

fn dev_shm(facts: &Facts) -> Finding {
    let id = "memory.dev_shm";
    match facts.probes.dev_shm_bytes {
        None => Finding::ok(id, "none", "not used by forebay; torch's own DataLoader workers need it"),
        Some(bytes) if bytes < DEV_SHM_SMALL_BYTES => {
            let means = "not used by forebay, but by torch's own DataLoader workers and by NCCL, which die of a bus error when it is full";
            Finding::note(id, format!("/dev/shm of {}", size(bytes)), means)
                .cure("docker run --shm-size=8g, or an emptyDir of medium Memory in Kubernetes, if a job uses those too")
        }
        Some(bytes) => {
            let means = "not used by forebay; torch's own DataLoader workers do";
            Finding::ok(id, format!("/dev/shm of {}", size(bytes)), means)
        }
    }
}
