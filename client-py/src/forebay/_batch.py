"""Numpy arrays over a batch's bytes, without a copy."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any, Union

import numpy as np
import numpy.typing as npt

from . import _wire
from ._job import TensorSpec
from .errors import ProtocolError

Array = npt.NDArray[Any]
# The slot itself, or the ordinary memory it was copied to.
Owner = Union["ctypes.Array[ctypes.c_ubyte]", Array]
# Dims, dtype, offset in bytes.
Place = tuple[tuple[int, ...], "np.dtype[Any]", int]

_DTYPES: dict[str, np.dtype[Any]] = {
    "uint8": np.dtype(np.uint8),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "int8": np.dtype(np.int8),
    "int16": np.dtype("<i2"),
    "int32": np.dtype("<i4"),
    "int64": np.dtype("<i8"),
    "float32": np.dtype("<f4"),
    "float64": np.dtype("<f8"),
    "bool": np.dtype(np.bool_),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<i2"),  # its bits: numpy has no such type, torch makes it one
    "utf8": np.dtype(np.uint8),
}


def arrays(owner: Owner, places: Sequence[Place]) -> list[Array]:
    """Make one array a tensor on `owner`, without a copy; each keeps it alive."""
    buffer: Any = owner  # numpy's stubs do not know that ctypes arrays are buffers
    return [np.ndarray(dims, dtype, buffer, offset) for dims, dtype, offset in places]


@lru_cache(maxsize=64)
def places(tensors: tuple[_wire.Tensor, ...], specs: tuple[TensorSpec, ...], length: int) -> list[Place]:
    """Check where a batch's tensors lie within its `length` bytes; equal batches are checked once.

    Dims as the daemon gives them, but channels-last tensors come as they lie in memory: N, H, W, C, or N, V, H, W, C.
    """
    if len(tensors) != len(specs):
        raise ProtocolError(f"a batch of {len(tensors)} tensors where {len(specs)} were declared")
    made: list[Place] = []
    for tensor, spec in zip(tensors, specs):
        dims = tensor.dims
        if spec.channels_last and len(dims) > 3:
            dims = (*dims[:-3], *dims[-2:], dims[-3])
        dtype = _DTYPES.get(spec.dtype)
        if dtype is None:
            raise ProtocolError(f"tensor {spec.name} has dtype {spec.dtype}, which this client does not know")
        if prod(dims) * dtype.itemsize != tensor.len_bytes or tensor.offset_bytes + tensor.len_bytes > length:
            raise ProtocolError(f"tensor {spec.name} has {tensor.len_bytes} bytes for dims {dims}")
        if tensor.offset_bytes % dtype.itemsize:
            raise ProtocolError(f"tensor {spec.name} starts at byte {tensor.offset_bytes}, which is unaligned")
        made.append((dims, dtype, tensor.offset_bytes))
    return made


def copied(owner: Owner, ready: _wire.Ready) -> Array:
    """Copy a batch's bytes to ordinary memory: u8, as long as its last tensor reaches."""
    used = max((tensor.offset_bytes + tensor.len_bytes for tensor in ready.tensors), default=0)
    buffer: Any = owner
    copy: Array = np.empty(used, np.uint8)
    copy[:] = np.frombuffer(buffer, np.uint8, used)
    return copy


def texts(array: Array) -> list[str]:
    """Turn UTF-8 bytes, zero-padded to the last dim, into strings: `(rows, length) -> rows`."""
    return [row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in array]
