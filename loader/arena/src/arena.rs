//! The arena itself: memory, slots and name of one session.

use std::{fmt, os::fd::BorrowedFd, ptr::NonNull};

use crate::{
    error::{ArenaError, ReleaseError},
    geometry::Geometry,
    map::Map,
    slot::SlotMut,
    slots::{Event, OnEvent, Pool},
    sync::Arc,
};

/// The mapped bytes and how they are divided; alive as long as anybody may write them.
pub(crate) struct Memory {
    pub(crate) map: Arc<Map>,
    pub(crate) geometry: Geometry,
}

/// One session's slots in shared memory. Clones are the same arena.
///
/// The memory goes when the last clone, the last [`SlotMut`] and the last sample are gone; the client's own mapping of
/// it stays until the client unmaps it.
///
/// A batch that is larger than `slot_bytes` goes into a one-off arena: simply another arena with an id of its own and
/// one slot of the batch's size, dropped when its lease is released.
#[derive(Clone)]
pub struct Arena {
    id: u64,
    memory: Arc<Memory>,
    pool: Arc<Pool>,
}

impl Arena {
    /// Makes an arena: a memfd whose size is sealed, mapped read-write. No page is taken before it is touched; see
    /// [`prefault`](Self::prefault).
    ///
    /// * `id`: how messages name it. Unique in its session; the arena only carries it.
    /// * `geometry`: `slot_bytes` is rounded up to whole pages, see [`Geometry::resolve`].
    ///
    /// # Errors
    /// [`ArenaError::Geometry`] where the geometry is empty or too large, [`ArenaError::System`] where the kernel
    /// refuses a call.
    pub fn create(id: u64, geometry: Geometry) -> Result<Self, ArenaError> {
        Self::create_with(id, geometry, |_| ())
    }

    /// As [`create`](Self::create), and `on_event` is told whenever a batch has finished filling or a slot became
    /// free, also when that happens in a drop on a decode thread.
    ///
    /// `on_event` runs on the thread that made it happen, with no lock held, possibly while that thread unwinds: it
    /// must not block or panic, and must not own the arena (send on a channel, or notify).
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub fn create_with(
        id: u64,
        geometry: Geometry,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Result<Self, ArenaError> {
        let geometry = geometry.resolve()?;
        let map = Arc::new(Map::create(geometry.total_bytes())?);
        let on_event: OnEvent = Box::new(on_event);
        let pool = Pool::new(geometry.slots, on_event);
        Ok(Self { id, memory: Arc::new(Memory { map, geometry }), pool })
    }

    /// How messages name this arena.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The geometry in force: slot `i` starts at byte `i * slot_bytes`.
    pub fn geometry(&self) -> Geometry {
        self.memory.geometry
    }

    /// Bytes of the whole arena, which is the size of its memfd.
    pub fn total_bytes(&self) -> u64 {
        self.geometry().total_bytes()
    }

    /// The memfd, to pass to the one client.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.memory.map.fd()
    }

    /// Takes every page of the arena now, so that decode threads do not pay for the first touch, and so that missing
    /// memory is an error here and not a signal there. Changes no byte, so it may run beside everything else. Give it
    /// a thread of its own. Measured on one core, 38.5 MB: the first fill of a slot 28 to 34 ms, every later one 3 ms;
    /// this call 22 to 25 ms, and every fill after it 3 ms.
    ///
    /// # Errors
    /// [`ArenaError::System`] where the memory is not to be had.
    pub fn prefault(&self) -> Result<(), ArenaError> {
        self.memory.map.prefault()
    }

    /// Asks the kernel for the arena's pages on a NUMA node, as long as that has some; on another one after. Holds for
    /// whoever touches a page first, the client too, and so must come before anything is written.
    ///
    /// # Errors
    /// [`ArenaError::System`] where the kernel has no NUMA (`ENOSYS`), has no such node or forbids it (`EINVAL`), or where
    /// seccomp does (`EPERM`: docker's profile, without `SYS_NICE`). The arena is as good as before, its pages anywhere.
    pub fn prefer_node(&self, node: u32) -> Result<(), ArenaError> {
        self.memory.map.prefer_node(node)
    }

    /// Where this process has mapped the arena: for a driver that pins it. Valid as long as a clone of the arena lives.
    ///
    /// Writing there takes a [`SlotMut`], whose samples give slices; nothing that is read there may decide anything.
    pub fn base(&self) -> NonNull<u8> {
        self.memory.map.base()
    }

    /// Takes a free slot. `None` where every slot is being filled, ready or leased.
    pub fn try_take(&self) -> Option<SlotMut> {
        let hold = Pool::try_take(&self.pool)?;
        Some(SlotMut::new(hold, Arc::clone(&self.memory)))
    }

    /// Takes a slot back from the client, as its release record says.
    ///
    /// # Errors
    /// [`ReleaseError`] where the client does not have that slot at that generation; nothing has changed then, so a
    /// client may send what it likes.
    pub fn release(&self, slot: u32, generation: u64) -> Result<(), ReleaseError> {
        self.pool.release(slot, generation)
    }

    /// Slots that [`try_take`](Self::try_take) would give out.
    pub fn free_slots(&self) -> u32 {
        self.pool.free_slots()
    }

    /// Slots that the client has.
    pub fn leased(&self) -> u32 {
        self.pool.leased()
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arena")
            .field("id", &self.id)
            .field("geometry", &self.geometry())
            .finish_non_exhaustive()
    }
}
