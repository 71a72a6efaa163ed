//! Which NUMA node a session's arena is to lie on: its GPU's, where one is named and the machine tells.

use crate::config::NumaPlacement;
use crate::error::Fault;
use crate::gpu::GpuName;
use crate::machine::Machine;

/// The node of the GPU that Open names; `None`: wherever the kernel puts it. What can't be told costs speed alone, and is
/// logged.
///
/// # Errors
/// Invalid: the text names no GPU.
pub fn node(gpu: &str, numa: NumaPlacement, machine: &Machine) -> Result<Option<u32>, Fault> {
    if gpu.is_empty() {
        return Ok(None);
    }
    let name: GpuName = gpu.parse().map_err(Fault::invalid)?;
    if numa == NumaPlacement::Off {
        return Ok(None);
    }
    let node = name.node(machine);
    if node.is_none() {
        tracing::info!(gpu = %name, "this machine does not tell the GPU's NUMA node: its arena lies anywhere");
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn an_arena_lies_near_the_gpu_that_is_named_unless_the_configuration_says_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let device = folder.path().join("sys/bus/pci/devices/0000:9d:00.0");
        std::fs::create_dir_all(&device).expect("folders");
        std::fs::write(device.join("numa_node"), "1\n").expect("a file");
        let machine = Machine::beneath(folder.path());
        let near = |gpu: &str, numa| node(gpu, numa, &machine);
        assert_eq!(near("00000000:9D:00.0", NumaPlacement::Auto), Ok(Some(1)));
        assert_eq!(near("0000:9d:00.0", NumaPlacement::Off), Ok(None));
        assert_eq!(near("", NumaPlacement::Auto), Ok(None));
        assert_eq!(near("0000:ff:00.0", NumaPlacement::Auto), Ok(None), "it is a hint");
        for numa in [NumaPlacement::Auto, NumaPlacement::Off] {
            assert_eq!(near("cuda:0", numa).expect_err("a number says nothing here").kind, Kind::Invalid);
        }
    }
}
