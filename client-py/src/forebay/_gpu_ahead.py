"""One epoch's batches on a device: copied some batches ahead, each slot held until its copy has passed.

A copy is started when a batch is taken off the session, on a stream of its own, and its batch waits here until the
trainer asks for it, whose stream then waits for the copy. The views of the slot go when the copy's mark has passed and
not before, so the daemon never refills what a device still reads. There is no thread: each `next()` starts what it can
without waiting.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, cast

from ._digest import Digests
from ._fork import forget_in_child
from ._gpu_decode import RefusedRowError, undecoded
from ._gpu_marks import marks
from ._iterator import Progress
from ._job import Cursor
from ._report import Delivered
from ._stats import LoaderStats
from ._wire import Ready
from .errors import DeviceError, InvalidError, ProtocolError


class Mark(Protocol):
    """The end of one batch's copies."""

    def passed(self) -> bool:
        """Whether they are done."""
        ...

    def wait(self) -> None:
        """Wait in this thread until they are."""
        ...

    def seconds(self) -> float:
        """Tell what they took on the device, once they have passed."""
        ...

    def decoded(self) -> tuple[int, float]:
        """Tell how many images were decoded among them, and the seconds of those that decoding took."""
        ...


class Engine(Protocol):
    """A device: its copies, and the streams of those who use what was copied. What it raises is `DeviceError`."""

    name: str

    def upload(self, batch: Any) -> tuple[Any, Mark]:
        """Start copying a batch's tensors; gives the same batch with tensors on the device, and the copies' mark."""
        ...

    def deliver(self, made: Any, mark: Mark) -> None:
        """Have the caller's stream wait for the mark, and the tensors' memory be kept for what it does with them."""
        ...


class Batches(Protocol):
    """One epoch's batches on the host: the daemon's, or those of Python workers."""

    @property
    def progress(self) -> Progress:
        """How far it has come; where its cursor is put back, `next()` gives the batch there again, until `kept`."""
        ...

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        ...

    @property
    def max_leases(self) -> int:
        """How many of them can be held."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether the epoch has no further one."""
        ...

    def has_next(self) -> bool:
        """Whether the next one has most likely come already."""
        ...

    def __next__(self) -> Any:
        """Wait for the next one."""
        ...

    def kept(self) -> None:
        """Hear that the newest one was taken for good."""
        ...

    def give_up(self, reason: str) -> None:
        """End."""
        ...


class Plan(NamedTuple):
    """How many batches to be ahead, and what is done to a batch on the device before the trainer has it.

    `key`: names the sample of a row of a batch, for an error; empty where nobody knows.
    """

    ahead: int
    finish: Callable[[Any, Ready], Any]
    key: Callable[[Ready, int], str] = lambda _ready, _row: ""


class _Flight:
    """A batch that is being copied, or was."""

    __slots__ = ("host", "is_last", "made", "mark", "next", "ready", "valid")

    def __init__(self, host: Any, made: Any, mark: Mark, progress: Progress, is_last: bool) -> None:
        self.host, self.made, self.mark = host, made, mark
        self.ready, self.valid, self.next = cast("Ready", progress.ready), progress.valid, progress.cursor
        self.is_last = is_last


class DeviceIterator:
    """What `iter()` gives where batches go to a device. Safe to call from several threads.

    Its cursor, `valid` and `delivered` are those of the batch that `next()` gave, whatever is copied ahead of it.
    """

    def __init__(self, batches: Batches, engine: Engine, plan: Plan, digests: Digests, stats: LoaderStats) -> None:
        self._batches, self._engine, self._plan = batches, engine, plan
        self._digests, self._stats = digests, stats
        self.progress = Progress(batches.cursor)
        self._front = batches.cursor  # where the next batch to be copied starts
        self._flights: deque[_Flight] = deque()
        # Those that the trainer has, and whose slots may still be read.
        self._landing: deque[_Flight] = deque()
        self._fault: Exception | None = None
        self._is_over = self._failed = False
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._marks = marks()
        forget_in_child(self)

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        return self.progress.cursor

    @property
    def delivered(self) -> Delivered | None:
        """The newest batch that it gave, for `report(losses, batch=...)` of those who look ahead."""
        return self.progress.delivered

    @property
    def valid(self) -> Any:
        """Which rows of the newest batch count: a mask on the host, or where all do, how many there are."""
        return self.progress.valid

    @property
    def is_over(self) -> bool:
        """Whether its epoch has no further batch."""
        return self._is_over

    @property
    def held(self) -> int:
        """How many slots are held for copies."""
        return sum(flight.host is not None for flight in (*self._flights, *self._landing))

    def __iter__(self) -> DeviceIterator:
        return self

    def __next__(self) -> Any:
        with self._lock:
            self._check_usable()
            self._land()
            flight = self._head()
            self._look_ahead()
            made = self._guarded(lambda: self._given(flight))
            # The batch is delivered from here on. An interrupt before this line gives it again.
            self._landing.append(self._flights.popleft())
            self.progress.valid, self.progress.cursor = flight.valid, flight.next
            self.progress.ready = flight.ready
            self._digests.add(flight.ready)
            flight.made = None  # its memory is the trainer's
            self._is_over = flight.is_last
            return made

    def forget(self) -> None:
        """Belong to the parent: a forked child has no device, and the slots are not its own."""
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_landing") and self._process == os.getpid():
            self._wait_for_copies()

    def _check_usable(self) -> None:
        if self._process != os.getpid():
            raise InvalidError(
                f"this iterator cannot go on: it belongs to process {self._process}, from which this one was forked",
                hint="call iter() on a loader in this process; its state_dict() resumes where it stood",
            )
        if self._failed and not self._flights and self._fault is None:
            raise InvalidError(
                f"this iterator cannot go on: {self._engine.name} failed",
                hint="call iter() again where memory ran out, else start the process again; state_dict() resumes",
            )
        if self._is_over:
            raise StopIteration

    def _head(self) -> _Flight:
        """Give the next batch, waiting for it where none was started."""
        if not self._flights:
            fault, self._fault = self._fault, None
            if fault is not None:
                raise fault
            self._make_room()
            try:
                self._start()
            except StopIteration:
                self._is_over = True
                self.progress.cursor = self._batches.cursor
                raise
        return self._flights[0]

    def _look_ahead(self) -> None:
        """Start the copies of what has come already. What goes wrong there is raised in its turn."""
        while self._fault is None and len(self._flights) <= self._plan.ahead and self.held < self._batches.max_leases:
            try:
                if not self._batches.has_next():
                    return
                self._start()
            except StopIteration:
                return
            except Exception as error:
                self._fault = error

    def _start(self) -> None:
        """Take a batch and start its copies. An interrupt in between takes the same one again."""
        self._batches.progress.cursor = self._front
        host = next(self._batches)
        progress = self._batches.progress
        with self._marks("forebay copy"):
            made, mark = self._guarded(lambda: self._uploaded(host, cast("Ready", progress.ready)))
        self._flights.append(_Flight(host, made, mark, progress, self._batches.is_over))
        self._front = progress.cursor
        self._batches.kept()

    def _uploaded(self, host: Any, ready: Ready) -> tuple[Any, Mark]:
        try:
            return self._engine.upload(host)
        except RefusedRowError as error:
            self._fail()
            row, key = ready.first_row + error.row, self._plan.key(ready, error.row)
            raise undecoded(self._engine.name, error.why, ready.epoch, row, key) from error

    def _given(self, flight: _Flight) -> Any:
        self._engine.deliver(flight.made, flight.mark)
        return self._plan.finish(flight.made, flight.ready)

    def _land(self) -> None:
        """Drop the views of slots whose copies have passed."""
        for flight in (*self._landing, *self._flights):
            if flight.host is not None and self._guarded(flight.mark.passed):
                flight.host = None
                self._guarded(partial(self._count, flight))
        while self._landing and self._landing[0].host is None:
            self._landing.popleft()

    def _count(self, flight: _Flight) -> None:
        """Add a batch whose copies have passed to what the loader tells."""
        self._stats.device_batches += 1
        rows, seconds = flight.mark.decoded()
        self._stats.device_copy_seconds += flight.mark.seconds() - seconds
        self._stats.device_decode_rows += rows
        self._stats.device_decode_seconds += seconds

    def _make_room(self) -> None:
        """Wait for copies where their slots are all that the session has."""
        while self._landing and self.held >= max(1, self._batches.max_leases):
            self._guarded(self._landing[0].mark.wait)
            self._land()

    def _guarded(self, step: Callable[[], Any]) -> Any:
        """Do something with the device; where that fails, end the session. What was copied by then is still given."""
        try:
            return step()
        except (DeviceError, ProtocolError):  # ours: what a user's function raises is none of them
            self._fail()
            raise

    def _fail(self) -> None:
        self._failed = True
        self._batches.give_up(f"{self._engine.name} failed")
        self._wait_for_copies()

    def _wait_for_copies(self) -> None:
        """Hold the slots of what is still being copied; a device that is lost copies nothing any more."""
        for flight in (*self._landing, *self._flights):
            if flight.host is not None:
                try:
                    flight.mark.wait()
                    self._count(flight)
                except Exception:  # in a finalizer, perhaps of a process that ends, this has to go on too
                    self._flights.clear()
                flight.host = None
        self._landing.clear()
