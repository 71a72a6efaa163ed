//! A context: one process' place on one GPU, with a stream to copy on.
#![allow(unsafe_code, reason = "foreign functions")]

use std::cell::Cell;
use std::ptr;
use std::rc::Rc;

use cudarc::driver::sys::{CUdevice, CUstream, CUstream_flags_enum};

use super::device::Device;
use super::driver::Driver;
use super::error::GpuError;

/// The GPU's primary context, current on the thread that made it: neither it nor what is made from it can leave that
/// thread, and it is given back with the last of them. Takes hundreds of megabytes of the GPU and of the machine.
pub struct Context {
    driver: Driver,
    device: CUdevice,
    stream: CUstream,
    is_told: Cell<bool>,
}

impl Context {
    /// Makes it, with a stream that waits for no other.
    ///
    /// # Errors
    /// What CUDA answers: the GPU is held by another process, its memory is full, it was lost.
    pub fn open(driver: Driver, device: &Device) -> Result<Rc<Self>, GpuError> {
        let mut handle = ptr::null_mut();
        // SAFETY: writes one handle. Undone by `drop`, or below.
        driver.check("cuDevicePrimaryCtxRetain", unsafe {
            (driver.calls.cuDevicePrimaryCtxRetain)(&raw mut handle, device.handle)
        })?;
        // From here on dropping it gives the context back.
        let mut context =
            Self { driver, device: device.handle, stream: ptr::null_mut(), is_told: Cell::new(false) };
        // SAFETY: the handle is the context that was just retained.
        context.check("cuCtxSetCurrent", unsafe { (context.driver.calls.cuCtxSetCurrent)(handle) })?;
        let flags = CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        let mut stream = ptr::null_mut();
        // SAFETY: writes one handle, of the current context.
        context.check("cuStreamCreate", unsafe {
            (context.driver.calls.cuStreamCreate)(&raw mut stream, flags)
        })?;
        context.stream = stream;
        Ok(Rc::new(context))
    }

    /// The driver behind it.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(super) fn stream(&self) -> CUstream {
        self.stream
    }

    /// Waits until nothing that was put on the stream is still on its way.
    ///
    /// # Errors
    /// What went wrong on the way, or that the device is gone; nothing is on its way then either.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        // SAFETY: the stream is of the current context.
        self.check("cuStreamSynchronize", unsafe { (self.driver.calls.cuStreamSynchronize)(self.stream) })
    }

    pub(super) fn check(&self, call: &'static str, code: i32) -> Result<(), GpuError> {
        self.driver.check(call, code)
    }

    /// For drops, which can return nothing. What can't be given back to a GPU that was lost is gone with it: told once.
    pub(super) fn note(&self, call: &'static str, code: i32) {
        match self.check(call, code) {
            Err(error) if !self.is_told.replace(true) => {
                tracing::warn!(%error, "the GPU did not take back what it had given");
            }
            _ => {}
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let calls = &self.driver.calls;
        if !self.stream.is_null() {
            // SAFETY: made in `open`, destroyed once, and whatever used it has synchronised.
            self.note("cuStreamDestroy", unsafe { (calls.cuStreamDestroy_v2)(self.stream) });
        }
        // SAFETY: no context is current from here on; all that was made from this one is gone, since it holds an `Rc` of it.
        self.note("cuCtxSetCurrent", unsafe { (calls.cuCtxSetCurrent)(ptr::null_mut()) });
        // SAFETY: retained once in `open`, released once.
        self.note("cuDevicePrimaryCtxRelease", unsafe { (calls.cuDevicePrimaryCtxRelease_v2)(self.device) });
    }
}
