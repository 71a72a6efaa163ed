//! What CUDA itself shows this process: whether it starts, and its devices by UUID, each with its NUMA node.

use super::facts::Facts;
use super::finding::{Finding, size};
use crate::gpu::{Device, GpuError, Survey};

pub fn check(facts: &Facts) -> Vec<Finding> {
    let id = "gpu.cuda";
    let survey = match &facts.probes.cuda {
        Some(Ok(survey)) => survey,
        Some(Err(error)) => return vec![absent(facts, error)],
        None => {
            let means = "a driver that hangs takes every process with it that touches a GPU";
            return vec![Finding::warn(id, "no answer within 30 s", means).cure(
                "`dmesg | grep -i -e nvrm -e xid` tells what it waits for; mostly the node must be restarted",
            )];
        }
    };
    let mut found = vec![started(survey)];
    found.extend(survey.devices.iter().enumerate().map(|(ordinal, device)| shown(ordinal, device)));
    found
}

/// Without CUDA all is well where there is no GPU either.
fn absent(facts: &Facts, error: &GpuError) -> Finding {
    let (id, found) = ("gpu.cuda", error.to_string());
    let has_gpus = facts.machine.has("/proc/driver/nvidia/version");
    if has_gpus || *error != GpuError::NoLibrary {
        let means =
            "no trainer started from this environment can use a GPU; batches stay in the machine's memory";
        return Finding::warn(id, found, means).cure(error.cure());
    }
    Finding::ok(id, "no libcuda", "none is needed: batches are in the machine's memory")
}

fn started(survey: &Survey) -> Finding {
    let (id, found) = ("gpu.cuda", format!("CUDA {}, {} devices", survey.version, survey.devices.len()));
    if survey.devices.is_empty() {
        let means = "no trainer started from this environment can use a GPU";
        return Finding::warn(id, found, means).cure(GpuError::NoDevice.cure());
    }
    Finding::ok(id, found, "what is started from this environment can use them")
}

fn shown(ordinal: usize, device: &Result<Device, GpuError>) -> Finding {
    let (id, subject) = ("gpu.cuda_device", format!("cuda:{ordinal}"));
    match device {
        Err(error) => {
            let means = "this GPU does not answer; the others are served as before";
            Finding::warn(id, error.to_string(), means).cure(error.cure())
        }
        Ok(device) => {
            let node = device.numa_node.map_or("unknown".to_owned(), |node| node.to_string());
            let Device { uuid, name, pci, memory_bytes, .. } = device;
            let found = format!("{uuid}, {name}, {} at {pci}, NUMA node {node}", size(*memory_bytes));
            Finding::ok(id, found, "its UUID names it everywhere; its number is this environment's")
        }
    }
    .of(subject)
}
