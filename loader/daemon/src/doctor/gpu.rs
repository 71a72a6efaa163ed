//! GPUs, their driver, and the NUMA nodes of the machine, from `/proc`, `/sys` and `/dev` alone. What CUDA says is `cuda`'s.

use super::facts::Facts;
use super::finding::Finding;
use crate::config::NumaPlacement;
use crate::workers::{Home, Homes};

pub fn check(facts: &Facts) -> Vec<Finding> {
    let mut found = vec![nodes(facts), placement(facts), driver(facts)];
    let gpus = facts.machine.gpus();
    if !gpus.is_empty() {
        found.push(device_files(facts, gpus.len()));
        found.push(visible(facts));
    }
    found.extend(gpus.iter().enumerate().map(|(index, address)| gpu(facts, index, address)));
    found
}

fn numa(facts: &Facts) -> Vec<String> {
    facts.machine.nodes().into_iter().map(|node| format!("node{node}")).collect()
}

fn nodes(facts: &Facts) -> Finding {
    let (id, nodes) = ("numa.nodes", numa(facts));
    let cores = |node: &String| {
        let list =
            facts.machine.text(&format!("/sys/devices/system/node/{node}/cpulist")).unwrap_or_default();
        format!("{node}: cores {list}")
    };
    if nodes.len() < 2 {
        return Finding::ok(id, "1 node", "all memory is equally near");
    }
    let found = format!("{} nodes ({})", nodes.len(), nodes.iter().map(cores).collect::<Vec<_>>().join("; "));
    let threads = match facts.config.cpu_threads {
        0 => facts.machine.processors(),
        asked => asked,
    };
    let homes = Homes::of(&facts.machine, threads);
    if facts.config.numa == NumaPlacement::Off || homes.is_empty() {
        let means = "decode threads run anywhere, and may write to another node than a GPU's";
        return Finding::note(id, found, means).cure(
            "numa = \"auto\" in the configuration, and processors of more than one node (taskset, cpuset)",
        );
    }
    let share = |home: &Home| format!("{} on node {}", home.threads, home.node);
    let shares = homes.all().iter().map(share).collect::<Vec<_>>().join(", ");
    let means = "from the first session on that names its GPU, decode threads run on their nodes, and a batch's are near its GPU while they are free";
    Finding::ok(id, format!("{found}; decode threads: {shares}"), means)
}

fn placement(facts: &Facts) -> Finding {
    let (id, several) = ("numa.placement", numa(facts).len() > 1);
    match &facts.probes.placement {
        _ if facts.config.numa == NumaPlacement::Off => {
            Finding::ok(id, "numa = \"off\"", "the kernel chooses where arenas lie")
        }
        Ok(()) => Finding::ok(
            id,
            "an arena can be placed on a node",
            "sessions that name their GPU have theirs near it",
        ),
        Err(why) if several => {
            let means =
                "arenas lie wherever they are first written: copies to a GPU of another node are slower";
            Finding::warn(id, why.clone(), means)
                .cure("docker run --cap-add SYS_NICE, or a seccomp profile that allows mbind")
        }
        Err(why) => Finding::ok(id, why.clone(), "nothing is lost: there is one node"),
    }
}

fn driver(facts: &Facts) -> Finding {
    let id = "gpu.driver";
    let Some(version) = facts.machine.text("/proc/driver/nvidia/version") else {
        let on_bus = on_bus(facts);
        if on_bus > 0 {
            let found = format!("none, but {on_bus} NVIDIA devices on the PCI bus");
            let means = "batches stay in the machine's memory; a trainer would not see the GPUs either";
            return Finding::warn(id, found, means)
                .cure("install the driver (`nvidia-smi` tells), or run the container with --gpus all");
        }
        return Finding::ok(
            id,
            "none, and no NVIDIA GPU",
            "forebay needs none: batches are in the machine's memory",
        );
    };
    let line = version.lines().next().unwrap_or_default();
    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 …"
    let number = line
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'));
    let gpus = facts.machine.gpus().len();
    let found = format!("{}, {gpus} GPUs", number.unwrap_or(line));
    Finding::ok(id, found, "the trainer pins its arena with it; the daemon itself does not load CUDA")
}

/// Display and 3D controllers of vendor 10de.
fn on_bus(facts: &Facts) -> usize {
    let is_gpu = |address: &String| {
        let text = |file: &str| facts.machine.text(&format!("/sys/bus/pci/devices/{address}/{file}"));
        text("vendor").as_deref() == Some("0x10de")
            && text("class").is_some_and(|class| class.starts_with("0x03"))
    };
    facts.machine.names("/sys/bus/pci/devices").iter().filter(|address| is_gpu(address)).count()
}

fn device_files(facts: &Facts, gpus: usize) -> Finding {
    let id = "gpu.device_files";
    let is_gpu = |name: &String| name.strip_prefix("nvidia").is_some_and(|rest| rest.parse::<u32>().is_ok());
    let shown = facts.machine.names("/dev").into_iter().filter(is_gpu).count();
    let missing: Vec<_> = ["nvidiactl", "nvidia-uvm"]
        .into_iter()
        .filter(|name| !facts.machine.has(&format!("/dev/{name}")))
        .collect();
    if missing.is_empty() && shown == gpus {
        return Finding::ok(id, format!("/dev/nvidia0 to {}", gpus - 1), "CUDA can open every GPU");
    }
    if missing.is_empty() && shown > 0 {
        let means = "this process sees some of the GPUs, as a container or a Slurm job does";
        return Finding::note(id, format!("{shown} of {gpus} GPUs have one"), means);
    }
    let found = match missing[..] {
        [] => "no /dev/nvidia0".to_owned(),
        _ => format!("no /dev/{}", missing.join(", no /dev/")),
    };
    let means = "CUDA does not start in this environment, so a trainer here can't pin or copy";
    Finding::warn(id, found, means)
        .cure("docker run --gpus all; on the machine itself: sudo nvidia-modprobe -c 0 -u")
}

fn visible(facts: &Facts) -> Finding {
    let id = "gpu.visible";
    match facts.visible_devices.as_deref() {
        None => Finding::ok(id, "CUDA_VISIBLE_DEVICES is not set", "CUDA shows all of them"),
        Some("" | "-1" | "NoDevFiles") => {
            let means = "CUDA shows no GPU to what is started from this environment";
            Finding::warn(id, "CUDA_VISIBLE_DEVICES hides every GPU", means)
                .cure("unset CUDA_VISIBLE_DEVICES")
        }
        Some(list) => {
            let means = "CUDA shows these alone, numbered from 0; the daemon's numbers are not changed by it";
            Finding::ok(id, format!("CUDA_VISIBLE_DEVICES={list}"), means)
        }
    }
}

fn gpu(facts: &Facts, index: usize, address: &str) -> Finding {
    let (id, subject) = ("gpu.device", format!("GPU {index}"));
    let model = facts.machine.field(&format!("/proc/driver/nvidia/gpus/{address}/information"), "Model");
    let model = model.unwrap_or_else(|| "unknown model".to_owned());
    let parts = facts.machine.names(&format!("/proc/driver/nvidia/capabilities/gpu{index}/mig"));
    let parts = parts.iter().filter(|name| name.starts_with("gi")).count();
    let mig = if parts > 0 { format!(", MIG: {parts} parts") } else { String::new() };
    let node = facts.machine.number(&format!("/sys/bus/pci/devices/{}/numa_node", address.to_lowercase()));
    let place = |node: i64| {
        let cores =
            facts.machine.text(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
        format!("{model} at {address}{mig}, NUMA node {node} (cores {cores})")
    };
    match node {
        Some(node) if node >= 0 => Finding::ok(id, place(node), "the cores nearest to it"),
        _ if numa(facts).len() < 2 => {
            Finding::ok(id, format!("{model} at {address}{mig}"), "one node: all cores are near")
        }
        _ => {
            let means = "the firmware or the virtual machine does not tell which cores are near it";
            Finding::note(id, format!("{model} at {address}{mig}, NUMA node unknown"), means)
                .cure("`nvidia-smi topo -m` on the host; give the virtual machine its NUMA topology")
        }
    }
    .of(subject)
}
