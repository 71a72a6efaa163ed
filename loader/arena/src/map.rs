//! The memory: one sealed memfd and the daemon's mapping of it.
//!
//! # What it means that somebody else can write here
//!
//! The client maps the same pages and may change any byte at any time. Rust's `&mut [u8]` promises that nobody else
//! touches the bytes while it lives, and by the letter no Rust program can promise that for another process. Why this
//! is nevertheless sound in practice, and what it rests on:
//!
//! * Every bit pattern is a valid `u8`, and pages start as zeros, so no read ever meets an invalid or uninitialised
//!   value.
//! * Inside this process the slices are disjoint and have one owner each, so the compiler's aliasing assumptions hold
//!   for everything that it can see.
//! * **The slices are for writing.** A writer that reads back what it wrote may see the client's bytes instead. For a
//!   pixel that is the client's own loss; for a length or an index it would be an attack, and a bounds check that the
//!   compiler has moved would not stop it. So nothing that is read from a slot may decide anything: intermediate
//!   results live in the daemon's own memory, and a decoder that predicts from its own output (PNG's filters, inflate's
//!   window) decodes to scratch and copies.
//!
//! A slice of atomics or a write-only pointer would say this in types, but no decoder writes into those, and the
//! compiler does not vectorise them.
//!
//! # Where the memory comes from
//!
//! A memfd is not bound by the size of `/dev/shm`. Its pages are charged to the memory cgroup of whoever touches them
//! first; past the limit the kernel reclaims, swaps and then kills a process of that cgroup. With strict overcommit
//! (`vm.overcommit_memory = 2`) a page that cannot be had is a SIGBUS at the first touch. [`Map::prefault`] takes all
//! pages at once and gets an error instead. A client may still punch holes (no seal forbids that without forbidding
//! writes): the bytes turn to zeros, the mapping stays whole, and the next touch takes a fresh page.

#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

use rustix::{
    fs::{self, FallocateFlags, MemfdFlags, SealFlags},
    io::Errno,
    mm::{self, Advice, MapFlags, ProtFlags},
};

use crate::error::ArenaError;

/// What `/proc/<pid>/maps` shows.
const NAME: &CStr = c"forebay-arena";

/// One sealed memfd, mapped read-write for as long as this value lives.
pub(crate) struct Map {
    base: NonNull<u8>,
    len_bytes: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping belongs to no thread, and `Map` hands out bytes only through `range_mut`, whose caller promises
// that no two slices overlap.
unsafe impl Send for Map {}
// SAFETY: as above; the other methods only pass the address range or the descriptor to the kernel.
unsafe impl Sync for Map {}

impl Map {
    /// Makes a memfd of `total_bytes`, seals its size, and maps it.
    pub(crate) fn create(total_bytes: u64) -> Result<Self, ArenaError> {
        let refused = |call| {
            move |errno: Errno| ArenaError::System { call, total_bytes, source: io::Error::from(errno) }
        };
        let fd = memfd().map_err(refused("memfd_create"))?;
        fs::ftruncate(&fd, total_bytes).map_err(refused("ftruncate"))?;
        // A client that shrank the file would kill the daemon with SIGBUS; one that grew it, or sealed it against
        // writing, would break what it was told of it.
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fs::fcntl_add_seals(&fd, seals).map_err(refused("fcntl(F_ADD_SEALS)"))?;
        let len_bytes = usize::try_from(total_bytes).map_err(|_| refused("mmap")(Errno::NOMEM))?;
        let base = map_shared(&fd, len_bytes).map_err(refused("mmap"))?;
        Ok(Self { base, len_bytes, fd })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Takes every page now: `MADV_POPULATE_WRITE` (Linux 5.14), or before that `fallocate`, which takes the memory
    /// and leaves the page faults.
    pub(crate) fn prefault(&self) -> Result<(), ArenaError> {
        // SAFETY: the range is exactly our mapping; populating reads and writes no byte.
        let populated =
            unsafe { mm::madvise(self.base.as_ptr().cast(), self.len_bytes, Advice::LinuxPopulateWrite) };
        match populated {
            Err(Errno::INVAL) => self.allocate(),
            Err(errno) => Err(self.refused("madvise(MADV_POPULATE_WRITE)", errno)),
            Ok(()) => Ok(()),
        }
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Has pages that are not there yet come from `node` while it has some. The policy is the memfd's, since the mapping is
    /// shared: it holds for the client's touches as well (mbind(2), shmem).
    pub(crate) fn prefer_node(&self, node: u32) -> Result<(), ArenaError> {
        const MASK_BITS: usize = 1024;
        let mut mask = [0_u64; MASK_BITS / 64];
        let bits = mask.get_mut(node as usize / 64).ok_or_else(|| self.refused("mbind", Errno::INVAL))?;
        *bits |= 1 << (node % 64);
        // SAFETY: the range is exactly our mapping, whose bytes stay what they are. The mask is read alone, and the kernel
        // takes the number of its bits plus one.
        let answered = unsafe {
            libc::syscall(
                libc::SYS_mbind,
                self.base.as_ptr(),
                self.len_bytes,
                libc::c_long::from(libc::MPOL_PREFERRED),
                mask.as_ptr(),
                MASK_BITS + 1,
                0_usize,
            )
        };
        if answered == 0 {
            return Ok(());
        }
        let errno = Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL);
        Err(self.refused("mbind", errno))
    }

    fn allocate(&self) -> Result<(), ArenaError> {
        fs::fallocate(&self.fd, FallocateFlags::empty(), 0, self.len_bytes as u64)
            .map_err(|errno| self.refused("fallocate", errno))
    }

    /// The bytes `offset_bytes ..` and `len_bytes` from there, to write.
    ///
    /// # Safety
    /// While the slice lives, no other slice of this process may hold any of its bytes.
    ///
    /// # Panics
    /// Where the range leaves the mapping.
    #[allow(clippy::mut_from_ref)] // exclusive by ownership of the slot and of the sample: the caller's promise
    pub(crate) unsafe fn range_mut(&self, offset_bytes: u64, len_bytes: u64) -> &mut [u8] {
        let end_bytes = offset_bytes.checked_add(len_bytes);
        assert!(
            end_bytes.is_some_and(|end| end <= self.len_bytes as u64),
            "ranges are checked when a slot is split"
        );
        // SAFETY: the range lies inside the mapping (asserted), which lives as long as `self`, cannot shrink (sealed)
        // and holds initialised bytes. No other slice in this process holds them (the caller's promise). What another
        // process may do to them is the head of this module.
        unsafe {
            slice::from_raw_parts_mut(self.base.as_ptr().add(offset_bytes as usize), len_bytes as usize)
        }
    }

    fn refused(&self, call: &'static str, errno: Errno) -> ArenaError {
        ArenaError::System { call, total_bytes: self.len_bytes as u64, source: io::Error::from(errno) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the range is exactly our mapping, and every slice of it borrows a value that keeps `self` alive.
        let unmapped = unsafe { mm::munmap(self.base.as_ptr().cast(), self.len_bytes) };
        debug_assert!(unmapped.is_ok(), "munmap of our own mapping: {unmapped:?}");
    }
}

/// A memfd that may be sealed and never executed. Kernels before 6.3 do not know `MFD_NOEXEC_SEAL`.
fn memfd() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match fs::memfd_create(NAME, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => fs::memfd_create(NAME, flags),
        made => made,
    }
}

fn map_shared(fd: &OwnedFd, len_bytes: usize) -> Result<NonNull<u8>, Errno> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the address, so no existing mapping is touched.
    let base = unsafe { mm::mmap(ptr::null_mut(), len_bytes, access, MapFlags::SHARED, fd, 0)? };
    // People's data does not belong in a core dump. Advice only: a kernel that refuses it has harmed nothing.
    // SAFETY: the range is the mapping just made.
    let _ = unsafe { mm::madvise(base, len_bytes, Advice::LinuxDontDump) };
    Ok(NonNull::new(base.cast()).expect("mmap without MAP_FIXED never maps page zero"))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LEN_BYTES: u64 = 1 << 20;

    fn blocks_bytes(map: &Map) -> u64 {
        fs::fstat(map.fd()).unwrap().st_blocks as u64 * 512
    }

    #[test]
    fn prefault_takes_every_page_either_way() {
        for take in [Map::prefault, Map::allocate] {
            let map = Map::create(LEN_BYTES).unwrap();
            assert_eq!(blocks_bytes(&map), 0);
            take(&map).unwrap();
            assert_eq!(blocks_bytes(&map), LEN_BYTES);
        }
    }

    #[test]
    fn pages_are_asked_for_on_a_node_where_the_kernel_has_nodes() {
        let map = Map::create(LEN_BYTES).unwrap();
        match map.prefer_node(0) {
            Ok(()) => {}
            // No NUMA in this kernel, or a sandbox that forbids the call.
            Err(ArenaError::System { call: "mbind", source, .. })
                if matches!(Errno::from_io_error(&source), Some(Errno::NOSYS | Errno::PERM)) =>
            {
                eprintln!("skipped: {source}");
                return;
            }
            Err(other) => panic!("{other}"),
        }
        let start = format!("{:x} ", map.base().as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/numa_maps").unwrap();
        let line = maps.lines().find(|line| line.starts_with(&start)).expect("our mapping is listed");
        // Kernels from 5.15 on call it `prefer (many):0`.
        assert!(line.contains("prefer") && line.contains(":0 "), "{line}");
        map.prefault().unwrap();
        assert_eq!(blocks_bytes(&map), LEN_BYTES);
    }

    #[test]
    fn a_node_that_is_not_there_is_an_error_and_the_memory_as_good_as_before() {
        let map = Map::create(LEN_BYTES).unwrap();
        for node in [1023, 1024, u32::MAX] {
            let refused = map.prefer_node(node).expect_err("no machine has so many");
            assert!(matches!(refused, ArenaError::System { call: "mbind", .. }), "{refused}");
        }
        map.prefault().unwrap();
    }

    #[test]
    fn the_size_is_sealed_and_writing_is_not() {
        let map = Map::create(LEN_BYTES).unwrap();
        let seals = fs::fcntl_get_seals(map.fd()).unwrap();
        assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
        assert!(!seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE));
    }

    #[test]
    fn a_mapping_that_the_kernel_cannot_make_is_an_error() {
        let refused = Map::create(0).err().expect("a mapping needs a byte");
        assert!(matches!(refused, ArenaError::System { call: "mmap", total_bytes: 0, .. }), "{refused}");
    }

    #[test]
    #[should_panic(expected = "ranges are checked")]
    fn a_range_past_the_end_is_never_handed_out() {
        let map = Map::create(LEN_BYTES).unwrap();
        // SAFETY: there is no other slice; the call panics before it makes one.
        let _ = unsafe { map.range_mut(LEN_BYTES - 1, 2) };
    }
}
