//! NVIDIA's GPUs: which there are and where they sit, memory pinned for them, and copies to them.
//!
//! Everything goes through libcuda, loaded at run time where it is there; where it is not, or has no GPU, or is too old,
//! that is an answer with its cure and no panic. `forebay serve` loads none of it: a context takes hundreds of megabytes of
//! each GPU and of the machine, and where a GPU sits is told by `/sys` ([`GpuName::node`]). `forebay doctor` looks for
//! devices, which needs no context; `forebay bench --host-to-device` makes one.

mod calls;
mod context;
mod device;
mod driver;
mod error;
mod memory;
mod name;
mod pin;

pub use context::Context;
pub use device::{Device, Survey, find, survey};
pub use driver::{CudaVersion, Driver};
pub use error::GpuError;
pub use memory::{DeviceBuffer, HostBytes, PinnedBuffer, copy_laps};
pub use name::{GpuName, PciAddress};
pub use pin::{Mapped, Pin};
