"""JPEGs that a device decodes: nvJPEG's rules call by call, and batches, without a device.

nvJPEG, the driver and torch's CUDA are those of `fake_nvjpeg.py`; the kernels are their own source as plain C.
"""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
PIL = pytest.importorskip("PIL.Image", reason="Pillow is not installed: it decodes for the nvJPEG of tests")

from conftest import Fake  # noqa: E402
from fake_driver import needs_cc  # noqa: E402
from fake_nvjpeg import DEVICE, Cuda, FakeNvjpeg, built, taken_for_a_device  # noqa: E402

import forebay  # noqa: E402
from forebay import _gpu_marks, _gpu_nvjpeg, _gpu_rows  # noqa: E402
from forebay._gpu_decode import DeviceDecode, RefusedRowError  # noqa: E402
from forebay._gpu_nvjpeg import NvjpegError, current_library  # noqa: E402
from forebay._gpu_resize import FLIP  # noqa: E402
from forebay._gpu_rows import Decoding  # noqa: E402
from forebay.errors import CorruptError, DeviceError, InvalidError, ProtocolError, StateError, UnimplementedError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import CenterCrop, Normalize, RandomResizedCrop, Resize  # noqa: E402

pytestmark = needs_cc
SIDE = 24
COUNTED = (
    "broken",
    "by_hardware",
    "by_default",
    "alone",
    "batches",
    "alive",
    "pending",
    "create_result",
    "late",
    "hardware_result",
    "batched_result",
    "alone_result",
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("nvjpeg"))


@pytest.fixture
def nvjpeg(library: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNvjpeg]:
    nvjpeg = FakeNvjpeg(library, monkeypatch)
    yield nvjpeg
    gc.collect()
    nvjpeg.wait()
    for name in COUNTED:
        setattr(nvjpeg, name, 0)
    nvjpeg.engine = 1
    _gpu_nvjpeg.library.cache_clear()


@pytest.fixture
def cuda(nvjpeg: FakeNvjpeg, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return taken_for_a_device(nvjpeg, monkeypatch)


def jpeg(seed: int, width: int = 40, height: int = 31, **options: Any) -> bytes:
    random = np.random.default_rng(seed)
    pixels = np.kron(random.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)
    file = io.BytesIO()
    PIL.fromarray(pixels).convert(options.pop("mode", "RGB")).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(PIL.open(io.BytesIO(data)).convert("RGB"))


def cropped(data: bytes, flip: bool = False) -> np.ndarray:
    """Give the upper left pixels, which is what the rows of these tests show."""
    pixels = decoded(data)[:SIDE, :SIDE]
    return pixels[:, ::-1] if flip else pixels


def rows_of(samples: list[Any], row_bytes: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Make the field of a batch: of each sample a JPEG, or finished pixels."""
    raw, table = np.full((len(samples), row_bytes), 0xA5, np.uint8), np.zeros((len(samples), 16), np.int32)
    for place, sample in enumerate(samples):
        data = sample if isinstance(sample, bytes) else sample.tobytes()
        raw[place, : len(data)] = np.frombuffer(data, np.uint8)
        if isinstance(sample, bytes):
            width, height = PIL.open(io.BytesIO(sample)).size if sample[:2] == b"\xff\xd8" else (40, 31)
            table[place] = (1, len(data), width, height, 1, 0, 0, SIDE, SIDE, SIDE, SIDE, 0, 0, 0, 3, 3)
    return torch.from_numpy(raw), torch.from_numpy(table)


def finished(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def decoding(**sizes: Any) -> Decoding:
    return Decoding(DEVICE, sizes or {"image": (SIDE, SIDE)}, _gpu_rows._cuda.Stream(DEVICE))


def shown(made: torch.Tensor) -> list[np.ndarray]:
    return list(made.permute(0, 2, 3, 1).numpy())


def equal(made: torch.Tensor, wanted: list[np.ndarray]) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(shown(made), wanted))


def test_finished_rows_are_copied_and_the_others_decoded_each_by_its_engine(nvjpeg: FakeNvjpeg, cuda: Cuda) -> None:
    samples = [jpeg(1), finished(2), finished(3), jpeg(4, progressive=True), jpeg(5, mode="L"), finished(6), jpeg(7)]
    nvjpeg.images.takes = lambda image: {"L": 0}.get(image.mode, 2 if image.info.get("progressive") else 3)
    raw, table = rows_of(samples)
    table[6, FLIP] = 1
    made, counted = decoding()("image", raw, table)
    assert made.shape == (7, 3, SIDE, SIDE)
    assert made.is_contiguous(memory_format=torch.channels_last)
    wanted = [cropped(sample) if isinstance(sample, bytes) else sample for sample in samples]
    wanted[6] = wanted[6][:, ::-1]
    assert equal(made, wanted)
    assert (nvjpeg.by_hardware, nvjpeg.by_default, nvjpeg.alone) == (2, 1, 1)
    assert counted is not None
    assert counted.rows == 4
    assert not nvjpeg.broken, nvjpeg.rule


def test_neighbours_that_fill_their_rows_are_copied_together(nvjpeg: FakeNvjpeg, cuda: Cuda) -> None:
    samples = [finished(1), finished(2), jpeg(3), finished(4)]
    row_bytes = -(-3 * SIDE * SIDE // 64) * 64
    assert row_bytes == 3 * SIDE * SIDE
    for width in (row_bytes, row_bytes + 64):
        made, _ = decoding()("image", *rows_of(samples, width))
        assert equal(made, [sample if isinstance(sample, np.ndarray) else cropped(sample) for sample in samples])
    made, counted = decoding()("image", *rows_of([]))
    assert (len(made), counted) == (0, None)


def test_the_hardware_engine_is_called_when_nothing_is_left_to_do_and_waited_for(
    nvjpeg: FakeNvjpeg, cuda: Cuda
) -> None:
    nvjpeg.late = 1
    decode = decoding()
    for seed in range(4):  # each leaves kernels on the stream, which the next must not write under
        samples = [jpeg(10 * seed + place) for place in range(5)]
        made, _ = decode("image", *rows_of(samples))
        assert equal(made, list(map(cropped, samples)))
    assert nvjpeg.by_hardware == 20
    assert not nvjpeg.broken, nvjpeg.rule


def test_the_test_notices_an_engine_that_is_not_waited_for(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvjpeg.late = 1
    decode = decoding()
    monkeypatch.setattr(_gpu_rows._Side, "wait", lambda _: None)
    samples = [jpeg(seed) for seed in range(5)]
    made, _ = decode("image", *rows_of(samples))
    assert not equal(made, list(map(cropped, samples)))
    nvjpeg.wait()
    nvjpeg.pending = 1
    decode("image", *rows_of(samples))
    assert nvjpeg.rule == "the hardware engine writes before the stream has come so far"
    nvjpeg.wait()


def test_the_default_back_end_is_not_waited_for_and_its_states_take_turns(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_NVJPEG", "default")
    decode = decoding()
    for seed in range(5):
        samples = [jpeg(seed), jpeg(seed + 10, progressive=True), jpeg(seed + 20)]
        made, _ = decode("image", *rows_of(samples))
        assert equal(made, list(map(cropped, samples)))
        assert nvjpeg.given - nvjpeg.waited == min(2, seed + 1)  # two batches are in flight, and no more
    assert (nvjpeg.by_default, nvjpeg.by_hardware, cuda.waits) == (15, 0, 0)
    assert not nvjpeg.broken, nvjpeg.rule


def test_the_test_notices_a_state_that_is_used_again_too_early(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREBAY_NVJPEG", "default")
    monkeypatch.setattr(_gpu_rows._Side, "mark", lambda _: lambda: None)
    decode = decoding()
    for seed in range(2):
        decode("image", *rows_of([jpeg(seed)]))
    with pytest.raises(NvjpegError, match="INVALID_PARAMETER"):
        decode("image", *rows_of([jpeg(2)]))
    assert "while a batch is being decoded" in nvjpeg.rule
    nvjpeg.wait()


def test_large_batches_are_decoded_in_pieces_that_fit(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [jpeg(seed) for seed in range(7)]
    for most, pieces in ((1, 7), (3 * 40 * 31 * 3, 4), (1 << 20, 1)):
        monkeypatch.setattr(_gpu_rows, "CHUNK_BYTES", most)
        before = nvjpeg.batches
        made, _ = decoding()("image", *rows_of(samples))
        assert equal(made, list(map(cropped, samples)))
        assert nvjpeg.batches - before == pieces
    assert not nvjpeg.broken, nvjpeg.rule


def test_without_an_engine_the_default_back_end_decodes_and_forcing_one_says_so(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvjpeg.engine = 0
    decode = decoding()
    assert decode.words() == "nvJPEG 12.4.0"
    decode("image", *rows_of([jpeg(1)]))
    assert (nvjpeg.by_default, nvjpeg.by_hardware) == (1, 0)
    monkeypatch.setenv("FOREBAY_NVJPEG", "hardware")
    with pytest.raises(DeviceError, match=r"no hardware engine.*ARCH_MISMATCH"):
        decoding()
    monkeypatch.setenv("FOREBAY_NVJPEG", "hardwear")
    with pytest.raises(InvalidError, match="neither hardware nor default"):
        decoding()
    nvjpeg.engine = 1
    monkeypatch.delenv("FOREBAY_NVJPEG")
    _gpu_nvjpeg.library.cache_clear()
    assert decoding().words() == "nvJPEG 12.4.0, hardware engine"


def test_an_engine_that_refuses_a_batch_after_all_leaves_it_to_the_default_back_end(
    nvjpeg: FakeNvjpeg, cuda: Cuda
) -> None:
    nvjpeg.hardware_result = _gpu_nvjpeg.NOT_IMPLEMENTED
    samples = [jpeg(1), jpeg(2)]
    made, _ = decoding()("image", *rows_of(samples))
    assert equal(made, list(map(cropped, samples)))
    assert (nvjpeg.by_hardware, nvjpeg.alone) == (0, 2)
    assert not nvjpeg.broken, nvjpeg.rule


@pytest.mark.parametrize("setting", ["", "default"])
def test_a_row_that_is_refused_is_named_and_the_others_are_not_blamed(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("FOREBAY_NVJPEG", setting)
    samples = [finished(1), jpeg(2), jpeg(3)]
    decode = decoding()
    with pytest.raises(RefusedRowError, match="nvjpegJpegStreamParseHeader: NVJPEG_STATUS_BAD_JPEG") as raised:
        decode("image", *rows_of([*samples, b"no JPEG"]))
    assert raised.value.row == 3
    marked = jpeg(9)  # its header is sound and its pixels are not
    nvjpeg.images.status = lambda data: _gpu_nvjpeg.INCOMPLETE if data == marked else 0
    with pytest.raises(RefusedRowError, match="INCOMPLETE_BITSTREAM") as raised:
        decode("image", *rows_of([samples[1], samples[0], marked, samples[2]]))
    assert raised.value.row == 2
    assert not nvjpeg.broken, nvjpeg.rule


def test_a_header_that_contradicts_the_daemon_writes_nowhere(nvjpeg: FakeNvjpeg, cuda: Cuda) -> None:
    raw, table = rows_of([jpeg(1), jpeg(2)])
    table[1, 2] = 41
    with pytest.raises(RefusedRowError, match="40 x 31 pixels, not 41 x 31"):
        decoding()("image", raw, table)
    table[1, 0] = 2
    with pytest.raises(ProtocolError, match="a kind that this client does not know"):
        decoding()("image", raw, table)
    with pytest.raises(ProtocolError, match=r"has rows of \[64\] bytes"):
        decoding()("image", raw[:, :64], table)


def test_no_memory_and_a_fault_are_the_devices(nvjpeg: FakeNvjpeg, cuda: Cuda) -> None:
    decode = decoding()
    for code, words in ((5, "ALLOCATOR_FAILURE.*\nhint: lower batch_size"), (6, "EXECUTION_FAILED.*\nhint: where the")):
        nvjpeg.hardware_result = code
        with pytest.raises(NvjpegError, match=words):
            decode("image", *rows_of([jpeg(1)]))


def test_a_library_that_is_old_or_does_not_start_is_passed_over_with_its_reason(
    nvjpeg: FakeNvjpeg, cuda: Cuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = built(tmp_path, "-DOLD_NVJPEG")
    for path, found in ((old, "too old: it has no nvjpegDecodeBatchedSupported"), ("libnone.so", "cannot open")):
        monkeypatch.setattr(_gpu_nvjpeg, "_LIBRARIES", (str(path),))
        _gpu_nvjpeg.library.cache_clear()
        with pytest.raises(DeviceError, match=found) as raised:
            current_library(0)
        assert "pip install nvidia-nvjpeg" in str(raised.value)


def test_decoding_is_a_range_of_its_own_on_a_timeline(
    nvjpeg: FakeNvjpeg, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setenv("FOREBAY_NVTX", "1")
    ranges = SimpleNamespace(push=told.append, pop=lambda: told.append("end"))
    monkeypatch.setattr(_gpu_marks, "_ranges", lambda: ranges)
    decode = decoding()
    decode("image", *rows_of([finished(1)]))
    assert not told
    decode("image", *rows_of([finished(1), jpeg(2)]))
    assert told == ["forebay decode", "end"]


def test_what_was_made_is_given_back(nvjpeg: FakeNvjpeg, cuda: Cuda) -> None:
    decode = decoding()
    handles = 2
    assert nvjpeg.alive > handles
    decode("image", *rows_of([jpeg(1), jpeg(2, progressive=True)]))
    del decode
    gc.collect()
    assert nvjpeg.alive == handles
    assert not nvjpeg.broken, nvjpeg.rule


# From here on: batches of a loader.


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Make two classes of JPEGs, one of them with a PNG."""
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(9):
            data = jpeg(ord(label) * 20 + index, width=SIDE, height=SIDE, progressive=index == 4)
            (tmp_path / "data" / label / f"{index}.jpg").write_bytes(data)
    PIL.new("RGB", (SIDE, SIDE), (9, 8, 7)).save(tmp_path / "data" / "a" / "9.png")
    return tmp_path / "data"


CROP = [CenterCrop(SIDE)]


def ours(data: Path, ratio: float | None = 0.5, rows: int = 4, **options: Any) -> DataLoader:
    transform = options.pop("transform", CROP)
    where = {"device": "cuda", "device_decode": ratio} if ratio is not None else {}
    return DataLoader(data, rows, transform=transform, **where, **options)


def by_label_and_bytes(data: Path) -> set[bytes]:
    return {decoded(path.read_bytes()).tobytes() for path in data.glob("*/*.jpg")}


def test_a_batch_is_what_it_is_without_but_for_who_decoded(nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path) -> None:
    known = by_label_and_bytes(photographs)
    with ours(photographs, 1.0, shuffle=True) as loader:
        found = 0
        for batch in loader:
            assert isinstance(batch, tuple)
            images, labels = batch
            assert images.dtype == torch.uint8
            assert images.is_contiguous(memory_format=torch.channels_last)
            assert labels.dtype == torch.int64
            found += sum(pixels.tobytes() in known for pixels in shown(images))
        assert found == 18
        stats = loader.stats()
        assert stats["device_decode_rows"] == 18
        assert stats["device_decode_seconds"] == pytest.approx(0.002 * 5)
        assert "18 images decoded there: 2.00 ms a batch" in str(stats)
        assert "device_decode=1" in repr(loader)
    fields = {"image": forebay.Image(transform=CROP), "label": forebay.Value()}
    with ours(photographs, 0.4, shuffle=True, fields=fields, transform=None) as loader:
        batch = next(iter(loader))
        assert list(batch) == ["image", "label"] or list(batch) == ["image", "label", "valid"]
        with ours(photographs, 0.4, shuffle=True, with_valid=True) as other:
            again = next(iter(other))
        assert torch.equal(again[0], batch["image"])
        assert again[2].all()
    assert not nvjpeg.broken, nvjpeg.rule


def test_floats_are_made_of_what_was_decoded(nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path) -> None:
    chain = [*CROP, Normalize()]
    with ours(photographs, 0.5, seed=3) as pixels, ours(photographs, 0.5, seed=3, transform=chain) as floats:
        for (bytes_of, _), (made, _) in zip(pixels, floats):
            mean, std = (torch.tensor(values).view(3, 1, 1) for values in (Normalize().mean, Normalize().std))
            assert torch.allclose(made, (bytes_of / 255 - mean) / std, atol=1e-6)
        assert pixels.job.content_digest == floats.job.content_digest


def test_the_share_is_content_and_a_change_is_accepted_by_name(
    nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path
) -> None:
    with ours(photographs, 0.5) as half, ours(photographs, 0.25) as quarter, ours(photographs, None) as none:
        assert len({loader.job.content_digest for loader in (half, quarter, none)}) == 3
        iterator = iter(half)
        next(iterator)
        state = half.state_dict()
        with pytest.raises(StateError, match="field image"):
            quarter.load_state_dict(state)
        quarter.load_state_dict(state, allow_changed="field image")
        batches = iter(quarter)
        next(batches)
        assert batches.cursor.position == 8


@pytest.mark.parametrize("ahead", [1, 3])
def test_a_sample_that_the_device_refuses_is_named_in_its_turn_and_the_state_resumes(
    nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path, ahead: int
) -> None:
    bad = photographs / "b" / "3.jpg"  # row 10 + 3
    sound = bad.read_bytes()
    bad.write_bytes(sound[:2] + sound[2:].replace(b"JFIF", b"JFIX").replace(b"\xff\xda", b"\xff\xdb"))
    with ours(photographs, 1.0, ahead=ahead) as loader:
        iterator = iter(loader)
        for _ in range(3):
            next(iterator)
        with pytest.raises(CorruptError, match=r"does not decode a sample.*BAD_JPEG: at epoch 0, row 13"):
            next(iterator)
        with pytest.raises(InvalidError, match="cannot go on"):
            next(iterator)
        state = loader.state_dict()
        assert state["position"] == 12
        bad.write_bytes(sound)
        loader.load_state_dict(state)
        assert len(list(loader)) == 2
    assert not nvjpeg.broken, nvjpeg.rule


def test_what_cannot_be_is_refused_with_the_cure(nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path) -> None:
    for wrong in (True, -0.5, 1.5, "half", [0.5]):
        with pytest.raises(InvalidError, match="share of rows that the device decodes"):
            DataLoader(photographs, 4, transform=CROP, device="cuda", device_decode=wrong)  # type: ignore[arg-type]
    assert DeviceDecode.of(0, None) is None
    refused: list[tuple[str, dict[str, Any]]] = [
        ("without a device", {"device": None}),
        ("without device_decode=", {"device_decode": 0, "device_decode_max_bytes": 9}),
        ("whole number", {"device_decode_max_bytes": 0}),
        ("on_bad_sample='fail'", {"on_bad_sample": "mask"}),
        ("on_bad_sample='fail'", {"on_bad_sample": "substitute"}),
        ("several views", {"views": 2, "transform": [RandomResizedCrop(8)]}),
        ("floats from there", {"cast": "daemon", "dtype": "float32"}),
        ("images of one size", {"transform": [Resize(8)]}),
        ("without a field of images", {"fields": {"label": forebay.Value()}, "transform": None}),
    ]
    for words, options in refused:
        with pytest.raises(InvalidError, match=words) as raised:
            DataLoader(photographs, 4, **{"transform": CROP, "device": "cuda", "device_decode": 0.5, **options})
        assert raised.value.hint or "whole number" in words or "without device_decode" in words
    with pytest.raises(InvalidError, match="device_decode= is for data that the daemon reads"):
        DataLoader([1, 2, 3], device_decode=0.5)


def test_a_daemon_that_does_not_know_it_is_named(nvjpeg: FakeNvjpeg, cuda: Cuda, photographs: Path, fake: Fake) -> None:
    fake.misbehave({"old": True})
    with ours(photographs) as loader, pytest.raises(UnimplementedError, match="sends no JPEGs for a device") as raised:
        next(iter(loader))
    assert "leave device_decode= out" in str(raised.value)


def test_the_library_of_wheels_is_found_and_told_from_one_that_finds_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("nvidia/nvjpeg/lib/libnvjpeg.so.12", "nvidia/cu13/lib/libnvjpeg.so.13", "nvidia/cu13/lib/libother.so"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").touch()
    (tmp_path / "torchvision.libs").mkdir()
    (tmp_path / "torchvision.libs" / "libnvjpeg.12ab.so.13").touch()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    for name in ("nvidia", "torchvision"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found = [str(Path(file).relative_to(tmp_path)) for file in _gpu_nvjpeg._of_wheels()]
    assert found == [
        "torchvision.libs/libnvjpeg.12ab.so.13",
        "nvidia/nvjpeg/lib/libnvjpeg.so.12",
        "nvidia/cu13/lib/libnvjpeg.so.13",
    ]
