//! Planted GPUs and nodes, with CUDA and without.

use super::*;
use crate::config::NumaPlacement;
use crate::gpu::{CudaVersion, Survey};

/// Two H100, one a node.
pub fn dgx() -> Planted {
    let mut planted = Planted::well()
        .with("sys/devices/system/node/node0/cpulist", "0-55,112-167\n")
        .with("sys/devices/system/node/node1/cpulist", "56-111,168-223\n")
        .with(
            "proc/driver/nvidia/version",
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\n",
        )
        .with("dev/nvidiactl", "")
        .with("dev/nvidia-uvm", "");
    for (index, address) in ["0000:1b:00.0", "0000:9d:00.0"].iter().enumerate() {
        planted = planted
            .with(
                &format!("proc/driver/nvidia/gpus/{address}/information"),
                "Model: \t\t NVIDIA H100 80GB HBM3\n",
            )
            .with(&format!("sys/bus/pci/devices/{address}/numa_node"), &format!("{index}\n"))
            .with(&format!("dev/nvidia{index}"), "");
    }
    planted
}

#[test]
fn each_gpu_is_named_with_its_node_and_cores() {
    let planted = dgx();
    planted.says("gpu.driver", Level::Ok, "550.54.15, 2 GPUs");
    planted.says("gpu.device_files", Level::Ok, "/dev/nvidia0 to 1");
    planted.says("numa.nodes", Level::Note, "node1: cores 56-111,168-223");
    let whole = dgx().replaced("proc/self/status", "Cpus_allowed_list:\t0-1", "Cpus_allowed_list:\t0-223");
    let whole = whole.but(|facts| facts.config.cpu_threads = 96);
    whole.says("numa.nodes", Level::Ok, "decode threads: 48 on node 0, 48 on node 1");
    let off = whole.but(|facts| facts.config.numa = NumaPlacement::Off);
    off.says("numa.nodes", Level::Note, "run anywhere");
    let gpus: Vec<_> = planted.findings().into_iter().filter(|finding| finding.id == "gpu.device").collect();
    assert_eq!(gpus.len(), 2);
    assert_eq!(gpus[1].subject.as_deref(), Some("GPU 1"));
    assert!(
        gpus[1].found.contains("H100") && gpus[1].found.contains("NUMA node 1 (cores 56-111"),
        "{gpus:?}"
    );
}

#[test]
fn no_gpu_is_well_but_a_gpu_without_a_driver_is_not() {
    Planted::well().says("gpu.driver", Level::Ok, "no NVIDIA GPU");
    let bare = Planted::well()
        .with("sys/bus/pci/devices/0000:1b:00.0/vendor", "0x10de\n")
        .with("sys/bus/pci/devices/0000:1b:00.0/class", "0x030200\n");
    bare.says("gpu.driver", Level::Warn, "1 NVIDIA devices");
}

#[test]
fn a_container_without_its_gpus_and_a_variable_that_hides_them_are_told() {
    let bare = dgx();
    fs::remove_file(bare.folder.path().join("dev/nvidia-uvm")).expect("planted");
    bare.says("gpu.device_files", Level::Warn, "nvidia-uvm");
    let part = dgx();
    fs::remove_file(part.folder.path().join("dev/nvidia1")).expect("planted");
    part.says("gpu.device_files", Level::Note, "1 of 2");
    dgx().but(|facts| facts.visible_devices = Some(String::new())).says("gpu.visible", Level::Warn, "hides");
    dgx().but(|facts| facts.visible_devices = Some("1".into())).says("gpu.visible", Level::Ok, "=1");
    let mig = dgx().with("proc/driver/nvidia/capabilities/gpu0/mig/gi1/access", "");
    assert!(mig.findings().iter().any(|finding| finding.found.contains("MIG: 1 parts")));
    let unknown = dgx().with("sys/bus/pci/devices/0000:1b:00.0/numa_node", "-1\n");
    assert!(unknown.findings().iter().any(|finding| finding.found.contains("NUMA node unknown")));
}

#[test]
fn a_cuda_that_does_not_start_is_told_with_its_cure() {
    Planted::well().says("gpu.cuda", Level::Ok, "no libcuda");
    let refused = |error: GpuError| dgx().but(|facts| facts.probes.cuda = Some(Err(error)));
    refused(GpuError::NoLibrary).says("gpu.cuda", Level::Warn, "--gpus all");
    let old = GpuError::OldDriver { found: CudaVersion::new(10020) };
    refused(old).says("gpu.cuda", Level::Warn, "470");
    dgx().but(|facts| facts.probes.cuda = None).says("gpu.cuda", Level::Warn, "30 s");
    let empty = Survey { version: CudaVersion::new(12040), devices: Vec::new() };
    let hidden = dgx().but(|facts| facts.probes.cuda = Some(Ok(empty)));
    hidden.says("gpu.cuda", Level::Warn, "CUDA_VISIBLE_DEVICES");
}

#[test]
fn placement_matters_where_there_is_more_than_one_node() {
    let refuse = |facts: &mut Facts| facts.probes.placement = Err("mbind: EPERM".to_owned());
    Planted::well().says("numa.placement", Level::Ok, "can be placed");
    Planted::well().but(refuse).says("numa.placement", Level::Ok, "one node");
    dgx().but(refuse).says("numa.placement", Level::Warn, "SYS_NICE");
    dgx().but(refuse).but(|facts| facts.config.numa = NumaPlacement::Off).says(
        "numa.placement",
        Level::Ok,
        "the kernel chooses",
    );
}

#[test]
fn a_limit_below_the_arenas_is_told_where_there_are_gpus_to_pin_for() {
    let limit = "locked memory         1073741824";
    let limited =
        |planted: Planted| planted.replaced("proc/self/limits", "locked memory         unlimited", limit);
    limited(Planted::well()).says("limits.locked_memory", Level::Ok, "locks none");
    limited(dgx()).says("limits.locked_memory", Level::Note, "up to 8 GiB");
    limited(dgx().but(|facts| facts.config.arena_budget = Bytes(1 << 30))).says(
        "limits.locked_memory",
        Level::Ok,
        "locks none",
    );
}
