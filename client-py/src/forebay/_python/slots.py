"""The memory that workers write batches into: slots of one file in memory, each owned by whoever holds its batch."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .._arena import Arena, Memory
from .._batch import Array
from .._fenced import Dropped
from .._gpu_pin import Pinning

# Python keeps a duplicate of the descriptor beside each mapping unless told otherwise (3.13).
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_numbers = itertools.count(1)


class Slot:
    """A slot on loan: to workers while its batch is made, then to the arrays over it.

    Drop it, and every array over `owner`, and it is free again; where it was `shown` to somebody who may have copied
    from it to a device, once the device has done with it.
    """

    __slots__ = ("index", "owner", "slots")

    def __init__(self, slots: Slots, index: int, owner: ctypes.Array[ctypes.c_ubyte]) -> None:
        self.slots, self.index, self.owner = slots, index, owner

    def shown(self) -> ctypes.Array[ctypes.c_ubyte]:
        """Give the bytes for somebody to have."""
        self.slots.lend(self)
        return self.owner


class Lent:
    """An arena of the daemon, which workers map as they map `Slots`; it lives as long as the arena."""

    def __init__(self, arena: Arena) -> None:
        self.slot_bytes, self.count, self.descriptor = arena.slot_bytes, arena.slots, arena.descriptor
        self.number = next(_numbers)

    @staticmethod
    def of(arena: Arena) -> Lent:
        """Give the one of this arena."""
        if not isinstance(arena.lent, Lent):
            arena.lent = Lent(arena)
        return arena.lent


class Slots:
    """`count` slots of `slot_bytes`; pages are taken from the system when they are first written, or pinned."""

    # A batch that fits into none of them has a file of its own.
    is_one_off = False

    def __init__(self, slot_bytes: int, count: int, pinning: Pinning | None = None) -> None:
        page = mmap.PAGESIZE
        self.slot_bytes = max(page, -(-slot_bytes // page) * page)
        self.count = count
        self.number = next(_numbers)
        self.descriptor = os.memfd_create("forebay-batches", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, self.length)
        self._mapping = Memory.of(self.descriptor, self.length)
        self._kind = ctypes.c_ubyte * self.slot_bytes
        # The last that was given back is the next to go, so that few slots have pages. A deque: finalizers on any
        # thread give back, without a lock.
        self._free: deque[int] = deque(range(count))
        self._owners: dict[int, weakref.ref[ctypes.Array[ctypes.c_ubyte]]] = {}
        self._fence = pinning.pin(self) if pinning is not None else None
        self._dropped: Dropped[int] = Dropped()

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return self.slot_bytes * self.count

    @property
    def address(self) -> int:
        """Where it starts."""
        return self._mapping.address

    def pin(self, registered: Callable[[], None]) -> None:
        """Have `registered` called right before the memory is unmapped."""
        self._mapping.before_unmapping = registered

    @property
    def on_loan(self) -> int:
        """How many slots somebody has, or a device may still copy from."""
        return self.count - len(self._free)

    def take(self) -> Slot | None:
        """Lend a slot, if one is free. The finalizer sits on the ctypes array: numpy makes views of anything else."""
        self.settle()
        try:
            index = self._free.pop()
        except IndexError:
            return None
        owner = self._kind.from_buffer(self._mapping, index * self.slot_bytes)
        self._watch(owner, index, self._free)
        return Slot(self, index, owner)

    def lend(self, slot: Slot) -> None:
        """Have a slot wait for devices when it is dropped, where others may copy from it."""
        if self._fence is not None:
            self._watch(slot.owner, slot.index, self._dropped)

    def settle(self) -> bool:
        """Free the slots that no device copies from any more; whether others wait for them."""
        self._dropped.settle(self._fence, self._free.append)
        return self._dropped.waits

    def _watch(self, owner: ctypes.Array[ctypes.c_ubyte], index: int, behind: deque[int] | Dropped[int]) -> None:
        # The reference before this one, if there is one, goes without being called.
        self._owners[index] = weakref.ref(owner, partial(_give_back, self._owners, behind, index))


def _give_back(owners: dict[int, Any], behind: deque[int] | Dropped[int], index: int, _: object) -> None:
    owners.pop(index, None)
    behind.append(index)


def mapped(descriptor: int, length: int, *, private: bool = False) -> Array:
    """Map a file in memory and close its descriptor: u8, shared and writable, or with copies of what is written to."""
    try:
        access = mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE
        mapping = mmap.mmap(descriptor, max(length, 1), access=access, **_NO_DESCRIPTOR)
    finally:
        os.close(descriptor)
    return np.frombuffer(mapping, np.uint8)
