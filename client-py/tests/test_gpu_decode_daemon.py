"""Rows that the daemon leaves to a device: with equal decoders, the very batches of the CPU.

The nvJPEG of tests decodes with Pillow's libjpeg-turbo, whose pixels are the daemon's, so every byte has to agree: what
is asked for, drawn, turned, cropped, resized and mirrored.
"""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed: it decodes for the nvJPEG of tests")

from conftest import REAL  # noqa: E402
from fake_driver import needs_cc  # noqa: E402
from fake_nvjpeg import FakeNvjpeg, built, taken_for_a_device  # noqa: E402

from forebay import Image, Value, _gpu_nvjpeg  # noqa: E402
from forebay._gpu_decode import FEATURE  # noqa: E402
from forebay.errors import CorruptError, InvalidError, StateError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import (  # noqa: E402
    CenterCrop,
    Normalize,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)

pytestmark = [
    needs_cc,
    pytest.mark.skipif(not REAL, reason="no binary: FOREBAY_BINARY names none, nor is one on PATH"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("nvjpeg"))


@pytest.fixture
def nvjpeg(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvjpeg]:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    nvjpeg = FakeNvjpeg(library, monkeypatch)
    taken_for_a_device(nvjpeg, monkeypatch)
    yield nvjpeg
    gc.collect()
    nvjpeg.wait()
    _gpu_nvjpeg.library.cache_clear()
    assert not nvjpeg.broken, nvjpeg.rule


def write(path: Path, seed: int, width: int, height: int, **options: Any) -> None:
    """Write a photograph's like: smooth with edges, so that sampled colours matter."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
    image = PIL.fromarray(coarse).resize((width, height), PIL.BICUBIC).convert(options.pop("mode", "RGB"))
    exif = PIL.Exif()
    if "orientation" in options:
        exif[0x0112] = options.pop("orientation")
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **options)
    path.write_bytes(file.getvalue())


KINDS: list[dict[str, Any]] = [
    {"subsampling": 0},
    {"subsampling": 1},
    {"subsampling": 2},
    {"subsampling": 2, "progressive": True},
    {"mode": "L"},
    {"subsampling": 2, "orientation": 6},
    {"subsampling": 1, "orientation": 3},
    {"subsampling": 0, "orientation": 5},
    {"subsampling": 2, "optimize": True, "restart_marker_blocks": 3},
    {"mode": "CMYK"},  # stays with the CPU
]


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Forty images of odd sizes: each kind four times, and a PNG."""
    for place in range(40):
        folder = tmp_path / "data" / "ab"[place % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / f"{place:02}.jpg", place, 61 + 7 * place % 90, 50 + 11 * place % 70, **dict(KINDS[place % 10]))
    PIL.new("RGB", (70, 60), (9, 8, 7)).save(tmp_path / "data" / "a" / "99.png")
    return tmp_path / "data"


CHAIN = [RandomResizedCrop(32), RandomHorizontalFlip()]
CHAINS: list[list[Any]] = [
    CHAIN,
    [RandomResizedCrop((40, 24), interpolation="bicubic"), RandomHorizontalFlip()],
    [Resize(40), CenterCrop(32)],
    [Resize(100, interpolation="bicubic", antialias=False), CenterCrop((64, 50)), RandomHorizontalFlip(1.0)],
    [Resize((30, 37), antialias=False)],
    [Resize(20, interpolation="nearest"), CenterCrop(64)],
    [CenterCrop(90)],
]


def serves() -> bool:
    """Whether the daemon of this run knows of devices that decode."""
    from forebay._daemon import get_daemon

    return FEATURE in get_daemon(None).connection().features


def loader(data: Path, ratio: float | None, chain: list[Any] = CHAIN, **options: Any) -> DataLoader:
    if ratio is not None:
        if not serves():
            pytest.skip(f"the daemon at FOREBAY_BINARY does not know {FEATURE}")
        options = {"device": "cuda", "device_decode": ratio, "device_decode_max_bytes": 1 << 16, **options}
    return DataLoader(data, 8, shuffle=True, seed=5, transform=chain, apply_exif_orientation=True, **options)


@pytest.mark.parametrize("number", range(len(CHAINS)))
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_batches_are_the_cpus_where_the_decoders_agree(
    nvjpeg: FakeNvjpeg, photographs: Path, ratio: float, number: int
) -> None:
    with loader(photographs, ratio, CHAINS[number]) as there, loader(photographs, None, CHAINS[number]) as here:
        for _ in range(2):
            for (images, labels), (wanted, numbers) in zip(there, here):
                assert images.shape == wanted.shape
                assert images.stride() == wanted.stride()
                assert torch.equal(labels, numbers)
                assert torch.equal(images, wanted)
        rows = there.stats()["device_decode_rows"]
        assert there.job.content_digest != here.job.content_digest
        assert there.job.order_digest == here.job.order_digest
    # Of 82 rows 72 are JPEGs that a device takes.
    assert rows == 72 if ratio == 1.0 else 20 < rows < 52


def test_the_device_makes_the_floats_of_the_daemon(nvjpeg: FakeNvjpeg, photographs: Path) -> None:
    chain = [*CHAIN, Normalize()]
    with loader(photographs, 0.7, chain) as there, loader(photographs, None, chain) as here:
        for (images, _), (wanted, _) in zip(there, here):
            assert torch.equal(images.view(torch.int32), wanted.view(torch.int32))


def test_the_same_rows_go_to_the_device_whatever_the_batch_and_wherever_one_resumes(
    nvjpeg: FakeNvjpeg, photographs: Path
) -> None:
    # Another decoder than the CPU's shows who decoded a row.
    inverted = nvjpeg.images.pixels
    nvjpeg.images.pixels = lambda image: 255 - inverted(image)
    with loader(photographs, 0.5) as whole:
        wanted = torch.cat([images.clone() for images, _ in whole])
    with loader(photographs, 0.5) as first:
        batches = iter(first)
        taken = [next(batches)[0].clone() for _ in range(2)]
        state = first.state_dict()
    resumed = DataLoader(
        photographs, 5, shuffle=True, seed=5, transform=CHAIN, apply_exif_orientation=True,
        device="cuda", device_decode=0.5, device_decode_max_bytes=1 << 16,
    )  # fmt: skip
    with resumed:
        resumed.load_state_dict(state)
        taken += [images.clone() for images, _ in resumed]
    assert torch.equal(torch.cat(taken), wanted)
    with loader(photographs, None) as here:
        plain = torch.cat([images.clone() for images, _ in here])
    differ = [not torch.equal(one, other) for one, other in zip(plain, wanted)]
    assert 8 < sum(differ) < 30


def test_another_share_is_another_content_and_goes_on_where_it_is_accepted(
    nvjpeg: FakeNvjpeg, photographs: Path
) -> None:
    with loader(photographs, 0.5) as half, loader(photographs, 0.25) as quarter:
        batches = iter(half)
        taken = [next(batches)[1].clone()]
        state = half.state_dict()
        with pytest.raises(StateError, match="field image"):
            quarter.load_state_dict(state)
        quarter.load_state_dict(state, allow_changed="field image")
        taken += [labels.clone() for _, labels in quarter]
        half.set_epoch(0)
        assert torch.equal(torch.cat(taken), torch.cat([labels for _, labels in half]))


def test_a_sample_that_the_device_refuses_is_named_by_its_key(nvjpeg: FakeNvjpeg, photographs: Path) -> None:
    refused = (photographs / "a" / "12.jpg").read_bytes()
    nvjpeg.images.status = lambda data: _gpu_nvjpeg.INCOMPLETE if data == refused else 0
    with loader(photographs, 1.0) as there:
        with pytest.raises(CorruptError, match=r"INCOMPLETE_BITSTREAM: at epoch 0, row \d+ \[a/12.jpg\]"):
            list(there)
        state = there.state_dict()
        nvjpeg.images.status = lambda data: 0
        there.load_state_dict(state)
        assert list(there)


def test_what_the_daemon_refuses_it_refuses_with_the_cure(nvjpeg: FakeNvjpeg, photographs: Path) -> None:
    fields = {"image": Image(transform=CHAIN, decode_scale="auto"), "label": Value()}
    assert serves() or pytest.skip(f"the daemon at FOREBAY_BINARY does not know {FEATURE}")
    there = DataLoader(photographs, 8, fields=fields, device="cuda", device_decode=0.5)
    with there, pytest.raises(InvalidError, match="beside decode_scale"):
        next(iter(there))


def test_a_batch_can_be_looked_at(nvjpeg: FakeNvjpeg, photographs: Path) -> None:
    with loader(photographs, 1.0) as there, loader(photographs, None) as here:
        shown = [[row.key for row in sheet.rows] for sheet in (there.show(4), here.show(4))]
        assert shown[0] == shown[1]
        assert len(shown[0]) == 4


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the tests above run with the nvJPEG of tests"
)
@pytest.mark.parametrize("setting", ["", "default"])
def test_a_real_device_has_the_cpus_batches_within_what_is_stated(
    photographs: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    monkeypatch.setenv("FOREBAY_NVJPEG", setting)
    for chain in CHAINS:
        with loader(photographs, 0.6, chain, ahead=3) as there, loader(photographs, None, chain) as here:
            for _ in range(3):
                for (images, labels), (wanted, numbers) in zip(there, here):
                    assert torch.equal(labels.cpu(), numbers)
                    apart = (images.cpu().int() - wanted.int()).abs().float().mean((1, 2, 3))
                    assert float(apart.max()) <= 2.0, chain
            assert there.stats()["device_decode_rows"] > 40
