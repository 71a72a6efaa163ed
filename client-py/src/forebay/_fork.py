"""What a forked child must forget: every object that holds a socket to the parent's daemon or a lock."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forgetful(Protocol):
    """Something that belongs to one process."""

    def forget(self) -> None:
        """Close this process's copies of descriptors and make new locks; runs in the child."""
        ...


_objects: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def forget_in_child(thing: Forgetful) -> None:
    """Have `thing.forget()` run in every child that this process forks."""
    _objects.add(thing)


def _after_in_child() -> None:
    for thing in list(_objects):
        thing.forget()


os.register_at_fork(after_in_child=_after_in_child)
