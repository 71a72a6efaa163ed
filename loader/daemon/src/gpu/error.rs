//! What CUDA can refuse, each with what to do about it.

use super::driver::CudaVersion;
use crate::error::{Fault, Kind};

/// Why something with a GPU did not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GpuError {
    /// There is no libcuda.
    #[error("libcuda.so.1 is not there: no NVIDIA driver for this process")]
    NoLibrary,
    /// It lacks a function that every driver since CUDA 11.4 has.
    #[error("libcuda has no {symbol}: its driver is older than CUDA {}", CudaVersion::NEEDED)]
    NoSymbol {
        /// Which.
        symbol: &'static str,
    },
    /// The driver says that it is too old.
    #[error("the driver speaks CUDA {found}, and CUDA {} is needed", CudaVersion::NEEDED)]
    OldDriver {
        /// What it speaks.
        found: CudaVersion,
    },
    /// A call was answered with an error.
    #[error("{call}: {name} ({code}), {text}")]
    Refused {
        /// The function.
        call: &'static str,
        /// What it returned.
        code: i32,
        /// CUDA's name of it, as `CUDA_ERROR_NO_DEVICE`.
        name: String,
        /// CUDA's words for it.
        text: String,
    },
    /// CUDA started and shows no device.
    #[error("CUDA shows no GPU to this process")]
    NoDevice,
    /// None of its devices is the one that is asked for.
    #[error("CUDA shows no GPU {asked}; it shows {shown}")]
    NoSuchDevice {
        /// As it was asked for.
        asked: String,
        /// Those there are.
        shown: String,
    },
    /// The memory to copy from was not to be had.
    #[error("make an arena to copy from: {0}")]
    NoArena(String),
    /// Memory was not pinned.
    #[error("pin {bytes} bytes of an arena (limit of locked memory: {memlock})")]
    NotPinned {
        /// How many.
        bytes: usize,
        /// `RLIMIT_MEMLOCK` as words.
        memlock: String,
        /// What the driver said.
        #[source]
        source: Box<GpuError>,
    },
    /// What was copied to the device and back is not what was sent.
    #[error("bytes of {what} came back changed from the GPU, first at {offset_bytes}")]
    Changed {
        /// Whose.
        what: &'static str,
        /// Where.
        offset_bytes: usize,
    },
}

/// Codes of CUDA with a cure of their own; and a beginning of the names of newer ones needs none.
const CURES: [(i32, &str); 16] = [
    (2, "give the GPU's memory back first: `nvidia-smi` shows who holds it"),
    (3, "the driver is going away; start the process again"),
    (34, "a stub of the CUDA toolkit stands first in LD_LIBRARY_PATH: take its `stubs` folder out"),
    (35, "install a newer driver: `nvidia-smi` shows which CUDA it speaks"),
    (
        46,
        "another process holds the GPU exclusively, or it was lost: `nvidia-smi -q -d COMPUTE`, `dmesg | grep -i xid`",
    ),
    (
        100,
        "CUDA_VISIBLE_DEVICES may hide all, or the container was started without --gpus; `nvidia-smi -L` lists them",
    ),
    (101, "CUDA_VISIBLE_DEVICES may name a GPU that is not there; `nvidia-smi -L` lists them"),
    (214, "the GPU's memory has errors: `nvidia-smi -q -d ECC`; drain the node"),
    (700, "the GPU's context is lost: start the process again; `dmesg | grep -i xid`"),
    (712, "this memory is pinned already"),
    (719, "the GPU's context is lost: start the process again; `dmesg | grep -i xid`"),
    (800, "the process may not use the GPU so; check the container's devices and rights"),
    (802, "start nvidia-fabricmanager: GPUs behind NVSwitch wait for it"),
    (
        803,
        "the driver's library and its kernel module are of different versions: reboot, or start the container again",
    ),
    (804, "take the cuda-compat folder out of LD_LIBRARY_PATH: this GPU does not support it"),
    (999, "sudo nvidia-modprobe -c 0 -u; `dmesg | grep -i -e nvrm -e xid` tells more"),
];

impl GpuError {
    /// What to do about it.
    pub fn cure(&self) -> String {
        match self {
            Self::NoLibrary => {
                "install the NVIDIA driver, or start the container with --gpus all; `nvidia-smi` shows whether it is there"
                    .to_owned()
            }
            Self::NoSymbol { .. } | Self::OldDriver { .. } => {
                "install a driver from 470 on (CUDA 11.4); `nvidia-smi` shows yours".to_owned()
            }
            Self::Refused { code, .. } => CURES.iter().find(|(listed, _)| listed == code).map_or_else(
                || "`nvidia-smi` and `dmesg | grep -i xid` tell more".to_owned(),
                |(_, cure)| (*cure).to_owned(),
            ),
            Self::NoDevice => cure_of(100),
            Self::NoSuchDevice { .. } => {
                "`nvidia-smi -L` lists all; CUDA_VISIBLE_DEVICES hides and renumbers them".to_owned()
            }
            Self::NoArena(_) => "copy smaller batches: --batch 64".to_owned(),
            Self::NotPinned { .. } => {
                "raise the limit (LimitMEMLOCK=infinity, docker run --ulimit memlock=-1), or free memory: pinned pages can't be swapped"
                    .to_owned()
            }
            Self::Changed { .. } => "the GPU or its link is faulty: `nvidia-smi -q -d ECC,PERFORMANCE`, dmesg".to_owned(),
        }
    }

    /// The same for people and the wire.
    pub fn fault(&self) -> Fault {
        let kind = match self {
            Self::NoSuchDevice { .. } | Self::NoDevice | Self::NoLibrary => Kind::NotFound,
            _ => Kind::Unavailable,
        };
        Fault::from_error(kind, self).hint(self.cure())
    }
}

fn cure_of(code: i32) -> String {
    CURES.iter().find(|(listed, _)| *listed == code).map_or(String::new(), |(_, cure)| (*cure).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_a_cure_and_a_code_that_nobody_listed_too() {
        let refused = |code| GpuError::Refused {
            call: "cuInit",
            code,
            name: "CUDA_ERROR_X".to_owned(),
            text: "x".to_owned(),
        };
        assert!(refused(803).cure().contains("different versions"));
        assert!(refused(12345).cure().contains("nvidia-smi"));
        let fault = refused(100).fault();
        assert_eq!(
            (fault.kind, fault.message.as_str()),
            (Kind::Unavailable, "cuInit: CUDA_ERROR_X (100), x")
        );
        assert!(fault.hint.is_some_and(|hint| hint.contains("CUDA_VISIBLE_DEVICES")));
        assert!(CURES.is_sorted_by_key(|(code, _)| *code));
    }

    #[test]
    fn memory_that_was_not_pinned_names_the_limit_and_what_the_driver_said() {
        let source = GpuError::OldDriver { found: CudaVersion::new(11030) };
        let refused =
            GpuError::NotPinned { bytes: 4096, memlock: "64 KiB".to_owned(), source: Box::new(source) };
        let fault = refused.fault();
        assert!(fault.to_string().contains("64 KiB") && fault.to_string().contains("CUDA 11.3"), "{fault}");
        assert!(fault.hint.is_some_and(|hint| hint.contains("LimitMEMLOCK")));
    }
}
