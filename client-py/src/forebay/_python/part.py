"""A piece of work that one worker has."""

from __future__ import annotations

import os
from collections.abc import Callable

from .rest import Source
from .slots import Slot
from .tasks import Done, Task


class Part:
    """A task that was given to a worker, until its answer is in. Holds the slots that it reads and writes."""

    __slots__ = ("answer", "deaths", "descriptor", "error", "slot", "source", "task")

    def __init__(self, task: Task, slot: Slot | None, source: Source | None) -> None:
        self.task, self.slot, self.source = task, slot, source
        self.deaths = 0
        self.answer: Done | None = None
        self.descriptor = -1
        # Raised by `Crew.finish`, which then has the part made again when it is next asked.
        self.error: Callable[[], BaseException] | None = None

    @property
    def is_open(self) -> bool:
        """Whether its answer is still to come."""
        return self.answer is None and self.error is None

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
