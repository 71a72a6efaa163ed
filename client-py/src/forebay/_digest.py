"""What was delivered of an epoch, as two sums: `loader.digest()`, and adding up those of ranks and restarts.

The daemon hashes each row (its position and sample; its position and bytes) and sends the sums of a batch beside
it. They are added here when the batch is handed to the trainer, so what was prepared and never taken is not in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, TypedDict

from ._wire import Ready
from .errors import InvalidError

_MODULUS = 1 << 256


class EpochDigest(TypedDict):
    """Rows `from_row` to `to_row` of an epoch, or one rank's part of them.

    `rows`: how many of them were delivered; all ranks together have `to_row - from_row`. `order`: 64 hex digits over
    which sample stands where. `content`: over each row's bytes, in all tensors, and whether it is valid.
    """

    from_row: int
    to_row: int
    rows: int
    order: str
    content: str


class _Sums(NamedTuple):
    """One epoch's rows from `start` to `end`, without a gap. A tuple: an interrupt finds the old sums or the new."""

    start: int
    end: int
    rows: int = 0
    order: int = 0
    content: int = 0

    def plus(self, end: int, rows: int, order: int, content: int) -> _Sums:
        order, content = (self.order + order) % _MODULUS, (self.content + content) % _MODULUS
        return _Sums(self.start, end, self.rows + rows, order, content)

    def public(self) -> EpochDigest:
        return {
            "from_row": self.start,
            "to_row": self.end,
            "rows": self.rows,
            "order": f"{self.order:064x}",
            "content": f"{self.content:064x}",
        }


class Digests:
    """The sums of a loader's deliveries, epoch by epoch."""

    __slots__ = ("_epochs",)

    def __init__(self) -> None:
        self._epochs: dict[int, _Sums] = {}

    def add(self, ready: Ready) -> None:
        """Count a batch that was handed over."""
        if ready.tally is None:
            return
        sums = self._epochs.get(ready.epoch)
        if sums is None or sums.end != ready.position:
            sums = _Sums(ready.position, ready.position)
        self._epochs[ready.epoch] = sums.plus(*ready.tally)

    def by_epoch(self) -> dict[int, EpochDigest]:
        """Give the sums so far."""
        return {epoch: sums.public() for epoch, sums in sorted(self._epochs.items())}


class Digested:
    """A loader that can be asked for what it delivered."""

    _digest: bool
    _digests: Digests

    def digest(self) -> dict[int, EpochDigest]:
        """Give what this rank was delivered of each epoch: two sums that every cut of the epoch comes to.

        `forebay.combine_digests` adds those of all ranks, and of the parts of a run that was resumed: runs whose sums
        are equal saw the same rows. Of an epoch that was begun anew, or left and entered elsewhere, the newest
        unbroken part counts. Raises `InvalidError` where the loader was made without `digest=True`.
        """
        if not self._digest:
            raise InvalidError("this loader adds up no digests", hint="make it with digest=True")
        return self._digests.by_epoch()


def combine_digests(parts: Iterable[Mapping[int, EpochDigest]]) -> dict[int, EpochDigest]:
    """Add up what `loader.digest()` gave on several ranks, or in several parts of a resumed run, in any order.

    Keys may have become strings, as in JSON. Raises `InvalidError` where parts overlap or leave a gap, since their sum
    would then be no run's: ranks stand at different steps, or rows between a checkpoint and a crash count twice.
    """
    by_epoch: dict[int, list[EpochDigest]] = {}
    for part in parts:
        for epoch, digest in part.items():
            by_epoch.setdefault(int(epoch), []).append(digest)
    return {epoch: _joined(epoch, by_epoch[epoch]) for epoch in sorted(by_epoch)}


def _joined(epoch: int, digests: list[EpochDigest]) -> EpochDigest:
    """Add the parts of one epoch: those of the same rows are ranks', those that follow each other a run's."""
    ordered = sorted(digests, key=lambda digest: (digest["from_row"], digest["to_row"]))
    start = ordered[0]["from_row"]
    whole, counted, rows = _Sums(start, start), (start, start), 0
    for digest in ordered:
        span = (digest["from_row"], digest["to_row"])
        if span != counted:
            _check_next(epoch, counted, span)
            counted, rows = span, 0
        rows += digest["rows"]
        if rows > span[1] - span[0]:
            raise InvalidError(
                f"epoch {epoch}, rows {span[0]} to {span[1]}: {rows} rows were delivered, so some are given twice",
                hint="give each rank once, and one replica of those that get the same rows",
            )
        whole = whole.plus(span[1], digest["rows"], _number(digest, "order"), _number(digest, "content"))
    return whole.public()


def _check_next(epoch: int, counted: tuple[int, int], span: tuple[int, int]) -> None:
    if span[0] == counted[1]:
        return
    between = f"epoch {epoch}: rows {counted[0]} to {counted[1]}, and rows {span[0]} to {span[1]}"
    if span[0] > counted[1]:
        raise InvalidError(f"{between}: those between are missing", hint="give the digests of all parts of the run")
    raise InvalidError(
        f"{between} overlap",
        hint="take the digests of all ranks behind the same step, and keep one beside each checkpoint to go on from",
    )


def _number(digest: EpochDigest, name: Literal["order", "content"]) -> int:
    text = digest[name]
    try:
        return int(text, 16)
    except ValueError as error:
        raise InvalidError(f"{name}={text[:80]!r} is not 64 hex digits") from error
