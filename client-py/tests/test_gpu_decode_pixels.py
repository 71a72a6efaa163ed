"""Pixels of a device's decoder against the CPU's, by format, and its kernels against their source as plain C.

Each also runs without a device, with the nvJPEG of tests, whose pixels are the CPU's own: there nothing may differ.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed")

from fake_driver import needs_cc  # noqa: E402
from fake_nvjpeg import DEVICE, FakeNvjpeg, built, taken_for_a_device  # noqa: E402
from test_gpu_decode_resize import CROPS, Device, noise, row  # noqa: E402

from forebay import _gpu_nvjpeg, _gpu_resize, _gpu_rows  # noqa: E402
from forebay._gpu_resize import Buffers  # noqa: E402
from forebay._gpu_rows import Decoding  # noqa: E402

pytestmark = needs_cc
needs_device = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the same test runs with the nvJPEG of tests"
)

# How far a device's pixels may be from libjpeg-turbo's, in levels of 255, mean and largest. They round otherwise in the
# inverse transform and in colours, and sampled colours may be spread out otherwise, which shows at edges of colour.
WHOLE_COLOURS, SAMPLED_COLOURS = (0.6, 4), (2.0, 64)
SIZE = (96, 64)  # width and height: whole blocks of each sampling


class Place(NamedTuple):
    """Where it runs."""

    device: Any
    stream: Any
    is_real: bool

    def decoding(self, height: int, width: int) -> Decoding:
        return Decoding(self.device, {"image": (height, width)}, self.stream)

    def run(self, work: Callable[[], Any]) -> Any:
        """Have it done on the side stream."""
        if not self.is_real:
            return work()
        with torch.cuda.stream(self.stream):
            made = work()
        self.stream.synchronize()
        return made


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("nvjpeg"))


@pytest.fixture(
    params=["tests", *(pytest.param(way, marks=needs_device) for way in ("hardware where there is one", "default"))]
)
def place(request: pytest.FixtureRequest, library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    _gpu_nvjpeg.library.cache_clear()
    _gpu_resize.resize.cache_clear()
    if request.param == "tests":
        nvjpeg = FakeNvjpeg(library, monkeypatch)
        yield Place(DEVICE, taken_for_a_device(nvjpeg, monkeypatch).Stream(DEVICE), False)
        nvjpeg.wait()
    else:
        monkeypatch.setenv("FOREBAY_NVJPEG", "default" if request.param == "default" else "")
        device = torch.device("cuda", 0)
        yield Place(device, torch.cuda.Stream(device), True)
    _gpu_nvjpeg.library.cache_clear()
    _gpu_resize.resize.cache_clear()


def photograph(seed: int, size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """Make a JPEG that is smooth with edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    image = PIL.fromarray(coarse).resize(size, PIL.BICUBIC).convert(options.pop("mode", "RGB"))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **options)
    return file.getvalue()


def sampled(data: bytes, was: int, now: int) -> bytes:
    """Sample the colours in another way with as many blocks: another picture, the same for every decoder."""
    frame = data.index(b"\xff\xc0")
    factors = frame + 11  # of Y: behind marker, length, precision, two sides, the count, and its number
    assert data[factors] == was
    return data[:factors] + bytes([now]) + data[factors + 1 :]


FORMATS = {
    "4:4:4": (photograph(1, subsampling=0), WHOLE_COLOURS),
    "4:2:2": (photograph(2, subsampling=1), SAMPLED_COLOURS),
    "4:2:0": (photograph(3, subsampling=2), SAMPLED_COLOURS),
    "4:4:0": (sampled(photograph(4, (64, 64), subsampling=1), 0x21, 0x12), SAMPLED_COLOURS),
    "4:1:1": (sampled(photograph(5, (64, 64), subsampling=2), 0x22, 0x41), SAMPLED_COLOURS),
    "grey": (photograph(6, mode="L"), WHOLE_COLOURS),
    "progressive": (photograph(7, subsampling=0, progressive=True), WHOLE_COLOURS),
    "progressive 4:2:0": (photograph(8, subsampling=2, progressive=True), SAMPLED_COLOURS),
    "restarts": (photograph(9, subsampling=0, restart_marker_blocks=2), WHOLE_COLOURS),
    "odd": (photograph(10, (61, 43), subsampling=0), WHOLE_COLOURS),
    "odd 4:2:0": (photograph(11, (61, 43), subsampling=2), SAMPLED_COLOURS),
    "one pixel": (photograph(12, (1, 1), subsampling=0), WHOLE_COLOURS),
}


def by_the_cpu(data: bytes) -> np.ndarray:
    return np.asarray(PIL.open(io.BytesIO(data)).convert("RGB"))


def batch(samples: list[bytes], table: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a field's rows of JPEGs."""
    raw = np.zeros((len(samples), max(1 << 16, *map(len, samples))), np.uint8)
    for place, data in enumerate(samples):
        raw[place, : len(data)] = np.frombuffer(data, np.uint8)
        table[place][1] = len(data)
    return torch.from_numpy(raw), torch.tensor(table, dtype=torch.int32)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_format_has_the_cpus_pixels_within_what_is_stated(place: Place, kind: str) -> None:
    data, (mean, most) = FORMATS[kind]
    wanted = by_the_cpu(data)
    height, width, _ = wanted.shape
    whole = row((width, height), (0, 0, width, height), (height, width))
    decode = place.decoding(height, width)
    rows = batch([data] * 3, [list(whole) for _ in range(3)])  # which live until the stream has come so far
    images, decoded = place.run(lambda: decode("image", *rows))
    assert decoded.rows == 3
    made = images.permute(0, 2, 3, 1).cpu().numpy()
    assert all(np.array_equal(image, made[0]) for image in made)
    apart = np.abs(made[0].astype(int) - wanted)
    print(f"{kind}: {apart.mean():.3f} levels apart in the mean, {apart.max()} at most")
    assert apart.mean() <= (mean if place.is_real else 0)
    assert apart.max() <= (most if place.is_real else 0)


def test_each_orientation_is_turned_upright(place: Place) -> None:
    width, height = SIZE
    data = FORMATS["4:4:4"][0]
    table = [
        row(SIZE, (4, 6, 40, 30), (22, 24), orientation=orientation, flip=orientation % 2)
        for orientation in range(1, 9)
    ]
    decode, rows = place.decoding(22, 24), batch([data] * 8, table)
    images, _ = place.run(lambda: decode("image", *rows))
    pixels = by_the_cpu(data)
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1],
        5: pixels.transpose(1, 0, 2), 6: pixels[::-1].transpose(1, 0, 2),
        7: pixels[::-1, ::-1].transpose(1, 0, 2), 8: pixels[:, ::-1].transpose(1, 0, 2),
    }  # fmt: skip
    assert pixels.shape == (height, width, 3)
    for orientation, image in upright.items():
        shown = [row((image.shape[1], image.shape[0]), (4, 6, 40, 30), (22, 24), flip=orientation % 2)]
        wanted = DEVICES["C"]([np.ascontiguousarray(image)], shown, 22, 24)[0]
        made = images[orientation - 1].permute(1, 2, 0).cpu().numpy()
        assert np.abs(made.astype(int) - wanted).max() <= (WHOLE_COLOURS[1] if place.is_real else 0), orientation


DEVICES: dict[str, Device] = {}


@pytest.fixture(scope="module", autouse=True)
def plain_c(tmp_path_factory: pytest.TempPathFactory) -> None:
    DEVICES["C"] = Device(tmp_path_factory.mktemp("device"))


@pytest.mark.parametrize("kind", range(6))
def test_the_kernels_make_the_bytes_of_their_source_as_plain_c(place: Place, kind: int) -> None:
    resize = _gpu_resize.resize(0)
    for (stored, crop, (height, width)), flip, orientation in product(CROPS, (0, 1), (1, 3, 6)):
        turned = (stored[1], stored[0]) if orientation > 4 else stored
        image, table = noise(turned[1], turned[0]), [row(turned, crop, (height, width), flip=flip, filter=kind)]
        table[0][4] = orientation
        wanted = DEVICES["C"]([image], table, height, width)
        found = _gpu_resize.work(np.array(table, np.int32), np.arange(1), height, width)

        def there(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).reshape(-1)).to(place.device)

        lengths = {"narrow": found.narrow_bytes, "weights": 2 * found.weights, "starts": 4 * found.starts}
        room = {name: torch.empty(length, dtype=torch.uint8, device=place.device) for name, length in lengths.items()}
        room.update(pixels=there(image), rows=there(found.rows), precisions=there(np.zeros(2, np.int32)))
        room.update(target=there(np.full((height, width, 3), 0xEE, np.uint8)))
        if place.is_real:
            torch.cuda.synchronize()
        buffers = Buffers(**{name: memory.data_ptr() for name, memory in room.items()})
        place.run(lambda: resize(buffers, 1, height, width, place.stream.cuda_stream))  # noqa: B023 - run at once
        made = room["target"].cpu().numpy().reshape(wanted.shape)
        assert np.array_equal(made, wanted), (stored, crop, (height, width), flip, orientation)


def test_batches_behind_each_other_keep_their_pixels_while_the_device_is_busy(place: Place) -> None:
    """The hardware engine writes at once: into memory that kernels of the batch before may still read."""
    samples = [photograph(seed, subsampling=2, progressive=seed % 5 == 4) for seed in range(24)]
    width, height = SIZE
    table = [row(SIZE, (0, 0, width, height), (64, 64)) for _ in samples]
    decode = place.decoding(64, 64)
    raw, numbers = batch(samples, table)
    first = place.run(lambda: decode("image", raw, numbers)[0]).clone()

    kept: list[Any] = []  # until the stream has come so far

    def busy(turn: int) -> torch.Tensor:
        if place.is_real:
            torch.cuda._sleep(5_000_000)  # some milliseconds on this stream
        order = torch.arange(len(samples)).roll(turn)
        kept.append((raw[order], numbers[order]))
        return decode("image", *kept[-1])[0]

    made = [place.run(lambda: busy(turn)) for turn in range(3)]  # noqa: B023 - run at once
    if place.is_real:
        with torch.cuda.stream(place.stream):
            made += [busy(turn) for turn in range(3, 40)]
        place.stream.synchronize()
    for turn, images in enumerate(made):
        assert torch.equal(images, first.roll(turn, 0)), turn


def test_words_name_the_library(place: Place) -> None:
    assert place.decoding(8, 8).words().startswith("nvJPEG ")
    assert _gpu_rows.CHUNK_BYTES > 0
