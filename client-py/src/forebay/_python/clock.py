"""What a thread's time goes into: computing, waiting for a processor, or waiting for something else."""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple


class Spent(NamedTuple):
    """Seconds of a thread: all of them, those on a processor, and those in the queue for one."""

    seconds: float = 0.0
    on_processor: float = 0.0
    in_queue: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Add up."""
        return Spent(*(one + more for one, more in zip(self, other)))

    def minus(self, other: Spent) -> Spent:
        """Give what has come since `other`."""
        return Spent(*(one - less for one, less in zip(self, other)))


class Clock:
    """Reads the clocks of the thread that makes it."""

    def __init__(self) -> None:
        self._descriptor = -1
        with contextlib.suppress(OSError):  # kernels without CONFIG_SCHED_INFO: nothing is known of the queue
            self._descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def now(self) -> Spent:
        """Give the seconds since some time in the past."""
        return Spent(time.perf_counter(), time.thread_time(), self._in_queue())

    def _in_queue(self) -> float:
        """Read the second of three numbers: nanoseconds in the queue (the kernel's sched-stats.rst)."""
        if self._descriptor < 0:
            return 0.0
        return int(os.pread(self._descriptor, 128, 0).split()[1]) * 1e-9
