//! What a GPU is called, and which NUMA node it sits at: from `/sys` and `/proc`, without CUDA.

use std::fmt;
use std::str::FromStr;

use crate::machine::Machine;

/// A longer text is no name of a GPU.
const NAME_BYTES_MAX: usize = 64;
/// Groups of hexadecimal digits of a UUID.
const UUID_GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// How a GPU is called by who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GpuName {
    /// Its place on the bus, as `0000:1b:00.0`.
    Pci(PciAddress),
    /// As `nvidia-smi -L` prints it: `GPU-…`, or `MIG-…` for a part of one. Digits alone, as torch prints them, are a GPU's.
    Uuid(String),
}

/// A place on the PCI bus, as `/sys/bus/pci/devices` names it: `0000:1b:00.0`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciAddress(String);

impl PciAddress {
    /// The NUMA node that it hangs at; `None` where the firmware, or a virtual machine, does not say.
    pub fn node(&self, machine: &Machine) -> Option<u32> {
        let node = machine.number(&format!("/sys/bus/pci/devices/{self}/numa_node"))?;
        u32::try_from(node).ok()
    }

    /// Its link to the processor as it runs now, as `32.0 GT/s PCIe x16`.
    pub fn link(&self, machine: &Machine) -> Option<String> {
        let text = |file: &str| machine.text(&format!("/sys/bus/pci/devices/{self}/{file}"));
        Some(format!("{} x{}", text("current_link_speed")?, text("current_link_width")?))
    }
}

impl FromStr for PciAddress {
    type Err = String;

    /// Reads `domain:bus:device.function` in hexadecimal; CUDA and nvidia-smi write the domain with four or eight digits.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no PCI address, as 0000:1b:00.0");
        let (place, function) = text.split_once('.').ok_or_else(wrong)?;
        let parts: Vec<_> = place.split(':').collect();
        let [domain, bus, device] = parts[..] else { return Err(wrong()) };
        let number = |digits: &str, length: std::ops::RangeInclusive<usize>| {
            let is_hex =
                length.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten().ok_or_else(wrong)
        };
        let (domain, bus) = (number(domain, 1..=8)?, number(bus, 1..=2)?);
        let (device, function) = (number(device, 1..=2)?, number(function, 1..=1)?);
        Ok(Self(format!("{domain:04x}:{bus:02x}:{device:02x}.{function:x}")))
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for GpuName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > NAME_BYTES_MAX {
            return Err(format!("a GPU's name of {} bytes is too long", text.len()));
        }
        let wrong = || {
            format!(
                "{text:?} names no GPU: write its PCI address, as 0000:1b:00.0, or its UUID, as GPU-5fc2a…"
            )
        };
        if !text.contains('-') {
            return text.parse().map(Self::Pci).map_err(|_| wrong());
        }
        // torch prints the digits alone.
        let (kind, uuid) = match text.split_once('-').filter(|(kind, _)| matches!(*kind, "GPU" | "MIG")) {
            Some(parts) => parts,
            None => ("GPU", text),
        };
        let groups: Vec<_> = uuid.split('-').collect();
        let is_hex = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
        if groups.iter().map(|group| group.len()).eq(UUID_GROUPS) && groups.iter().all(is_hex) {
            Ok(Self::Uuid(format!("{kind}-{}", uuid.to_lowercase())))
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for GpuName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pci(address) => address.fmt(f),
            Self::Uuid(uuid) => f.write_str(uuid),
        }
    }
}

impl GpuName {
    /// The NUMA node that it sits at; `None` where this machine does not tell. A `GPU-…` is looked up in what the driver
    /// shows beneath `/proc`; where a part of a GPU sits is told by its address alone.
    pub fn node(&self, machine: &Machine) -> Option<u32> {
        match self {
            Self::Pci(address) => address.node(machine),
            Self::Uuid(uuid) => address_of(uuid, machine)?.node(machine),
        }
    }
}

fn address_of(uuid: &str, machine: &Machine) -> Option<PciAddress> {
    let is_it = |address: &String| {
        let file = format!("/proc/driver/nvidia/gpus/{address}/information");
        machine.field(&file, "GPU UUID").is_some_and(|shown| shown.eq_ignore_ascii_case(uuid))
    };
    machine.gpus().into_iter().find(is_it)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const UUID: &str = "GPU-5fc2a8e1-0b1c-4d2e-8f3a-123456789abc";

    fn plant(folder: &Path, path: &str, text: &str) {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
        fs::write(path, text).expect("a file");
    }

    fn named(text: &str) -> Result<GpuName, String> {
        text.parse()
    }

    #[test]
    fn addresses_are_read_as_cuda_nvidia_smi_and_the_kernel_write_them() {
        for text in ["0000:1b:00.0", "0000:1B:00.0", "00000000:1B:00.0", "0:1b:0.0"] {
            assert_eq!(named(text).expect("an address").to_string(), "0000:1b:00.0", "{text}");
        }
        assert_eq!(named(&UUID[4..]).expect("torch's digits").to_string(), UUID);
        assert_eq!(named("10000:1b:00.0").expect("a wide domain").to_string(), "10000:1b:00.0");
    }

    #[test]
    fn what_names_no_gpu_says_how_one_is_named() {
        for text in [
            "",
            "cuda:0",
            "0000:1b:00",
            "0000:1b:00.0/../..",
            "GPU-5fc2a8e1",
            "XPU-5fc2a8e1-0b1c-4d2e-8f3a-123456789abc",
        ] {
            assert!(named(text).expect_err(text).contains("0000:1b:00.0"), "{text}");
        }
        assert!(named(&"0".repeat(65)).expect_err("long").contains("65 bytes"));
    }

    #[test]
    fn a_gpu_is_found_at_its_node_by_address_and_by_uuid() {
        let folder = tempfile::tempdir().expect("a folder");
        let machine = Machine::beneath(folder.path());
        for (address, node) in [("0000:1b:00.0", "0\n"), ("0000:9d:00.0", "1\n"), ("0000:aa:00.0", "-1\n")] {
            plant(folder.path(), &format!("sys/bus/pci/devices/{address}/numa_node"), node);
        }
        let information = format!("Model: \t\t NVIDIA H200\nGPU UUID: \t {UUID}\n");
        plant(folder.path(), "proc/driver/nvidia/gpus/0000:9d:00.0/information", &information);
        let node = |text: &str| named(text).expect("a name").node(&machine);
        assert_eq!(node("0000:1b:00.0"), Some(0));
        assert_eq!((node(UUID), node(&UUID.to_uppercase())), (Some(1), Some(1)));
        assert_eq!(node("0000:aa:00.0"), None, "the firmware does not say");
        assert_eq!(node("0000:ff:00.0"), None, "no such device");
        assert_eq!(node(&UUID.replace("GPU", "MIG")), None, "a part is told by its address alone");
    }

    proptest! {
        #[test]
        fn whatever_is_taken_for_a_name_is_one_part_of_a_path_and_reads_as_itself_again(
            text in "(GPU-|MIG-)?[0-9a-fA-F/.:x -]{0,44}|[0-9a-fA-F]{1,9}:[0-9a-fA-F]{1,3}:[0-9a-fA-F]{1,3}\\.[0-9a-fA-F]|\\PC{0,70}"
        ) {
            if let Ok(name) = named(&text) {
                let shown = name.to_string();
                prop_assert!(!shown.contains('/') && !shown.contains(".."), "{shown}");
                prop_assert_eq!(named(&shown), Ok(name));
            }
        }
    }
}
