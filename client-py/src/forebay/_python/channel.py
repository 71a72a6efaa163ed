"""Messages with descriptors beside them, over a stream socket between a loader and one of its processes."""

from __future__ import annotations

import array
import os
import pickle
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

_HEADER = struct.Struct("<QI")  # bytes of the message, descriptors beside it
_READ_BYTES = 1 << 18
_DESCRIPTORS_MAX = 16
_ANCILLARY_BYTES = socket.CMSG_SPACE(_DESCRIPTORS_MAX * array.array("i").itemsize)
_SEND_FLAGS = int(socket.MSG_NOSIGNAL) | int(socket.MSG_DONTWAIT)
_RECEIVE_FLAGS = int(socket.MSG_CMSG_CLOEXEC) | int(socket.MSG_DONTWAIT)


class Message(NamedTuple):
    """What came, and the descriptors beside it, which belong to the caller."""

    body: Any
    descriptors: list[int]


class Channel:
    """Sends without waiting and keeps what does not go; both sides may send at once and never block each other.

    An exception in the middle of a transfer (Ctrl-C) would leave half a message behind: the channel then has ended.
    """

    __slots__ = ("_coming", "_descriptors", "_ended", "_going", "_midway", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._coming = bytearray()
        self._descriptors: deque[int] = deque()
        self._going: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._ended = self._midway = False

    def fileno(self) -> int:
        """Give the socket's descriptor, for poll."""
        return self.sock.fileno()

    @property
    def is_full(self) -> bool:
        """Whether something waits for room in the socket."""
        return bool(self._going)

    def send(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Send a message, or what of it goes now. Raises `OSError` where the other side is gone."""
        body = pickle.dumps(message, 5)
        kept = tuple(os.dup(descriptor) for descriptor in descriptors)
        self._going.append((memoryview(_HEADER.pack(len(body), len(kept)) + body), kept))
        self.flush()

    def send_all(self, message: object, descriptors: Sequence[int] = ()) -> None:
        """Send a whole message, waiting where the socket is full."""
        self.send(message, descriptors)
        while self._going:
            _wait(self.sock, select.POLLOUT)
            self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        self._begin()
        while self._going:
            data, descriptors = self._going[0]
            beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self.sock.sendmsg([data], beside, _SEND_FLAGS)
            except BlockingIOError:
                break
            except OSError:
                self._midway = False  # what the other side sent before it went is still to be read
                self._drop_going()
                raise
            if sent == len(data):
                self._going.popleft()
            else:
                self._going[0] = (data[sent:], ())
            for descriptor in descriptors:
                os.close(descriptor)
        self._midway = False

    def receive(self) -> list[Message]:
        """Give the messages that have come. Raises `EOFError` where there are none and the other side is gone."""
        self._begin()
        while not self._ended and self._read():
            pass
        made = self._whole_messages()
        self._midway = False
        if self._ended and not made:
            raise EOFError("the other side is gone")
        return made

    def wait(self) -> list[Message]:
        """Wait for at least one message. Raises `EOFError` where the other side is gone."""
        while True:
            made = self.receive()
            if made:
                return made
            _wait(self.sock, select.POLLIN)

    def close(self) -> None:
        """Close this process's end, and all descriptors that nobody took."""
        self.sock.close()
        while self._descriptors:
            os.close(self._descriptors.pop())
        self._drop_going()

    def _drop_going(self) -> None:
        """Close what was to go beside messages: a socket among it ends when nobody holds it any more."""
        while self._going:
            for descriptor in self._going.pop()[1]:
                os.close(descriptor)

    def _begin(self) -> None:
        if self._midway:
            raise EOFError("an interrupt cut a transfer short")
        self._midway = True

    def _read(self) -> bool:
        try:
            data, ancillary, _, _ = self.sock.recvmsg(_READ_BYTES, _ANCILLARY_BYTES, _RECEIVE_FLAGS)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, ancillary = b"", []
        for level, kind, numbers in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                found = array.array("i")
                found.frombytes(numbers[: len(numbers) - len(numbers) % found.itemsize])
                self._descriptors.extend(found)
        self._coming += data
        self._ended = not data
        return bool(data)

    def _whole_messages(self) -> list[Message]:
        made: list[Message] = []
        coming = self._coming
        while len(coming) >= _HEADER.size:
            length, count = _HEADER.unpack_from(coming)
            end = _HEADER.size + length
            if len(coming) < end:
                break
            body = pickle.loads(bytes(memoryview(coming)[_HEADER.size : end]))
            del coming[:end]
            made.append(Message(body, [self._descriptors.popleft() for _ in range(count)]))
        return made


def _wait(sock: socket.socket, events: int) -> None:
    poll = select.poll()
    poll.register(sock, events)
    poll.poll()


def pair() -> tuple[socket.socket, socket.socket]:
    """Make two connected stream sockets, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
