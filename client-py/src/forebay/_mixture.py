"""Several data sets as one, in stated ratios."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any, cast

from ._checks import whole
from ._record import record
from ._spec import Data, Origin, as_source
from .errors import InvalidError

# Ratios hold in every aligned block of so many rows, and a phase or an epoch begins with one.
BLOCK_ROWS = 1024
_ROWS_MAX = (1 << 63) - 1

Shares = Mapping[str, float]


@record
class Mixture:
    """Several data sets as one, with ratios that hold in every aligned block of 1024 rows.

        Mixture({"web": "/data/web", "code": forebay.List("code.jsonl")}, shares={"web": 3, "code": 1})

    Each source has epochs of its own, in a new order each time, however long the mixture's are: at the end of any block
    the visits of a source's samples differ by one at most. All sources have the loader's fields; folders of classes
    share one class map.

    Args:
        sources: name -> a folder, a list or records, as a loader takes them. The name is part of its samples' names.
        shares: name -> share, in any unit: 3 and 1 are 0.75 and 0.25. 0 leaves a source out.
        schedule: instead, `[(0, shares), (1_024_000, shares)]`: what holds from a row of the run on, counted over all
            epochs and ranks; multiples of 1024.
        epoch_rows: rows of an epoch, a multiple of 1024 (default: as many as all sources have samples, rounded up).
        epoch_of: instead, the source that an epoch goes through once, at the shares of row 0.
        sequential: the sources that are gone through in their own order.

    """

    sources: Mapping[str, Data]
    shares: Shares | None = None
    schedule: Sequence[tuple[int, Shares]] | None = None
    epoch_rows: int | None = None
    epoch_of: str | None = None
    sequential: Iterable[str] = ()

    def __post_init__(self) -> None:
        if not isinstance(cast("object", self.sources), Mapping) or not self.sources:
            raise InvalidError(
                "a mixture needs its sources", hint='Mixture({"a": "/data/a", "b": "/data/b"}, shares=...)'
            )
        for name in self.sources:
            _check_name(name)
        object.__setattr__(self, "sequential", _names(self.sequential))
        for name in self.sequential:
            self._check_known("sequential", name)
        if self.epoch_of is not None:
            self._check_known("epoch_of", self.epoch_of)
            if self.epoch_rows is not None:
                raise InvalidError("epoch_rows= and epoch_of= exclude each other")
        list(self._named())
        self.to_order()

    def origins(self) -> list[tuple[Origin, dict[str, Any]]]:
        """Give each source and its `forebay.v1.Source`."""
        return [(origin, self._spec(name, origin)) for name, origin in self._named()]

    def to_order(self) -> dict[str, Any]:
        """Give the `forebay.v1.Order`, but for its seed."""
        phases = [
            {"from_row": str(row), "shares": [float(shares[name]) for name in self.sources]}
            for row, shares in self._phases()
        ]
        if self.epoch_of is not None and not self._phases()[0][1][self.epoch_of]:
            raise InvalidError(
                f"epoch_of: {self.epoch_of!r} has no share at row 0, so that one pass over it never ends"
            )
        spec: dict[str, Any] = {"sampler": "SAMPLER_MIXTURE", "phases": phases}
        if self.epoch_rows is not None:
            spec["epoch_rows"] = str(whole_blocks("epoch_rows", self.epoch_rows))
        if self.epoch_of is not None:
            spec["epoch_source"] = self.epoch_of
        return spec

    def _named(self) -> Iterable[tuple[str, Origin]]:
        for name, data in self.sources.items():
            if isinstance(data, Mixture):
                raise InvalidError(f"source {name!r} is a mixture itself", hint="name all sources in one mixture")
            yield name, as_source(data)

    def _spec(self, name: str, origin: Origin) -> dict[str, Any]:
        sampler = "SAMPLER_SEQUENTIAL" if name in self.sequential else "SAMPLER_SHUFFLED"
        return {"name": name, **origin.to_spec(), "sampler": sampler}

    def _phases(self) -> list[tuple[int, Shares]]:
        if (self.shares is None) == (self.schedule is None):
            example = ", ".join(f"{name!r}: 1" for name in self.sources)
            raise InvalidError("a mixture needs either shares= or schedule=", hint=f"shares={{{example}}}")
        if self.schedule is None:
            return [(0, self._checked("shares", self.shares))]
        phases: list[tuple[int, Shares]] = []
        for row, shares in _pairs(self.schedule):
            checked = self._checked(f"schedule at row {row!r}", shares)
            phases.append((whole_blocks("row", row, 0), checked))
        rows = [row for row, _ in phases]
        if not rows or rows[0] != 0 or any(a >= b for a, b in zip(rows, rows[1:])):
            raise InvalidError(
                f"schedule: rows {rows}", hint="the first phase begins at row 0, and each later than the one before"
            )
        return phases

    def _checked(self, where: str, shares: Any) -> Shares:
        if not isinstance(shares, Mapping):
            raise InvalidError(
                f"{where}: {shares!r} is no dict", hint=f'shares are by name: {{"{next(iter(self.sources))}": 1}}'
            )
        named = cast("Mapping[str, Any]", shares)
        for name, share in named.items():
            self._check_known(where, name)
            is_number = hasattr(share, "__float__") and not isinstance(share, (bool, str))
            if not is_number or not isfinite(float(share)) or float(share) < 0:
                raise InvalidError(
                    f"{where}: {name!r} has a share of {share!r}", hint="a share is a number of at least 0"
                )
        missing = [name for name in self.sources if name not in named]
        if missing:
            raise InvalidError(f"{where}: no share for {missing[0]!r}", hint="0 leaves a source out")
        if not any(float(share) for share in named.values()):
            raise InvalidError(f"{where}: all shares are 0")
        return named

    def _check_known(self, where: str, name: object) -> None:
        if name not in self.sources:
            names = ", ".join(repr(known) for known in self.sources)
            raise InvalidError(f"{where}: {name!r} is none of the sources {names}")


def origins_of(data: Any) -> list[tuple[Origin, dict[str, Any]]]:
    """Give what is read, one or several, and the `forebay.v1.Source` of each."""
    if isinstance(data, Mixture):
        return data.origins()
    origin = as_source(data)
    return [(origin, origin.to_spec())]


def whole_blocks(name: str, rows: Any, least: int = BLOCK_ROWS) -> int:
    """Give a number of rows that is made of whole blocks."""
    rows = whole(name, rows, min(least, 1), _ROWS_MAX)
    if rows % BLOCK_ROWS:
        near = max(least, round(rows / BLOCK_ROWS) * BLOCK_ROWS)
        raise InvalidError(
            f"{name}={rows} is no multiple of {BLOCK_ROWS}", hint=f"ratios hold in blocks; the nearest is {near}"
        )
    return rows


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidError(f"a source named {name!r}", hint="names are texts")


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _pairs(schedule: Any) -> list[tuple[Any, Any]]:
    given = cast("Mapping[Any, Any]", schedule).items() if isinstance(schedule, Mapping) else schedule
    pairs = list(cast("Iterable[Any]", given))
    if not all(isinstance(pair, (tuple, list)) and len(cast("list[Any]", pair)) == 2 for pair in pairs):
        raise InvalidError(
            "schedule: not pairs of a row and its shares", hint='schedule=[(0, {"a": 1}), (10_240, {"a": 2})]'
        )
    return pairs
