//! A `SOCK_SEQPACKET` socket on tokio: whole records, a descriptor beside one now and then.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{Interest, Ready};

/// One end of a connection that keeps record boundaries.
#[derive(Debug)]
pub struct SeqPacket {
    fd: AsyncFd<OwnedFd>,
}

/// A record's length in the caller's buffer and the descriptors that came with it.
#[derive(Debug)]
pub struct Received {
    /// 0 is the end: the peer has closed.
    pub len_bytes: usize,
    /// At most two; a peer that sends more has the rest closed by the kernel.
    pub fds: Vec<OwnedFd>,
}

impl SeqPacket {
    /// Takes a connected socket over and makes it non-blocking. Needs a tokio runtime.
    ///
    /// # Errors
    /// What `fcntl` or the reactor says.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(Self { fd: crate::sys::reactor_fd(fd, Interest::READABLE | Interest::WRITABLE)? })
    }

    /// Waits for the next record. Cancel-safe: a record is taken whole or not at all.
    ///
    /// # Errors
    /// What `recvmsg` says; a record longer than `buffer` is `InvalidData`.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        loop {
            let mut guard = self.fd.readable().await?;
            match receive_now(self.fd.get_ref(), buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready_matching(Ready::READABLE);
                }
                other => return other,
            }
        }
    }

    /// Sends one record, with `pass` beside it; waits while the socket is full. Cancel-safe.
    ///
    /// # Errors
    /// What `sendmsg` says; a peer that is gone is `BrokenPipe`, never a signal.
    pub async fn send(&self, record: &[u8], pass: Option<BorrowedFd<'_>>) -> io::Result<()> {
        loop {
            let mut guard = self.fd.writable().await?;
            match send_now(self.fd.get_ref(), record, pass) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    guard.clear_ready_matching(Ready::WRITABLE);
                }
                other => return other,
            }
        }
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}

/// Sends one record without waiting.
///
/// # Errors
/// What `sendmsg` says.
pub fn send_now(fd: impl AsFd, record: &[u8], pass: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = pass.map(|fd| [fd]);
    if let Some(fds) = &fds {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let sent = rustix::net::sendmsg(
        fd,
        &[IoSlice::new(record)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    )?;
    debug_assert_eq!(sent, record.len(), "SEQPACKET sends whole records");
    Ok(())
}

/// Receives one record without waiting on a non-blocking socket, or waiting on a blocking one.
///
/// # Errors
/// What `recvmsg` says; a record longer than `buffer` is `InvalidData`.
pub fn receive_now(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let message = rustix::net::recvmsg(fd, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    let mut fds = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            fds.extend(passed);
        }
    }
    if message.flags.contains(rustix::net::ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "record is longer than the protocol allows"));
    }
    Ok(Received { len_bytes: message.bytes, fds })
}

/// A connected pair, blocking.
///
/// # Errors
/// What `socketpair` says: too many descriptors.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn records_keep_their_boundaries_and_a_descriptor_travels() {
        let (left, right) = pair().expect("a pair");
        let (left, right) = (SeqPacket::new(left).expect("async"), SeqPacket::new(right).expect("async"));
        let (passed, kept) = pair().expect("a pair");
        left.send(b"one", Some(passed.as_fd())).await.expect("send");
        left.send(b"two", None).await.expect("send");
        drop(passed);
        let mut buffer = [0; 16];
        let first = right.receive(&mut buffer).await.expect("receive");
        assert_eq!((&buffer[..first.len_bytes], first.fds.len()), (&b"one"[..], 1));
        send_now(&first.fds[0], b"through", None).expect("the passed end is connected");
        assert_eq!(receive_now(&kept, &mut buffer).expect("receive").len_bytes, 7);
        assert_eq!(right.receive(&mut buffer).await.expect("receive").len_bytes, 3);
        drop(left);
        assert_eq!(right.receive(&mut buffer).await.expect("the end").len_bytes, 0);
    }

    #[tokio::test]
    async fn a_record_longer_than_the_buffer_is_an_error() {
        let (left, right) = pair().expect("a pair");
        send_now(&left, &[7; 32], None).expect("send");
        let error = SeqPacket::new(right).expect("async").receive(&mut [0; 16]).await.expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
