//! Buffers that wait for their next read, so that a read allocates nothing once the first ones are done.

use std::sync::Mutex;

use super::ReadBuf;

/// From here up a buffer is a large one: a few of those weigh more than all the others.
const LARGE_BYTES: usize = 16 << 20;

/// Read buffers that nobody uses at the moment.
///
/// As many are kept as reads may be in flight. The large ones among them together stay within a bound of their own, since
/// a buffer is as large as the largest sample it ever held: fresh pages for each sample of 147 MB cost 3 times the
/// processor time of reading it, and pages kept for ever cost memory.
pub struct SpareBuffers {
    kept: Mutex<Vec<ReadBuf>>,
    count_max: usize,
    large_bytes_max: u64,
}

impl SpareBuffers {
    /// None yet.
    pub fn new(count_max: usize, large_bytes_max: u64) -> Self {
        Self { kept: Mutex::default(), count_max, large_bytes_max }
    }

    /// Takes one, or makes it.
    pub fn take(&self) -> ReadBuf {
        self.kept.lock().expect("no thread panics with the lock").pop().unwrap_or_default()
    }

    /// Keeps one for the next read, or frees it.
    pub fn put(&self, buf: ReadBuf) {
        let mut kept = self.kept.lock().expect("no thread panics with the lock");
        if self.has_room(buf.bytes.capacity(), &kept) {
            kept.push(buf);
        }
    }

    fn has_room(&self, capacity_bytes: usize, kept: &[ReadBuf]) -> bool {
        if kept.len() >= self.count_max {
            return false;
        }
        let large = |bytes: &usize| *bytes > LARGE_BYTES;
        let held = || kept.iter().map(|buf| buf.bytes.capacity()).filter(large).sum::<usize>();
        !large(&capacity_bytes) || (held() + capacity_bytes) as u64 <= self.large_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::super::ByteBuf;
    use super::*;

    const MIB: usize = 1 << 20;

    fn of(capacity_bytes: usize) -> ReadBuf {
        ReadBuf { bytes: ByteBuf::with_capacity(capacity_bytes), ..ReadBuf::default() }
    }

    /// How many buffers are kept when those of `capacities` come back.
    fn kept(capacities: &[usize]) -> usize {
        let spare = SpareBuffers::new(4, 200 * MIB as u64);
        for &capacity in capacities {
            spare.put(of(capacity));
        }
        let kept = spare.kept.lock().expect("nobody else");
        kept.len()
    }

    #[test]
    fn large_buffers_are_kept_within_their_bound_and_small_ones_by_their_number() {
        assert_eq!(kept(&[90 * MIB, 90 * MIB, MIB]), 3, "a small one never counts bytes");
        assert_eq!(kept(&[MIB, 1, 1, 1, 1]), 4, "as many as reads may be in flight");
        assert_eq!(kept(&[90 * MIB, MIB, 90 * MIB]), 3);
        assert_eq!(kept(&[90 * MIB, 90 * MIB, 90 * MIB]), 2);
    }

    #[test]
    fn a_buffer_that_was_kept_comes_again() {
        let spare = SpareBuffers::new(1, 0);
        spare.put(of(1000));
        assert!(spare.take().bytes.capacity() == 1000 && spare.take().bytes.capacity() == 0);
    }
}
