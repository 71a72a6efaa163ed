//! An arena's memory for copies: registered with the driver, which pins it, or as it is.
#![allow(unsafe_code, reason = "foreign functions")]

use std::rc::Rc;

use cudarc::driver::sys::CU_MEMHOSTREGISTER_PORTABLE;
use forebay_arena::{Arena, ReadySlot};
use rustix::process::{Resource, getrlimit};

use super::context::Context;
use super::error::GpuError;
use super::memory::HostBytes;

/// An arena whose pages the driver has pinned, until this goes: it is unregistered first and unmapped after.
pub struct Pin {
    context: Rc<Context>,
    mapped: Mapped,
}

/// An arena and batches in it that nobody writes, since they are ready.
pub struct Mapped {
    arena: Arena,
    slots: Vec<ReadySlot>,
}

impl Mapped {
    /// The batches of `slots`, which must be of `arena`.
    pub fn new(arena: Arena, slots: Vec<ReadySlot>) -> Self {
        Self { arena, slots }
    }

    /// Each batch, `len_bytes` of it.
    ///
    /// # Panics
    /// Where a slot has fewer.
    pub fn batches(&self, len_bytes: usize) -> Vec<HostBytes<'_>> {
        let geometry = self.arena.geometry();
        assert!(len_bytes as u64 <= geometry.slot_bytes, "a batch fits its slot");
        let base = self.arena.base();
        let batch = |slot: &ReadySlot| {
            let offset_bytes = geometry.slot_offset_bytes(slot.index());
            // SAFETY: inside of the arena's mapping (asserted), which lives as long as `self.arena` and starts as zeros;
            // a ready slot has no writer in this process, and `self` keeps it.
            unsafe { HostBytes::new(base.add(offset_bytes as usize), len_bytes) }
        };
        self.slots.iter().map(batch).collect()
    }
}

impl Pin {
    /// Registers the whole arena, for every context of the process.
    ///
    /// # Errors
    /// [`GpuError::NotPinned`], with the limit of locked memory beside the driver's answer.
    pub fn register(context: &Rc<Context>, mapped: Mapped) -> Result<Self, GpuError> {
        let (base, len_bytes) = (mapped.arena.base(), mapped.arena.total_bytes() as usize);
        // SAFETY: the range is the arena's whole mapping, which lives until it has been unregistered in `drop`.
        let code = unsafe {
            let register = context.driver().calls.cuMemHostRegister_v2;
            register(base.as_ptr().cast(), len_bytes, CU_MEMHOSTREGISTER_PORTABLE)
        };
        context.check("cuMemHostRegister", code).map_err(|source| GpuError::NotPinned {
            bytes: len_bytes,
            memlock: memlock(),
            source: Box::new(source),
        })?;
        Ok(Self { context: Rc::clone(context), mapped })
    }

    /// Each batch, `len_bytes` of it.
    pub fn batches(&self, len_bytes: usize) -> Vec<HostBytes<'_>> {
        self.mapped.batches(len_bytes)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let base = self.mapped.arena.base();
        // SAFETY: registered once in `register`, still mapped (the arena goes after this), and nothing copies from it.
        let code = unsafe { (self.context.driver().calls.cuMemHostUnregister)(base.as_ptr().cast()) };
        self.context.note("cuMemHostUnregister", code);
    }
}

fn memlock() -> String {
    getrlimit(Resource::Memlock).current.map_or("none".to_owned(), |bytes| format!("{bytes} bytes"))
}
