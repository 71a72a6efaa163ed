//! libcuda, loaded and started: without a context, so that it takes no memory of any GPU.
#![allow(unsafe_code, reason = "foreign functions")]

use std::ffi::CStr;
use std::fmt;
use std::ptr;

use cudarc::driver::sys;

use super::calls::{Calls, Code};
use super::error::GpuError;

/// The newest CUDA that a driver speaks, as CUDA numbers it: 12040 is 12.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion(i32);

impl CudaVersion {
    /// Every function that is called is in it: driver 470, which all GPUs since Maxwell have.
    pub const NEEDED: Self = Self(11040);

    /// From CUDA's number.
    pub fn new(number: i32) -> Self {
        Self(number)
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

/// libcuda, started for this process.
pub struct Driver {
    pub(super) calls: Calls,
    version: CudaVersion,
}

impl Driver {
    /// Loads and starts it. Seconds, where the machine has many GPUs and nothing keeps them awake.
    ///
    /// # Errors
    /// Why there is no CUDA here: no library, one that is too old, or what `cuInit` answers.
    pub fn start() -> Result<Self, GpuError> {
        // SAFETY: loads the library, which runs its initialisers: NVIDIA's own, from the loader's path.
        if !unsafe { sys::is_culib_present() } {
            return Err(GpuError::NoLibrary);
        }
        let driver = Self { calls: Calls::find()?, version: CudaVersion(0) };
        let version = driver.version_now()?;
        if version < CudaVersion::NEEDED {
            return Err(GpuError::OldDriver { found: version });
        }
        // SAFETY: takes flags, which must be 0.
        driver.check("cuInit", unsafe { (driver.calls.cuInit)(0) })?;
        Ok(Self { version, ..driver })
    }

    /// The newest CUDA that it speaks.
    pub fn version(&self) -> CudaVersion {
        self.version
    }

    /// What may be asked before `cuInit`, and so of a driver that is too old for it.
    fn version_now(&self) -> Result<CudaVersion, GpuError> {
        let mut number = 0;
        // SAFETY: writes one number.
        self.check("cuDriverGetVersion", unsafe { (self.calls.cuDriverGetVersion)(&raw mut number) })?;
        Ok(CudaVersion(number))
    }

    /// Success, or the error with CUDA's name and words for it.
    pub(super) fn check(&self, call: &'static str, code: Code) -> Result<(), GpuError> {
        if code == 0 {
            return Ok(());
        }
        let name =
            self.words(self.calls.cuGetErrorName, code).unwrap_or_else(|| "an unknown error".to_owned());
        let text = self
            .words(self.calls.cuGetErrorString, code)
            .unwrap_or_else(|| "without words for it".to_owned());
        Err(GpuError::Refused { call, code, name, text })
    }

    #[allow(clippy::unused_self, reason = "the function is this driver's")]
    fn words(
        &self,
        of: unsafe extern "C" fn(Code, *mut *const std::ffi::c_char) -> Code,
        code: Code,
    ) -> Option<String> {
        let mut words = ptr::null();
        // SAFETY: writes one pointer.
        let answered = unsafe { of(code, &raw mut words) };
        if answered != 0 || words.is_null() {
            return None;
        }
        // SAFETY: CUDA's texts are its constants, closed by a zero, and live as long as the library: for ever.
        Some(unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned())
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Driver(CUDA {})", self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_cuda_numbers_them() {
        assert_eq!(CudaVersion::new(12040).to_string(), "12.4");
        assert_eq!(CudaVersion::new(13000).to_string(), "13.0");
        assert!(CudaVersion::new(11030) < CudaVersion::NEEDED);
    }
}
