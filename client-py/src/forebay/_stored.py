"""Fields of what files store: bytes as they are, and arrays that numpy saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union, cast

from ._checks import dtype_name, whole
from ._record import record
from .errors import InvalidError

_BYTES_MAX = (1 << 31) - 1
_DIMS_MAX = 7
_ARRAY_DTYPES = (
    "bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "float32", "float64",
)  # fmt: skip


@record
class Raw:
    """A file's bytes as they are: `(rows, capacity)` uint8, zeros behind them. A longer file is corrupt, never cut.

    Args:
        column: of the paths (default: the field's own name). Where it has columns `COLUMN.offset` and `COLUMN.length`
            beside it, whole numbers of bytes, that part of the file alone.
        capacity: bytes of a row (default: as many as the longest has, where `COLUMN.length` or the column `size_bytes`
            says it, which `forebay index --stat` makes).

    A `forebay.Length` beside it says how many bytes of each row are the file's. Each byte is copied once, from the
    buffer that it was read into to the batch.

    """

    column: str = ""
    capacity: int | None = None

    def __post_init__(self) -> None:
        if self.capacity is not None:
            whole("capacity", self.capacity, 1, _BYTES_MAX)

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec: dict[str, Any] = {"name": name, "column": self.column or name, "decode": "DECODE_RAW"}
        return spec if self.capacity is None else {**spec, "capacity": int(self.capacity)}


@record
class Array:
    """An array that numpy saved, `.npy` or in an `.npz`: `(rows, *shape)`. One of another type or shape is corrupt.

    Args:
        column: of the paths (default: the field's own name); parts of files as of `Raw`.
        shape, dtype: of each sample's array. Without both they are read off the first sample, by the daemon, as the
            job is made: name them for a run that is to go on over data that grows.
        member: of an `.npz`, as in `"x"` (default: its only one).

    Arrays in Fortran's order and of big-endian elements come in C order and little-endian. Arrays of Python objects are
    refused: reading one would run code.

    """

    column: str = ""
    shape: Sequence[int] | None = None
    dtype: Any = None
    member: str = ""

    def __post_init__(self) -> None:
        if (self.shape is None) != (self.dtype is None):
            raise InvalidError(
                f"shape={self.shape!r} and dtype={self.dtype!r} go together",
                hint="give both, as in shape=(4, 128, 128), dtype='float32', or none",
            )
        if self.shape is None:
            return
        if isinstance(cast("object", self.shape), (str, int)) or len(self.shape) > _DIMS_MAX:
            raise InvalidError(f"shape={self.shape!r}: a tuple of at most {_DIMS_MAX} whole numbers is needed")
        for dim in self.shape:
            whole("shape", dim, 1, (1 << 32) - 1)
        dtype_name(self.dtype, _ARRAY_DTYPES)

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec: dict[str, Any] = {"name": name, "column": self.column or name, "decode": "DECODE_ARRAY"}
        if self.shape is not None:
            spec["shape"] = {"dims": [int(dim) for dim in self.shape]}
            spec["dtype"] = f"DTYPE_{dtype_name(self.dtype, _ARRAY_DTYPES).upper()}"
        return {**spec, "member": self.member} if self.member else spec


StoredField = Union[Raw, Array]
STORED_FIELDS = (Raw, Array)
