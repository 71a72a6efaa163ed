"""What is asked of torch's CUDA, call by call, and what is told where there is none: needs no device."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from conftest import Fake  # noqa: E402
from fake_driver import FakeDriver, build, needs_cc  # noqa: E402

from forebay import _gpu_driver, _gpu_marks, _gpu_torch  # noqa: E402
from forebay._gpu_cast import Cast  # noqa: E402
from forebay._gpu_torch import TorchEngine, _sent, device_of, failure  # noqa: E402
from forebay.errors import CorruptError, DeviceError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402
from forebay.transforms import CenterCrop  # noqa: E402

CPU = torch.device("cpu")
without_device = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


class Calls:
    """torch.cuda as far as it is used, which notes what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[str] = []
        self.within: list[str] = []
        self.query: Any = lambda: True
        monkeypatch.setattr(_gpu_torch, "_cuda", self)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, stream: self.told.append(f"used by {stream.name}"))

    def Stream(self, device: Any) -> Any:  # noqa: N802 - torch's name
        return self._stream("side")

    def current_stream(self, device: Any) -> Any:
        return self._stream("trainer's")

    def _stream(self, name: str) -> Any:
        def wait(event: Any) -> None:
            self.told.append(f"{name} waits for {event.name}")

        return SimpleNamespace(
            name=name, wait_event=wait, synchronize=lambda: self.told.append("synchronize"), cuda_stream=7
        )

    def Event(self, enable_timing: bool) -> Any:  # noqa: N802 - torch's name
        assert enable_timing
        name = "end" if any("start" in line for line in self.told) else "start"
        self.told.append(f"make {name}")
        event = SimpleNamespace(name=name, query=lambda: self.query(), elapsed_time=lambda end: 2.5)
        event.record = lambda stream: self.told.append(f"{stream.name} records {name}")
        event.synchronize = lambda: None
        return event

    @contextlib.contextmanager
    def _in(self, what: str) -> Any:
        self.within.append(what)
        yield
        self.within.pop()

    def device(self, device: Any) -> Any:
        return self._in(f"device {device}")

    def stream(self, stream: Any) -> Any:
        return self._in(stream.name)


def test_copies_run_on_the_side_stream_between_two_events_and_the_trainers_stream_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls(monkeypatch)
    engine = TorchEngine(CPU, {"image": Cast("float16", (0.0,) * 3, (1.0,) * 3, True)}, ["image", "label"])
    moved: list[Any] = []
    to = torch.Tensor.to

    def noted(tensor: Any, *args: Any, **named: Any) -> Any:
        if named.get("non_blocking"):
            moved.append((list(calls.within), args[0]))
        return to(tensor, *args, **named)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    images = torch.arange(48, dtype=torch.uint8).view(1, 4, 4, 3).movedim(-1, -3)
    made, mark = engine.upload((images, torch.tensor([1]), ["text"]))
    assert moved == [(["device cpu", "side"], CPU)] * 2
    assert made[0].dtype == torch.float16
    assert made[2] == ["text"]
    assert calls.told == ["make start", "make end", "side records start", "side records end"]
    assert mark.passed()
    assert mark.seconds() == 0.0025
    calls.told.clear()
    engine.deliver(made, mark)
    assert calls.told == ["trainer's waits for end", "used by trainer's", "used by trainer's"]
    assert isinstance(engine.upload([images])[0], list)
    assert list(engine.upload({"image": images, "n": torch.ones(1)})[0]) == ["image", "n"]


def test_without_fields_every_tensor_of_a_structure_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    engine = TorchEngine(CPU, {}, [])
    ones = torch.ones(2)
    for batch, count in ((ones, 1), ({"a": [ones, (ones, "text")], "b": {"c": ones}}, 3), ("text", 0), ([], 0)):
        made, mark = engine.upload(batch)
        assert str(made) == str(batch)
        calls.told.clear()
        engine.deliver(made, mark)
        assert calls.told.count("used by trainer's") == count
        assert calls.told[0].startswith("trainer's waits for")


def test_rows_that_were_cut_shorter_are_copied_whole_and_cut_there() -> None:
    whole = torch.arange(24).view(4, 6)
    meta = torch.device("meta")
    for value in (whole[:, :5], whole.view(4, 3, 2)[:, :2], whole[1:, :3], whole[:0, :3], whole[0, 0], whole[:, 1:4]):
        sent = _sent(value, CPU)
        assert torch.equal(sent, value)
        assert sent.stride() == value.stride()
        assert _sent(value, meta).shape == value.shape
    assert _sent(whole[:, :5], meta).stride() == (6, 1)  # on another device: a gather there would be (5, 1)


def test_what_cuda_says_becomes_an_error_with_a_cure_once_the_copies_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    engine = TorchEngine(CPU, {}, ["image"])

    def full(*_: Any, **__: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", full)
        with pytest.raises(DeviceError, match="has no room for a batch") as raised:
            engine.upload([torch.ones(1)])
    assert "lower batch_size or ahead=" in str(raised.value)
    assert calls.told[-1] == "synchronize"  # the slot may be read until then

    def lost() -> bool:
        raise RuntimeError("CUDA error: unspecified launch failure")

    _, mark = engine.upload([torch.ones(1)])
    calls.query = lost
    with pytest.raises(DeviceError, match="unspecified launch failure"):
        mark.passed()
    assert "only a new process" in str(failure("cuda:1", RuntimeError("CUDA error: device lost")))


@without_device
def test_a_torch_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(DeviceError, match="built without CUDA"):
        device_of("cuda")


@without_device
def test_no_driver_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(_gpu_driver, "_LIBRARY", "libnothing-of-this-name.so")
    with pytest.raises(DeviceError, match=r"device='cuda:1': there is no NVIDIA driver here"):
        DataLoader(folder, 4, transform=[CenterCrop(8)], device="cuda:1")


@needs_cc
@without_device
@pytest.mark.parametrize(
    ("devices", "start", "words"),
    [
        (0, 0, "no device is visible"),
        (2, 0, "cannot use the 2 there are: it was built for CUDA 13.9, and the driver serves 13.0"),
        (1, 100, "the NVIDIA driver does not start: cuInit: CUDA_ERROR_NO_DEVICE"),
    ],
)
def test_a_driver_that_does_not_serve_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: int, start: int, words: str
) -> None:
    cuda = FakeDriver(build(tmp_path / "libfake.so"), monkeypatch)
    cuda.devices, cuda.init_result = devices, start
    monkeypatch.setattr(torch.version, "cuda", "13.9")
    with pytest.raises(DeviceError, match=words):
        device_of(torch.device("cuda"))


@without_device
def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert device_of("cuda") == torch.device("cuda", 1)
    assert device_of("cuda:0") == torch.device("cuda", 0)
    with pytest.raises(DeviceError, match="2 devices are visible"):
        device_of("cuda:2")


def test_ranges_are_made_where_they_are_asked_for(folder: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ranges: list[str] = []
    seen: list[str] = []

    class Ranges:
        def push(self, name: str) -> None:
            seen.append(name)
            open_ranges.append(name)

        def pop(self) -> None:
            open_ranges.pop()

    monkeypatch.setattr(_gpu_marks, "_ranges", Ranges)
    for name in ("NVTX_INJECTION64_PATH", "NSYS_PROFILING_SESSION_ID", "FOREBAY_NVTX"):
        monkeypatch.delenv(name, raising=False)
    assert _gpu_marks.marks() is _gpu_marks._without
    monkeypatch.setenv("NVTX_INJECTION64_PATH", "/opt/nsys")
    monkeypatch.setenv("FOREBAY_NVTX", "0")
    assert _gpu_marks.marks() is _gpu_marks._without
    monkeypatch.setenv("FOREBAY_NVTX", "")
    fake.misbehave({"fault": {"epoch": 0, "position": 8, "kind": "ERROR_KIND_CORRUPT", "times": 1}})
    with DataLoader(folder, 4, transform=[CenterCrop(8)]) as loader:
        iterator = iter(loader)
        with pytest.raises(CorruptError):
            list(iterator)
    assert seen == ["forebay wait"] * 3
    assert not open_ranges


def test_torchs_ranges_are_pushed_and_popped(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    nvtx = SimpleNamespace(range_push=told.append, range_pop=lambda: told.append("pop"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "nvtx", nvtx)
    monkeypatch.setenv("FOREBAY_NVTX", "1")
    with _gpu_marks.marks()("forebay copy"):
        assert told == ["forebay copy"]
    assert told == ["forebay copy", "pop"]
