"""A loader's workers: who has which tasks, who has died, and what is done again."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple, cast

import numpy as np

from .._batch import Array
from .._fork import forget_in_child
from .._notice import say
from ..errors import InvalidError
from .channel import Channel, Message
from .clock import Spent
from .collate import Modes
from .errors import WorkerError, raised
from .fetch import has_getitems
from .part import Part
from .rest import Source
from .shape import Node
from .slots import Lent, Slot, Slots, mapped
from .start import Starter, handed_over, starter_of
from .tasks import (
    CONTROL_BYTES,
    STREAMS,
    Done,
    Failed,
    Forget,
    Hello,
    Keys,
    Own,
    Ready,
    Shape,
    Share,
    Task,
)
from .whole import Packed, outline

_DEATHS_MAX = 3
_LOOK_AGAIN_MS = 1000

_crews: weakref.WeakSet[Crew] = weakref.WeakSet()


class Plan(NamedTuple):
    """What a crew is made of."""

    own: Own
    workers: int
    context: Any
    seed: int
    modes: Modes | None


class _Worker:
    def __init__(self, number: int, token: int, channel: Channel) -> None:
        self.number, self.token, self.channel = number, token, channel
        self.parts: deque[Part] = deque()
        self.rows = 0
        self.is_ready = False
        self.shape: Node | None = None
        self.known: set[int] = set()


class Crew:
    """Worker processes, made when they are first needed. Safe to use from several threads, one after the other."""

    def __init__(self, plan: Plan) -> None:
        """Start the workers, which takes its time without anybody waiting.

        Raises `InvalidError` where the user's part cannot be handed to them.
        """
        self._plan = plan
        self._packed: tuple[Packed, int] | None = None
        self._outline: bytes | None = None
        self._starter: Starter | None = starter_of(plan.context, plan.own)
        self._control = os.memfd_create("forebay-control", os.MFD_CLOEXEC)
        os.ftruncate(self._control, CONTROL_BYTES)
        self._page: Array = mapped(os.dup(self._control), CONTROL_BYTES)
        self._places: Array = np.frombuffer(cast("Any", self._page), np.uint64, offset=STREAMS)
        self._lock = threading.RLock()
        # Whether an interrupt now leaves nothing half done.
        self._is_idle = False
        self._poll = select.poll()
        self._numbers = itertools.count(1)
        self._tokens = itertools.count(0)
        self._free_streams = list(range(STREAMS - 1, -1, -1))
        self._ending: set[int] = set()  # streams that nobody waits for, with answers still to come
        self._forgotten: deque[int] = deque()
        self._lent: set[int] = set()
        self._process = os.getpid()
        self.node: Node | None = None
        self.by_batch = has_getitems(plan.own.dataset)
        self.draws = 0
        self.row_seconds = 0.0
        # What all tasks took together, and the rows in them.
        self.spent, self.rows = Spent(), 0
        self.restarts = 0
        self._starter_is_polled = -1
        self._workers: list[_Worker] = []
        forget_in_child(self)
        _crews.add(self)
        try:
            self._starter, self._packed = handed_over(self._starter, plan.context, plan.own)
            if self._packed is not None:
                self._outline = outline(plan.own)
            for number in range(plan.workers):
                self._workers.append(self._started(number))
        except BaseException:
            self.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it has its workers, in this process."""
        return self._starter is not None

    @property
    def size(self) -> int:
        """How many workers there are."""
        return self._plan.workers

    def is_current(self) -> bool:
        """Whether the user's part is what the workers were given; what is changed inside large arrays is not seen."""
        try:
            return self._outline is not None and outline(self._plan.own) == self._outline
        except Exception:
            return False

    def pids(self) -> list[int]:
        """Give the workers' processes, as far as they are known by now."""
        with self._lock:
            starter = self._starter
            found = [starter.pid(worker.token) for worker in self._workers] if starter is not None else []
        return [pid for pid in found if pid is not None]

    def open_stream(self) -> int:
        """Give a number for the tasks of one iterator."""
        with self._turn():
            while not self._free_streams:
                if not self._ending:
                    raise InvalidError(f"{STREAMS} iterators of one loader at a time", hint="drop those that are done")
                self._pump(_LOOK_AGAIN_MS)
            return self._free_streams.pop()

    def end_stream(self, stream: int) -> None:
        """Have workers leave out what is still to do of a stream. Safe in a finalizer, on any thread."""
        if self.is_alive:
            self._page[stream] = 1
            self._ending.add(stream)

    def forget_slots(self, slots: Slots) -> None:
        """Have workers unmap slots, behind the tasks that they have. Safe in a finalizer, on any thread."""
        self._forgotten.append(slots.number)

    def probe(self, stream: int, keys: Keys, source: Source | None = None) -> None:
        """Have one worker make a sample, and learn its shape and whether it draws."""
        part = self.submit(stream, "probe", keys.part(0, 1), source=source)
        self.finish([part], 0.0)
        answer = cast("Done", part.answer)
        self.node, self.row_seconds = answer.node, answer.spent.seconds

    def submit(
        self,
        stream: int,
        kind: str,
        keys: Keys,
        slot: Slot | None = None,
        rows: int = 0,
        source: Source | None = None,
    ) -> Part:
        """Give a task to the worker that has the least to do."""
        with self._turn():
            at = (slot.slots.number, slot.index) if slot is not None else (0, 0)
            decoded = source.decoded if source is not None else None
            task = Task(next(self._numbers), kind, stream, keys, *at, rows, self.draws, decoded)
            part = Part(task, slot, source)
            self._give(min(self._workers, key=lambda worker: worker.rows), part)
            return part

    def finish(self, parts: list[Part], timeout_seconds: float) -> None:
        """Wait until all parts are done; 0 seconds: as long as it takes.

        Raises what the user's code raised, `WorkerError` where workers die of it, `RuntimeError` behind the timeout.
        The next call tries again.
        """
        deadline = time.monotonic() + timeout_seconds if timeout_seconds else None
        with self._turn():
            for part in parts:
                if part.error is not None:  # raised before
                    part.error, part.deaths = None, 0
                    self._give(min(self._workers, key=lambda worker: worker.rows), part)
            while any(part.is_open for part in parts):
                self._check_alive()
                if deadline is not None and time.monotonic() > deadline:
                    raise RuntimeError(f"no batch within timeout={timeout_seconds} seconds")
                self._pump(_LOOK_AGAIN_MS if deadline is None else 50)
            for part in parts:
                if part.error is not None:
                    raise part.error()

    def pump(self) -> None:
        """Take the answers that have come, without waiting, and send what waits for room."""
        with self._turn():
            self._pump(0)

    def wait(self) -> None:
        """Wait for any answer."""
        with self._turn():
            self._pump(_LOOK_AGAIN_MS)

    def close(self) -> None:
        """End all workers and wait until they are gone."""
        with self._lock:
            starter, self._starter = self._starter, None
            self._hang_up()
            if starter is not None:
                starter.close()
                self._release()

    def forget(self) -> None:
        """Leave the workers to the parent, in a forked child."""
        self._lock = threading.RLock()
        starter, self._starter = self._starter, None
        for worker in self._workers:
            worker.channel.close()
        if starter is not None:
            starter.forget()
            self._release()

    def __del__(self) -> None:
        # Without a wait or a lock, since a finalizer may run in the midst of anything: workers see their sockets end.
        if getattr(self, "_starter", None) is not None and self._process == os.getpid():
            self._starter = None
            self._hang_up()
            self._release()

    @contextlib.contextmanager
    def _turn(self) -> Generator[None]:
        """Be the only one. An interrupt in mid-work ends the workers: nobody is to wait for what was never sent."""
        with self._lock:
            self._check_alive()
            try:
                yield
            except KeyboardInterrupt:
                if not self._is_idle:
                    self.close()
                raise

    def _hang_up(self) -> None:
        self._page[:STREAMS] = 1  # who is at work stops behind the sample in hand
        for worker in self._workers:
            worker.channel.close()

    def _release(self) -> None:
        os.close(self._control)
        if self._packed is not None and self._packed[1] >= 0:
            os.close(self._packed[1])
        for worker in self._workers:
            worker.parts.clear()

    def _check_alive(self) -> None:
        if self._starter is None:
            raise InvalidError(
                f"this iterator's workers belong to process {self._process}"
                if self._process != os.getpid()
                else "this iterator cannot go on: its loader was closed",
                hint="call iter() on a loader in this process; its state_dict() resumes where it stood",
            )

    def _started(self, number: int) -> _Worker:
        assert self._starter is not None
        token = next(self._tokens)
        worker = _Worker(number, token, self._starter.start(token))
        self._poll.register(worker.channel, select.POLLIN)
        stream, descriptor = self._packed if self._packed is not None else (None, -1)
        beside = [self._control, descriptor] if descriptor >= 0 else [self._control]
        hello = Hello(number, self._plan.workers, self._plan.seed, stream, self._plan.modes)
        self._send(worker, hello, beside)
        return worker

    def _give(self, worker: _Worker, part: Part) -> None:
        """Send a task, and before it what the worker must know for it."""
        worker.parts.append(part)
        worker.rows += len(part.task.keys.indices)
        if self.node is not None and worker.shape is not self.node:
            worker.shape = self.node
            self._send(worker, Shape(self.node))
        if part.slot is not None:
            self._share(worker, part.slot.slots)
        if part.source is not None:
            self._share(worker, part.source.slots)
            self._forget_with(part.source.slots)
        self._send(worker, part.task)

    def _share(self, worker: _Worker, slots: Slots | Lent) -> None:
        if slots.number not in worker.known:
            worker.known.add(slots.number)
            self._send(worker, Share(slots.number, slots.slot_bytes, slots.count), [slots.descriptor])

    def _forget_with(self, lent: Slots | Lent) -> None:
        """Have workers unmap what is not this loader's to keep, once nobody here has it any more."""
        if lent.number not in self._lent:
            self._lent.add(lent.number)
            weakref.finalize(lent, self._forgotten.append, lent.number)

    def _send(self, worker: _Worker, message: object, descriptors: list[int] | None = None) -> None:
        with contextlib.suppress(OSError, EOFError):  # it has died, which `_pump` sees
            worker.channel.send(message, descriptors or ())
        if worker.channel.is_full:
            self._poll.modify(worker.channel, select.POLLIN | select.POLLOUT)

    def _pump(self, timeout_ms: int) -> None:
        self._forget_slots()
        starter = cast("Starter", self._starter)
        if starter.fileno() != self._starter_is_polled:
            if self._starter_is_polled >= 0:
                self._poll.unregister(self._starter_is_polled)
            if starter.fileno() >= 0:
                self._poll.register(starter.fileno(), select.POLLIN)
            self._starter_is_polled = starter.fileno()
        by_number = {worker.channel.fileno(): worker for worker in self._workers}
        self._is_idle = True
        found = self._poll.poll(timeout_ms)
        self._is_idle = False
        for descriptor, events in found:
            worker = by_number.get(descriptor)
            if worker is None:
                starter.hear()
                continue
            if events & select.POLLOUT:
                self._flush(worker)
            if events & ~select.POLLOUT:
                self._hear(worker)

    def _flush(self, worker: _Worker) -> None:
        try:
            worker.channel.flush()
        except (OSError, EOFError):
            return
        if not worker.channel.is_full:
            self._poll.modify(worker.channel, select.POLLIN)

    def _forget_slots(self) -> None:
        while self._forgotten:
            number = self._forgotten.popleft()
            for worker in self._workers:
                if number in worker.known:
                    worker.known.discard(number)
                    self._send(worker, Forget(number))
        for stream in list(self._ending):
            if not any(part.task.stream == stream for worker in self._workers for part in worker.parts):
                self._ending.discard(stream)
                self._page[stream] = 0
                self._free_streams.append(stream)

    def _hear(self, worker: _Worker) -> None:
        try:
            messages = worker.channel.receive()
        except EOFError:
            self._lost(worker)
            return
        for message in messages:
            self._take(worker, message)

    def _take(self, worker: _Worker, message: Message) -> None:
        answer = message.body
        if isinstance(answer, Ready):
            worker.is_ready = True
            return
        if isinstance(answer, Failed) and answer.number < 0:
            raise self._start_error(worker, answer)
        part = worker.parts.popleft()
        worker.rows -= len(part.task.keys.indices)
        if isinstance(answer, Failed):
            failed = answer
            where = f"{part.task.keys.words(failed.place)}, in worker {worker.number}"
            part.error = lambda: raised(failed, where)
        elif isinstance(answer, Done):
            part.answer = answer
            part.descriptor = message.descriptors[0] if message.descriptors else -1
            self.draws |= answer.draws
            self.spent, rows = self.spent.plus(answer.spent), len(part.task.keys.indices)
            self.rows += rows
            if part.task.kind == "rows":
                self.row_seconds += (answer.spent.seconds / max(1, rows) - self.row_seconds) * 0.2

    def _start_error(self, worker: _Worker, failed: Failed) -> BaseException:
        self.close()
        where = f"worker {worker.number} could not take the data set, collate_fn and worker_init_fn"
        error = WorkerError(
            where,
            causes=[failed.words],
            hint="define their classes in a module that can be imported; num_workers=0 needs none of this",
        )
        error.__cause__ = raised(failed, where).__cause__
        return error

    def _lost(self, worker: _Worker) -> None:
        """Start a worker again whose process is gone, and give it what it had to do."""
        self._poll.unregister(worker.channel)
        worker.channel.close()
        starter = cast("Starter", self._starter)
        try:
            how = starter.how_ended(worker.token)
        except WorkerError:
            self.close()
            raise
        if not worker.is_ready:
            number = worker.number
            self.close()
            raise WorkerError(
                f"worker {number} {how} while it started",
                hint="its words are on stderr; num_workers=0 runs the data set in this process",
            )
        self.restarts += 1
        place = self._workers.index(worker)
        left = list(worker.parts)
        new = self._workers[place] = self._started(worker.number)
        if not left:
            say(f"worker {worker.number} {how} and was started again")
            return
        first, *rest = left
        first.deaths += 1
        row = int(self._places[worker.number])
        keys = first.task.keys
        where = keys.words(row)
        if first.deaths < _DEATHS_MAX:
            say(f"worker {worker.number} {how} at {where}; a new one does its {len(keys.indices)} rows again")
            self._give(new, first)
        else:
            first.error = lambda: WorkerError(
                f"{_DEATHS_MAX} workers in turn were lost at {where}; the last {how}",
                hint="num_workers=0 runs the data set in this process, where a debugger sees it",
            )
        for part in rest:
            self._give(new, part)


@atexit.register
def _close_all() -> None:
    for crew in list(_crews):
        crew.close()
