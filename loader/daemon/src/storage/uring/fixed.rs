//! Memory that is registered with a ring: the kernel need not find and hold its pages anew for each read past the page cache.
//!
//! For samples that are copied to their place once they are read, which are most of what is read so and short. Samples that
//! are decoded travel to another thread in memory of their own: taking them out of registered memory would cost a copy.

use std::cell::OnceCell;

use tokio_uring::buf::fixed::{FixedBuf, FixedBufPool};

use crate::storage::buf::BLOCK_BYTES;

/// Of one buffer.
const BUFFER_BYTES: usize = 128 << 10;

/// Fewer are not worth their memory.
const COUNT_MIN: usize = 8;

/// The registered memory of one ring, made when it is first asked for.
pub(super) struct FixedBuffers {
    count: usize,
    pool: OnceCell<Option<FixedBufPool<Vec<u8>>>>,
}

impl FixedBuffers {
    /// None yet; later at most `count`.
    pub(super) fn new(count: usize) -> Self {
        Self { count, pool: OnceCell::new() }
    }

    /// One that takes a read of so many bytes in whole blocks. `None`: it is too long, all are in use, or memory may not be
    /// registered. Called on the ring's thread.
    pub(super) fn take(&self, len_bytes: u64) -> Option<FixedBuf> {
        // A block before, one behind, and one to begin at a block in memory.
        if len_bytes.saturating_add(3 * BLOCK_BYTES as u64) > BUFFER_BYTES as u64 {
            return None;
        }
        self.pool.get_or_init(|| register(self.count)).as_ref()?.try_next(BUFFER_BYTES)
    }
}

/// As many as the limit on locked memory allows.
fn register(count_max: usize) -> Option<FixedBufPool<Vec<u8>>> {
    let mut count = count_max;
    loop {
        let pool = FixedBufPool::new((0..count).map(|_| vec![0; BUFFER_BYTES]));
        let Err(error) = pool.register() else {
            tracing::debug!(count, "registered read buffers with io_uring");
            return Some(pool);
        };
        count /= 2;
        if count < COUNT_MIN || error.raw_os_error() != Some(rustix::io::Errno::NOMEM.raw_os_error()) {
            tracing::info!(
                %error,
                "io_uring reads without registered buffers: raise the limit on locked memory (ulimit -l, LimitMEMLOCK=)"
            );
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::UringProbe;

    /// Runs on a ring's thread, or not at all.
    fn on_a_ring(work: impl FnOnce()) {
        if UringProbe::take() != UringProbe::Works {
            return eprintln!("skipped: this kernel, or a filter, forbids io_uring");
        }
        let runtime = tokio_uring::Runtime::new(tokio_uring::builder().entries(8)).expect("a ring");
        runtime.block_on(async { work() });
    }

    #[test]
    fn there_are_so_many_and_each_comes_again() {
        on_a_ring(|| {
            let buffers = FixedBuffers::new(COUNT_MIN);
            let Some(first) = buffers.take(1) else {
                return eprintln!("skipped: too little memory may be locked");
            };
            let rest: Vec<_> = std::iter::from_fn(|| buffers.take(50_000)).collect();
            assert_eq!((rest.len(), first.len()), (COUNT_MIN - 1, BUFFER_BYTES));
            drop(first);
            assert!(buffers.take(1).is_some() && buffers.take(BUFFER_BYTES as u64).is_none());
            assert!(buffers.take(u64::MAX).is_none());
        });
    }

    #[test]
    fn where_memory_may_not_be_registered_there_are_none() {
        on_a_ring(|| {
            let first = FixedBuffers::new(COUNT_MIN);
            if first.take(1).is_some() {
                assert!(FixedBuffers::new(COUNT_MIN).take(1).is_none(), "a ring has one set of them");
            }
            assert!(FixedBuffers::new(1 << 20).take(1).is_none(), "more than memory, and one set is there");
        });
    }
}
