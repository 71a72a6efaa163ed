"""A SEQPACKET socket, read one record at a time, so that an interrupt never leaves half a record behind.

A record lies in the buffer only while a caller works on it. A caller that finds one there knows that an
exception (Ctrl-C) cut the last call short, and gives the connection up instead of guessing.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import weakref
from collections.abc import Callable

from .errors import ConnectionLostError, ProtocolError

# A finalizer on another thread may leave work for the thread that waits; it looks this often.
_LOOK_AGAIN_MS = 100
_SEND_FLAGS = int(socket.MSG_DONTWAIT) | int(socket.MSG_NOSIGNAL)
_RECEIVE_FLAGS = int(socket.MSG_DONTWAIT) | int(socket.MSG_CMSG_CLOEXEC)
_DESCRIPTORS_MAX = 4
# Plain ints: an operation on enum flags runs a dozen Python functions, each time.
_TRUNCATED = int(socket.MSG_TRUNC) | int(socket.MSG_CTRUNC)
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected SEQPACKET sockets, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class RecordSocket:
    """Owns `sock` and the one buffer its records are received into."""

    __slots__ = ("__weakref__", "_buffer", "_poll", "_view", "closed", "descriptors", "sock")

    def __init__(self, sock: socket.socket, record_bytes_max: int) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.closed = False
        self.descriptors: list[int] = []
        self._buffer = bytearray(record_bytes_max)
        self._view = memoryview(self._buffer)
        self._poll = select.poll()
        # Not __del__: in a cycle of garbage the socket could go first, and warn that nobody closed it.
        weakref.finalize(self, sock.close)
        weakref.finalize(self, _close_all, self.descriptors)

    def send(self, record: bytes, descriptor: int | None = None) -> None:
        """Send one record, waiting while the peer's queue is full (11 records, `net.unix.max_dgram_qlen`)."""
        while not self.try_send(record, descriptor):
            self._wait(select.POLLOUT)

    def try_send(self, record: bytes, descriptor: int | None = None) -> bool:
        """Send one record now, or give False where the peer's queue is full."""
        try:
            if descriptor is None:
                self.sock.send(record, _SEND_FLAGS)
            else:
                beside = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))
                self.sock.sendmsg([record], [beside], _SEND_FLAGS)
        except BlockingIOError:
            return False
        except OSError as error:
            raise ConnectionLostError("the daemon closed the connection", causes=[str(error)]) from error
        return True

    def receive(self, before_wait: Callable[[], int | None] | None = None) -> memoryview:
        """Wait for the next record; call `done()` when it has had its effect.

        `before_wait` runs each time before the thread goes to sleep: what it sends may be what the daemon
        waits for. It may say after how many milliseconds it wants to run again. Descriptors that came
        along are in `self.descriptors` and belong to the caller.
        """
        if self._buffer[0]:
            raise ConnectionLostError("an interrupt cut the last call short")
        while True:
            try:
                length, ancillary, flags, _ = self.sock.recvmsg_into([self._buffer], _ANCILLARY_BYTES, _RECEIVE_FLAGS)
                break
            except BlockingIOError:
                soon = before_wait() if before_wait is not None else None
                self._wait(select.POLLIN, _LOOK_AGAIN_MS if soon is None else soon)
            except OSError as error:
                raise ConnectionLostError("the daemon went away", causes=[str(error)]) from error
        if ancillary:
            self._take_descriptors(ancillary)
        if not length:
            raise ConnectionLostError("the daemon went away", causes=["end of file"])
        if flags & _TRUNCATED:
            raise ProtocolError(f"a record is longer than {len(self._buffer)} bytes")
        return self._view[:length]

    def has_record(self) -> bool:
        """Whether `receive()` would not have to wait."""
        self._poll.register(self.sock, select.POLLIN)
        return bool(self._poll.poll(0))

    def done(self) -> None:
        """Mark the received record as dealt with."""
        self._buffer[0] = 0

    def hang_up(self) -> None:
        """End the connection for both sides and for every forked copy; the descriptor stays ours.

        A finalizer on another thread may be in `send` right now: closing the descriptor under it could let
        it write into whatever file gets the number next.
        """
        self.closed = True
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Close this process's copy after a fork, without ending the connection of its owner."""
        self.closed = True
        self.sock.close()

    def _wait(self, events: int, look_again_ms: int = _LOOK_AGAIN_MS) -> None:
        self._poll.register(self.sock, events)
        self._poll.poll(look_again_ms)

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
                self.descriptors.extend(numbers)

    def close_descriptors(self) -> None:
        """Close what came beside a record and nobody wants."""
        _close_all(self.descriptors)


def _close_all(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
