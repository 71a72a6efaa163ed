//! Buffers that wait for their next read, so that a read allocates nothing once the first ones are done.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use super::{ByteBuf, ReadBuf};

/// The first class of buffers reaches up to this; each further one up to four times as far.
const FIRST_CLASS_BYTES: u64 = 256 << 10;
/// The last one holds all above 16 MiB: a few of those weigh more than all the others.
const CLASSES: usize = 5;
const LARGE: usize = CLASSES - 1;
/// Kept whatever the bound: the small buffers of a small budget.
const KEPT_BYTES_MIN: u64 = 16 << 20;

/// Read buffers that nobody uses at the moment: what a read is asked for with, and the memory it is given when its bytes are
/// about to come.
///
/// As much memory is kept as reads may be in flight, and so many bytes of large ones and of the others. A buffer is as large as the
/// largest sample it ever held, so they are kept by class: under reads of small files the buffers of large ones would add
/// up without end. One large buffer is kept whatever its size: fresh pages for each sample of 147 MB cost 3 times the
/// processor time of reading it.
pub struct SpareBuffers {
    kept: Mutex<Kept>,
    count_max: usize,
    bytes_max: u64,
}

#[derive(Default)]
struct Kept {
    /// Of what was read last.
    paths: Vec<Vec<u8>>,
    by_class: [Vec<ByteBuf>; CLASSES],
    count: usize,
    /// Of the large ones, and of all others.
    large_bytes: u64,
    other_bytes: u64,
}

impl SpareBuffers {
    /// None yet. `bytes_max`: of the large ones together, and of the others.
    pub fn new(count_max: usize, bytes_max: u64) -> Self {
        Self { kept: Mutex::default(), count_max, bytes_max }
    }

    /// Takes one to ask for a read with, or makes it. It has no memory for bytes: that comes from here once the read knows
    /// how many there are.
    pub fn take(self: &Arc<Self>) -> ReadBuf {
        let path = self.lock().paths.pop().unwrap_or_default();
        ReadBuf { path, spare: Some(Arc::clone(self)), ..ReadBuf::default() }
    }

    /// Keeps one for the next read, or frees it.
    pub fn put(&self, buf: ReadBuf) {
        let ReadBuf { path, bytes, .. } = buf;
        let mut kept = self.lock();
        self.keep(&mut kept, bytes);
        if kept.paths.len() < self.count_max {
            kept.paths.push(path);
        }
    }

    /// Memory for a read of so many bytes; it may be less, and grows then.
    pub(super) fn bytes(&self, len_bytes: u64) -> ByteBuf {
        let class = class_of(len_bytes);
        let mut kept = self.lock();
        // Its own class, the next one that is not large, then the smaller ones, which grow. The smallest have their own
        // alone: there are the most of them, and the next ones are taken for a moment by reads of many of them at once.
        let above = (class > 0 && class + 1 < LARGE).then_some(class + 1);
        let found =
            std::iter::once(class).chain(above).chain((0..class).rev()).find_map(|class| kept.pop(class));
        found.unwrap_or_default()
    }

    /// Keeps memory for the next read, or frees it.
    pub(super) fn put_bytes(&self, bytes: ByteBuf) {
        self.keep(&mut self.lock(), bytes);
    }

    fn keep(&self, kept: &mut Kept, memory: ByteBuf) {
        let bytes = memory.capacity() as u64;
        if bytes == 0 {
            return;
        }
        let class = class_of(bytes);
        let with_it = *kept.bytes_of(class) + bytes;
        let has_room = if class == LARGE {
            kept.by_class[LARGE].is_empty() || with_it <= self.bytes_max
        } else {
            with_it <= self.bytes_max.max(KEPT_BYTES_MIN)
        };
        if has_room && kept.count < self.count_max {
            kept.push(class, memory);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("no thread panics with the lock")
    }
}

impl fmt::Debug for SpareBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpareBuffers").field("count_max", &self.count_max).finish_non_exhaustive()
    }
}

impl Kept {
    fn pop(&mut self, class: usize) -> Option<ByteBuf> {
        let memory = self.by_class[class].pop()?;
        self.count -= 1;
        *self.bytes_of(class) -= memory.capacity() as u64;
        Some(memory)
    }

    fn push(&mut self, class: usize, memory: ByteBuf) {
        self.count += 1;
        *self.bytes_of(class) += memory.capacity() as u64;
        self.by_class[class].push(memory);
    }

    fn bytes_of(&mut self, class: usize) -> &mut u64 {
        if class == LARGE { &mut self.large_bytes } else { &mut self.other_bytes }
    }
}

/// The class of buffers with this capacity.
fn class_of(bytes: u64) -> usize {
    (0..LARGE).find(|class| bytes <= FIRST_CLASS_BYTES << (2 * class)).unwrap_or(LARGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn of(capacity_bytes: usize) -> ByteBuf {
        ByteBuf::with_capacity(capacity_bytes)
    }

    /// How many buffers are kept when those of `capacities` come back.
    fn kept(capacities: &[usize]) -> usize {
        let spare = SpareBuffers::new(4, 200 * MIB as u64);
        for &capacity in capacities {
            spare.put_bytes(of(capacity));
        }
        let kept = spare.kept.lock().expect("nobody else");
        let bytes =
            |class: usize| kept.by_class[class].iter().map(|memory| memory.capacity() as u64).sum::<u64>();
        let sums = ((0..LARGE).map(bytes).sum::<u64>(), bytes(LARGE));
        assert_eq!(sums, (kept.other_bytes, kept.large_bytes));
        assert_eq!(kept.count, kept.by_class.iter().map(Vec::len).sum::<usize>());
        kept.count
    }

    #[test]
    fn large_buffers_are_kept_within_their_bound_and_small_ones_by_their_number() {
        assert_eq!(kept(&[90 * MIB, 90 * MIB, MIB]), 3, "a small one has room of its own");
        assert_eq!(kept(&[MIB, 1, 1, 1, 1]), 4, "as many as reads may be in flight");
        assert_eq!(kept(&[90 * MIB, MIB, 90 * MIB]), 3);
        assert_eq!(kept(&[90 * MIB, 90 * MIB, 90 * MIB]), 2);
    }

    #[test]
    fn a_buffer_that_was_kept_comes_again() {
        let spare = SpareBuffers::new(1, 0);
        spare.put_bytes(of(1000));
        assert!(spare.bytes(5).capacity() == 1000 && spare.bytes(5).capacity() == 0);
    }

    #[test]
    fn a_read_takes_a_buffer_of_about_its_size_or_a_smaller_one_that_grows() {
        let spare = SpareBuffers::new(9, 0);
        let capacity = |len_bytes: usize| spare.bytes(len_bytes as u64).capacity();
        [MIB / 8, MIB / 2, 3 * MIB].into_iter().for_each(|bytes| spare.put_bytes(of(bytes)));
        assert_eq!(capacity(2 * MIB), 3 * MIB);
        assert_eq!(capacity(2 * MIB), MIB / 2);
        spare.put_bytes(of(MIB / 2));
        assert_eq!((capacity(1000), capacity(1000)), (MIB / 8, 0), "the half is for reads of many samples");
        assert_eq!((capacity(MIB / 2), capacity(MIB / 2)), (MIB / 2, 0));
        spare.put_bytes(of(3 * MIB));
        assert_eq!(capacity(1000), 0, "thousands of small reads never hold thousands of large buffers");
        (0..9).for_each(|_| spare.put_bytes(of(5 * MIB)));
        assert_eq!(
            (0..9).map(|_| capacity(5 * MIB)).filter(|bytes| *bytes == 5 * MIB).count(),
            2,
            "16 MiB, with 3"
        );
    }

    #[test]
    fn a_small_read_never_sits_in_a_large_buffer_and_one_large_buffer_is_always_kept() {
        let spare = SpareBuffers::new(4, 0);
        [of(300 * MIB), of(200 * MIB), of(10)].into_iter().for_each(|memory| spare.put_bytes(memory));
        assert_eq!(spare.bytes(1000).capacity(), 10);
        assert_eq!(spare.bytes(1000).capacity(), 0);
        assert_eq!(spare.bytes(100 * MIB as u64).capacity(), 300 * MIB);
        assert_eq!(spare.bytes(100 * MIB as u64).capacity(), 0, "the second passed the bound");
    }
}
