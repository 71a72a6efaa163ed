"""Slots that were dropped while a device may still copy from them: kept until all that it was given to do is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Mark(Protocol):
    """What devices were given to do until it was made."""

    def passed(self) -> bool:
        """Whether they have done it."""
        ...


class Fence(Protocol):
    """Makes marks behind all that devices do."""

    def mark(self) -> Mark | None:
        """Make one; None where that is not possible now."""
        ...


class Dropped(Generic[T]):
    """What is to be given back once devices have done what they had to do when it was dropped.

    `append` may run in finalizers on any thread: a deque, and so no lock.
    """

    __slots__ = ("_marked", "_new")

    def __init__(self) -> None:
        self._new: deque[T] = deque()
        self._marked: deque[tuple[Mark, list[T]]] = deque()

    def __len__(self) -> int:
        return len(self._new) + sum(len(some) for _, some in self._marked)

    @property
    def waits(self) -> bool:
        """Whether some of it waits for devices, and not for a mark to be made."""
        return bool(self._marked)

    def append(self, each: T) -> None:
        """Take note of one that was dropped."""
        self._new.append(each)

    def settle(self, fence: Fence | None, give_back: Callable[[T], None]) -> bool:
        """Mark what has come, and give back what no device copies from any more; whether there is some left.

        One caller at a time.
        """
        if fence is not None and self._new:
            some = [self._new[index] for index in range(len(self._new))]
            mark = fence.mark()
            if mark is not None:
                self._marked.append((mark, some))
                for _ in some:
                    self._new.popleft()
        while self._marked and self._marked[0][0].passed():
            for each in self._marked.popleft()[1]:
                give_back(each)
        return bool(self._marked or self._new)
