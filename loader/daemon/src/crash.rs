//! Places where a process may be ended by a test: before and behind each call that changes what lies on storage.
//!
//! What `kill -9` or a power cut leaves is whatever was written until then, so tests end real processes at every one of
//! these places in turn and look at what is left. In builds with debug assertions `FOREBAY_DIE_AT_WRITE=n` is the n-th
//! place that the process comes to, on whatever thread; in others there are none.

/// Ends the process here where a test has asked for it.
#[inline]
pub(crate) fn place() {
    #[cfg(debug_assertions)]
    chosen();
}

#[cfg(debug_assertions)]
fn chosen() {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static LAST: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("FOREBAY_DIE_AT_WRITE").ok()?.parse().ok());
    static PASSED: AtomicU64 = AtomicU64::new(0);
    if LAST.is_some_and(|last| PASSED.fetch_add(1, Ordering::Relaxed) + 1 == last) {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}
