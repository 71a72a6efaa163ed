"""Fields of tokens, and those that say which token belongs where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Union

from ._checks import whole
from ._record import record
from .errors import InvalidError

_STORED = ("uint8", "uint16", "uint32", "int32", "int64")
_LONG = ("cut", "fail")
_CAPACITY_MAX = 1 << 28


@record
class Tokens:
    """A sample's tokens: `(rows, capacity)`, padded with `pad`; in packed rows many samples' end to end.

    Args:
        column: of token lists (of the kind `"tokens"`), or of paths of files of tokens (default: the field's name).
        stored: what such a file holds, little-endian: `uint8`, `uint16`, `uint32`, `int32` or `int64`.
        offset, length: for many samples in one file the columns of the sample's first token in it, and of their
            number; in tokens, not in bytes.
        capacity: tokens of a row (default: as many as the longest sample has, where columns say it). Packed rows have
            their own.
        long: `cut` what does not fit, or `fail`: such a sample is corrupt.
        pad: what stands behind the tokens, and in all of a masked row.
        dtype: `int64` or `int32`.
        trim: show only as much of a batch as its longest row fills, without a copy. Needs a `Length` of this field.

    """

    column: str = ""
    stored: str | None = None
    offset: str = ""
    length: str = ""
    capacity: int | None = None
    long: str = "cut"
    pad: int = 0
    dtype: Any = "int64"
    trim: bool = False

    def __post_init__(self) -> None:
        if self.stored is not None and self.stored not in _STORED:
            raise InvalidError(f"stored={self.stored!r} is not one of {', '.join(_STORED)}")
        if self.long not in _LONG:
            raise InvalidError(f"long={self.long!r} is not one of {', '.join(_LONG)}")
        if bool(self.offset) != bool(self.length):
            raise InvalidError("offset= and length= go together: the columns of where a sample is, and how long")
        if self.offset and self.stored is None:
            raise InvalidError("offset= without stored=", hint="stored='uint16' says what the files hold")
        if self.capacity is not None:
            whole("capacity", self.capacity, 1, _CAPACITY_MAX)
        whole("pad", self.pad, -(1 << 63), (1 << 63) - 1)
        _int_dtype(self.dtype)

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec: dict[str, Any] = {
            "name": name,
            "column": self.column or name,
            "decode": "DECODE_TOKENS",
            "dtype": _int_dtype(self.dtype),
            "pad": str(self.pad),
        }
        if self.stored is not None:
            spec["stored_dtype"] = f"DTYPE_{self.stored.upper()}"
        if self.offset:
            spec.update(offset_column=self.offset, length_column=self.length)
        if self.capacity is not None:
            spec["capacity"] = int(self.capacity)
        return {**spec, "fail_on_long": True} if self.long == "fail" else spec

    def lengths(self, name: str) -> str:
        """Name the column that says how many tokens a sample has; empty where only its file does."""
        return self.length if self.stored is not None else self.column or name


@record
class Length:
    """How many tokens of a row, or bytes of a `Raw`, are no padding, int32.

    `column`: that of the field that is meant, where a loader has several.
    """

    column: str = ""

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec = {"name": name, "decode": "DECODE_LENGTH"}
        return {**spec, "column": self.column} if self.column else spec


@record
class PositionIds:
    """Each token's place in its document, from 0, in packed rows; 0 in padding. A piece of a split one begins at 0."""

    dtype: Any = "int64"

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        return {"name": name, "decode": "DECODE_POSITION_IDS", "dtype": _int_dtype(self.dtype)}


@record
class SegmentIds:
    """The number of each token's document in its packed row, from 0, int32; -1 in padding."""

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        return {"name": name, "decode": "DECODE_SEGMENT_IDS"}


@record
class Boundaries:
    """Where each document of a packed row begins, then the end of the last, int32: `cu_seqlens`.

    `(rows, documents_max + 1)` of the `Packed`; the end comes again where a row has fewer documents.
    """

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        return {"name": name, "decode": "DECODE_BOUNDARIES"}


TokenField = Union[Tokens, Length, PositionIds, SegmentIds, Boundaries]
TOKEN_FIELDS = (Tokens, Length, PositionIds, SegmentIds, Boundaries)


def trims_of(fields: Mapping[str, Any] | None) -> dict[str, str]:
    """Give each field of tokens that is to be trimmed, and the field of its lengths."""
    fields = fields or {}
    trims: dict[str, str] = {}
    for name, field in fields.items():
        if not isinstance(field, Tokens) or not field.trim:
            continue
        column = field.column or name
        lengths = [n for n, f in fields.items() if isinstance(f, Length) and f.column in ("", column)]
        if not lengths:
            raise InvalidError(
                f"field {name}: trim=True needs to know how long rows are",
                hint="add a field forebay.Length(), as in fields={'tokens': ..., 'length': forebay.Length()}",
            )
        trims[name] = lengths[0]
    return trims


def trim(named: dict[str, Any], trims: Mapping[str, str]) -> None:
    """Have the batch show only as many tokens as its longest row has, at least one; no byte moves."""
    for name, length in trims.items():
        named[name] = named[name][:, : max(1, int(named[length].max()))]


def _int_dtype(dtype: Any) -> str:
    name = str(getattr(dtype, "__name__", dtype)).replace("torch.", "")
    if name not in ("int32", "int64"):
        raise InvalidError(f"dtype {dtype!r} of tokens is neither int32 nor int64")
    return f"DTYPE_{name.upper()}"
