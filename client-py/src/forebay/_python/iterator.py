"""One epoch's batches of the Python path: indices in, tasks to workers ahead of time, batches out in order."""

from __future__ import annotations

import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from .._batch import Array
from .._digest import Digests
from .._fork import forget_in_child
from .._gpu_pin import Pinning
from .._iterator import BatchIterator, Progress
from .._job import Cursor
from .._notice import say
from .._report import Delivered
from .._session import Batch
from .._stats import LoaderStats
from .._wire import Ready
from .clock import Spent
from .collate import Modes, is_rows
from .crew import Crew
from .explain import Step, Steps, Waits
from .part import Part
from .rest import source_of
from .shape import Layout, Leaf, Node, rebuilt
from .slots import Slot, Slots, mapped
from .tasks import Done, Keys
from .whole import unpack

# A part of a batch is worth a worker of its own from here on.
_PART_SECONDS = 0.004
# How often, and how long, a trainer who holds all slots waits for devices to have done with some.
_SETTLE_MS, _SETTLE_SECONDS = 1, 0.25


class Rows(NamedTuple):
    """Which samples a batch holds: the daemon's record, their indices, and which of them count (or how many).

    `decoded`: what the daemon has made of them, for a data set that takes it (`rest.Rest`).
    """

    ready: Ready
    keys: Keys
    valid: Any
    decoded: Batch | None = None


class Coming(Protocol):
    """Rows, batch by batch, from the daemon."""

    def __next__(self) -> Rows:
        """Wait for those of the next batch."""
        ...

    def is_waiting(self) -> bool:
        """Whether `next()` would have to wait."""
        ...


class Maker(Protocol):
    """Makes batches of rows that it takes as it needs them.

    `waits`: what for, in this step; `max_leases`: how many batches can be held before further ones are copied.
    """

    waits: Waits
    max_leases: int

    def worked(self) -> tuple[Spent, int]:
        """Give what all workers did until now: their time, and how many rows."""
        ...

    def head(self) -> tuple[Rows, Any]:
        """Give the next batch and its rows, the same ones until `advance`. Raises `StopIteration` behind the last."""
        ...

    def has_head(self) -> bool:
        """Whether `head` would give a batch, or raise, without waiting; does what can be done meanwhile."""
        ...

    def advance(self) -> None:
        """Go on to the batch behind."""
        ...

    def end(self) -> None:
        """Make no more."""
        ...


class Frame(Protocol):
    """The tensors of a framework."""

    def leaf(self, array: Array, leaf: Leaf) -> Any:
        """Make a tensor of a value's column of a batch, without a copy."""
        ...

    def whole(self, batch: Any) -> Any:
        """Make tensors of the numpy arrays in a batch that was collated by a mode."""
        ...


def stacked(node: Node, arrays: list[Array | None], beside: list[list[Any]], frame: Frame) -> Any:
    """Give a batch of the samples' structure over its arrays; objects come as lists."""
    columns, lists = iter(arrays), iter(beside)

    def leaf(leaf: Leaf) -> Any:
        array = next(columns)
        return next(lists) if array is None else frame.leaf(array, leaf)

    return rebuilt(node, leaf)


class _Pending:
    """A batch on its way. It holds its slot, whose memory is free when this and all that was made of it are gone."""

    __slots__ = ("layout", "made", "parts", "rows", "slot")

    def __init__(self, rows: Rows, slot: Slot | None, layout: Layout | None, parts: list[Part]) -> None:
        self.rows, self.slot, self.layout, self.parts = rows, slot, layout, parts
        self.made: tuple[Any] | None = None


class Counts:
    """What workers handed over, and what of it did not go the short way."""

    __slots__ = ("beside_bytes", "bytes", "copies", "one_offs")

    def __init__(self) -> None:
        self.bytes = 0  # of all arrays
        self.beside_bytes = 0  # of strings and other objects, which are pickled
        self.copies = 0  # batches copied to ordinary memory, since too many were held
        self.one_offs = 0  # batches that were larger than a slot


class Ahead:
    """Makes batches in worker processes, `depth` of them under way."""

    def __init__(
        self,
        rows: Coming,
        crew: Crew,
        modes: Modes | None,
        frame: Frame,
        *,
        depth: int,
        max_leases: int,
        timeout_seconds: float,
        counts: Counts,
        idle: deque[Slots],
        pinning: Pinning | None,
    ) -> None:
        """`idle`: slots of an iterator before, to use again and to give back; `pinning`: who pins slots."""
        self.waits, self.max_leases = Waits(), max_leases
        self._rows, self._crew, self._modes, self._frame = rows, crew, modes, frame
        self._is_rows = is_rows(modes)
        self._depth, self._timeout = depth, timeout_seconds
        self._counts, self._pinning = counts, pinning
        self._stream = crew.open_stream()
        self._pending: deque[_Pending] = deque()
        self._taken: Rows | None = None  # from `rows`, and not yet under way
        self._is_over = False
        self._idle = idle
        self._slots: Slots | None = idle.pop() if idle else None
        self._layout: Layout | None = None

    def head(self) -> tuple[Rows, Any]:
        """Wait for the next batch; after an error it is made again."""
        self._crew.pump()
        self._fill()
        if not self._pending:
            raise StopIteration
        head = self._pending[0]
        if head.made is None:
            with self.waits.counting("workers"):
                self._crew.finish(head.parts, self._timeout)
            head.made = (self._batch(head),)
        return head.rows, head.made[0]

    def has_head(self) -> bool:
        """Keep the workers at work, without waiting for the daemon; whether the next batch is made or has failed."""
        self._crew.pump()
        if self._pending:
            self._fill(waits=False)
        return self._has_head()

    def worked(self) -> tuple[Spent, int]:
        """Give what the workers did for all of their iterators."""
        return self._crew.spent, self._crew.rows

    def advance(self) -> None:
        """Leave the batch to the trainer."""
        self._pending.popleft()

    def end(self) -> None:
        """Have workers leave out what is still to do. Safe in a finalizer."""
        self._is_over = True
        self._pending.clear()
        self._crew.end_stream(self._stream)
        slots, self._slots = self._slots, None
        if slots is not None and not self._idle and self._crew.is_alive:
            self._idle.append(slots)
        elif slots is not None:
            self._crew.forget_slots(slots)

    def _fill(self, *, waits: bool = True) -> None:
        # One more than are under way while the trainer has the newest.
        while len(self._pending) <= self._depth and not self._is_over:
            if self._taken is None:
                if (not waits or self._has_head()) and self._rows.is_waiting():
                    return  # to be asked again behind this batch, which the trainer need not wait for
                try:
                    with self.waits.counting("daemon"):
                        self._taken = next(self._rows)
                except StopIteration:
                    self._is_over = True
                    return
            if not self._submit(self._taken):
                return
            self._taken = None

    def _has_head(self) -> bool:
        """Whether the next batch is made."""
        return bool(self._pending) and not any(part.is_open for part in self._pending[0].parts)

    def _submit(self, rows: Rows) -> bool:
        """Give a batch to the workers; False where no memory for it is free."""
        count = len(rows.keys.indices)
        if self._is_rows and self._crew.node is None:
            self._crew.probe(self._stream, rows.keys, None if rows.decoded is None else source_of(rows.decoded))
        if self._is_rows and (self._layout is None or count > self._layout.rows):
            self._layout = Layout(cast("Node", self._crew.node), count)
            if self._slots is None or self._slots.slot_bytes < self._layout.bytes:
                self._use_slots(self._layout.bytes)
        slot = self._slots.take() if self._slots is not None else None
        while slot is None and self._slots is not None:
            if self._pending:
                return False
            # Only tasks of an iterator before this one have it: what the trainer holds beyond max_leases is copied.
            self._crew.wait()
            slot = self._slots.take()
        layout, cuts = self._layout, self._cuts(count)
        kind, height = ("rows", layout.rows) if layout is not None else ("whole", 0)
        source = None if rows.decoded is None else source_of(rows.decoded)
        parts = [self._crew.submit(self._stream, kind, rows.keys.part(*cut), slot, height, source) for cut in cuts]
        self._pending.append(_Pending(rows, slot, layout, parts))
        return True

    def _cuts(self, count: int) -> list[tuple[int, int]]:
        """Cut a batch into parts for several workers, where that is worth a message each."""
        wanted = int(count * self._crew.row_seconds / _PART_SECONDS)
        if self._crew.by_batch or not self._is_rows:
            wanted = 1
        parts = max(1, min(self._crew.size, count, wanted))
        bounds = [count * part // parts for part in range(parts + 1)]
        return list(zip(bounds, bounds[1:]))

    def _use_slots(self, slot_bytes: int) -> None:
        """Make slots of this size; those before them go when their batches have."""
        before, self._slots = self._slots, Slots(slot_bytes, self._depth + 1 + self.max_leases, self._pinning)
        if before is not None:
            self._crew.forget_slots(before)

    def _batch(self, head: _Pending) -> Any:
        """Make the framework's batch of what the workers wrote."""
        answers = [cast("Done", part.answer) for part in head.parts]
        if not self._is_rows:
            return self._whole(head, answers[0])
        beside = [pickle.loads(answer.beside) for answer in answers if answer.beside]
        self._counts.beside_bytes += sum(len(answer.beside) for answer in answers)
        lists: list[list[Any]] = [[value for part in parts for value in part] for parts in zip(*beside)]
        layout = cast("Layout", head.layout)
        arrays = layout.arrays(self._memory(head, layout.bytes), len(head.rows.keys.indices))
        self._counts.bytes += sum(array.nbytes for array in arrays if array is not None)
        return stacked(layout.node, arrays, lists, self._frame)

    def _whole(self, head: _Pending, answer: Done) -> Any:
        packed = answer.packed
        assert packed is not None
        part = head.parts[0]
        memory: Any = b""
        if part.descriptor >= 0:
            self._counts.one_offs += head.slot is not None
            descriptor, part.descriptor = part.descriptor, -1
            memory = mapped(descriptor, packed.used)
            # Room for somewhat larger ones, so that few batches need a file of their own.
            if self._slots is None or packed.used > self._slots.slot_bytes:
                self._use_slots(packed.used + packed.used // 4)
        elif packed.spans:
            memory = self._memory(head, packed.used)
        self._counts.beside_bytes += len(packed.stream)
        self._counts.bytes += packed.used
        batch = unpack(packed, memory)
        return batch if self._modes is None else self._frame.whole(batch)

    def _memory(self, head: _Pending, used: int) -> Any:
        """Give the batch's bytes: its slot, or a copy where the trainer holds too many slots already."""
        slot = cast("Slot", head.slot)
        if self._held(slot.slots) >= self.max_leases:
            # A device is behind the trainer. Not for ever: what it does may wait for another rank, and that one for us.
            until = time.monotonic() + _SETTLE_SECONDS
            while slot.slots.settle() and self._held(slot.slots) >= self.max_leases and time.monotonic() < until:
                time.sleep(_SETTLE_MS * 1e-3)
        if self._held(slot.slots) < self.max_leases:
            return slot.shown()
        if not self._counts.copies:
            say(
                f"{self.max_leases} batches are held, so further ones are copied to ordinary memory; "
                "drop batches earlier, or raise max_leases"
            )
        self._counts.copies += 1
        with self.waits.counting("copied"):
            copy: Array = np.empty(used, np.uint8)
            copy[:] = np.frombuffer(cast("Any", slot.owner), np.uint8, used)
        return copy

    def _held(self, slots: Slots) -> int:
        """Count the slots that are not on their way."""
        return slots.on_loan - sum(each.slot is not None and each.slot.slots is slots for each in self._pending)


class OwnIterator:
    """One epoch of a user's data set, or what is left of it. Safe to call from several threads.

    Who looks ahead calls `hold`, and `kept` behind each batch; until then `next()` gives that batch again where
    the progress's cursor was put back.
    """

    def __init__(
        self,
        rows: BatchIterator[Rows],
        maker: Maker,
        progress: Progress,
        digests: Digests,
        stats: LoaderStats,
        steps: Steps,
        finished: Callable[[Any, Rows], Any],
    ) -> None:
        """`finished`: what is still done to a batch in this process."""
        self._steps = steps
        self._rows, self._maker, self._progress, self._digests = rows, maker, progress, digests
        self._stats, self._finished = stats, finished
        self._epoch = progress.cursor.epoch
        self._returned_at = self._between = 0.0
        self._is_over = self._holds = False
        self._lock = threading.Lock()
        forget_in_child(self)

    @property
    def progress(self) -> Progress:
        """How far it has come; whoever looks ahead may put its cursor back to what was delivered."""
        return self._progress

    @property
    def max_leases(self) -> int:
        """How many batches can be held before further ones are copied."""
        return self._maker.max_leases

    def has_next(self) -> bool:
        """Whether the next batch, or what went wrong with it, is there already."""
        with self._lock:
            return not self.is_over and self._maker.has_head()

    def hold(self, digests: Digests) -> None:
        """Have each batch kept until `kept`, and count for these digests, which are not of what is delivered."""
        self._holds, self._digests = True, digests

    def kept(self) -> None:
        """Leave the newest batch to who has it; what was done since it came was Python's work."""
        with self._lock:
            now = time.perf_counter()
            self._between += now - self._returned_at
            self._returned_at = now
            self._maker.advance()
            if self.is_over:
                self._end()

    # Not `close`: `yield from` calls one without arguments.
    def give_up(self, reason: str) -> None:
        """End it; the workers go on for other iterators."""
        with self._lock:
            self._end()

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        return self._progress.cursor

    @property
    def valid(self) -> Any:
        """Which rows of the newest batch count: a mask, or where all do, how many there are."""
        return self._progress.valid

    @property
    def is_over(self) -> bool:
        """Whether its epoch has no further batch."""
        return self._is_over or self._progress.cursor.epoch != self._epoch

    @property
    def delivered(self) -> Delivered | None:
        """The newest batch that it gave, for `report(losses, batch=...)` of those who look ahead."""
        return self._progress.delivered

    def __iter__(self) -> OwnIterator:
        return self

    def __next__(self) -> Any:
        with self._lock:
            if self._is_over:
                raise StopIteration
            started = time.perf_counter()
            try:
                rows, made = self._head()
            except StopIteration:
                self._end()
                raise
            arrived = time.perf_counter()
            batch = self._finished(made, rows)
            ready, progress = rows.ready, self._progress
            progress.valid = rows.valid
            if ready.tally is not None:
                self._digests.add(ready)
            # The batch is delivered from here on. An interrupt before this line finds it made when it is asked again.
            progress.cursor = _behind(ready)
            progress.ready = ready
            if not self._holds:
                self._maker.advance()
            self._count(rows, started, arrived)
            return batch

    def _count(self, rows: Rows, started: float, arrived: float) -> None:
        stats, now = self._stats, time.perf_counter()
        stats.batches += 1
        stats.rows += len(rows.keys.indices)
        stats.wait_seconds += arrived - started
        stats.wait_compute_seconds += arrived - started
        between, self._between = self._between, 0.0
        stats.python_seconds += now - arrived + between
        trainer = started - self._returned_at if self._returned_at else 0.0
        stats.trainer_seconds += trainer
        self._returned_at = now
        waits = self._maker.waits
        rest = arrived - started - waits.daemon - waits.workers - waits.copied - waits.made
        python = now - arrived + waits.made + between
        spent = self._maker.worked()
        self._steps.add(Step(trainer, waits.daemon, waits.workers, waits.copied, python, max(0.0, rest), *spent))
        waits.clear()

    def _head(self) -> tuple[Rows, Any]:
        rows, made = self._maker.head()
        if _behind(rows.ready) == self._progress.cursor:  # an interrupt came between delivering it and going on
            self._maker.advance()
            rows, made = self._maker.head()
        return rows, made

    def forget(self) -> None:
        """Make a new lock in a forked child, where nobody would release the old one."""
        self._lock = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_maker"):
            self._end()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._maker.end()


def _behind(ready: Ready) -> Cursor:
    return Cursor(ready.next_epoch, ready.next_position)
