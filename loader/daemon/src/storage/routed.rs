//! Each kind of read by the engine that is best at it: parts of large local files by io_uring, the rest by threads.
//!
//! Whole small files cost the same either way, and their opens, which wait for names and inodes, want many threads; network
//! file systems give io_uring nothing to gain from (docs/decisions/0015-engines.md has the figures).

use std::sync::Arc;

use super::{Desk, Engine, Read};

/// Longer parts go to the threads: a copy out of the page cache would hold up the other reads of its ring.
const RING_BYTES_MAX: u64 = 16 << 20;

/// Both engines, completing to one channel.
pub struct RoutedEngine<T> {
    threads: Box<dyn Engine<T>>,
    rings: Box<dyn Engine<T>>,
}

impl<T: Send> RoutedEngine<T> {
    /// Takes two engines that were made with the same `done` channel.
    pub fn new(threads: impl Engine<T> + 'static, rings: impl Engine<T> + 'static) -> Self {
        Self { threads: Box::new(threads), rings: Box::new(rings) }
    }
}

impl<T: Send> Engine<T> for RoutedEngine<T> {
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

    fn submit_near(&self, reads: Vec<Read<T>>) {
        // Together they are far shorter than what a ring takes.
        if reads[0].root.has_nowait_reads() {
            self.rings.submit_near(reads);
        } else {
            self.threads.submit_near(reads);
        }
    }

    fn serve(&self, desk: Arc<dyn Desk<T>>) {
        self.threads.serve(Arc::clone(&desk));
        self.rings.serve(desk);
    }

    fn tend(&self) {
        self.threads.tend();
        self.rings.tend();
    }

    fn hanging(&self) -> usize {
        self.threads.hanging() + self.rings.hanging()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::Root;
    use super::super::conformance::read_of;
    use super::*;

    /// Counts what it is asked.
    #[derive(Clone, Default)]
    struct Counting {
        reads: Arc<AtomicUsize>,
        tended: Arc<AtomicUsize>,
    }

    impl Engine<u64> for Counting {
        fn name(&self) -> &'static str {
            "counting"
        }

        fn submit(&self, _read: Read<u64>) {
            self.reads.fetch_add(1, Ordering::Relaxed);
        }

        fn tend(&self) {
            self.tended.fetch_add(1, Ordering::Relaxed);
        }

        fn hanging(&self) -> usize {
            3
        }
    }

    #[test]
    fn short_parts_of_files_go_to_the_rings_where_the_file_system_is_one_for_them_and_all_else_to_the_threads()
     {
        let (threads, rings) = (Counting::default(), Counting::default());
        let engine = RoutedEngine::new(threads.clone(), rings.clone());
        let dir = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (Root::open(dir.path()).unwrap(), Root::unbacked("elsewhere"));
        let part = |root, len| Read { extent: Some((0, len)), ..read_of(root, "x", 0) };
        engine.submit(read_of(&root, "x", 0));
        engine.submit(part(&root, RING_BYTES_MAX));
        engine.submit(part(&elsewhere, 1));
        assert_eq!((threads.reads.load(Ordering::Relaxed), rings.reads.load(Ordering::Relaxed)), (3, 0));
        engine.submit(part(&root, RING_BYTES_MAX - 1));
        assert_eq!(rings.reads.load(Ordering::Relaxed), usize::from(root.has_nowait_reads()));
    }

    #[test]
    fn both_engines_are_looked_after() {
        let (threads, rings) = (Counting::default(), Counting::default());
        let engine = RoutedEngine::new(threads.clone(), rings.clone());
        engine.tend();
        assert_eq!((threads.tended.load(Ordering::Relaxed), rings.tended.load(Ordering::Relaxed)), (1, 1));
        assert_eq!(engine.hanging(), 6);
    }
}
