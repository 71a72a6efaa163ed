"""Losses on their way to the daemon: a report costs a copy, and a record a second carries them all.

Nobody waits for the daemon's answer: what it refuses is said once, and training goes on.
"""

from __future__ import annotations

import atexit
import base64
import threading
import time
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from ._daemon import Connection, Daemon
from ._fork import forget_in_child
from ._job import Job
from ._notice import say
from .errors import ConnectionLostError, ForebayError, InvalidError, UnimplementedError

# Sent when so many are kept, or after so long: both fit one record of the socket.
_KEPT_LOSSES = 8192
_KEPT_BATCHES = 512
_KEPT_SECONDS = 1.0
# A daemon that takes none for so long loses the oldest.
_KEPT_LOSSES_MAX = 1 << 20
_REQUEST_LOSSES = 1 << 18

_ONE_A_SAMPLE = 'one loss a sample is needed: as torch calls it, reduction="none"'


class Delivered(NamedTuple):
    """A batch that was delivered: what `report(losses, batch=...)` takes.

    `position`: of its step; `first_row`: of this rank's part of it; `rows`: how many samples it has.
    """

    epoch: int
    position: int
    first_row: int
    rows: int


class Run(NamedTuple):
    """Whose losses."""

    job: Job
    job_id: str
    rank: int


def one_a_sample(losses: Any, rows: int) -> Any:
    """Check losses of a batch of `rows` samples, and give a copy of our own: float32 bytes, or a tensor on its device.

    A tensor that lies on a device stays there until it is sent: copying it to the CPU would wait for the device.
    """
    if hasattr(losses, "detach"):
        losses = losses.detach()
        if str(losses.device.type) != "cpu":
            _check(tuple(losses.shape), rows)
            return losses.clone()
        losses = losses.float().numpy()
    values = _float32(losses)
    _check(values.shape, rows)
    return values.tobytes()


def _float32(losses: Any) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # too large for float32 is infinite
            return np.asarray(losses, dtype="<f4")
    except (TypeError, ValueError) as error:
        raise InvalidError(
            f"losses of type {type(losses).__name__} are no numbers", causes=[str(error)], hint=_ONE_A_SAMPLE
        ) from error


def _check(shape: tuple[int, ...], rows: int) -> None:
    if shape != (rows,):
        given = "one number" if shape == () else f"shape {shape}"
        raise InvalidError(f"losses of {given} for a batch of {rows} samples", hint=_ONE_A_SAMPLE)


def _bytes(kept: Any) -> bytes:
    """Give the bytes of what `one_a_sample` gave; a tensor on a device is waited for here."""
    return kept if isinstance(kept, bytes) else np.asarray(kept.float().cpu(), dtype="<f4").tobytes()


class Reporter:
    """A loader's reports. Safe to call from several threads."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._lock = threading.Lock()
        self._kept: list[tuple[Run, Delivered, Any]] = []
        self._losses = 0
        self._since = time.monotonic()
        self._has_said = False
        self.lost = 0
        forget_in_child(self)
        if "losses" not in daemon.connection().features:
            raise UnimplementedError("this daemon keeps no losses", hint="upgrade it; the client knows how")
        _flush_at_exit()

    def add(self, run: Run, batch: Delivered, losses: Any) -> None:
        """Keep the losses of a batch, and send what is kept once it is time."""
        checked = one_a_sample(losses, batch.rows)
        with self._lock:
            if not self._kept:
                _unsent.add(self)  # until it is sent, even where the loader goes
            self._kept.append((run, batch, checked))
            self._losses += batch.rows
            full = self._losses >= _KEPT_LOSSES or len(self._kept) >= _KEPT_BATCHES
            now = time.monotonic()
            if full or now - self._since >= _KEPT_SECONDS:
                self._since = now
                self._tell()

    def flush(self, save: bool = False) -> None:
        """Send what is kept, and wait until the daemon has it; with `save` have it write the ledger soon."""
        with self._lock:
            connection = self._daemon.current()
            for request, batches, losses in self._requests(save):
                try:
                    if connection is None:
                        raise ConnectionLostError("the daemon is gone")
                    connection.request("report", request)
                except ForebayError as error:
                    self._lose(losses, error)
                self._sent(batches, losses)
            if connection is not None:
                self._hear(connection)

    def forget(self) -> None:
        """Belong to the parent, which sends what is kept."""
        self._lock = threading.Lock()
        self._kept, self._losses = [], 0
        _unsent.discard(self)

    def _tell(self) -> None:
        """Send what is kept without waiting for anything; what cannot be sent now stays."""
        connection = self._daemon.current()
        if connection is not None:
            self._hear(connection)
            for request, batches, losses in self._requests(save=False):
                try:
                    if not connection.tell("report", request):
                        break
                except ConnectionLostError:
                    break  # the session notices too, and opens elsewhere
                self._sent(batches, losses)
        while self._losses > _KEPT_LOSSES_MAX:
            _, batch, _ = self._kept[0]
            self._lose(batch.rows, ConnectionLostError("the daemon takes none"))
            self._sent(1, batch.rows)

    def _requests(self, save: bool) -> list[tuple[dict[str, Any], int, int]]:
        """Give what is kept as requests, each with how many batches and losses it has."""
        requests: list[tuple[dict[str, Any], int, int]] = []
        for run, kept in groupby(self._kept, key=lambda kept: kept[0]):
            batches: list[dict[str, Any]] = []
            losses = 0
            for _, batch, checked in kept:
                if batches and losses + batch.rows > _REQUEST_LOSSES:
                    requests.append((_request(run, batches, save), len(batches), losses))
                    batches, losses = [], 0
                text = base64.b64encode(_bytes(checked)).decode()
                batches.append({"epoch": batch.epoch, "first_row": batch.first_row, "losses": text})
                losses += batch.rows
            requests.append((_request(run, batches, save), len(batches), losses))
        return requests

    def _sent(self, batches: int, losses: int) -> None:
        del self._kept[:batches]
        self._losses -= losses
        if not self._kept:
            _unsent.discard(self)

    def _hear(self, connection: Connection) -> None:
        for error in connection.refusals():
            self._lose(0, error)

    def _lose(self, losses: int, error: ForebayError) -> None:
        self.lost += losses
        if not self._has_said:
            self._has_said = True
            say(f"losses that were reported are not kept: {error}")


def _request(run: Run, batches: Sequence[dict[str, Any]], save: bool) -> dict[str, Any]:
    job = {"order_digest": run.job.order_digest, "content_digest": run.job.content_digest}
    return {"job": job, "job_id": run.job_id, "rank": run.rank, "batches": batches, "save": save}


_unsent: set[Reporter] = set()


@cache
def _flush_at_exit() -> None:
    """Have what is kept sent when Python exits.

    Registered once there is a connection: what was registered first runs last, and that closes sockets.
    """
    atexit.register(_flush_all)


def _flush_all() -> None:
    for reporter in list(_unsent):
        reporter.flush(save=True)


class Reporting:
    """What a loader does with losses: `report` and `loss_weights`."""

    _daemon: Daemon
    _reporter: Reporter | None = None

    def _delivered(self) -> Delivered | None:
        """Give the newest batch of the newest iterator."""
        raise NotImplementedError

    def _run(self) -> Run:
        """Give whose losses they are."""
        raise NotImplementedError

    def report(self, losses: Any, *, batch: Delivered | None = None) -> None:
        """Tell the daemon the losses of a batch: one a sample, in the order of the batch, before any mean.

        Of the newest batch that `next()` gave, or of `batch`, as `iterator.delivered` told it, where others were
        taken meanwhile. A list, an array or a tensor of shape `(rows,)`; it is copied, and a tensor on a GPU stays
        there until the next record goes out, so no call waits for the device. Losses of rows that repeat others or
        are masked are left out; NaN and infinite ones are counted by themselves.

        They go into a ledger by sample, for `forebay dataset top|spikes|weights` and `loss_weights()`, and change
        nothing that any loader gives. Raises `InvalidError` for another number of losses or where no batch was
        taken. A daemon that does not take them never stops training: that is said once, on stderr.
        """
        batch = batch or self._delivered()
        if batch is None:
            raise InvalidError("no batch was taken yet", hint="call report() behind next(), with that batch's losses")
        if not isinstance(batch, Delivered):  # pyright: ignore[reportUnnecessaryIsInstance] - users are not typed
            raise InvalidError(
                f"batch={type(batch).__name__} names no batch", hint="pass what `iterator.delivered` gave behind next()"
            )
        if self._reporter is None:
            self._reporter = Reporter(self._daemon)
        self._reporter.add(self._run(), batch, losses)

    def loss_weights(
        self,
        *,
        by: str = "loss",
        temperature: float = 1.0,
        clip: tuple[float, float] = (0.1, 10.0),
        source: str = "",
    ) -> npt.NDArray[np.float64]:
        """Give one weight a sample, in the snapshot's order: `(loss / average) ** (1 / temperature)`, clipped.

        `by`: `loss` (its mean), `max`, `last` or `recent`. 1 for a sample without a finite loss. Of what this
        process's daemon was told in this run; `forebay dataset weights --ledgers` adds up those of several nodes.
        Nothing uses them until a loader is made with `sampler="weighted", weights=...`, whose order they then name.
        """
        if by not in _ORDERS:
            raise InvalidError(f"by={by!r} is not one of {', '.join(_ORDERS)}")
        if self._reporter is not None:
            self._reporter.flush()
        least, most = clip
        weights = {"source": source, "by": _ORDERS[by], "temperature": temperature, "least": least, "most": most}
        reply = self._daemon.request("losses", {"job_id": self._run().job_id, "weights": weights})
        return np.frombuffer(base64.b64decode(cast("str", reply.get("weights", ""))), dtype="<f8").astype(np.float64)


_ORDERS = {
    "loss": "LOSS_ORDER_MEAN",
    "max": "LOSS_ORDER_MAX",
    "last": "LOSS_ORDER_LAST",
    "recent": "LOSS_ORDER_RECENT",
}
