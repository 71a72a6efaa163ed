"""Holds forebay's decoding of every kind of JPEG to Pillow's ``convert("RGB")``, pixel by pixel.

The files are what fuzzing starts from (``loader/fuzz/seeds/jpeg``): they come from Pillow and from libjpeg-turbo's own
encoder. Needs the example program of ``test_parity.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

np = pytest.importorskip("numpy", reason="numpy is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
features = pytest.importorskip("PIL.features")

PIXELS = os.environ.get("FOREBAY_PIXELS", "")
SEEDS = Path(__file__).parents[2] / "loader/fuzz/seeds/jpeg"
pytestmark = [
    pytest.mark.skipif(
        not (PIXELS and os.access(PIXELS, os.X_OK)),
        reason="FOREBAY_PIXELS names no program: cargo build --release --example pixels",
    ),
    pytest.mark.skipif(
        not features.check_feature("libjpeg_turbo"),
        reason="this Pillow is built with another JPEG library, whose pixels differ",
    ),
]

SOUND = sorted(SEEDS.glob("ok-*.jpg")) + sorted(SEEDS.glob("any-[!nt]*.jpg"))


def ours(file: Path, **request: object) -> subprocess.CompletedProcess[bytes]:
    """Run the program on a file."""
    return subprocess.run([PIXELS, str(file), json.dumps(request)], capture_output=True, check=False)


def test_there_are_files_of_every_kind() -> None:
    names = " ".join(file.stem for file in SOUND)
    kinds = ("grey", "444", "422", "420", "411", "440", "441", "cmyk", "ycck", "arithmetic", "progressive", "restarts")
    assert all(kind in names for kind in kinds), names


@pytest.mark.parametrize("file", SOUND, ids=lambda file: file.stem)
def test_the_pixels_are_pillows(file: Path) -> None:
    expected = np.asarray(Image.open(file).convert("RGB"))
    height, width, _ = expected.shape
    whole = ours(file, size=[height, width])
    assert whole.returncode == 0, whole.stderr.decode()
    assert np.array_equal(np.frombuffer(whole.stdout, np.uint8).reshape(expected.shape), expected)
    left, top, right, bottom = width // 3, height // 4, width - width // 5, height - height // 6
    part = ours(file, crop=[left, top, right - left, bottom - top], size=[bottom - top, right - left])
    crop = expected[top:bottom, left:right]
    assert np.array_equal(np.frombuffer(part.stdout, np.uint8).reshape(crop.shape), crop)


@pytest.mark.parametrize(("name", "kind"), [("bad-12-bit", "12-bit samples"), ("bad-lossless", "lossless coding")])
def test_a_kind_that_is_not_decoded_is_named(name: str, kind: str) -> None:
    refused = ours(SEEDS / f"{name}.jpg")
    assert refused.returncode != 0
    assert kind in refused.stderr.decode()


def test_a_png_with_a_jpegs_name_is_a_png(tmp_path: Path) -> None:
    pixels = np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)
    file = tmp_path / "picture.jpg"
    Image.fromarray(pixels).save(file, format="PNG")
    found = ours(file, size=[7, 5])
    assert np.array_equal(np.frombuffer(found.stdout, np.uint8).reshape(7, 5, 3), pixels), found.stderr.decode()
