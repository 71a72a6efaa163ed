"""Copies to a CUDA device by torch: a side stream, events, the cast, and what is told where there is no device."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, cast

import torch

from ._gpu_ahead import Mark
from ._gpu_cast import Cast
from ._gpu_decode import SUFFIX, RefusedRowError, Sizes
from ._gpu_driver import CudaError, driver
from ._gpu_kernel import Kernel, kernel
from ._gpu_nested import changed, tensors
from ._gpu_rows import Decoded, Decoding
from ._notice import say
from .errors import DeviceError, InvalidError, ProtocolError

# torch's stubs leave most of its CUDA calls untyped.
_cuda = cast("Any", torch.cuda)
_dtypes: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# Tables as torch has them on the CPU side: it has no unsigned types of these sizes in every version.
_BITS = {"uint32": "int32", "uint16": "int16"}


def device_of(given: Any) -> torch.device | None:
    """Give the CUDA device that is meant, None for the CPU.

    Without a number it is the current one when the loader is made. Raises `DeviceError` that says what is missing.
    """
    if given is None:
        return None
    try:
        device = torch.device(given)
    except (RuntimeError, TypeError) as error:
        raise InvalidError(f"device={given!r} is no device", hint='device="cuda", "cuda:1" or "cpu"') from error
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        raise InvalidError(
            f"device={str(device)!r}: batches go to CUDA devices", hint="leave device= out, and move what next() gives"
        )
    if not torch.cuda.is_available():
        raise _missing(str(device))
    count = torch.cuda.device_count()
    index = cast("int | None", device.index)
    ordinal = int(_cuda.current_device()) if index is None else index
    if ordinal >= count:
        raise DeviceError(
            f"device={str(device)!r}: {count} device{'s are' * (count != 1) or ' is'} visible to this process",
            hint="they are numbered from 0 behind CUDA_VISIBLE_DEVICES",
        )
    return torch.device("cuda", ordinal)


def _missing(device: str) -> DeviceError:
    what = f"device={device!r}"
    if torch.version.cuda is None:
        return DeviceError(
            f"{what}: this torch ({torch.__version__}) is built without CUDA",
            hint="install a CUDA build: https://pytorch.org/get-started/locally",
        )
    try:
        found = driver()
        count, version = found.device_count(), found.version()
    except DeviceError as error:
        return DeviceError(f"{what}: {error.message}", causes=error.causes, hint=error.hint)
    except CudaError as error:
        return DeviceError(f"{what}: no device can be used", causes=[str(error)], hint="nvidia-smi says more")
    if not count:
        return DeviceError(
            f"{what}: no device is visible to this process",
            hint="CUDA_VISIBLE_DEVICES may be empty; a container needs its devices (docker run --gpus all)",
        )
    return DeviceError(
        f"{what}: torch {torch.__version__} cannot use the {count} there are",
        causes=[f"it was built for CUDA {torch.version.cuda}, and the driver serves {version}"],
        hint="install a newer driver, or a torch for this one",
    )


class _Timed:
    """The end of a batch's copies, and their start; and within them what was decoded."""

    __slots__ = ("_decoded", "_end", "_failed", "_start")

    def __init__(
        self, start: Any, end: Any, decoded: list[Decoded], failed: Callable[[Exception], DeviceError]
    ) -> None:
        self._start, self._end, self._decoded, self._failed = start, end, decoded, failed

    def passed(self) -> bool:
        try:
            return bool(self._end.query())
        except RuntimeError as error:
            raise self._failed(error) from error

    def wait(self) -> None:
        try:
            self._end.synchronize()
        except RuntimeError as error:
            raise self._failed(error) from error

    def seconds(self) -> float:
        try:
            return float(self._start.elapsed_time(self._end)) * 1e-3
        except RuntimeError as error:
            raise self._failed(error) from error

    def decoded(self) -> tuple[int, float]:
        try:
            seconds = sum(float(part.start.elapsed_time(part.end)) * 1e-3 for part in self._decoded)
        except RuntimeError as error:
            raise self._failed(error) from error
        return sum(part.rows for part in self._decoded), seconds

    def hold(self, stream: Any) -> None:
        """Have a stream wait for them."""
        stream.wait_event(self._end)


class TorchEngine:
    """One loader's copies to one device, on a stream of their own."""

    def __init__(
        self, device: torch.device, casts: Mapping[str, Cast], names: list[str], sizes: Sizes | None = None
    ) -> None:
        """`casts`: by field; `names`: of what tuples have (or none); `sizes`: of fields whose rows may be encoded."""
        self.device, self.name = device, str(device)
        self._names = names
        # Iterators of one loader may run in several threads, and a decoder serves one.
        self._lock = threading.Lock()
        self._decoded: list[Decoded] = []
        try:
            self._stream = _cuda.Stream(device)
            self._casts = {name: Caster(found, device) for name, found in casts.items()}
            with _cuda.device(device):
                self._decoding = Decoding(device, sizes, self._stream) if sizes else None
        except DeviceError:
            raise
        except RuntimeError as error:
            raise self._failed(error) from error

    def words(self) -> str:
        """Say what decodes; empty where nothing does."""
        return "" if self._decoding is None else self._decoding.words()

    def upload(self, batch: Any) -> tuple[Any, Mark]:
        """Start the copies and casts of a batch. What fails is waited for: the slot may be read until then."""
        try:
            with self._lock, _cuda.device(self.device), _cuda.stream(self._stream):
                start, end = (_cuda.Event(enable_timing=True) for _ in range(2))
                start.record(self._stream)
                decoded: list[Decoded] = []
                self._decoded = decoded
                made = self._mapped(batch)
                end.record(self._stream)
            return made, _Timed(start, end, decoded, self._failed)
        except (RuntimeError, CudaError, RefusedRowError, ProtocolError) as error:
            with contextlib.suppress(RuntimeError):
                self._stream.synchronize()
            if isinstance(error, (DeviceError, RefusedRowError, ProtocolError)):
                raise
            raise self._failed(error) from error

    def deliver(self, made: Any, mark: Mark) -> None:
        """Have the caller's stream wait, and the allocator know that it uses the tensors."""
        try:
            stream = _cuda.current_stream(self.device)
            cast("_Timed", mark).hold(stream)
            for value in tensors(made):
                value.record_stream(stream)
        except RuntimeError as error:
            raise self._failed(error) from error

    def _mapped(self, batch: Any) -> Any:
        if not self._names:
            return self._moved("", batch)
        if isinstance(batch, dict):
            return self._all_moved(cast("dict[str, Any]", batch))
        names = [*self._names, *("" for _ in batch)]
        if self._decoding is None:
            return type(batch)([self._moved(name, value) for name, value in zip(names, batch)])
        # What comes behind the fields has no name, and there is one of it at most.
        return type(batch)(self._all_moved(dict(zip(names, batch))).values())

    def _all_moved(self, named: dict[str, Any]) -> dict[str, Any]:
        decoding = self._decoding
        if decoding is None:
            return {name: self._moved(name, value) for name, value in named.items()}
        hidden = {name + SUFFIX for name in named if name in decoding}
        return {
            name: self._made(decoding, name, value, named[name + SUFFIX])
            if name in decoding
            else self._moved(name, value)
            for name, value in named.items()
            if name not in hidden
        }

    def _made(self, decoding: Decoding, name: str, raw: Any, table: Any) -> Any:
        images, decoded = decoding(name, raw, table)
        if decoded is not None:
            self._decoded.append(decoded)
        return self._cast(name, images)

    def _moved(self, name: str, value: Any) -> Any:
        there = changed(value, lambda tensor: _sent(tensor, self.device))  # texts stay on the host
        return self._cast(name, there)

    def _cast(self, name: str, there: Any) -> Any:
        caster = self._casts.get(name)
        return there if caster is None else caster(there, self._stream.cuda_stream)

    def _failed(self, error: Exception) -> DeviceError:
        return failure(self.name, error)


def _sent(value: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Start a copy, in the memory order that the tensor has.

    Of rows that were cut shorter, whole rows go: torch would gather the others on the CPU first, and wait for that.
    """
    row = value.stride(0) if type(value) is torch.Tensor and value.ndim else 0
    cut = row and value.ndim > 1 and len(value) and row > value[0].numel() and value[0].is_contiguous()
    if cut and len(value) * row <= value.untyped_storage().nbytes() // value.element_size() - value.storage_offset():
        whole = value.as_strided((len(value), row), (row, 1)).to(device, non_blocking=True)
        return whole.as_strided(value.shape, value.stride())
    return value.to(device, non_blocking=True)


def failure(name: str, error: Exception) -> DeviceError:
    """Say what went wrong on a device, and what to do about it."""
    first = str(error).partition("\n")[0]
    if isinstance(error, torch.cuda.OutOfMemoryError) or "out of memory" in first:
        return DeviceError(
            f"{name} has no room for a batch",
            causes=[first],
            hint="lower batch_size or ahead=, or free what the device holds; iter() then goes on from state_dict()",
        )
    return DeviceError(
        f"copying a batch to {name} failed",
        causes=[first],
        hint="where the device is lost only a new process gets it back; state_dict() resumes where this one stood",
    )


class Caster:
    """The cast of one field on one device: a kernel where one can be made, else torch's own gather. Equal bits."""

    def __init__(self, found: Cast, device: torch.device) -> None:
        self._cast, self._dtype = found, _dtypes[found.dtype]
        bits = found.bits()
        table = torch.from_numpy(bits.view(_BITS[bits.dtype.name])).view(self._dtype)  # pyright: ignore - numpy's types are not torch's
        self._table = table.to(device)
        self._kernel: Kernel | None = None
        if device.type == "cuda" and torch.version.cuda is not None:
            made = kernel(device.index, bits.dtype.itemsize, not found.channels_last)
            if isinstance(made, str):
                _say_gather(made)
            else:
                self._kernel = made

    def __call__(self, images: torch.Tensor, stream: int) -> torch.Tensor:
        """Give floats of u8 images `(rows, [views,] 3, height, width)`, whose memory is whole pixels."""
        pixels = images.movedim(-3, -1)
        if self._kernel is None or not pixels.is_contiguous():
            return self._gathered(pixels)
        *outer, height, width, _ = pixels.shape
        count = pixels.numel() // 3
        shape = [*outer, height, width, 3] if self._cast.channels_last else [*outer, 3, height, width]
        made = torch.empty(shape, dtype=self._dtype, device=images.device)
        if count:
            self._kernel(pixels.data_ptr(), made.data_ptr(), self._table.data_ptr(), height * width, count, stream)
        return made.movedim(-1, -3) if self._cast.channels_last else made

    def _gathered(self, pixels: torch.Tensor) -> torch.Tensor:
        channels = [self._table[c][pixels[..., c].int()] for c in range(3)]
        if self._cast.channels_last:
            return torch.stack(channels, -1).movedim(-1, -3)
        return torch.stack(channels, -3)


@cache
def _say_gather(why: str) -> None:
    say(f"images become floats on the device by torch's gather, which is slower than a kernel: {why}")
