"""Objects of any kind in shared memory: their structure is pickled, the memory of arrays and tensors is placed beside.

Pickle's protocol 5 hands out large buffers instead of copying them into its stream. They are put into a slot, or where
they do not fit into a file in memory of their own, and whoever reads the object gets arrays over that memory.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from typing import Any, NamedTuple, cast

import numpy as np

from .._batch import Array
from .shape import is_tensor, numpy_of

_ALIGN = 64
# Smaller buffers stay in the stream: an array over shared memory costs more than so many bytes.
_BESIDE_BYTES_MIN = 512


class Packed(NamedTuple):
    """An object as a stream and the places of its buffers. `used`: bytes of the slot or file that they take."""

    stream: bytes
    spans: tuple[tuple[int, int], ...]
    used: int


class _Pickler(pickle.Pickler):
    """Gives tensors and scattered arrays as whole ones, so that their memory can lie beside the stream."""

    def reducer_override(self, obj: Any) -> Any:
        kind = cast("type[object]", type(obj))
        if kind is np.ndarray and not obj.flags.forc and obj.dtype.kind != "O":
            return np.ascontiguousarray(obj).__reduce_ex__(5)
        if is_tensor(obj) and kind is sys.modules["torch"].Tensor and _is_plain(obj):
            return _tensor_parts(obj)
        return NotImplemented


def _is_plain(tensor: Any) -> bool:
    torch: Any = sys.modules["torch"]
    return (
        tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not tensor.requires_grad
        and not tensor.is_quantized
    )


def _tensor_parts(tensor: Any) -> Any:
    torch: Any = sys.modules["torch"]
    name = str(tensor.dtype).replace("torch.", "")
    try:
        np.dtype(name)
        bits = None
    except TypeError:
        bits = {1: torch.uint8, 2: torch.int16}.get(tensor.element_size())
        if bits is None:
            return NotImplemented
    channels_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    whole = tensor.permute(0, 2, 3, 1) if channels_last else tensor
    array = numpy_of(whole.contiguous(), bits)
    return _tensor_of, (array, name if bits is not None else "", channels_last)


def _tensor_of(array: Array, name: str, channels_last: bool) -> Any:
    import torch

    tensor = cast("Any", torch).from_numpy(array)
    if name:
        tensor = tensor.view(getattr(torch, name))
    return tensor.permute(0, 3, 1, 2) if channels_last else tensor


class Room:
    """The free bytes of a slot, for those who can make their arrays in place."""

    def __init__(self, memory: Array | None) -> None:
        self.memory = memory
        self.start = 0 if memory is None else _address(memory)
        self.used = 0

    def array(self, dims: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Make an array in the slot, or in ordinary memory where it does not fit."""
        length = int(np.prod(dims, dtype=np.int64)) * dtype.itemsize
        first = _aligned(self.used)
        if self.memory is None or first + length > self.memory.size or length < _BESIDE_BYTES_MIN:
            return np.empty(dims, dtype)
        self.used = first + length
        return np.ndarray(dims, dtype, cast("Any", self.memory), first)


def pack(value: Any, room: Room) -> tuple[Packed, int]:
    """Pickle an object with its buffers in `room`, or in a file in memory, whose descriptor is then given; else -1.

    Raises what pickling raises.
    """
    buffers: list[Array] = []
    stream = io.BytesIO()

    def take(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _BESIDE_BYTES_MIN:
            return True
        buffers.append(np.frombuffer(raw, np.uint8))
        return False

    _Pickler(stream, 5, buffer_callback=take).dump(value)
    if not buffers:
        return Packed(stream.getvalue(), (), 0), -1
    spans, used = _placed(buffers, room)
    if room.memory is None or used > room.memory.size:
        spans, used = _placed(buffers, Room(None))
        return Packed(stream.getvalue(), spans, used), _file_of(buffers, spans, used)
    for buffer, (offset, length) in zip(buffers, spans):
        if _address(buffer) != room.start + offset:
            room.memory[offset : offset + length] = buffer
    return Packed(stream.getvalue(), spans, used), -1


def _placed(buffers: list[Array], room: Room) -> tuple[tuple[tuple[int, int], ...], int]:
    """Give each buffer its place: where it is if that is in the room, else behind what is used."""
    spans: list[tuple[int, int]] = []
    used = room.used
    for buffer in buffers:
        inside = _address(buffer) - room.start
        if room.memory is None or not 0 <= inside <= room.used - buffer.size:
            inside = _aligned(used)
            used = inside + buffer.size
        spans.append((inside, buffer.size))
    return tuple(spans), used


def _file_of(buffers: list[Array], spans: tuple[tuple[int, int], ...], used: int) -> int:
    descriptor = os.memfd_create("forebay-object", os.MFD_CLOEXEC)
    try:
        os.ftruncate(descriptor, max(used, 1))
        for buffer, (offset, _) in zip(buffers, spans):
            view = memoryview(cast("Any", buffer))
            while view:
                written = os.pwrite(descriptor, view[: 1 << 30], offset)
                view, offset = view[written:], offset + written
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def unpack(packed: Packed, memory: Any) -> Any:
    """Make the object again over `memory`, a buffer that its arrays keep alive."""
    view = memoryview(memory).cast("B") if packed.spans else memoryview(b"")
    return pickle.loads(packed.stream, buffers=[view[offset : offset + length] for offset, length in packed.spans])


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def outline(value: Any) -> bytes:
    """Pickle an object without its large buffers, of which only the lengths are told: to see whether it has changed.

    Raises what pickling raises.
    """
    stream, lengths = io.BytesIO(), [0]

    def leave_out(buffer: pickle.PickleBuffer) -> bool:
        lengths.append(buffer.raw().nbytes)
        return lengths[-1] < _BESIDE_BYTES_MIN

    _Pickler(stream, 5, buffer_callback=leave_out).dump(value)
    return stream.getvalue() + repr(lengths).encode()
