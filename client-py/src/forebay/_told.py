"""What a loader tells of itself: where its time went, and what to change first."""

from __future__ import annotations

import contextlib
from typing import Any

from ._daemon import Daemon
from ._explain import Explanation
from ._gpu_pin import Pinning
from ._iterator import SessionPool
from ._stats import LoaderStats, StatsReport, device_words, numbers
from .errors import ForebayError


class Told:
    """A loader as people ask it when it is slow."""

    _daemon: Daemon
    _pinning: Pinning | None
    _pool: SessionPool
    _stats: LoaderStats

    def stats(self) -> StatsReport:
        """Give where the time went, summed over all iterators; `print` it, or read its keys."""
        report = StatsReport(self._counters())
        if self._pinning is not None:
            report["pinned"] = self._pinning.words()
        connection = self._daemon.current()
        if connection is not None:
            with contextlib.suppress(ForebayError):  # it is about to be replaced
                report["daemon"] = numbers(connection.request("stats", {}))
        return report

    def explain(self) -> Explanation:
        """Judge where the newest steps' time went and what to change first; `print` it, or ask its `cause`.

        Of the newest iterator, while its session is open (until `close()`). Raises `UnimplementedError` where
        the daemon is too old to tell.
        """
        session = self._pool.newest()
        number = session.number if session is not None else 0
        connection = self._daemon.current()
        if not number or connection is None:
            return Explanation({})
        return Explanation(connection.request("explain", {"session": number}), self._copies_words())

    def _copies_words(self) -> str:
        """Say what copies to a device took, if there were any."""
        return device_words(self._counters()) if self._stats.device_batches else ""

    def _counters(self) -> dict[str, Any]:
        return self._stats.as_dict()
