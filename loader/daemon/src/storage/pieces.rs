//! Large reads in pieces: several at a time, into disjoint parts of one buffer.
//!
//! One read after the other leaves a parallel file system, or a drive with many channels, mostly idle; and copying out of
//! the page cache is bound to one processor. Helpers are threads that live for one read, and all reads share their number.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;

use rustix::io::Errno;

use super::whole::read_fully;

/// Long enough that a thread costs nothing beside it, and short enough that 16 MiB already go twice as fast.
const PIECE_BYTES: usize = 8 << 20;
/// More threads at one read gain nothing: this many streams fill a link or a drive.
const HELPERS_A_READ: usize = 7;
/// As a storage thread's own.
const STACK_BYTES: usize = 256 << 10;

/// How large reads are cut, and the helpers that are free.
pub(super) struct Pieces {
    piece_bytes: usize,
    free: AtomicUsize,
}

impl Pieces {
    /// With so many helpers, all reads together.
    pub(super) fn new(helpers: usize) -> Self {
        Self { piece_bytes: PIECE_BYTES, free: helpers.into() }
    }

    /// Pieces of another length, so that small files reach them.
    #[cfg(test)]
    pub(super) fn of(piece_bytes: usize, helpers: usize) -> Self {
        Self { piece_bytes, free: helpers.into() }
    }

    /// No shorter read is cut.
    pub(super) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// Fills `target` with what lies from `offset_bytes` on; gives the bytes before the first that is missing.
    ///
    /// * `read_at`: one read, which may bring fewer bytes than asked for, and none at the end.
    ///
    /// # Errors
    /// That of a piece; the others are then given up.
    pub(super) fn fill(
        &self,
        target: &mut [u8],
        offset_bytes: u64,
        read_at: impl Fn(&mut [u8], u64) -> Result<usize, Errno> + Sync,
    ) -> Result<u64, Errno> {
        let wanted = (target.len() / self.piece_bytes).saturating_sub(1).min(HELPERS_A_READ);
        let helpers = self.take(wanted);
        if helpers == 0 {
            return read_fully(&read_at, target, offset_bytes);
        }
        let end_bytes = AtomicU64::new(target.len() as u64);
        let failed = OnceLock::new();
        let pieces = Mutex::new(target.chunks_mut(self.piece_bytes).zip((0_u64..).step_by(self.piece_bytes)));
        let next = || pieces.lock().expect("no thread panics with the lock").next();
        let work = || {
            while failed.get().is_none()
                && let Some((piece, at)) = next()
            {
                match read_fully(&read_at, piece, offset_bytes + at) {
                    Ok(got) if got == piece.len() as u64 => {}
                    Ok(got) => {
                        end_bytes.fetch_min(at + got, Ordering::Relaxed);
                    }
                    // The first one stands.
                    Err(errno) => {
                        let _ = failed.set(errno);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..helpers {
                let helper = thread::Builder::new().name("read-piece".into()).stack_size(STACK_BYTES);
                if helper.spawn_scoped(scope, work).is_err() {
                    // No more threads to be had: those that there are do it.
                    break;
                }
            }
            work();
        });
        self.free.fetch_add(helpers, Ordering::Relaxed);
        failed.into_inner().map_or_else(|| Ok(end_bytes.into_inner()), Err)
    }

    /// Takes as many helpers as are wanted and free.
    fn take(&self, wanted: usize) -> usize {
        let left = |free: usize| Some(free - free.min(wanted));
        let free = self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        free.map_or(0, |free| free.min(wanted))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::thread::ThreadId;

    use super::*;

    const FILE: [u8; 1003] = {
        let mut bytes = [0; 1003];
        let mut at = 0;
        while at < bytes.len() {
            bytes[at] = (at % 251) as u8;
            at += 1;
        }
        bytes
    };

    /// A file that brings at most 7 bytes a read.
    #[allow(clippy::unnecessary_wraps, reason = "it stands for a call that may fail")]
    fn read_at(target: &mut [u8], offset_bytes: u64) -> Result<usize, Errno> {
        let rest = FILE.get(offset_bytes as usize..).unwrap_or_default();
        let count = rest.len().min(target.len()).min(7);
        target[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    #[test]
    fn the_bytes_are_the_same_whatever_the_pieces_and_the_helpers() {
        for helpers in [0, 1, 7] {
            for (offset, len) in [(0, 0), (0, 99), (0, 199), (0, 200), (1, 201), (3, 1000), (0, 1003)] {
                let mut target = vec![0xAA; len];
                let pieces = Pieces::of(100, helpers);
                assert_eq!(pieces.fill(&mut target, offset, read_at), Ok(len as u64));
                assert_eq!(target, FILE[offset as usize..][..len], "{len} from {offset}, {helpers} helpers");
                assert_eq!(pieces.free.into_inner(), helpers, "all are back");
            }
        }
    }

    #[test]
    fn what_is_missing_at_the_end_is_missed_from_its_first_byte_on() {
        for (len, got) in [(1003, 1003), (1004, 1003), (1100, 1003), (2500, 1003)] {
            assert_eq!(Pieces::of(100, 3).fill(&mut vec![0; len], 0, read_at), Ok(got));
        }
        let hole = |target: &mut [u8], at| if (250..420).contains(&at) { Ok(0) } else { read_at(target, at) };
        assert_eq!(
            Pieces::of(100, 3).fill(&mut [0; 1000], 0, hole),
            Ok(256),
            "the first of two short pieces"
        );
    }

    #[test]
    fn the_error_of_a_piece_is_that_of_the_read_and_gives_the_others_up() {
        let asked = AtomicUsize::new(0);
        let fails = |target: &mut [u8], at| {
            asked.fetch_add(1, Ordering::Relaxed);
            if at >= 300 { Err(Errno::STALE) } else { read_at(target, at) }
        };
        assert_eq!(Pieces::of(100, 2).fill(&mut [0; 1000], 0, fails), Err(Errno::STALE));
        assert!(asked.into_inner() <= 3 * 15 + 3, "three pieces of 15 reads, and one refusal a thread");
    }

    #[test]
    fn interrupted_reads_go_on() {
        let interrupted = AtomicUsize::new(0);
        let read = |target: &mut [u8], at| {
            if interrupted.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
                Err(Errno::INTR)
            } else {
                read_at(target, at)
            }
        };
        let mut target = [0; 700];
        assert_eq!(Pieces::of(100, 2).fill(&mut target, 5, read), Ok(700));
        assert_eq!(target, FILE[5..705]);
    }

    #[test]
    fn pieces_are_read_at_the_same_time_and_never_by_more_threads_than_there_are() {
        let (both, threads) = (Barrier::new(2), Mutex::<HashSet<ThreadId>>::default());
        let read = |target: &mut [u8], at: u64| {
            if at.is_multiple_of(100) {
                threads.lock().unwrap().insert(thread::current().id());
                // Only a second thread in another piece lets the first one go on.
                both.wait();
            }
            read_at(target, at)
        };
        assert_eq!(Pieces::of(100, 1).fill(&mut [0; 400], 0, read), Ok(400));
        assert_eq!(threads.into_inner().unwrap().len(), 2);
        let pieces = Pieces::of(100, 5);
        assert_eq!((pieces.take(4), pieces.take(4), pieces.take(4)), (4, 1, 0));
    }
}
