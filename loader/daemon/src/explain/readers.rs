//! Who reads: threads, or rings where more reads are with the storage than there are threads.

use super::PoolFacts;

/// More reads at a time gain nothing: by then the storage is the limit.
const THREADS_ENOUGH: usize = 256;
const DEPTH_ENOUGH: usize = 1024;

/// Times the read threads, beyond which it is rings that read. A mean that was measured lies a little beside the truth:
/// busy threads are no rings.
const MORE_THAN_THREADS: f64 = 1.25;

/// What bounds the reads at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Readers {
    /// The setting.
    pub(super) setting: &'static str,
    /// Its value.
    pub(super) value: usize,
    /// The greatest value that makes sense.
    pub(super) enough: usize,
    /// Reads that it allows at a time.
    pub(super) at_a_time: usize,
    /// What is busy then.
    pub(super) words: &'static str,
}

impl PoolFacts {
    /// Who serves where `reading` reads are with the storage on average.
    pub(super) fn readers(&self, reading: f64) -> Readers {
        let by_rings = self.engine == "uring" || reading > MORE_THAN_THREADS * self.read_threads as f64;
        if self.uring_threads > 0 && by_rings {
            return Readers {
                setting: "uring_depth",
                value: self.uring_depth,
                enough: DEPTH_ENOUGH,
                at_a_time: self.uring_threads * self.uring_depth,
                words: "places in the rings",
            };
        }
        Readers {
            setting: "read_threads",
            value: self.read_threads,
            enough: THREADS_ENOUGH,
            at_a_time: self.read_threads,
            words: "read threads",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_meant_where_they_alone_can_be() {
        let pool = |engine: &str, uring_threads| PoolFacts {
            read_threads: 16,
            uring_threads,
            uring_depth: 128,
            engine: engine.to_owned(),
            ..PoolFacts::default()
        };
        let setting = |pool: PoolFacts, reading| pool.readers(reading).setting;
        assert_eq!(setting(pool("threads", 0), 16.0), "read_threads");
        assert_eq!(setting(pool("threads+uring", 2), 16.3), "read_threads", "16 busy ones, measured");
        assert_eq!(setting(pool("threads+uring", 2), 24.1), "uring_depth");
        assert_eq!(setting(pool("uring", 2), 1.0), "uring_depth");
        assert_eq!(pool("uring", 2).readers(1.0).at_a_time, 256);
    }
}
