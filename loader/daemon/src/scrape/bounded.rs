//! A listener whose connections are few, short-spoken and not silent for long, so that no caller can hold the daemon up.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections at a time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 16;
/// Bytes of requests that were not answered yet.
const UNANSWERED_BYTES_MAX: usize = 16 << 10;
/// Without a byte in either direction; Prometheus asks every 15 s to 60 s and may keep its connection.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A listener, and what it may have open.
pub struct Bounded<L> {
    inner: L,
    free: Arc<Semaphore>,
}

/// One connection.
pub struct Connection<S> {
    stream: S,
    unanswered_bytes: usize,
    silence: Pin<Box<Sleep>>,
    silence_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl<L> Bounded<L> {
    /// Bounds the connections of `inner`.
    pub fn new(inner: L) -> Self {
        Self { inner, free: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: Listener> Listener for Bounded<L> {
    type Io = Connection<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let place = Arc::clone(&self.free).acquire_owned().await.expect("nobody closes it");
        let (stream, address) = self.inner.accept().await;
        (Connection::new(stream, place, SILENCE_MAX), address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.inner.local_addr()
    }
}

impl<S> Connection<S> {
    fn new(stream: S, place: OwnedSemaphorePermit, silence_max: Duration) -> Self {
        let silence = Box::pin(tokio::time::sleep(silence_max));
        Self { stream, unanswered_bytes: 0, silence, silence_max, _place: place }
    }

    /// Something moved, or nothing has for too long.
    fn moved<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            let until = Instant::now() + self.silence_max;
            self.silence.as_mut().reset(until);
        } else if self.silence.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.unanswered_bytes += buffer.filled().len() - before;
        if self.unanswered_bytes > UNANSWERED_BYTES_MAX {
            // An error means that nothing was read.
            buffer.set_filled(before);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a request of more than 16 KiB",
            )));
        }
        self.moved(context, polled)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unanswered_bytes = 0;
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moved(context, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn connection(
        silence_max: Duration,
    ) -> (Connection<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let place = Arc::new(Semaphore::new(1)).acquire_owned().await.expect("open");
        (Connection::new(ours, place, silence_max), theirs)
    }

    #[tokio::test]
    async fn requests_longer_than_the_limit_end_the_connection_and_answers_start_the_count_again() {
        let (mut ours, mut theirs) = connection(SILENCE_MAX).await;
        let mut buffer = vec![0; UNANSWERED_BYTES_MAX];
        for _ in 0..3 {
            theirs.write_all(&buffer).await.expect("room");
            ours.read_exact(&mut buffer).await.expect("a whole request");
            ours.write_all(b"ok").await.expect("room");
        }
        theirs.write_all(&vec![0; UNANSWERED_BYTES_MAX + 1]).await.expect("room");
        let mut all = Vec::new();
        let error = ours.read_to_end(&mut all).await.expect_err("too long");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_connection_that_stays_silent_is_closed() {
        let (mut ours, mut theirs) = connection(Duration::from_millis(20)).await;
        let mut byte = [0];
        theirs.write_all(&byte).await.expect("room");
        ours.read_exact(&mut byte).await.expect("what was said");
        let error = ours.read_exact(&mut byte).await.expect_err("silent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn one_connection_more_than_the_limit_waits_until_another_ends() {
        let inner = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = inner.local_addr().expect("its address");
        let mut bounded = Bounded::new(inner);
        let (mut held, mut clients) = (Vec::new(), Vec::new());
        for _ in 0..CONNECTIONS_MAX {
            clients.push(tokio::net::TcpStream::connect(address).await.expect("a connection"));
            held.push(bounded.accept().await.0);
        }
        clients.push(tokio::net::TcpStream::connect(address).await.expect("it waits in the backlog"));
        let mut next = Box::pin(bounded.accept());
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        held.pop();
        next.await;
    }
}
