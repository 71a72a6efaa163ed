"""The device's resize against the daemon's, byte by byte, over sizes, crops, filters, orientations and mirroring.

Without a device its source is compiled as plain C; `FOREBAY_PIXELS` names the program that runs one image through the
daemon's code.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")

from conftest import write_pixels  # noqa: E402
from fake_driver import CC, needs_cc  # noqa: E402

from forebay import _gpu_kernel, _gpu_resize  # noqa: E402
from forebay._gpu_kernel import compiled  # noqa: E402
from forebay.errors import DeviceError, ProtocolError  # noqa: E402

PIXELS = os.environ.get("FOREBAY_PIXELS", "")
needs_pixels = pytest.mark.skipif(
    not (PIXELS and os.access(PIXELS, os.X_OK)), reason="FOREBAY_PIXELS names no program: cargo build --example pixels"
)
# By their numbers on the wire.
FILTERS = [
    {"interpolation": "nearest"},
    {"interpolation": "nearest-exact"},
    {"interpolation": "bilinear", "antialias": False},
    {"interpolation": "bilinear", "antialias": True},
    {"interpolation": "bicubic", "antialias": False},
    {"interpolation": "bicubic", "antialias": True},
]


def row(stored: tuple[int, int], crop: tuple[int, int, int, int], resized: tuple[int, int], **more: int) -> list[int]:
    """Make a row of `NAME.decode`: stored is (width, height), resized (height, width)."""
    drawn = [*resized, more.get("top", 0), more.get("left", 0), more.get("flip", 0), more.get("filter", 3)]
    return [1, 1000, *stored, more.get("orientation", 1), *crop, *drawn, 3]


class Device:
    """The kernels as loops, over numpy's memory."""

    def __init__(self, folder: Path) -> None:
        path = folder / "libresize.so"
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-shared", "-fPIC", "-x", "c"]
        subprocess.run([CC, *flags, "-o", str(path), str(_gpu_resize.SOURCE), "-lm"], check=True)
        self._library = ctypes.CDLL(str(path))

    def __call__(self, images: list[np.ndarray], table: list[list[int]], height: int, width: int) -> np.ndarray:
        numbers = np.array(table, np.int32)
        _gpu_resize.checked(numbers, 1 << 20)
        found = _gpu_resize.work(numbers, np.arange(len(table)), height, width)
        room = {
            "pixels": np.full(found.pixel_bytes, 0xEE, np.uint8),
            "narrow": np.full(found.narrow_bytes, 0xEE, np.uint8),
            "weights": np.full(found.weights, 0x5A5A, np.int16),
            "starts": np.full(found.starts, 0x5A5A, np.int32),
            "precisions": np.zeros(2 * len(table), np.int32),
            "target": np.full((len(table), height, width, 3), 0xEE, np.uint8),
        }
        for image, begin in zip(images, found.rows["pixels"]):
            room["pixels"][int(begin) : int(begin) + image.nbytes] = image.reshape(-1)
        rows = np.ascontiguousarray(found.rows)
        at = {name: ctypes.c_void_p(array.ctypes.data) for name, array in {**room, "rows": rows}.items()}
        common = [at["weights"], at["starts"], at["precisions"]]
        count = len(table)
        self._library.forebay_axes(at["rows"], *common, 2 * count)
        self._library.forebay_narrow(at["rows"], at["pixels"], *common, at["narrow"], count)
        self._library.forebay_sum(at["rows"], at["narrow"], *common, at["target"], height, width, count)
        return room["target"]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Device:
    return Device(tmp_path_factory.mktemp("device"))


def noise(height: int, width: int) -> np.ndarray:
    """Make pixels of full contrast beside smooth ones."""
    random = np.random.default_rng(height * 1000 + width)
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    pixels[: height // 2] = np.linspace(0, 255, width).astype(np.uint8)[None, :, None]
    return pixels


def by_the_daemon(file: Path, asked: dict[str, Any], height: int, width: int) -> np.ndarray:
    done = subprocess.run([PIXELS, str(file), json.dumps(asked)], capture_output=True, check=True)
    return np.frombuffer(done.stdout, np.uint8).reshape(height, width, 3)


# Stored width and height, a crop, and the result's height and width: smaller, larger, equal, one side each, odd, tiny.
CROPS = [
    ((50, 37), (0, 0, 50, 37), (22, 24)),
    ((50, 37), (7, 5, 31, 29), (22, 24)),
    ((50, 37), (3, 9, 24, 22), (22, 24)),
    ((50, 37), (11, 2, 9, 8), (33, 40)),
    ((301, 203), (0, 0, 301, 203), (7, 5)),
    ((301, 203), (250, 1, 50, 200), (64, 64)),
    ((64, 64), (0, 0, 64, 64), (64, 32)),
    ((3, 5), (0, 0, 3, 5), (40, 31)),
    ((1, 1), (0, 0, 1, 1), (5, 4)),
    ((1200, 16), (0, 0, 1200, 16), (16, 3)),
]
# Stored width and height, Resize's shorter side (none: the image's own size), and CenterCrop's height and width.
MIDDLES = [
    ((50, 37), 26, (22, 22)),
    ((37, 50), 80, (22, 31)),
    ((301, 203), 256, (224, 224)),
    ((301, 203), 31, (24, 24)),
    ((20, 10), None, (32, 32)),
    ((20, 10), 17, (40, 21)),
    ((21, 50), None, (16, 33)),
    ((500, 20), 9, (8, 300)),
]


@needs_cc
@needs_pixels
@pytest.mark.parametrize("kind", range(6))
def test_a_crop_is_resized_to_the_daemons_bytes(tmp_path: Path, device: Device, kind: int) -> None:
    for number, ((stored, crop, (height, width)), flip) in enumerate(product(CROPS, (False, True))):
        image = noise(stored[1], stored[0])
        write_pixels(tmp_path / "image.png", image)
        asked = {"size": [height, width], "crop": crop, "flip": flip, **FILTERS[kind]}
        wanted = by_the_daemon(tmp_path / "image.png", asked, height, width)
        made = device([image], [row(stored, crop, (height, width), flip=flip, filter=kind)], height, width)[0]
        assert np.array_equal(made, wanted), (number, asked)


def start(resized: int, cropped: int) -> int:
    """Torchvision's `CenterCrop`: half of what is over, ties to even; zeros for half of what is missing."""
    return -((cropped - resized) // 2) if cropped > resized else round((resized - cropped) / 2.0)


@needs_cc
@needs_pixels
@pytest.mark.parametrize("kind", range(6))
def test_the_middle_of_a_resized_image_and_zeros_around_a_small_one_are_the_daemons(
    tmp_path: Path, device: Device, kind: int
) -> None:
    for (stored, side, (height, width)), flip in product(MIDDLES, (False, True)):
        image = noise(stored[1], stored[0])
        write_pixels(tmp_path / "image.png", image)
        asked: dict[str, Any] = {"size": [height, width], "center_crop": True, "flip": flip}
        resized = (stored[1], stored[0])
        if side is not None:
            asked.update(shorter_side=side, **FILTERS[kind])
            long = side * max(stored) // min(stored)
            resized = (long, side) if stored[0] <= stored[1] else (side, long)
        wanted = by_the_daemon(tmp_path / "image.png", asked, height, width)
        places = {"top": start(resized[0], height), "left": start(resized[1], width)}
        drawn = row(stored, (0, 0, *stored), resized, **places, flip=flip, filter=kind if side else 3)
        made = device([image], [drawn], height, width)[0]
        assert np.array_equal(made, wanted), asked


def turned_as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Store an image as a camera held in one of eight ways would; Exif's words for rows and columns."""
    stored = upright.transpose(1, 0, 2) if orientation > 4 else upright
    if orientation in (2, 3, 7, 8):
        stored = stored[:, ::-1]
    return np.ascontiguousarray(stored[::-1] if orientation in (3, 4, 6, 7) else stored)


@needs_cc
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_each_orientation_is_the_upright_image(device: Device, kind: int) -> None:
    upright, crop = noise(37, 50), (6, 4, 33, 30)
    table = [row((50, 37), crop, (22, 24), flip=1, filter=kind)]
    wanted = device([upright], table, 22, 24)[0]
    images = [turned_as_stored(upright, orientation) for orientation in range(1, 9)]
    table = [
        row((image.shape[1], image.shape[0]), crop, (22, 24), flip=1, filter=kind, orientation=orientation)
        for orientation, image in enumerate(images, 1)
    ]
    made = device(images, table, 22, 24)
    assert all(np.array_equal(one, wanted) for one in made)
    assert len({image.tobytes() for image in images}) == 8


@needs_cc
def test_rows_of_one_batch_do_not_touch_each_other(device: Device) -> None:
    images = [noise(height, width) for height, width in ((37, 50), (300, 20), (5, 5), (64, 64))]
    table = [
        row((image.shape[1], image.shape[0]), (0, 0, image.shape[1], image.shape[0]), (24, 24), filter=kind)
        for kind, image in enumerate(images, 2)
    ]
    together = device(images, table, 24, 24)
    for made, image, numbers in zip(together, images, table):
        assert np.array_equal(made, device([image], [numbers], 24, 24)[0])


def test_numbers_that_do_not_fit_are_refused_before_a_device_reads_beyond_an_image() -> None:
    good = row((50, 37), (7, 5, 31, 29), (22, 24))
    _gpu_resize.checked(np.array([good], np.int32), 1000)
    for place, value in (
        (1, 1001),
        (1, 0),
        (4, 0),
        (4, 9),
        (5, -1),
        (5, 20),
        (6, 9),
        (7, 0),
        (9, 0),
        (10, -1),
        (14, 6),
    ):
        bad = list(good)
        bad[place] = value
        with pytest.raises(ProtocolError, match="does not fit itself"):
            _gpu_resize.checked(np.array([good, bad], np.int32), 1000)
    sideways = row((37, 50), (7, 5, 31, 29), (22, 24), orientation=6)
    _gpu_resize.checked(np.array([sideways], np.int32), 1000)


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_nvrtc_compiles_the_kernels_for_data_centre_devices(architecture: str) -> None:
    try:
        _gpu_kernel._nvrtc()
    except DeviceError:
        pytest.skip("no libnvrtc: torch's CUDA builds bring one")
    image = compiled(architecture, _gpu_resize.OPTIONS, _gpu_resize.SOURCE)
    assert all(b".text." + name.encode() in image for name in _gpu_resize._KERNELS)
