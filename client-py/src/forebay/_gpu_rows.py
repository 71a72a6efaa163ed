"""A batch's images of which some are still JPEGs: finished rows are copied, the others decoded into their places."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from . import _gpu_resize as kernels
from ._gpu_decode import RefusedRowError, Sizes
from ._gpu_marks import marks
from ._gpu_nvjpeg import Decoder, Image, RefusedError, current_library
from ._gpu_resize import Buffers, Numbers, Work
from .errors import ProtocolError

# torch's stubs leave most of its CUDA calls untyped.
_cuda = cast("Any", torch.cuda)
_from_numpy = cast("Callable[[Numbers], torch.Tensor]", torch.from_numpy)  # pyright: ignore - its types are partly unknown
_KINDS = (0, kernels.ENCODED)
# Decoded images that lie on the device at a time, in bytes; a single one may have more.
CHUNK_BYTES = 256 << 20


class Decoded(NamedTuple):
    """What was decoded of one batch: so many rows, between two events of the device."""

    rows: int
    start: Any
    end: Any


class _Side:
    """The side stream, as the decoder knows it."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.number = stream, int(stream.cuda_stream)

    def wait(self) -> None:
        self._stream.synchronize()

    def mark(self) -> Callable[[], None]:
        event = _cuda.Event()
        event.record(self._stream)
        return event.synchronize


class Decoding:
    """One loader's decoding on one device, on its side stream."""

    def __init__(self, device: torch.device, sizes: Sizes, stream: Any) -> None:
        """Load nvJPEG and compile the kernels; raises `DeviceError` with the cure. `sizes`: of the fields it is for."""
        self._device, self._sizes, self._stream = device, sizes, stream
        self.side = _Side(stream)
        library = current_library(device.index)
        self._resize = kernels.resize(device.index)
        self.decoder = Decoder(library)
        self._marks = marks()
        self._library_words = library.words()

    def __contains__(self, name: str) -> bool:
        return name in self._sizes

    def words(self) -> str:
        """Say what decodes."""
        return self._library_words

    def __call__(self, name: str, raw: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, Decoded | None]:
        """Start making a field's images, on the side stream, which is current.

        * `raw`: `(rows, row_bytes)` u8 on the host, which must live until the stream has come so far.
        * `table`: `(rows, 16)` i32, what `NAME.decode` says of them.

        Gives u8 `(rows, 3, height, width)` in channels_last memory, and what was decoded. Raises `RefusedRowError`
        for a row that the decoder does not take.
        """
        height, width = self._sizes[name]
        numbers = table.numpy()
        made = torch.empty((len(raw), height, width, 3), dtype=torch.uint8, device=self._device)
        _check(name, raw, numbers, made)
        encoded = np.flatnonzero(numbers[:, kernels.KIND] == kernels.ENCODED)
        decoded = None
        if len(encoded):
            kernels.checked(numbers[encoded], raw.shape[1])
            with self._timed(len(encoded)) as decoded:
                for rows in _chunks(encoded, kernels.image_bytes(numbers[encoded])):
                    self._decode(raw, numbers[rows], rows, made)
        self._copy(raw, made, np.flatnonzero(numbers[:, kernels.KIND] == 0))  # behind what the host may wait for
        return made.movedim(-1, -3), decoded

    def _copy(self, raw: torch.Tensor, made: torch.Tensor, rows: Numbers) -> None:
        """Start copying finished rows: neighbours at once where nothing lies between them."""
        length = made.shape[1] * made.shape[2] * 3
        target = made.view(len(made), length)
        breaks = np.flatnonzero(np.diff(rows) > 1) + 1 if raw.shape[1] == length else np.arange(1, len(rows))
        for run in np.split(rows, breaks) if len(rows) else ():
            begin, end = int(run[0]), int(run[-1]) + 1
            target[begin:end].copy_(raw[begin:end, :length], non_blocking=True)

    def _decode(self, raw: torch.Tensor, numbers: Numbers, rows: Numbers, made: torch.Tensor) -> None:
        height, width = made.shape[1:3]
        work = kernels.work(numbers, rows, height, width)
        # Given back behind the launches: what gets this memory next on this stream comes behind them.
        room = self._room(work)
        at = {name: memory.data_ptr() for name, memory in room.items()}
        first, row_bytes = raw.data_ptr(), raw.stride(0)
        columns = (numbers[:, place].tolist() for place in (kernels.LENGTH, kernels.WIDTH, kernels.HEIGHT))
        images = [
            Image(first + row * row_bytes, length, image_width, image_height, at["pixels"] + begin)
            for row, length, image_width, image_height, begin in zip(
                rows.tolist(), *columns, work.rows["pixels"].tolist()
            )
        ]
        try:
            self.decoder(images, self.side)
        except RefusedError as error:
            raise RefusedRowError(int(rows[error.index]), error.why) from error
        self._resize(Buffers(**at, target=made.data_ptr()), len(rows), height, width, self.side.number)

    def _room(self, work: Work) -> dict[str, torch.Tensor]:
        """Give the kernels' memory, by its name in `Buffers`; of the rows with what they say."""
        lengths = {
            "pixels": work.pixel_bytes,
            "narrow": work.narrow_bytes,
            "weights": 2 * work.weights,
            "starts": 4 * work.starts,
            "precisions": 8 * len(work.rows),
        }
        room = {name: torch.empty(length, dtype=torch.uint8, device=self._device) for name, length in lengths.items()}
        descriptions: Numbers = np.ascontiguousarray(work.rows)
        rows = _from_numpy(descriptions.view(np.uint8))
        if self._device.type == "cuda":
            rows = rows.pin_memory()  # torch keeps it until the copy has passed
        return {**room, "rows": rows.to(self._device, non_blocking=True)}

    @contextmanager
    def _timed(self, rows: int) -> Generator[Decoded]:
        """Put what is started within between two events, and into a range."""
        start, end = (_cuda.Event(enable_timing=True) for _ in range(2))
        start.record(self._stream)
        with self._marks("forebay decode"):
            yield Decoded(rows, start, end)
        end.record(self._stream)


def _check(name: str, raw: torch.Tensor, numbers: Numbers, made: torch.Tensor) -> None:
    is_whole = raw.ndim == 2 and numbers.shape == (len(raw), kernels.NUMBERS) and raw.is_contiguous()
    if not is_whole or raw.shape[1] < made[0:1].numel() * (len(raw) > 0):
        raise ProtocolError(f"field {name} has rows of {list(raw.shape[1:])} bytes, and {list(numbers.shape)} numbers")
    if not np.isin(numbers[:, kernels.KIND], _KINDS).all():
        raise ProtocolError(f"field {name} has a row of a kind that this client does not know")


def _chunks(rows: Numbers, lengths: Numbers) -> Generator[Numbers]:
    """Give the rows in groups that take at most `CHUNK_BYTES` together."""
    begin, total = 0, 0
    for index, length in enumerate(lengths.tolist()):
        if index > begin and total + length > CHUNK_BYTES:
            yield rows[begin:index]
            begin, total = index, 0
        total += length
    yield rows[begin:]
