"""Rows that are made by looking at lengths: packed, in buckets, in batches by a budget of tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Union

from ._checks import whole
from ._record import record
from ._tokens import Tokens
from .errors import InvalidError

if TYPE_CHECKING:
    from ._order import Order  # which imports numpy

_U32_MAX = (1 << 32) - 1
_WINDOW_ROWS_MAX = 1 << 24
_LONG = ("split", "fail")
# Orders whose samples stand as somebody put them: what is made of them does too.
_KEPT = ("SAMPLER_SEQUENTIAL", "SAMPLER_EXPLICIT")


@record
class Packed:
    """Rows of `capacity` tokens: documents end to end, each where it leaves least room.

    Args:
        capacity: tokens of a row.
        length: the column of the documents' lengths in tokens (default: what the field of tokens goes by).
        long: `split` a document that is longer than a row into several, losing no token, or `fail`.
        documents_max: documents of a row (default: as many as fit), which `Boundaries` has room for.
        window_rows: how many samples are looked at at a time (default 65,536).

    """

    capacity: int
    length: str = ""
    long: str = "split"
    documents_max: int | None = None
    window_rows: int | None = None

    def __post_init__(self) -> None:
        whole("capacity", self.capacity, 1, _U32_MAX)
        if self.long not in _LONG:
            raise InvalidError(f"long={self.long!r} is not one of {', '.join(_LONG)}")
        if self.documents_max is not None:
            whole("documents_max", self.documents_max, 1, _U32_MAX)
        _check_window(self.window_rows)

    def grouping(self, bucket_rows: Callable[[], int]) -> dict[str, Any]:
        """Give the part of `forebay.v1.Windows` that says how."""
        packed: dict[str, Any] = {"capacity": int(self.capacity)}
        if self.long == "fail":
            packed["fail_on_long"] = True
        if self.documents_max is not None:
            packed["documents_max"] = int(self.documents_max)
        return {"packed": packed}


@record
class Buckets:
    """Samples as before, in batches of similar length, so that little is padded.

    Args:
        length: the column that batches go by: tokens, seconds, pixels; whole numbers.
        rows: how many neighbours are of similar length (default: a step of all ranks). It is part of the order: say
            it where a run may go on with other batches or ranks.
        window_rows: how many samples are sorted at a time (default 65,536), a multiple of `rows`.

    """

    length: str
    rows: int | None = None
    window_rows: int | None = None

    def __post_init__(self) -> None:
        if self.rows is not None:
            whole("rows", self.rows, 1, _U32_MAX)
        _check_window(self.window_rows)

    def grouping(self, bucket_rows: Callable[[], int]) -> dict[str, Any]:
        """Give the part of `forebay.v1.Windows` that says how."""
        return {"bucketed": {"batch_rows": int(self.rows or bucket_rows())}}


@record
class TokenBudget:
    """Batches of similar length that hold at most `tokens` when padded to their longest; each rank takes one a step.

    Args:
        tokens: of a batch, padding and all.
        samples_max: samples of a batch, however short.
        length: the column of lengths (default: what the field of tokens goes by).
        window_rows: how many samples are looked at at a time (default 65,536).

    """

    tokens: int
    samples_max: int
    length: str = ""
    window_rows: int | None = None

    def __post_init__(self) -> None:
        whole("tokens", self.tokens, 1, _U32_MAX)
        whole("samples_max", self.samples_max, 1, _U32_MAX)
        _check_window(self.window_rows)

    def grouping(self, bucket_rows: Callable[[], int]) -> dict[str, Any]:
        """Give the part of `forebay.v1.Windows` that says how."""
        return {"budgeted": {"tokens": int(self.tokens), "samples_max": int(self.samples_max)}}


Grouping = Union[Packed, Buckets, TokenBudget]


def grouping_of(
    packed: int | Packed | None, bucket_by: str | Buckets | None, token_budget: TokenBudget | None
) -> Grouping | None:
    """Give what a loader was asked for, if anything."""
    if packed is not None and not isinstance(packed, Packed):
        packed = Packed(packed)
    if isinstance(bucket_by, str):
        bucket_by = Buckets(bucket_by)
    given: list[tuple[str, Any, type[Any]]] = [
        ("packed", packed, Packed),
        ("bucket_by", bucket_by, Buckets),
        ("token_budget", token_budget, TokenBudget),
    ]
    chosen = [(name, value) for name, value, _ in given if value is not None]
    if len(chosen) > 1:
        raise InvalidError(f"{chosen[0][0]}= and {chosen[1][0]}= exclude each other")
    for name, value, kind in given:
        if value is not None and not isinstance(value, kind):
            raise InvalidError(f"{name}={value!r} is no forebay.{kind.__name__}")
    return chosen[0][1] if chosen else None


def grouped(
    order: Order,
    grouping: Grouping | None,
    fields: Mapping[str, Any] | None,
    *,
    has_batch_size: bool,
    bucket_rows: Callable[[], int],
) -> Order:
    """Give the order of rows that are made of what `order` picks. `bucket_rows`: of a step of all ranks."""
    if grouping is None:
        return order
    if order.batch_rows is not None:  # a batch sampler's
        raise InvalidError("batch_sampler= and rows that are made by lengths", hint="pass sampler= instead")
    if isinstance(grouping, TokenBudget) and has_batch_size:
        raise InvalidError(
            "token_budget= excludes batch_size=, global_batch_size= and drop_last=",
            hint="the budget says how large batches are",
        )
    windows: dict[str, Any] = {"length_column": _length_of(grouping, fields), **grouping.grouping(bucket_rows)}
    if grouping.window_rows is not None:
        windows["window_rows"] = int(grouping.window_rows)
    if order.spec["sampler"] in _KEPT:
        windows["keep_order"] = True
    spec = {**order.spec, "windows": windows}
    if isinstance(grouping, Buckets):
        return dataclasses.replace(order, spec=spec)
    # How many rows become of the samples is the daemon's to say.
    is_batch = isinstance(grouping, TokenBudget)
    rows = 1 if is_batch else None
    return dataclasses.replace(order, spec=spec, batch_rows=rows, whole_batches=is_batch, samples=None, lists=())


def _length_of(grouping: Grouping, fields: Mapping[str, Any] | None) -> str:
    """Give the column of lengths: the one that is named, else the one that the tokens go by."""
    if grouping.length:
        return grouping.length
    tokens = {name: field for name, field in (fields or {}).items() if isinstance(field, Tokens)}
    columns = {field.lengths(name) for name, field in tokens.items()}
    if len(columns) == 1 and all(columns):
        return columns.pop()
    what = type(grouping).__name__
    raise InvalidError(
        f"{what} needs to know the lengths of samples", hint=f"name their column, as in {what}(..., length='n_tokens')"
    )


def _check_window(window_rows: int | None) -> None:
    if window_rows is not None:
        whole("window_rows", window_rows, 1, _WINDOW_ROWS_MAX)
