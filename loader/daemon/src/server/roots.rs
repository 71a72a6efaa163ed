//! Who may read what: each source must lie beneath a root that allows the caller.

use std::path::{Path, PathBuf};

use crate::config::{Allow, RootConfig};
use crate::error::{Fault, Kind};
use crate::sys;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The process that started this private daemon: the same user, so the kernel's own checks are enough.
    Parent,
    /// A process that connected, as the kernel names it.
    Process {
        /// Its user.
        uid: u32,
        /// Its group.
        gid: u32,
    },
}

/// The directories that jobs may read beneath.
#[derive(Clone, Debug)]
pub struct Roots {
    allowed: Vec<RootConfig>,
    /// The table of the configuration, and what the daemon does beneath its paths.
    table: &'static str,
    does: &'static str,
}

impl Roots {
    /// The roots of a configuration.
    pub fn new(roots: Vec<RootConfig>) -> Self {
        Self { allowed: roots, table: "root", does: "reads" }
    }

    /// The folders where runs may keep records.
    pub fn of_states(roots: Vec<RootConfig>) -> Self {
        Self { allowed: roots, table: "state_root", does: "keeps records" }
    }

    /// Checks that `peer` may read `path`, and gives it without links, so that what is opened is what was checked.
    ///
    /// # Errors
    /// Invalid, NotFound, or Denied: outside of every root, or beneath roots that do not allow the peer.
    pub fn check(&self, peer: Peer, path: &str) -> Result<PathBuf, Fault> {
        let given = Path::new(path);
        if path.is_empty() || path.len() > 4096 || path.contains('\0') || !given.is_absolute() {
            let message = format!("path {:?} is not absolute", path.chars().take(200).collect::<String>());
            return Err(Fault::invalid(message).hint("send the absolute path of the source"));
        }
        if peer == Peer::Parent {
            return Ok(given.to_owned());
        }
        // Beneath no root: refused before the file system is touched, so that nothing outside can be probed for.
        if !self.allowed.iter().any(|root| given.starts_with(&root.path)) {
            return Err(self.outside(path));
        }
        // A mount that hangs holds nobody else.
        sys::aside(|| self.check_real(peer, path))
    }

    /// Checks where `path` leads.
    fn check_real(&self, peer: Peer, path: &str) -> Result<PathBuf, Fault> {
        let real = std::fs::canonicalize(path).map_err(|error| {
            Fault::from_error(Kind::NotFound, &error).context(format!("open source {path}")).object(path)
        })?;
        let mut beneath = self
            .allowed
            .iter()
            .filter(|root| root.real().is_some_and(|root| real.starts_with(root)))
            .peekable();
        if beneath.peek().is_none() {
            return Err(self.outside(path));
        }
        if beneath.any(|root| root.allow.permits(peer)) {
            return Ok(real);
        }
        Err(Fault::new(Kind::Denied, format!("{path}: its root does not allow {peer}"))
            .object(path)
            .hint("add the user or group to `allow` of that root in the daemon's configuration"))
    }

    fn outside(&self, path: &str) -> Fault {
        let roots: Vec<_> = self.allowed.iter().map(|root| root.path.display().to_string()).collect();
        let hint = if roots.is_empty() {
            format!("the daemon's configuration names no [[{}]]: add one", self.table)
        } else {
            format!("this daemon {} beneath {}", self.does, roots.join(", "))
        };
        let table = self.table.replace('_', " ");
        Fault::new(Kind::Denied, format!("{path} lies outside of the daemon's {table}s"))
            .object(path)
            .hint(hint)
    }
}

impl RootConfig {
    fn real(&self) -> Option<PathBuf> {
        std::fs::canonicalize(&self.path).ok()
    }
}

impl Allow {
    /// Whether this caller may.
    pub(super) fn permits(&self, peer: Peer) -> bool {
        match peer {
            Peer::Parent => true,
            Peer::Process { uid, gid } => {
                (self.uids.is_empty() && self.gids.is_empty())
                    || self.uids.contains(&uid)
                    || self.gids.contains(&gid)
            }
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parent => f.write_str("the parent process"),
            Self::Process { uid, gid } => write!(f, "uid {uid} with gid {gid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer::Process { uid: 1000, gid: 100 };

    fn roots(path: &Path, allow: Allow) -> Roots {
        Roots::new(vec![RootConfig { path: path.to_owned(), allow }])
    }

    #[test]
    fn a_path_beneath_a_root_is_given_without_links() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("real")).expect("a folder");
        std::os::unix::fs::symlink("real", dir.path().join("link")).expect("a link");
        let path = dir.path().join("link");
        let checked =
            roots(dir.path(), Allow::default()).check(PEER, path.to_str().expect("UTF-8")).expect("inside");
        assert_eq!(checked, dir.path().canonicalize().expect("real").join("real"));
    }

    #[test]
    fn outside_above_and_through_a_link_is_denied() {
        let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::os::unix::fs::symlink(other.path(), dir.path().join("out")).expect("a link");
        let roots = roots(dir.path(), Allow::default());
        let above = format!("{}/../x", dir.path().display());
        for path in ["/etc", &above, &format!("{}/out", dir.path().display())] {
            let fault = roots.check(PEER, path).expect_err("outside");
            assert!(matches!(fault.kind, Kind::Denied | Kind::NotFound), "{path}: {fault}");
        }
        assert_eq!(roots.check(PEER, "relative").expect_err("relative").kind, Kind::Invalid);
    }

    #[test]
    fn users_and_groups_that_are_not_allowed_are_denied_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().to_str().expect("UTF-8");
        let ask = |uids: &[u32], gids: &[u32]| {
            roots(dir.path(), Allow { uids: uids.to_vec(), gids: gids.to_vec() }).check(PEER, path)
        };
        assert!(ask(&[], &[]).is_ok() && ask(&[1000], &[]).is_ok() && ask(&[], &[100]).is_ok());
        let fault = ask(&[1], &[2]).expect_err("not allowed");
        assert_eq!(fault.kind, Kind::Denied);
        assert!(fault.message.contains("uid 1000"));
    }
}
