"""One epoch's iterator, and the sessions behind a loader's iterators."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from ._daemon import Daemon
from ._digest import Digests
from ._fork import forget_in_child
from ._gpu_marks import marks
from ._job import Cursor
from ._report import Delivered
from ._session import Batch, Consumer, Session
from ._stats import LoaderStats
from ._wire import Ready

B = TypeVar("B")


class Progress:
    """How far an iterator has come; outlives it, since `state_dict()` asks after `break` too."""

    __slots__ = ("cursor", "ready", "valid")

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.valid: Any = None
        # The record of the newest batch, once there is one.
        self.ready: Ready | None = None

    @property
    def delivered(self) -> Delivered | None:
        """The newest batch, once there is one."""
        ready = self.ready
        return None if ready is None else Delivered(ready.epoch, ready.position, ready.first_row, ready.rows)


class SessionPool:
    """A loader's sessions: the live ones to close with it, and an idle one for the next `iter()`.

    `put` runs in finalizers on any thread and so takes no lock.
    """

    def __init__(self, daemon: Daemon, stats: LoaderStats) -> None:
        self._daemon = daemon
        self._stats = stats
        self._idle: deque[Session] = deque()
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._newest: weakref.ref[Session] | None = None
        self.closed = False

    def newest(self) -> Session | None:
        """Give the session that was taken last, where it still lives."""
        return self._newest() if self._newest is not None else None

    def take(self, consumer: Consumer, cursor: Cursor) -> Session:
        """Give a session that stands at `cursor`: an idle one, or a new one."""
        while self._idle:
            session = self._idle.pop()
            if session.consumer is consumer and session.is_open:
                session.go_to(cursor)
                self._newest = weakref.ref(session)
                return session
            session.close()
        session = Session(self._daemon, consumer, cursor, self._stats)
        self._sessions.add(session)
        self._newest = weakref.ref(session)
        return session

    def put(self, session: Session) -> None:
        """Take a session back whose iterator is done with it."""
        if self.closed or self._idle or not session.is_open:
            session.close()
        else:
            self._idle.append(session)

    def close(self) -> None:
        """End all sessions; their iterators raise."""
        self.closed = True
        for session in list(self._sessions):
            session.close()
        self._idle.clear()


class BatchIterator(Generic[B]):
    """One epoch's batches, or what is left of it. Safe to call from several threads."""

    def __init__(
        self,
        pool: SessionPool,
        session: Session | None,
        convert: Callable[[Batch], tuple[B, Any]],
        progress: Progress,
        digests: Digests,
    ) -> None:
        self._digests = digests
        self._pool = pool
        self._session = session
        self._convert = convert
        self._progress = progress
        self._epoch = progress.cursor.epoch
        self._lock = threading.Lock()
        self._marks = marks()
        forget_in_child(self)

    @property
    def progress(self) -> Progress:
        """How far it has come; whoever looks ahead may put its cursor back to what was delivered."""
        return self._progress

    @property
    def max_leases(self) -> int:
        """How many batches can be held before further ones are copied; 0 at its end."""
        return self._session.max_leases if self._session is not None else 0

    def has_next(self) -> bool:
        """Whether the next batch has most likely come already."""
        session = self._session
        return session is not None and session.has_record()

    def kept(self) -> None:
        """Note that what was done since the newest batch came was Python's work, and not the trainer's.

        The daemon is asked again where the cursor was put back, so nothing is kept for that.
        """
        session = self._session
        if session is not None:
            session.worked()

    def count_for(self, digests: Digests) -> None:
        """Add what it takes to these, where it is not what is delivered."""
        self._digests = digests

    # Not `close`: `yield from` calls one without arguments.
    def give_up(self, reason: str) -> None:
        """End it, and its session with it."""
        session, self._session = self._session, None
        if session is not None:
            session.close(reason)

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        return self._progress.cursor

    @property
    def delivered(self) -> Delivered | None:
        """The newest batch that it gave, for `report(losses, batch=...)` of those who look ahead."""
        return self._progress.delivered

    @property
    def valid(self) -> Any:
        """Which rows of the newest batch count: a mask, or where all do, how many there are."""
        return self._progress.valid

    @property
    def is_over(self) -> bool:
        """Whether its epoch has no further batch."""
        return self._session is None

    def is_waiting(self) -> bool:
        """Whether `next()` would have to wait for the daemon."""
        session = self._session
        return session is not None and session.is_waiting()

    def __iter__(self) -> BatchIterator[B]:
        return self

    def __next__(self) -> B:
        with self._lock:
            session, progress = self._session, self._progress
            if session is None or progress.cursor.epoch != self._epoch:
                self._end()
                raise StopIteration
            with self._marks("forebay wait"):
                batch = session.next(progress.cursor)
            made, valid = self._convert(batch) if batch.arrays else (None, None)
            session.worked()
            progress.valid = valid
            if batch.ready.tally is not None:
                self._digests.add(batch.ready)
            # The batch is delivered from here on. An interrupt before this line asks for it again.
            progress.cursor = Cursor(batch.ready.next_epoch, batch.ready.next_position)
            if batch.is_last:
                self._end()
            if not batch.arrays:
                raise StopIteration
            progress.ready = batch.ready
            return cast("B", made)

    def forget(self) -> None:
        """Make a new lock in a forked child, where nobody would release the old one."""
        self._lock = threading.Lock()

    def __del__(self) -> None:
        self._end()

    def _end(self) -> None:
        session, self._session = getattr(self, "_session", None), None
        if session is not None:
            self._pool.put(session)
