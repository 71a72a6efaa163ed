//! Memory of a GPU, plain pinned memory of the machine, and copies between them.
#![allow(unsafe_code, reason = "foreign functions")]

use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cudarc::driver::sys::{CU_MEMHOSTALLOC_PORTABLE, CUdeviceptr};

use super::context::Context;
use super::error::GpuError;

/// Bytes of the machine's memory that may be copied from: there, and not written, while it lives.
#[derive(Clone, Copy, Debug)]
pub struct HostBytes<'a> {
    start: NonNull<u8>,
    len_bytes: usize,
    lives: PhantomData<&'a [u8]>,
}

impl HostBytes<'_> {
    /// # Safety
    /// `start` and `len_bytes` from there are mapped and initialised, and no thread of this process writes them, while the
    /// value lives.
    pub(super) unsafe fn new(start: NonNull<u8>, len_bytes: usize) -> Self {
        Self { start, len_bytes, lives: PhantomData }
    }
}

/// Memory of the GPU.
pub struct DeviceBuffer {
    context: Rc<Context>,
    start: CUdeviceptr,
    len_bytes: usize,
}

impl DeviceBuffer {
    /// Takes `len_bytes`, uninitialised.
    ///
    /// # Errors
    /// What CUDA answers, mostly that the GPU's memory is full.
    pub fn new(context: &Rc<Context>, len_bytes: usize) -> Result<Self, GpuError> {
        let mut start = 0;
        // SAFETY: writes one address, of the current context.
        let code = unsafe { (context.driver().calls.cuMemAlloc_v2)(&raw mut start, len_bytes) };
        context.check("cuMemAlloc", code)?;
        Ok(Self { context: Rc::clone(context), start, len_bytes })
    }

    /// Its bytes, copied back. Those that were never written are whatever they are.
    ///
    /// # Errors
    /// What CUDA answers.
    pub fn read_back(&self) -> Result<Vec<u8>, GpuError> {
        let mut bytes = vec![0; self.len_bytes];
        // SAFETY: both sides have `len_bytes`; the call returns when the copy is done.
        let code = unsafe {
            (self.context.driver().calls.cuMemcpyDtoH_v2)(
                bytes.as_mut_ptr().cast(),
                self.start,
                self.len_bytes,
            )
        };
        self.context.check("cuMemcpyDtoH", code)?;
        Ok(bytes)
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated once in `new`, freed once, and `copy_laps` leaves nothing on its way here.
        let code = unsafe { (self.context.driver().calls.cuMemFree_v2)(self.start) };
        self.context.note("cuMemFree", code);
    }
}

/// Pinned memory as CUDA gives it, for the processor to write and to read: not write-combined.
pub struct PinnedBuffer {
    context: Rc<Context>,
    start: NonNull<u8>,
    len_bytes: usize,
}

impl PinnedBuffer {
    /// Takes `len_bytes` of zeros.
    ///
    /// # Errors
    /// What CUDA answers.
    pub fn new(context: &Rc<Context>, len_bytes: usize) -> Result<Self, GpuError> {
        let mut start = ptr::null_mut();
        // SAFETY: writes one address.
        let code = unsafe {
            (context.driver().calls.cuMemHostAlloc)(&raw mut start, len_bytes, CU_MEMHOSTALLOC_PORTABLE)
        };
        context.check("cuMemHostAlloc", code)?;
        let start = NonNull::new(start.cast::<u8>()).expect("CUDA gave memory, as it says");
        // SAFETY: `len_bytes` from there are ours alone and writable; nothing says what is in them.
        unsafe { start.write_bytes(0, len_bytes) };
        Ok(Self { context: Rc::clone(context), start, len_bytes })
    }

    /// To write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: ours alone, initialised in `new`, and borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len_bytes) }
    }

    /// `len_bytes` at `offset_bytes`, to copy from.
    ///
    /// # Panics
    /// Where the range leaves the buffer.
    pub fn range(&self, offset_bytes: usize, len_bytes: usize) -> HostBytes<'_> {
        assert!(
            offset_bytes.checked_add(len_bytes).is_some_and(|end| end <= self.len_bytes),
            "a range of the buffer"
        );
        // SAFETY: inside of the buffer (asserted), initialised in `new`; writing takes `&mut self`.
        unsafe { HostBytes::new(self.start.add(offset_bytes), len_bytes) }
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated once in `new`, freed once, and `copy_laps` leaves nothing on its way from here.
        let code = unsafe { (self.context.driver().calls.cuMemFreeHost)(self.start.as_ptr().cast()) };
        self.context.note("cuMemFreeHost", code);
    }
}

/// Copies `from[i]` to `to[i]` for every i, `laps` times over, and waits for the last; how long it took.
///
/// Nothing is on its way when it returns, also where it fails: so borrows are enough to keep both sides.
///
/// # Errors
/// The first thing that CUDA answers with an error.
///
/// # Panics
/// Where the sides are not of the same number and lengths.
pub fn copy_laps(
    context: &Rc<Context>,
    to: &mut [DeviceBuffer],
    from: &[HostBytes],
    laps: u64,
) -> Result<Duration, GpuError> {
    assert_eq!(to.len(), from.len(), "a buffer for each range");
    for (to, from) in to.iter().zip(from) {
        assert!(
            to.len_bytes == from.len_bytes && Rc::ptr_eq(&to.context, context),
            "a buffer fits its range"
        );
    }
    let start = Instant::now();
    let put =
        (0..laps).try_for_each(|_| to.iter().zip(from).try_for_each(|(to, from)| enqueue(context, to, from)));
    let done = context.synchronize();
    put.and(done).map(|()| start.elapsed())
}

fn enqueue(context: &Context, to: &DeviceBuffer, from: &HostBytes) -> Result<(), GpuError> {
    // SAFETY: both sides have `len_bytes` and are borrowed by the caller until it has synchronised.
    let code = unsafe {
        (context.driver().calls.cuMemcpyHtoDAsync_v2)(
            to.start,
            from.start.as_ptr().cast(),
            from.len_bytes,
            context.stream(),
        )
    };
    context.check("cuMemcpyHtoDAsync", code)
}
