//! Whether a directory is as it was when it was listed: its inode and times, and when not to believe them.
//!
//! A name that comes, goes or is replaced changes the times of the directory that it stands in, and of no other. Two
//! changes within the step of a file system's clock leave the same times (the kernel's steps are up to 10 ms, older
//! servers' a second), so a directory that was changed just before it was listed is listed again: as git does with
//! its index (Documentation/technical/racy-git.txt).

use rustix::fs::Stat;

/// A directory that was changed so shortly before it was listed may have been changed after, in the same step.
const RACY_NS: i64 = 2_000_000_000;

/// File systems whose directories' times say nothing certain, by `statfs(2)`: FUSE, 9p, SMB 1, SMB 2, CIFS, VirtualBox.
const VAGUE: [u64; 6] = [0x6573_5546, 0x0102_1997, 0x517B, 0xFE53_4D42, 0xFF53_4D42, 0x786F_4256];

/// A directory at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) inode: i64,
    pub(super) modified_ns: i64,
    pub(super) changed_ns: i64,
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        let ns = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        Self {
            inode: stat.st_ino as i64,
            modified_ns: ns(stat.st_mtime, stat.st_mtime_nsec as i64),
            changed_ns: ns(stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether a listing that began at `now_ns` (since 1970) saw everything that these times stand for.
    pub(super) fn is_settled(&self, now_ns: i64) -> bool {
        let newest = self.modified_ns.max(self.changed_ns);
        self.modified_ns > 0 && newest.saturating_add(RACY_NS) <= now_ns
    }
}

/// Whether a file system keeps the times of its directories.
pub(super) fn keeps_times(kind: u64) -> bool {
    !VAGUE.contains(&(kind & 0xFFFF_FFFF))
}

/// Nanoseconds since 1970, by this machine.
pub(super) fn now_ns() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_just_before_the_listing_or_after_it_is_not_settled() {
        let at = |modified_ns, changed_ns| Stamp { inode: 1, modified_ns, changed_ns };
        let second = 1_000_000_000;
        assert!(at(second, second).is_settled(3 * second));
        assert!(!at(second, second).is_settled(3 * second - 1));
        assert!(!at(second, 2 * second).is_settled(3 * second), "its time was set back, as rsync does");
        assert!(!at(9 * second, 9 * second).is_settled(3 * second), "a server whose clock is ahead");
        assert!(!at(0, 0).is_settled(3 * second), "a file system without times");
    }

    #[test]
    fn times_of_fuse_are_not_believed() {
        assert!(keeps_times(0xEF53) && keeps_times(0x6969) && !keeps_times(0x6573_5546));
    }
}
