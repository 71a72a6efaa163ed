"""The daemon's slots in our address space, and the leases on them.

A batch is one ctypes array over its slot. Every tensor of the batch is made on that array and so keeps it
alive, through views, reshape, DLPack and torch; when the last one goes, a finalizer gives the slot back. The
finalizer must sit on the ctypes array: numpy makes a memoryview of its own over any other buffer, and a
finalizer on ours would fire while the array lives.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from . import _wire
from ._fenced import Dropped, Fence
from ._socket import RecordSocket
from .errors import ConnectionLostError, ProtocolError

# Python keeps a duplicate of the descriptor beside each mapping unless told otherwise (3.13).
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


class Memory(mmap.mmap):
    """A mapping of a file in memory, shared and writable, that can have something done before it is unmapped.

    Not a `weakref.finalize`: an mmap unmaps first and tells weak references after.
    """

    before_unmapping: Callable[[], None] | None = None

    @staticmethod
    def of(descriptor: int, length: int) -> Memory:
        """Map `length` bytes of a file, which may be closed then."""
        return Memory(descriptor, length, **_NO_DESCRIPTOR)

    @property
    def address(self) -> int:
        """Where it starts."""
        return ctypes.addressof(ctypes.c_ubyte.from_buffer(self))

    def __del__(self) -> None:
        if self.before_unmapping is not None:
            self.before_unmapping()


class Arena:
    """A mapping of one memfd, in slots of equal size.

    It is never unmapped by hand: each ctypes array holds the mapping, which goes with the last of them.
    """

    __slots__ = ("__weakref__", "_mapping", "_slot", "descriptor", "is_one_off", "lent", "slot_bytes", "slots")

    def __init__(self, announced: _wire.Arena, descriptor: int, lends: bool = False) -> None:
        """Map the memfd and close `descriptor`; `lends`: keep one of our own, for others to map it too."""
        self.slot_bytes = announced.slot_bytes
        self.slots = announced.slots
        self.is_one_off = bool(announced.flags & _wire.ONE_OFF)
        try:
            length = self.slot_bytes * self.slots
            if length == 0 or os.fstat(descriptor).st_size < length:
                raise ProtocolError(f"an arena of {self.slots} slots of {self.slot_bytes} bytes is too small")
            self._mapping = Memory.of(descriptor, length)
            self.descriptor = os.dup(descriptor) if lends else -1
        finally:
            os.close(descriptor)
        self.lent: object = None  # what those who lend it know of it
        if lends:
            weakref.finalize(self, os.close, self.descriptor)
        self._slot = ctypes.c_ubyte * self.slot_bytes

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return len(self._mapping)

    @property
    def address(self) -> int:
        """Where it starts."""
        return self._mapping.address

    def pin(self, registered: Callable[[], None]) -> None:
        """Have `registered` called right before the memory is unmapped."""
        self._mapping.before_unmapping = registered

    def slot(self, index: int) -> ctypes.Array[ctypes.c_ubyte]:
        """Give the bytes of one slot, without a copy."""
        if index >= self.slots:
            raise ProtocolError(f"slot {index} of an arena of {self.slots}")
        return self._slot.from_buffer(self._mapping, index * self.slot_bytes)


class Leases:
    """The slots that this process holds of one session, given back from finalizers on any thread.

    A release is one `send` without a lock and never raises. Where the daemon's queue is full it waits in
    `outbox` for `flush`, which the session's next call runs. With a `fence` a slot waits in `dropped` instead, until
    the session's next call makes a mark, and is given back when that has passed: a device may still copy from it.
    """

    __slots__ = ("__weakref__", "_records", "dropped", "fence", "held", "interrupted", "outbox", "sequence")

    def __init__(self, records: RecordSocket) -> None:
        self._records = records
        self.sequence = 0
        # Each lease with the weak reference whose callback ends it. A dict and a deque: adding and removing
        # one entry is atomic, and who removes a lease gives it back.
        self.held: dict[_wire.Release, weakref.ref[ctypes.Array[ctypes.c_ubyte]]] = {}
        self.outbox: deque[_wire.Release] = deque()
        self.fence: Fence | None = None
        self.dropped: Dropped[_wire.Release] = Dropped()
        # Python drops what is raised in a finalizer, Ctrl-C too: the session's next call raises it instead.
        self.interrupted = False

    def lease(self, arena: Arena, ready: _wire.Ready) -> ctypes.Array[ctypes.c_ubyte]:
        """Give the slot of `ready`; it is released when the array and all that was made on it are gone."""
        owner = arena.slot(ready.slot)
        release = _release_of(ready)
        # A bare reference, not weakref.finalize: a quarter of the cost, and nothing runs at interpreter exit.
        self.held[release] = weakref.ref(owner, partial(self.give_back, release))
        return owner

    def give_back(self, release: _wire.Release, _: object = None) -> None:
        """End one lease; safe in a finalizer, on any thread, in a forked child, at interpreter exit."""
        try:
            if self.held.pop(release, None) is not None:
                if self.fence is None:
                    self.send(release)
                else:
                    self.dropped.append(release)
        except BaseException as error:
            self.interrupted = self.interrupted or isinstance(error, KeyboardInterrupt)
            # Perhaps once too often, which the daemon ignores.
            (self.outbox if self.fence is None else self.dropped).append(release)

    def give_back_unseen(self, ready: _wire.Ready) -> None:
        """End a lease of which nobody else had a view, whatever devices copy."""
        release = _release_of(ready)
        if self.held.pop(release, None) is not None:
            self.send(release)

    def send(self, release: _wire.Release) -> None:
        """Send one release, or keep it for `flush`; a daemon that is gone needs none."""
        if not self._records.closed:
            try:
                sent = self._records.try_send(_wire.encode_release(self.sequence, *release))
            except ConnectionLostError:
                return
            if not sent:
                self.outbox.append(release)

    @property
    def taken(self) -> int:
        """How many slots are not given back: held, or perhaps copied from."""
        return len(self.held) + len(self.dropped)

    @property
    def waits(self) -> bool:
        """Whether slots wait for devices, and not for a mark to be made."""
        return self.dropped.waits

    def settle(self) -> bool:
        """Give back what no device copies from any more; whether there is some left. Under the session's lock."""
        return self.dropped.settle(self.fence, self.send)

    def flush(self) -> None:
        """Send what the finalizers could not. Under the session's lock."""
        outbox = self.outbox
        while outbox:
            some = [outbox[index] for index in range(min(len(outbox), _wire.RELEASES_MAX))]
            if not self._records.try_send(_wire.encode_releases(self.sequence, some)):
                return
            for _ in some:
                outbox.popleft()

    def sweep(self) -> None:
        """Give back what an interrupt at a finalizer's very start left behind."""
        for release, owner in list(self.held.items()):
            if owner() is None:
                self.give_back(release)

    def close(self) -> None:
        """End the session's connection; finalizers to come do nothing."""
        self._records.hang_up()


def _release_of(ready: _wire.Ready) -> _wire.Release:
    return _wire.Release(ready.arena, ready.generation, ready.slot)
