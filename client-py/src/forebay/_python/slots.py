"""The memory that workers write batches into: slots of one file in memory, each owned by whoever holds its batch."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import sys
import weakref
from collections import deque
from functools import partial
from typing import Any

import numpy as np

from .._arena import Arena
from .._batch import Array

# Python keeps a duplicate of the descriptor beside each mapping unless told otherwise (3.13).
_NO_DESCRIPTOR: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
_numbers = itertools.count(1)


class Slot:
    """A slot on loan: to workers while its batch is made, then to the arrays over it.

    Drop it, and every array over `owner`, and it is free again.
    """

    __slots__ = ("index", "owner", "slots")

    def __init__(self, slots: Slots, index: int, owner: ctypes.Array[ctypes.c_ubyte]) -> None:
        self.slots, self.index, self.owner = slots, index, owner


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
    """`count` slots of `slot_bytes`; pages are taken from the system when they are first written."""

    def __init__(self, slot_bytes: int, count: int) -> None:
        page = mmap.PAGESIZE
        self.slot_bytes = max(page, -(-slot_bytes // page) * page)
        self.count = count
        self.number = next(_numbers)
        self.descriptor = os.memfd_create("forebay-batches", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, self.slot_bytes * count)
        self._mapping = mmap.mmap(self.descriptor, self.slot_bytes * count, **_NO_DESCRIPTOR)
        self._kind = ctypes.c_ubyte * self.slot_bytes
        # The last that was given back is the next to go, so that few slots have pages. A deque: finalizers on any
        # thread give back, without a lock.
        self._free: deque[int] = deque(range(count))
        self._owners: dict[int, weakref.ref[ctypes.Array[ctypes.c_ubyte]]] = {}

    @property
    def on_loan(self) -> int:
        """How many slots somebody has."""
        return self.count - len(self._free)

    def take(self) -> Slot | None:
        """Lend a slot, if one is free. The finalizer sits on the ctypes array: numpy makes views of anything else."""
        try:
            index = self._free.pop()
        except IndexError:
            return None
        owner = self._kind.from_buffer(self._mapping, index * self.slot_bytes)
        self._owners[index] = weakref.ref(owner, partial(_give_back, self._owners, self._free, index))
        return Slot(self, index, owner)


def _give_back(owners: dict[int, Any], free: deque[int], index: int, _: object) -> None:
    owners.pop(index, None)
    free.append(index)


def mapped(descriptor: int, length: int, *, private: bool = False) -> Array:
    """Map a file in memory and close its descriptor: u8, shared and writable, or with copies of what is written to."""
    try:
        access = mmap.ACCESS_COPY if private else mmap.ACCESS_WRITE
        mapping = mmap.mmap(descriptor, max(length, 1), access=access, **_NO_DESCRIPTOR)
    finally:
        os.close(descriptor)
    return np.frombuffer(mapping, np.uint8)
