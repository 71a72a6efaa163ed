//! Cold reads where the data would stay in memory: each record's pages are dropped just before it is read.

use std::sync::Arc;

use rustix::fs::{Advice, OFlags, fadvise};

use crate::storage::{Engine, Read};

/// An engine before which the page cache forgets what is asked for.
///
/// Pages that were not written back yet, and file systems without a page cache to drop from (tmpfs), keep what they
/// have: how many bytes came from storage is counted beside it.
pub struct ColdEngine<T>(pub Arc<dyn Engine<T>>);

/// Pages are dropped whole; those at the ends of an extent must go too.
const PAGE_BYTES: u64 = 4096;

impl<T: Send> Engine<T> for ColdEngine<T> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn submit(&self, read: Read<T>) {
        // A file that can't be opened is the inner engine's to tell of.
        if let Ok(file) = read.root.open_beneath(&read.buf.path, OFlags::RDONLY | OFlags::NONBLOCK) {
            let (start, len) = pages(read.extent);
            let _ = fadvise(&file, start, std::num::NonZeroU64::new(len), Advice::DontNeed);
        }
        self.0.submit(read);
    }

    fn tend(&self) {
        self.0.tend();
    }

    fn hanging(&self) -> usize {
        self.0.hanging()
    }
}

/// Offset and length of the whole pages that an extent touches; length 0 is "to the end".
fn pages(extent: Option<(u64, u64)>) -> (u64, u64) {
    let Some((offset, len)) = extent else { return (0, 0) };
    let start = offset / PAGE_BYTES * PAGE_BYTES;
    (start, (offset + len).next_multiple_of(PAGE_BYTES) - start)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::storage::{Account, ReadBuf, Root, ThreadsEngine};

    #[test]
    fn whole_pages_are_dropped() {
        assert_eq!(pages(None), (0, 0));
        assert_eq!(pages(Some((5000, 10))), (4096, 4096));
        assert_eq!(pages(Some((4090, 10))), (0, 8192));
    }

    #[test]
    fn what_is_read_is_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("x"), b"abcdef").expect("a file");
        let (sender, done) = flume::unbounded();
        let threads = ThreadsEngine::new(NonZeroUsize::MIN, &sender).expect("a thread");
        let engine = ColdEngine(Arc::new(threads));
        let root = Root::open(dir.path()).expect("a folder");
        for (path, wanted) in [("x", Some(&b"bcd"[..])), ("missing", None)] {
            let mut buf = ReadBuf::default();
            buf.set_path(path.as_bytes());
            let (root, extent) = (Arc::clone(&root), Some((1, 3)));
            engine.submit(Read { root, buf, extent, limit_bytes: 100, account: Account::ONLY, tag: () });
            let answer = done.recv().expect("an answer");
            assert_eq!(answer.result.is_ok().then_some(&answer.read.buf.bytes[..]), wanted);
        }
    }
}
