"""Copies of a loader, by `copy` or `pickle`: loaders of their own, with no session, socket or lock of the first."""

from __future__ import annotations

from typing import Any

# What lives in one process and one loader; `_live()` makes it anew.
_LIVE = (
    "_consumer",
    "_daemon",
    "_digests",
    "_lock",
    "_pinning",
    "_pool",
    "_progress",
    "_reporter",
    "_resolver",
    "_stats",
)


class Copied:
    """A loader that can be copied: the copy begins where the next `iter()` of the first one would."""

    def _live(self) -> None:
        """Make what is alive in a loader: its connection, sessions, counters and locks."""
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _LIVE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._live()
