//! An opened directory that paths resolve beneath, and never outside of.

use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, retry_on_intr};

use super::beneath;
use super::error::StorageError;

/// `openat2` answers EAGAIN when a rename races with `..`; so many tries, then it is an error.
const RACES_MAX: usize = 16;

/// Nothing outside of the directory, and no link that the kernel makes up.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// An opened data directory.
///
/// A relative link that stays beneath the root is followed; an absolute one, or one that leaves, is refused.
pub struct Root {
    path: PathBuf,
    backing: Backing,
    /// Whether a server stands between us and the bytes.
    is_remote: bool,
    /// The device that its files lie on, where reads of them may be tried without waiting.
    nowait_device: Option<u64>,
}

/// File systems whose reads cross a network, or may, by what `statfs` calls them (linux/magic.h and their own sources).
const REMOTE: [u32; 11] = [
    0x0000_6969, // NFS
    0x6573_5546, // FUSE: s3fs, sshfs, gcsfuse, and what is local; nobody can tell
    0x0BD0_0BD0, // Lustre
    0xFF53_4D42, // CIFS
    0xFE53_4D42, // SMB2
    0x00C3_6400, // Ceph
    0x4750_4653, // GPFS
    0x1983_0326, // BeeGFS
    0x0102_1997, // 9P
    0x5346_414F, // AFS
    0x2030_528D, // PanFS
];

/// File systems that answer io_uring at once or by themselves later (`FMODE_NOWAIT`), by what `statfs` calls them. Reads
/// of others (NFS, FUSE, overlay) go to kernel threads, fewer than ours: they gain nothing from a ring.
const NOWAIT_READS: [u32; 4] = [
    0x0000_EF53, // ext4
    0x5846_5342, // xfs
    0x9123_683E, // btrfs
    0xF2F5_2010, // f2fs
];

enum Backing {
    /// The kernel keeps paths beneath the directory.
    Kernel(OwnedFd),
    /// `openat2` is missing or forbidden (old kernel, seccomp), so the path is walked part by part.
    Walk(OwnedFd),
    /// Nothing: for an engine whose files lie elsewhere.
    Nothing,
}

impl Root {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`StorageError::Root`] where it is missing, no directory, or not readable.
    pub fn open(path: impl AsRef<Path>) -> Result<Arc<Self>, StorageError> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = retry_on_intr(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))
            .map_err(|errno| StorageError::Root { path: path.display().to_string(), source: errno.into() })?;
        let kind = rustix::fs::fstatfs(&dir).map_or(0, |fs| fs.f_type as u32);
        let device = rustix::fs::fstat(&dir).ok().map(|stat| stat.st_dev);
        let nowait_device = device.filter(|_| NOWAIT_READS.contains(&kind));
        let backing = if kernel_resolves(&dir) { Backing::Kernel(dir) } else { Backing::Walk(dir) };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            backing,
            is_remote: REMOTE.contains(&kind),
            nowait_device,
        }))
    }

    /// A root without a directory, for [`MemoryEngine`](super::MemoryEngine); nothing can be opened beneath it.
    pub fn unbacked(name: &str) -> Arc<Self> {
        Arc::new(Self {
            path: PathBuf::from(name),
            backing: Backing::Nothing,
            is_remote: false,
            nowait_device: None,
        })
    }

    /// Whether its file system is a network's, where a read that takes long may have got lost on the way.
    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// The directory as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path beneath the root as a person reads it; bytes that are no UTF-8 show as replacement characters.
    pub fn display(&self, path: &[u8]) -> String {
        format!("{}/{}", self.path.display(), String::from_utf8_lossy(path))
    }

    /// Opens a path beneath the root; [`Errno::XDEV`] where it would leave, [`Errno::INVAL`] where it is empty.
    pub(crate) fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        if path.is_empty() {
            return Err(Errno::INVAL);
        }
        let flags = flags | OFlags::CLOEXEC;
        match &self.backing {
            Backing::Kernel(dir) => open_by_kernel(dir, path, flags),
            Backing::Walk(dir) => beneath::open(dir, path, flags),
            Backing::Nothing => Err(Errno::NOENT),
        }
    }

    /// The same where the kernel has every name on the way in memory, so that nothing is waited for. `None` says nothing:
    /// not in memory, not there, on a file system mounted beneath the root, which may have its server open it, or a kernel
    /// before 5.12.
    pub(super) fn open_at_once(&self, path: &[u8], flags: OFlags) -> Option<OwnedFd> {
        let Backing::Kernel(dir) = &self.backing else { return None };
        let resolve = RESOLVE | ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
        let named = Some(path).filter(|path| !path.is_empty())?;
        rustix::fs::openat2(dir, named, flags | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
    }

    /// Whether io_uring serves its reads without a kernel thread for each: ext4, xfs, btrfs, f2fs.
    pub(super) fn has_nowait_reads(&self) -> bool {
        self.nowait_device.is_some()
    }

    /// The device of such a file system: its queue is what those share who read from it. `None` for all others.
    pub(super) fn nowait_device(&self) -> Option<u64> {
        self.nowait_device
    }

    /// The same root with the kernel's help left out, so that tests reach the walk.
    #[cfg(test)]
    pub(super) fn open_walking(path: &Path) -> Arc<Self> {
        let root = Self::open(path).expect("a test's folder opens");
        let (Backing::Kernel(dir) | Backing::Walk(dir)) =
            Arc::into_inner(root).expect("nobody else has it").backing
        else {
            unreachable!("an opened root has a directory")
        };
        let backing = Backing::Walk(dir);
        Arc::new(Self { path: path.to_owned(), backing, is_remote: false, nowait_device: None })
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({:?})", self.path.as_os_str().as_bytes().escape_ascii().to_string())
    }
}

fn kernel_resolves(dir: &OwnedFd) -> bool {
    open_by_kernel(dir, b".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC).is_ok()
}

fn open_by_kernel(dir: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = || retry_on_intr(|| rustix::fs::openat2(dir, path, flags, Mode::empty(), RESOLVE));
    let mut opened = open();
    for _ in 1..RACES_MAX {
        if !matches!(opened, Err(Errno::AGAIN)) {
            break;
        }
        opened = open();
    }
    opened
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_missing_or_a_file_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for name in ["missing", "file"] {
            let error = Root::open(dir.path().join(name)).unwrap_err();
            assert!(error.to_string().ends_with(name), "{error}");
        }
    }

    /// Its server may be asked to open a file whose name is known.
    #[test]
    fn what_is_mounted_beneath_a_root_is_not_opened_at_once() {
        use std::os::unix::fs::MetadataExt as _;

        let device = |path: &str| std::fs::metadata(path).map(|found| found.dev()).ok();
        let root = Root::open("/").unwrap();
        if device("/dev") == device("/") || !kernel_resolves_at_once(&root) {
            return eprintln!("skipped: nothing is mounted there, or no kernel for it");
        }
        assert!(root.open_beneath(b"dev/null", OFlags::RDONLY).is_ok());
        assert!(root.open_at_once(b"dev/null", OFlags::RDONLY).is_none());
    }

    fn kernel_resolves_at_once(root: &Root) -> bool {
        root.open_at_once(b".", OFlags::RDONLY).is_some()
    }

    #[test]
    fn nothing_opens_beneath_an_unbacked_root() {
        assert_eq!(Root::unbacked("m").open_beneath(b"x", OFlags::RDONLY).unwrap_err(), Errno::NOENT);
    }
}
