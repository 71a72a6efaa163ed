"""The daemon's resize on a device: from decoded images, and what their rows say of them, to a batch's pixels.

The geometry is computed here for all rows at once, as `loader/daemon/src/transform/window.rs` does it; weights and
pixels are the kernels' (`_gpu_resize.cu`). Equal decoded pixels give equal results, bit by bit.
"""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ._gpu_driver import CudaError, Driver, driver
from ._gpu_kernel import compiled
from .errors import DeviceError, ProtocolError

SOURCE = Path(__file__).with_name("_gpu_resize.cu")
# Additions and multiplications stay apart, as the daemon has them.
OPTIONS = ["--fmad=false"]
_KERNELS = ("forebay_axes", "forebay_narrow", "forebay_sum")
_THREADS = 256
# Blocks that share the pixels of one row.
_PARTS = 32
# Decoded images begin at multiples of so many bytes.
_ALIGNED = 256

# Arrays of numpy's, whose stubs leave most of what is done here untyped.
Numbers = Any
_np: Any = np

# `NAME.decode` of a row, by place (docs/wire.md).
ENCODED = 1
KIND, LENGTH, WIDTH, HEIGHT, ORIENTATION = range(5)
LEFT, TOP, CROP_WIDTH, CROP_HEIGHT, RESIZED_HEIGHT, RESIZED_WIDTH, RESULT_TOP, RESULT_LEFT, FLIP, FILTER = range(5, 15)
NUMBERS = 16
_FILTERS = 6
# Of each orientation 1 to 8: over the diagonal, columns from the right, rows from below.
_TURNS = np.array(((0, 0, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0)), np.int32)

_SIDE = np.dtype(
    [
        ("from", "<f8"), ("span", "<f8"),
        ("pad", "<i4"), ("len", "<i4"), ("need_start", "<i4"), ("need_len", "<i4"),
        ("whole_source", "<i4"), ("whole_len", "<i4"), ("first", "<i4"), ("skipped", "<i4"),
        ("taps", "<i4"), ("unused", "<i4"), ("weights", "<u8"), ("starts", "<u8"),
    ]
)  # fmt: skip
ROW = np.dtype(
    [
        ("pixels", "<u8"), ("narrow", "<u8"), ("target", "<u8"),
        ("stored_width", "<i4"), ("stored_height", "<i4"), ("transposed", "<i4"), ("from_right", "<i4"),
        ("from_below", "<i4"), ("flip", "<i4"), ("filter", "<i4"), ("unused", "<i4"),
        ("x", _SIDE), ("y", _SIDE),
    ]
)  # fmt: skip


class Work(NamedTuple):
    """What the kernels are to do: `rows` of `ROW`, and how much room each of their buffers needs."""

    rows: Numbers
    pixel_bytes: int
    narrow_bytes: int
    weights: int
    starts: int


def checked(table: Numbers, row_bytes: int) -> None:
    """Make sure that rows of `NAME.decode` lie within what they speak of: a device looks at no bounds.

    * `table`: `(rows, 16)` i32, encoded rows alone; `row_bytes`: of a row of the field.
    """
    at = table.T.astype(_np.int64)
    turned = at[ORIENTATION] > 4
    width, height = (_np.where(turned, at[HEIGHT], at[WIDTH]), _np.where(turned, at[WIDTH], at[HEIGHT]))
    fits = (at[LENGTH] > 0) & (at[LENGTH] <= row_bytes) & (at[ORIENTATION] >= 1) & (at[ORIENTATION] <= 8)
    fits &= (at[LEFT] >= 0) & (at[TOP] >= 0) & (at[CROP_WIDTH] > 0) & (at[CROP_HEIGHT] > 0)
    fits &= (at[LEFT] + at[CROP_WIDTH] <= width) & (at[TOP] + at[CROP_HEIGHT] <= height)
    fits &= (at[RESIZED_WIDTH] > 0) & (at[RESIZED_HEIGHT] > 0) & (at[FILTER] >= 0) & (at[FILTER] < _FILTERS)
    if not fits.all():
        wrong = int(_np.flatnonzero(~fits)[0])
        raise ProtocolError(f"a row for the device's decoder that does not fit itself: {table[wrong].tolist()}")


def work(table: Numbers, places: Numbers, height: int, width: int) -> Work:
    """Give what the kernels are to do for encoded rows.

    * `table`: their rows of `NAME.decode`, as `checked` found them.
    * `places`: the row of the batch that each becomes.
    * `height`, `width`: of the result.
    """
    rows = _np.zeros(len(table), ROW)
    at = table.T.astype(_np.int64)
    images = (3 * at[WIDTH] * at[HEIGHT] + _ALIGNED - 1) // _ALIGNED * _ALIGNED
    turns = _TURNS[at[ORIENTATION] - 1]
    for name, values in (
        ("pixels", _begins(images)), ("target", places * (3 * height * width)),
        ("stored_width", at[WIDTH]), ("stored_height", at[HEIGHT]), ("flip", at[FLIP]), ("filter", at[FILTER]),
        ("transposed", turns[:, 0]), ("from_right", turns[:, 1]), ("from_below", turns[:, 2]),
    ):  # fmt: skip
        rows[name] = values
    _set_side(rows["x"], (at[LEFT], at[CROP_WIDTH], at[RESIZED_WIDTH], at[RESULT_LEFT]), width, at[FILTER])
    _set_side(rows["y"], (at[TOP], at[CROP_HEIGHT], at[RESIZED_HEIGHT], at[RESULT_TOP]), height, at[FILTER])
    narrowed = 3 * rows["x"]["len"].astype(_np.int64) * rows["y"]["need_len"]
    rows["narrow"] = _begins(narrowed)
    sides = _np.stack([rows["x"], rows["y"]], 1).reshape(-1)
    weights, starts = sides["len"].astype(_np.int64) * sides["taps"], 2 * sides["len"].astype(_np.int64)
    for name, counts in (("weights", _begins(weights)), ("starts", _begins(starts))):
        for side, places_of in zip(("x", "y"), counts.reshape(-1, 2).T):
            rows[side][name] = places_of
    return Work(rows, int(images.sum()), int(narrowed.sum()), int(weights.sum()), int(starts.sum()))


def image_bytes(table: Numbers) -> Numbers:
    """Give the room that each encoded row's decoded image takes."""
    return 3 * table[:, WIDTH].astype(_np.int64) * table[:, HEIGHT] + _ALIGNED


def _begins(lengths: Numbers) -> Numbers:
    return _np.cumsum(lengths) - lengths


def _set_side(side: Numbers, drawn: tuple[Numbers, Numbers, Numbers, Numbers], out_len: int, kind: Numbers) -> None:
    """Fill one side of all rows in; in the daemon's order of operations."""
    begin, crop, resized, start = drawn
    first = _np.maximum(start, 0)
    end = _np.maximum(_np.minimum(start + out_len, resized), first)
    visible = end - first
    scale = crop / resized
    from_, to = first * scale, end * scale
    reach = _reach(kind, scale)
    need_start = _np.maximum(_np.floor(from_ - reach), 0).astype(_np.int64)
    need_end = _np.minimum(_np.ceil(to + reach).astype(_np.int64), crop)
    is_whole = visible == resized
    need_start, need_end = _np.where(is_whole, 0, need_start), _np.where(is_whole, crop, need_end)
    need_len = need_end - need_start
    from_ = _np.where(is_whole, 0.0, from_ - need_start)
    span = _np.where(is_whole, crop.astype(_np.float64), _np.minimum(visible * scale, need_len - from_))
    support = _np.where(kind == 3, 1.0, 2.0)
    shrinks = _np.maximum(span / _np.maximum(visible, 1), 1.0)
    taps = _np.where(_np.isin(kind, (3, 5)), _np.ceil(2 * support * shrinks) + 2, 4)
    for name, values in (
        ("from", from_), ("span", span), ("pad", first - start), ("len", visible), ("need_start", begin + need_start),
        ("need_len", need_len), ("whole_source", crop), ("whole_len", resized), ("first", first),
        ("skipped", need_start), ("taps", taps),
    ):  # fmt: skip
        side[name] = values


def _reach(kind: Numbers, scale: Numbers) -> Numbers:
    """Tell how far beyond its own place a pixel looks; `Filter::reach` of the daemon."""
    stretch = _np.maximum(scale, 1.0)
    return _np.select([kind == 3, kind == 5, kind == 4], [stretch + 1.0, 2.0 * stretch + 1.0, 3.0], 2.0)


class Buffers(NamedTuple):
    """Addresses on the device: what `Work` asks room for, and the results."""

    rows: int
    pixels: int
    narrow: int
    weights: int
    starts: int
    precisions: int
    target: int


class Resize:
    """The kernels on one device."""

    def __init__(self, loaded: Driver, ordinal: int) -> None:
        """Compile and load them; raises `CudaError` or `DeviceError` where that is not possible."""
        major, minor = loaded.capability(ordinal)
        image = compiled(f"sm_{major}{minor}", OPTIONS, SOURCE)
        self._driver, self._context = loaded, loaded.context(ordinal)
        module = ctypes.c_void_p()
        self._functions: list[int] = []
        with loaded.within(self._context):
            loaded.call("cuModuleLoadData", ctypes.byref(module), image)
            for name in _KERNELS:
                function = ctypes.c_void_p()
                loaded.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
                self._functions.append(function.value or 0)

    def __call__(self, buffers: Buffers, count: int, height: int, width: int, stream: int) -> None:
        """Put them on a stream for `count` rows. The buffers must live until they have run."""
        places: Any = {name: ctypes.c_void_p(place) for name, place in buffers._asdict().items()}
        common = [places[name] for name in ("weights", "starts", "precisions")]
        size, parts = [ctypes.c_int(height), ctypes.c_int(width)], ctypes.c_int(_PARTS)
        axes, narrow, total = self._functions
        with self._driver.within(self._context):
            for function, blocks, arguments in (
                (axes, 2 * count, [places["rows"], *common]),
                (narrow, _PARTS * count, [places["rows"], places["pixels"], *common, places["narrow"], parts]),
                (total, _PARTS * count, [places["rows"], places["narrow"], *common, places["target"], *size, parts]),
            ):
                self._driver.launch(function, blocks, _THREADS, stream, arguments)


@cache
def resize(ordinal: int) -> Resize:
    """Give the kernels of a device. Raises `DeviceError`: nothing slower takes their place."""
    try:
        return Resize(driver(), ordinal)
    except (CudaError, DeviceError) as error:
        raise DeviceError(
            f"cuda:{ordinal} cannot resize what it decodes: its kernels cannot be made",
            causes=[str(error).partition("\n")[0]],
            hint="pip install nvidia-cuda-nvrtc (CUDA builds of torch bring it), or leave device_decode= out",
        ) from error
