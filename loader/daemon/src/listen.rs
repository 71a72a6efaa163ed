//! Unix sockets to listen on: their files are made with mode 0660, taken over when stale, and removed at the end.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::error::{Fault, Kind};
use crate::sys;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens for training processes. A socket file that nobody listens on any more is taken over; a live one is an error.
///
/// # Errors
/// Invalid, naming the path and the cure.
pub fn seqpacket(path: &Path) -> Result<AsyncFd<OwnedFd>, Fault> {
    let socket = bound(path, SocketType::SEQPACKET)?;
    sys::reactor_fd(socket, Interest::READABLE).map_err(|error| socket_fault(path, &error))
}

/// Listens for operators' commands, as [`seqpacket`] does.
///
/// # Errors
/// Invalid, naming the path and the cure.
pub fn stream(path: &Path) -> Result<tokio::net::UnixListener, Fault> {
    let socket = bound(path, SocketType::STREAM)?;
    tokio::net::UnixListener::from_std(socket.into()).map_err(|error| socket_fault(path, &error))
}

fn bound(path: &Path, kind: SocketType) -> Result<OwnedFd, Fault> {
    clear_stale(path, kind)?;
    let listening = || {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        bind_private(&socket, path)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    listening().map_err(|error: io::Error| socket_fault(path, &error))
}

/// Binds with mode 0660. At no moment may others connect: the file is made with what the socket allows, less the umask, and
/// given what that took. The umask stays as it is: other threads make files meanwhile.
fn bind_private(socket: impl AsFd, path: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o660);
    rustix::fs::fchmod(&socket, mode)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    // By its descriptor, so that a link that someone put there in between leads nowhere.
    let made = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    Ok(rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode)?)
}

fn clear_stale(path: &Path, kind: SocketType) -> Result<(), Fault> {
    use std::os::unix::fs::FileTypeExt;
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(Fault::invalid(format!("{} exists and is no socket", path.display()))
            .hint("choose another path for the socket"));
    }
    let probe = SocketAddrUnix::new(path).and_then(|address| {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &address)
    });
    match probe {
        Err(rustix::io::Errno::CONNREFUSED) => {
            tracing::info!(socket = %path.display(), "taking over a socket that nobody listens on");
            std::fs::remove_file(path).map_err(|error| socket_fault(path, &error))
        }
        _ => Err(Fault::invalid(format!("{} is in use by another daemon", path.display()))
            .hint("stop it (`forebay drain`), or choose another path for the socket")),
    }
}

fn socket_fault(path: &Path, error: &io::Error) -> Fault {
    Fault::from_error(Kind::Invalid, error)
        .context(format!("listen on {}", path.display()))
        .hint("its folder must exist and be writable for the daemon's user, and the path under 108 bytes")
}

/// Removes a socket's file when the daemon ends.
pub struct Unlink(pub PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
