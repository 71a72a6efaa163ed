//! The devices that CUDA shows this process, by UUID: `CUDA_VISIBLE_DEVICES` hides some and numbers the rest anew.
#![allow(unsafe_code, reason = "foreign functions")]

use std::ffi::{CStr, c_char, c_int};

use cudarc::driver::sys::{CUdevice, CUuuid};

use super::driver::{CudaVersion, Driver};
use super::error::GpuError;
use super::name::{GpuName, PciAddress};
use crate::machine::Machine;

/// A device's name has at most so many bytes with its closing zero.
const TEXT_BYTES: usize = 256;

/// One device, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number in this process: `cuda:0` is 0.
    pub ordinal: u32,
    /// As `nvidia-smi -L` prints it: `GPU-…`, or `MIG-…`.
    pub uuid: String,
    /// Its model.
    pub name: String,
    /// All of its memory.
    pub memory_bytes: u64,
    /// Where it sits; of a part, where the whole does.
    pub pci: PciAddress,
    /// The NUMA node there; `None` where the machine does not tell.
    pub numa_node: Option<u32>,
    /// What CUDA calls it.
    pub(super) handle: CUdevice,
}

/// What CUDA shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// The newest CUDA that the driver speaks.
    pub version: CudaVersion,
    /// Its devices in CUDA's order; in place of one that does not answer, why.
    pub devices: Vec<Result<Device, GpuError>>,
}

/// Looks for devices, without a context on any.
///
/// # Errors
/// Why there is no CUDA here. A single device that does not answer is told in its place.
pub fn survey(machine: &Machine) -> Result<Survey, GpuError> {
    let driver = Driver::start()?;
    Ok(Survey { version: driver.version(), devices: devices(&driver, machine)? })
}

/// The device that `asked` names: `cuda:1` or `1` by CUDA's number, else a UUID or a PCI address.
///
/// # Errors
/// [`GpuError::NoDevice`], [`GpuError::NoSuchDevice`], or what that very device answers.
pub fn find(driver: &Driver, machine: &Machine, asked: &str) -> Result<Device, GpuError> {
    let devices = devices(driver, machine)?;
    if devices.is_empty() {
        return Err(GpuError::NoDevice);
    }
    let number = asked.strip_prefix("cuda:").unwrap_or(asked).parse::<usize>().ok();
    let found = match (number, asked.parse::<GpuName>()) {
        (Some(number), _) => devices.get(number).cloned(),
        (None, Ok(name)) => devices.iter().find(|device| is_named(device, &name)).cloned(),
        (None, Err(_)) => None,
    };
    found.unwrap_or_else(|| {
        let shown: Vec<_> = devices
            .iter()
            .enumerate()
            .map(|(ordinal, device)| match device {
                Ok(device) => format!("cuda:{ordinal} {}", device.uuid),
                Err(_) => format!("cuda:{ordinal}, which does not answer"),
            })
            .collect();
        Err(GpuError::NoSuchDevice { asked: asked.to_owned(), shown: shown.join(", ") })
    })
}

fn is_named(device: &Result<Device, GpuError>, name: &GpuName) -> bool {
    device.as_ref().is_ok_and(|device| match name {
        GpuName::Uuid(uuid) => device.uuid == *uuid,
        GpuName::Pci(address) => device.pci == *address,
    })
}

fn devices(driver: &Driver, machine: &Machine) -> Result<Vec<Result<Device, GpuError>>, GpuError> {
    let mut count = 0;
    // SAFETY: writes one number.
    driver.check("cuDeviceGetCount", unsafe { (driver.calls.cuDeviceGetCount)(&raw mut count) })?;
    Ok((0..count).map(|ordinal| device(driver, machine, ordinal)).collect())
}

fn device(driver: &Driver, machine: &Machine, ordinal: c_int) -> Result<Device, GpuError> {
    let (calls, mut handle, mut memory_bytes) = (&driver.calls, 0, 0_usize);
    // SAFETY: writes one handle.
    driver.check("cuDeviceGet", unsafe { (calls.cuDeviceGet)(&raw mut handle, ordinal) })?;
    // SAFETY: writes one number.
    let code = unsafe { (calls.cuDeviceTotalMem_v2)(&raw mut memory_bytes, handle) };
    driver.check("cuDeviceTotalMem", code)?;
    let name = text(driver, "cuDeviceGetName", calls.cuDeviceGetName, handle)?;
    let address = text(driver, "cuDeviceGetPCIBusId", calls.cuDeviceGetPCIBusId, handle)?;
    let pci: PciAddress = address.parse().map_err(|words| GpuError::Refused {
        call: "cuDeviceGetPCIBusId",
        code: 0,
        name: "no address".to_owned(),
        text: words,
    })?;
    let numa_node = pci.node(machine);
    let ordinal = ordinal as u32;
    Ok(Device {
        ordinal,
        uuid: uuid(driver, handle, &name)?,
        name,
        memory_bytes: memory_bytes as u64,
        pci,
        numa_node,
        handle,
    })
}

/// The UUID with the beginning that nvidia-smi gives it. Of a part of a GPU the newer call tells its own, and the older one
/// still the whole's, so they differ; and its name is `NVIDIA A100-SXM4-40GB MIG 1g.5gb`.
fn uuid(driver: &Driver, device: CUdevice, name: &str) -> Result<String, GpuError> {
    let (mut whole, mut own) = (CUuuid { bytes: [0; 16] }, CUuuid { bytes: [0; 16] });
    // SAFETY: writes 16 bytes.
    driver.check("cuDeviceGetUuid", unsafe { (driver.calls.cuDeviceGetUuid)(&raw mut whole, device) })?;
    // SAFETY: writes 16 bytes.
    driver.check("cuDeviceGetUuid_v2", unsafe { (driver.calls.cuDeviceGetUuid_v2)(&raw mut own, device) })?;
    let is_part = whole.bytes != own.bytes || name.contains(" MIG ");
    let kind = if is_part { "MIG" } else { "GPU" };
    let mut digits = own.bytes.iter().map(|byte| format!("{:02x}", *byte as u8));
    let groups = [4, 2, 2, 2, 6].map(|bytes| digits.by_ref().take(bytes).collect::<String>());
    Ok(format!("{kind}-{}", groups.join("-")))
}

fn text(
    driver: &Driver,
    call: &'static str,
    of: unsafe extern "C" fn(*mut c_char, c_int, CUdevice) -> c_int,
    device: CUdevice,
) -> Result<String, GpuError> {
    let mut buffer = [0_u8; TEXT_BYTES];
    // SAFETY: writes at most as many bytes as it is told that the buffer has.
    driver.check(call, unsafe { of(buffer.as_mut_ptr().cast(), TEXT_BYTES as c_int, device) })?;
    let text = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}
