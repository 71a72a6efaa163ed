//! Opens a path beneath a directory, part by part, where the kernel's `openat2` is missing or forbidden.
//!
//! No part is ever followed by the kernel: a link is read and its parts take its place, and `..` goes back to a
//! directory that was opened on the way down, so a rename in between leads nowhere new.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

/// As the kernel: so many links on one path, then ELOOP.
const LINKS_MAX: usize = 40;

/// Opens `path` beneath `dir`; [`Errno::XDEV`] where it, or a link on it, is absolute or climbs out.
pub(super) fn open(dir: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut below: Vec<OwnedFd> = Vec::new();
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    push_parts(&mut parts, path)?;
    while let Some(part) = parts.pop() {
        let here = below.last().unwrap_or(dir).as_fd();
        if part == b".." {
            below.pop().ok_or(Errno::XDEV)?;
        } else if let Some(target) = link_target(here, &part)? {
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP);
            }
            push_parts(&mut parts, &target)?;
        } else if parts.is_empty() {
            return open_here(here, &part, flags);
        } else {
            let inner = open_here(here, &part, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
            below.push(inner);
        }
    }
    open_here(below.last().unwrap_or(dir).as_fd(), b".", flags)
}

/// Puts the parts of a path on top of the stack, its first one uppermost.
fn push_parts(parts: &mut Vec<Vec<u8>>, path: &[u8]) -> Result<(), Errno> {
    if path.starts_with(b"/") {
        return Err(Errno::XDEV);
    }
    let named = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.extend(named.rev().map(<[u8]>::to_vec));
    Ok(())
}

fn link_target(here: BorrowedFd<'_>, part: &[u8]) -> Result<Option<Vec<u8>>, Errno> {
    match rustix::fs::readlinkat(here, part, Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        Err(Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn open_here(here: BorrowedFd<'_>, part: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    retry_on_intr(|| rustix::fs::openat(here, part, flags | OFlags::NOFOLLOW, Mode::empty()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;

    use super::super::root::Root;
    use super::*;

    fn both(path: &str) -> (Result<u64, Errno>, Result<u64, Errno>) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(dir.path().join("secret"), "").unwrap();
        std::fs::write(root.join("a/b/file"), "").unwrap();
        symlink("a/b", root.join("to_b")).unwrap();
        symlink("../../to_b/file", root.join("a/b/round")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink("/etc/passwd", root.join("absolute")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let inode = |root: Arc<Root>| {
            root.open_beneath(path.as_bytes(), OFlags::RDONLY).map(|fd| rustix::fs::fstat(fd).unwrap().st_ino)
        };
        (inode(Root::open(&root).unwrap()), inode(Root::open_walking(&root)))
    }

    #[test]
    fn the_walk_answers_as_the_kernel_does() {
        for path in [
            "a/b/file",
            "a//b/./file",
            "to_b/file",
            "to_b/round",
            "a/../a/b/file",
            "a/b/../../to_b/file",
            ".",
            "a/b",
            "out",
            "absolute",
            "loop",
            "loop/x",
            "/etc/passwd",
            "..",
            "../secret",
            "a/../../secret",
            "a/b/file/x",
            "missing",
            "",
        ] {
            let (kernel, walk) = both(path);
            assert_eq!(kernel, walk, "{path:?}");
        }
    }

    #[test]
    fn what_leaves_the_root_is_refused_and_what_stays_is_opened() {
        for path in ["out", "absolute", "/etc/passwd", "..", "a/../../secret"] {
            assert_eq!(both(path).1, Err(Errno::XDEV), "{path:?}");
        }
        assert_eq!(both("loop").1, Err(Errno::LOOP));
        assert!(both("to_b/round").1.is_ok());
    }
}
