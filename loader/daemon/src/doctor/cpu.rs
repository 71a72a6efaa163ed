//! Processors: how many this process may use, what a quota takes, what they and the JPEG decoder can.

use super::facts::Facts;
use super::finding::Finding;
use crate::machine::count;

/// A quota may stop a process now and then while it starts; above this share it costs batches.
const THROTTLED_SHARE: f64 = 0.05;

pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![cores(facts), quota(facts)];
    found.extend(throttled(facts));
    found.push(threads(facts));
    found.extend(simd(facts));
    found.push(jpeg());
    found
}

fn cores(facts: &Facts) -> Finding {
    let (id, usable) = ("cpu.cores", facts.machine.affinity());
    let online = facts.machine.text("/sys/devices/system/cpu/online").map_or(usable, |list| count(&list));
    let model = facts.machine.field("/proc/cpuinfo", "model name").unwrap_or_else(|| "processor".to_owned());
    if usable < online {
        let means = format!("affinity or a cpuset keeps this process off the other {}", online - usable);
        let found = format!("{usable} of {online} usable, {model}");
        return Finding::note(id, found, means)
            .cure("start the daemon outside of the job's cpuset: `taskset -pc $$` shows that of a shell");
    }
    Finding::ok(id, format!("{online} usable, {model}"), "all that are online")
}

fn quota(facts: &Facts) -> Finding {
    let id = "cpu.quota";
    let Some(quota) = facts.machine.cgroups().cpu_quota() else {
        return Finding::ok(id, "none", "no cgroup bounds the processor time");
    };
    let found = format!("{:.2} cores ({})", quota.cores, quota.file.display());
    let processors = facts.machine.processors();
    if quota.cores >= facts.machine.affinity() as f64 {
        return Finding::ok(id, found, "not less than the cores");
    }
    let means = format!(
        "cpu_threads = 0 gives {processors} decode threads; trainers in the same group take from the same quota"
    );
    let cure = "raise `limits.cpu` (Kubernetes), `--cpus` (docker) or `--cpus-per-task` (Slurm)";
    if quota.cores < 1.0 {
        Finding::warn(id, found, means).cure(cure)
    } else {
        Finding::note(id, found, means).cure(cure)
    }
}

fn throttled(facts: &Facts) -> Option<Finding> {
    let throttled = facts.machine.cgroups().throttled().filter(|throttled| throttled.periods > 0)?;
    let id = "cpu.throttled";
    let share = throttled.throttled_periods as f64 / throttled.periods as f64;
    let found = format!(
        "in {} of {} periods ({:.1} %), {:.1} s in all",
        throttled.throttled_periods,
        throttled.periods,
        share * 100.0,
        throttled.throttled_us as f64 / 1e6
    );
    let means = "while the group is stopped no batch is made and no consumer is answered";
    Some(match throttled.throttled_periods {
        0 => Finding::ok(id, found, "the quota was never used up"),
        _ if share < THROTTLED_SHARE => Finding::note(id, found, means),
        _ => Finding::warn(id, found, means)
            .cure("raise the quota, or lower cpu_threads and the trainers' own threads"),
    })
}

fn threads(facts: &Facts) -> Finding {
    let (id, asked, processors) = ("cpu.threads", facts.config.cpu_threads, facts.machine.processors());
    match asked {
        0 => Finding::ok(
            id,
            format!("cpu_threads = 0: {processors}"),
            "one decode thread for each usable processor",
        ),
        _ if asked > processors => {
            let found = format!("cpu_threads = {asked}, but {processors} usable");
            let means =
                "decode threads wait for each other, and under a quota all of them are stopped at once";
            Finding::warn(id, found, means).cure("set cpu_threads = 0 in the configuration")
        }
        _ => {
            Finding::ok(id, format!("cpu_threads = {asked} of {processors}"), "the rest is for the trainers")
        }
    }
}

fn simd(facts: &Facts) -> Option<Finding> {
    let flags = facts.machine.field("/proc/cpuinfo", "flags")?;
    let has = |name: &str| flags.split(' ').any(|flag| flag == name);
    let levels = [("sse4_1", "SSE4.1"), ("avx2", "AVX2"), ("avx512bw", "AVX-512")];
    let named: Vec<_> = levels.iter().filter(|(flag, _)| has(flag)).map(|(_, name)| *name).collect();
    let found = if named.is_empty() { "none from SSE4.1 on".to_owned() } else { named.join(", ") };
    let id = "cpu.simd";
    Some(if has("avx2") {
        Finding::ok(id, found, "decoding and resizing use AVX2; the pixels are the same at every level")
    } else {
        let means = "decoding and resizing run at a fraction of their speed; the pixels are the same";
        let cure = "a virtual machine hides what its host can: give it the CPU model `host`";
        Finding::warn(id, found, means).cure(cure)
    })
}

fn jpeg() -> Finding {
    let id = "cpu.jpeg";
    if cfg!(feature = "turbo") {
        Finding::ok(id, "libjpeg-turbo with SIMD, built in", "the fastest of the two decoders")
    } else {
        let means = "full decoding takes about 1.3 times as long as with libjpeg-turbo";
        Finding::note(id, "in Rust alone (feature `pure`)", means)
            .cure("build with the default features; needs nasm, cmake and a C compiler")
    }
}
