//! Each kind of read by the engine that is best at it: parts of large local files by io_uring, the rest by threads.
//!
//! Whole small files cost the same either way, and their opens, which wait for names and inodes, want many threads; network
//! file systems give io_uring nothing to gain from (docs/decisions/0015-engines.md has the figures).

use super::{Engine, Read, ThreadsEngine, UringEngine};

/// Longer parts go to the threads: a copy out of the page cache would hold up the other reads of its ring.
const RING_BYTES_MAX: u64 = 16 << 20;

/// Both engines, completing to one channel.
pub struct RoutedEngine<T> {
    threads: ThreadsEngine<T>,
    rings: UringEngine<T>,
}

impl<T: Send + 'static> RoutedEngine<T> {
    /// Takes two engines that were made with the same `done` channel.
    pub fn new(threads: ThreadsEngine<T>, rings: UringEngine<T>) -> Self {
        Self { threads, rings }
    }
}

impl<T: Send + 'static> Engine<T> for RoutedEngine<T> {
    fn name(&self) -> &'static str {
        "threads+uring"
    }

    fn submit(&self, read: Read<T>) {
        let is_part = read.extent.is_some_and(|(_, len_bytes)| len_bytes < RING_BYTES_MAX);
        if is_part && read.root.has_nowait_reads() {
            self.rings.submit(read);
        } else {
            self.threads.submit(read);
        }
    }
}
