"""One iterator's session with a daemon: batches in order, and the next daemon when one dies.

The session knows the cursor of the batch it hands out next. All that can go wrong on the way is mended by one
move: open again at that cursor, there or elsewhere. A row is a pure function, so the stream goes on byte for
byte.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import _wire
from ._arena import Arena, Leases
from ._batch import Array, Owner, Place, arrays, copied, places
from ._daemon import Connection, Daemon, Outage
from ._fork import forget_in_child
from ._gpu_pin import Pinning
from ._job import Cursor, Job, TensorSpec, resolve_again
from ._notice import say
from ._rank import Partition
from ._record import record
from ._socket import RecordSocket
from ._stats import LoaderStats
from .errors import (
    ConnectionLostError,
    DaemonError,
    InvalidError,
    NotFoundError,
    ProtocolError,
    UnavailableError,
    UnimplementedError,
    from_wire,
)

_U32 = 0xFFFF_FFFF
# How soon to ask again whether a device has done with a slot that the daemon may be waiting for.
_SETTLE_MS = 1
# How long to wait for it before a batch is copied instead.
_SETTLE_SECONDS = 0.25


@record
class Consumer:
    """What a session is opened with, but for the cursor."""

    asked: Mapping[str, Any]  # what the job was resolved from
    job: Job
    partition: Partition
    rows: int
    tail: str
    depth: int
    max_leases: int
    rolling: bool
    digest: bool
    share: tuple[int, int] = (1, 0)  # its weight and priority on the daemon
    lends: bool = False  # whether other processes map its arenas too
    pinning: Pinning | None = None  # who pins its arenas


class Batch(NamedTuple):
    """What came: its record and one array a tensor. The arrays keep the slot; drop them and it is free.

    `arena`: where they lie; None where they were copied.
    """

    ready: _wire.Ready
    arrays: list[Array]
    specs: tuple[TensorSpec, ...]
    arena: Arena | None = None

    @property
    def is_last(self) -> bool:
        """Whether its epoch ends with it."""
        return bool(self.ready.flags & (_wire.LAST | _wire.EMPTY))


class _Channel:
    """The session's socket, its arenas and its leases: all that is lost with a daemon."""

    __slots__ = (
        "arenas",
        "depth",
        "granted",
        "leases",
        "max_leases",
        "records",
        "seen",
        "sequence",
        "specs",
        "spent",
        "taken",
        "tells",
    )

    def __init__(self, records: RecordSocket, opened: dict[str, Any], consumer: Consumer, tells: bool) -> None:
        self.records = records
        # Seconds by cause that the daemon has not been told yet, and whether it wants to know.
        self.spent = [0.0, 0.0, 0.0, 0.0]
        self.tells = tells
        self.leases = Leases(records)
        self.arenas: dict[int, Arena] = {}
        self.depth = int(opened.get("depth", 0)) or consumer.depth or 1
        self.max_leases = int(opened.get("max_leases", 0)) or consumer.max_leases or 1
        self.specs = tuple(TensorSpec.from_wire(spec) for spec in opened.get("tensors", ()))
        self.sequence = 0
        # Credit is kept as two counts, so that an interrupt between them costs nothing.
        self.granted = 0
        self.taken = 0
        self.seen: tuple[Arena, tuple[_wire.Tensor, ...], list[Place]] | None = None

    def places(self, arena: Arena, ready: _wire.Ready) -> list[Place]:
        """Give where a batch's tensors lie; those of the last one where they are the same."""
        seen = self.seen
        if seen is None or seen[0] is not arena or seen[1] is not ready.tensors:
            found = places(ready.tensors, self.specs, arena.slot_bytes)
            seen = self.seen = (arena, ready.tensors, found)
        return seen[2]

    def grant(self) -> None:
        """Let the daemon have `depth` batches under way."""
        owed = self.depth - (self.granted - self.taken)
        if owed <= 0:
            return
        # The first credit is for no batch that was taken.
        told = _microseconds(self.spent) if self.tells and self.granted else None
        if self.records.try_send(_wire.encode_credit(self.sequence, owed, told)):
            self.granted += owed
            self.spent = [0.0, 0.0, 0.0, 0.0]

    def flush(self) -> int | None:
        """Send what had to wait: the daemon may be waiting for it before it sends us anything."""
        copied_from = self.leases.settle()
        self.leases.flush()
        self.grant()
        return _SETTLE_MS if copied_from else None

    def seek(self, cursor: Cursor) -> None:
        """Have the daemon go on at `cursor`."""
        self.sequence = (self.sequence + 1) & _U32
        self.leases.sequence = self.sequence
        self.records.send(_wire.encode_seek(self.sequence, *cursor, self.depth))
        self.granted, self.taken = self.depth, 0


def _microseconds(spent: list[float]) -> _wire.Spent:
    waited, trainer, python, copied = spent
    most = _U32 * 1e-6
    if waited + trainer + python + copied > most:  # an hour of something: no step is judged by more
        waited, trainer, python, copied = (min(part, most) for part in spent)
    return _wire.Spent(int(waited * 1e6), int(trainer * 1e6), int(python * 1e6), int(copied * 1e6))


class Session:
    """One consumer of one partition, for one caller at a time (its iterator's lock sees to that)."""

    def __init__(self, daemon: Daemon, consumer: Consumer, cursor: Cursor, stats: LoaderStats) -> None:
        """Open at `cursor`; raises what the daemon answers."""
        self._daemon = daemon
        self.consumer = consumer
        self._cursor = cursor
        self._stats = stats
        self._outage = Outage()
        self._channel: _Channel | None = None
        # Behind a FAULT, or behind LAST without `rolling`, the daemon waits for SEEK.
        self._stopped = False
        self._closed = ""
        self._announced = False
        self._number = 0
        self._started_at = self._returned_at = 0.0
        self._copied_seconds = 0.0
        self._process = os.getpid()
        forget_in_child(self)
        self._open()

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        return self._cursor

    @property
    def number(self) -> int:
        """Its number at the daemon it is open at; 0 where it is at none."""
        return self._number if self._channel is not None else 0

    @property
    def is_open(self) -> bool:
        """Whether it belongs to this process and nobody closed it."""
        return not self._closed

    def next(self, cursor: Cursor) -> Batch:
        """Wait for the batch at `cursor`, which is where the last one ended.

        Raises a fault of the daemon as the exception of its kind; calling again asks for the same batch.
        `DaemonError` where the daemon is gone and none came back within its time.
        """
        self._started_at = time.perf_counter()
        self._copied_seconds = 0.0
        self._check_open()
        if cursor != self._cursor:
            self._seek(cursor)  # an interrupt took the last batch before anybody had it
        while True:
            try:
                batch = self._take(self._live_channel())
            except ConnectionLostError as error:
                self._lost(error)
                continue
            break
        self._outage.over()
        return batch

    @property
    def max_leases(self) -> int:
        """How many slots it can hold; 0 where it is at no daemon."""
        return self._channel.max_leases if self._channel is not None else 0

    def has_record(self) -> bool:
        """Whether `next()` has something to look at, most likely a batch, without waiting."""
        channel = self._channel
        return channel is not None and not self._stopped and channel.records.has_record()

    def is_waiting(self) -> bool:
        """Whether `next()` would have to wait; what the daemon needs to go on has been sent then."""
        channel = self._channel
        if channel is None or self._stopped or channel.records.has_record():
            return False
        try:
            channel.flush()
        except ConnectionLostError:
            return False  # it says so at once
        return True

    def worked(self) -> None:
        """Note that what `next()` gave has been turned into what the trainer gets."""
        now = time.perf_counter()
        python = now - self._returned_at
        self._stats.python_seconds += python
        if self._channel is not None:
            self._channel.spent[2] += python
        self._returned_at = now

    def go_to(self, cursor: Cursor) -> None:
        """Have `next()` give the batch at `cursor`; nothing is sent where the daemon is about to send it."""
        self._check_open()
        self._returned_at = 0.0
        if cursor != self._cursor or self._stopped:
            self._seek(cursor)

    def close(self, reason: str = "its loader was closed") -> None:
        """End the session; batches handed out stay valid."""
        self._closed = self._closed or reason
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.leases.close()

    def forget(self) -> None:
        """Belong to the parent: the forked child closes its copy of the socket and says so when asked."""
        self._closed = f"it belongs to process {self._process}, from which this one was forked"
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.records.forget()

    def __del__(self) -> None:
        channel = getattr(self, "_channel", None)
        if channel is not None:
            channel.leases.close()

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidError(
                f"this iterator cannot go on: {self._closed}",
                hint="call iter() on a loader in this process; its state_dict() resumes where it stood",
            )

    def _live_channel(self) -> _Channel:
        channel = self._channel
        if channel is None:
            channel = self._open()
        elif self._stopped:
            self._seek(self._cursor)
            channel = self._channel or self._open()
        return channel

    def _seek(self, cursor: Cursor) -> None:
        self._cursor = cursor
        if self._channel is not None:
            try:
                self._channel.seek(cursor)
            except ConnectionLostError as error:
                self._lost(error)
        self._stopped = False

    def _open(self) -> _Channel:
        self._channel = self._daemon.run(self._open_on, self._outage)
        self._stopped = False
        return self._channel

    def _open_on(self, connection: Connection) -> _Channel:
        try:
            opened = self._ask_open(connection)
        except UnavailableError as error:
            if isinstance(error, (ConnectionLostError, DaemonError)) or not self._outage.losses:
                raise
            # In an outage a daemon that is draining or still starting is no better than none.
            connection.close()
            raise ConnectionLostError("the next daemon does not serve yet", causes=[error.message]) from error
        number = int(opened.get("session", 0))
        records = RecordSocket(connection.attach(number), _wire.SESSION_RECORD_BYTES_MAX)
        channel = _Channel(records, opened, self.consumer, "spent" in connection.features)
        self._number = number
        if self.consumer.pinning is not None:
            self.consumer.pinning.numa_node = opened.get("numa_node")
        channel.grant()
        start = opened.get("cursor", {})
        self._cursor = Cursor(int(start.get("epoch", 0)), int(start.get("position", 0)))
        return channel

    def _ask_open(self, connection: Connection) -> dict[str, Any]:
        consumer = self.consumer
        body = {
            "job": {
                "order_digest": consumer.job.order_digest,
                "content_digest": consumer.job.content_digest,
            },
            "partition": consumer.partition.to_wire(),
            "cursor": self._cursor._asdict(),
            "rows": consumer.rows,
            "tail": f"TAIL_{consumer.tail.upper()}",
            "delivery": "DELIVERY_LOCAL",
            "depth": consumer.depth,
            "max_leases": consumer.max_leases,
            "rolling": consumer.rolling,
        }
        if consumer.digest:
            if "digest" not in connection.features:
                raise UnimplementedError("this daemon cannot digest batches", hint="upgrade it, or leave digest= out")
            body["digest"] = True
        body["weight"], priority = consumer.share
        if priority:
            if "priority" not in connection.features:
                raise UnimplementedError("this daemon knows no priorities", hint="upgrade it, or leave priority= out")
            body["priority"] = priority
        pinning = consumer.pinning
        if pinning is not None and "gpu" in connection.features:
            body["gpu"] = pinning.gpu()
        try:
            return connection.request("open", body)
        except NotFoundError:
            resolve_again(connection.request, consumer.asked, consumer.job)
            return connection.request("open", body)

    def _lost(self, error: ConnectionLostError) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.leases.close()
        self._check_open()
        self._stats.restarts += 1
        self._outage.wait(self._daemon, error)
        if not self._announced:
            self._announced = True
            say(f"{error.message} ({', '.join(error.causes)}); going on at epoch {self._cursor.epoch}, "
                f"row {self._cursor.position}")  # fmt: skip

    def _take(self, channel: _Channel) -> Batch:
        if channel.leases.interrupted:
            channel.leases.interrupted = False
            raise KeyboardInterrupt
        channel.leases.settle()
        records = channel.records
        while True:
            data = records.receive(channel.flush)
            kind = data[0]
            if records.descriptors and kind != _wire.ARENA:
                raise self._broken(channel, f"a descriptor beside a record of kind {kind:#x}")
            if kind == _wire.READY:
                ready = _wire.decode_ready(data)
                if ready.sequence == channel.sequence:
                    return self._accept(channel, ready)
                self._release_unseen(channel, ready)
            elif kind == _wire.ARENA:
                self._map(channel, _wire.decode_arena(data))
            elif kind == _wire.FAULT:
                self._fault(channel, _wire.decode_fault(data))
            else:
                raise self._broken(channel, f"a record of kind {kind:#x} on the session socket")
            records.done()

    def _accept(self, channel: _Channel, ready: _wire.Ready) -> Batch:
        if (ready.epoch, ready.position) != self._cursor:
            raise self._broken(
                channel, f"a batch of epoch {ready.epoch}, row {ready.position} where {self._cursor} is next"
            )
        made: list[Array] = []
        arena: Arena | None = None
        if not ready.flags & _wire.EMPTY:
            made, arena = self._arrays(channel, ready)
        # From here on the batch counts as handed out.
        self._cursor = Cursor(ready.next_epoch, ready.next_position)
        channel.taken += 1
        channel.records.done()
        self._count_arrival(channel, ready)
        self._stopped = bool(ready.flags & (_wire.LAST | _wire.EMPTY)) and not self.consumer.rolling
        try:  # noqa: SIM105 - contextlib.suppress costs three calls a batch
            channel.grant()
        except ConnectionLostError:
            pass  # the batch is whole and ours; the next call sees the end
        return Batch(ready, made, channel.specs, arena)

    def _count_arrival(self, channel: _Channel, ready: _wire.Ready) -> None:
        arrived, started, copied = time.perf_counter(), self._started_at, self._copied_seconds
        waited = arrived - started - copied
        trainer = started - self._returned_at if self._returned_at else 0.0
        self._returned_at = arrived
        self._stats.trainer_seconds += trainer
        spent = channel.spent
        spent[0] += waited
        spent[1] += trainer
        spent[3] += copied
        if not ready.flags & _wire.EMPTY:
            self._stats.delivered(ready, waited)

    def _arrays(self, channel: _Channel, ready: _wire.Ready) -> tuple[list[Array], Arena | None]:
        arena = channel.arenas.get(ready.arena)
        if arena is None:
            raise self._broken(channel, f"a batch in arena {ready.arena}, which was not announced")
        if arena.is_one_off:
            del channel.arenas[ready.arena]  # it goes with its one batch
        try:
            where = channel.places(arena, ready)
            owner = channel.leases.lease(arena, ready)
        except ProtocolError as error:
            raise self._broken(channel, error.message) from error
        if channel.leases.taken > channel.max_leases:
            channel.leases.sweep()
            self._wait_for_device(channel)
            if channel.leases.taken > channel.max_leases:
                self._say_copy(channel)
                copy = self._copied(owner, ready)
                channel.leases.give_back_unseen(ready)
                return arrays(copy, where), None
        return arrays(owner, where), arena

    def _wait_for_device(self, channel: _Channel) -> None:
        """Wait a while for slots that a device has yet to do with: it is behind the trainer.

        Not for ever: what it does may wait for another rank, and that one for us.
        """
        leases, until = channel.leases, time.monotonic() + _SETTLE_SECONDS
        while leases.taken > channel.max_leases and leases.settle() and leases.waits and time.monotonic() < until:
            time.sleep(_SETTLE_MS * 1e-3)

    def _say_copy(self, channel: _Channel) -> None:
        if not self._stats.copies:
            say(
                f"{channel.max_leases} batches are held, so further ones are copied to ordinary memory; "
                "drop batches earlier, or raise max_leases"
            )

    def _copied(self, owner: Owner, ready: _wire.Ready) -> Array:
        started = time.perf_counter()
        copy = copied(owner, ready)
        self._copied_seconds = time.perf_counter() - started
        self._stats.copies += 1
        self._stats.copy_seconds += self._copied_seconds
        return copy

    def _release_unseen(self, channel: _Channel, ready: _wire.Ready) -> None:
        if not ready.flags & _wire.EMPTY:
            channel.leases.send(_wire.Release(ready.arena, ready.generation, ready.slot))

    def _map(self, channel: _Channel, announced: _wire.Arena) -> None:
        descriptors = channel.records.descriptors
        if len(descriptors) != 1:
            raise self._broken(channel, f"an ARENA with {len(descriptors)} descriptors")
        arena = Arena(announced, descriptors.pop(), self.consumer.lends)
        channel.arenas[announced.arena] = arena
        if self.consumer.pinning is not None:
            channel.leases.fence = self.consumer.pinning.pin(arena) or channel.leases.fence

    def _fault(self, channel: _Channel, fault: _wire.Fault) -> None:
        """Raise what the daemon says, unless it was said before our SEEK."""
        if fault.flags & _wire.FATAL:
            self._channel = None
            channel.leases.close()
        elif fault.sequence != channel.sequence:
            return
        else:
            self._stopped = True
            channel.records.done()
        error = from_wire(fault.error)
        error.causes += (f"at epoch {fault.epoch}, row {fault.position}",)
        raise error

    def _broken(self, channel: _Channel, what: str) -> ProtocolError:
        """End a connection whose other side does not keep to docs/wire.md."""
        self._channel = None
        channel.leases.close()
        return ProtocolError(what, hint="report it with the versions of daemon and client")
