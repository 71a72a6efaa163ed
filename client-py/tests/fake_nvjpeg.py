"""Builds the nvJPEG of tests with a driver that runs the kernels, and stands in for torch's CUDA beside them.

Pixels come from Pillow, or from a table of the test's.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_driver import FakeDriver, build
from PIL import Image

from forebay import _gpu_loader, _gpu_nvjpeg, _gpu_resize, _gpu_rows, _gpu_torch

_Parse = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, *(ctypes.POINTER(ctypes.c_int) for _ in range(3))
)
_Pixels = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t)
DEVICE = torch.device("cpu", 0)
BY_HARDWARE, BY_DEFAULT = 1, 2


def built(folder: Path, *flags: str) -> Path:
    """Compile driver, kernels and nvJPEG into one library."""
    source = Path(__file__).with_name("fake_nvjpeg.c")
    resize = f'-DRESIZE="{_gpu_resize.SOURCE}"'
    return build(folder / "libnvjpeg.so", resize, "-ffp-contract=off", *flags, str(source), "-lm", "-lpthread")


class Images:
    """What nvJPEG says of an image; tests change it."""

    def takes(self, image: Any) -> int:
        """Tell who decodes it in batches."""
        return BY_DEFAULT if image.info.get("progressive") else BY_DEFAULT | BY_HARDWARE

    def pixels(self, image: Any) -> Any:
        """Give its pixels as `(height, width, 3)` u8."""
        return np.asarray(image.convert("RGB"))

    def status(self, data: bytes) -> int:
        """Tell what decoding it ends with, other than success."""
        return 0


class FakeNvjpeg(FakeDriver):
    """The library, taken for libcuda and libnvjpeg, whose pixels Pillow decodes."""

    images: Images

    def __init__(self, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(library, monkeypatch)
        monkeypatch.setattr(_gpu_nvjpeg, "_LIBRARIES", (str(library),))
        monkeypatch.setattr(_gpu_nvjpeg, "_of_wheels", list)
        monkeypatch.setattr(_gpu_resize, "compiled", lambda architecture, *_: architecture.encode())
        monkeypatch.delenv("FOREBAY_NVJPEG", raising=False)
        for cached in (_gpu_nvjpeg.library, _gpu_resize.resize):
            cached.cache_clear()
        loaded = vars(self)["_library"]
        vars(self)["calls"] = (_Parse(self._parse), _Pixels(self._pixels))
        for name, call in zip(("parse", "pixels"), vars(self)["calls"]):
            ctypes.c_void_p.in_dll(loaded, f"fake_{name}").value = ctypes.cast(call, ctypes.c_void_p).value
        vars(self)["images"] = Images()

    def wait(self, given: int = -1) -> None:
        """Wait for the stream; or for an event behind the decode of that number."""
        vars(self)["_library"].fake_wait(ctypes.c_long(given))

    @property
    def rule(self) -> str:
        """Say which rule was broken last."""
        return (ctypes.c_char * 200).in_dll(vars(self)["_library"], "fake_broken_rule").value.decode()

    def _variable(self, name: str) -> Any:
        if name in ("given", "waited"):
            return ctypes.c_long.in_dll(vars(self)["_library"], f"fake_{name}")
        return super()._variable(name)

    def _parse(self, data: int, length: int, width: Any, height: Any, takes: Any) -> int:
        try:
            image = Image.open(io.BytesIO(ctypes.string_at(data, length)))
        except Exception:
            return _gpu_nvjpeg.BAD_JPEG
        width[0], height[0], takes[0] = *image.size, self.images.takes(image)
        return 0

    def _pixels(self, data: int, length: int, target: int, pitch: int) -> int:
        encoded = ctypes.string_at(data, length)
        status = self.images.status(encoded)
        if status:
            return status
        try:
            pixels = np.ascontiguousarray(self.images.pixels(Image.open(io.BytesIO(encoded))))
        except Exception:
            return _gpu_nvjpeg.BAD_JPEG
        if pitch != 3 * pixels.shape[1]:
            return 2
        ctypes.memmove(target, pixels.ctypes.data, pixels.nbytes)
        return 0


class Cuda:
    """torch.cuda as far as it is used, over the library's account of who waited for what."""

    def __init__(self, fake: FakeNvjpeg, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fake, self.waits = fake, 0
        for module in (_gpu_torch, _gpu_rows):
            monkeypatch.setattr(module, "_cuda", self)
        monkeypatch.setattr(torch.Tensor, "record_stream", lambda *_: None)

    def Stream(self, device: Any) -> Any:  # noqa: N802 - torch's name
        return self.current_stream(device)

    def current_stream(self, device: Any) -> Any:
        return _Stream(self)

    def Event(self, enable_timing: bool = False) -> Any:  # noqa: N802 - torch's name
        return _Event(self.fake)

    def device(self, device: Any) -> Any:
        return contextlib.nullcontext()

    def stream(self, stream: Any) -> Any:
        return contextlib.nullcontext()


class _Stream:
    cuda_stream = 7

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda

    def synchronize(self) -> None:
        self._cuda.waits += 1
        self._cuda.fake.wait()

    def wait_event(self, event: Any) -> None:
        pass


class _Event:
    def __init__(self, fake: FakeNvjpeg) -> None:
        self._fake, self._given = fake, 0

    def record(self, stream: Any) -> None:
        self._given = self._fake.given

    def synchronize(self) -> None:
        self._fake.wait(self._given)

    def query(self) -> bool:
        return True

    def elapsed_time(self, end: Any) -> float:
        return 2.0


def taken_for_a_device(fake: FakeNvjpeg, monkeypatch: pytest.MonkeyPatch) -> Cuda:
    """Have `device="cuda"` be the device of tests, with nvJPEG."""
    monkeypatch.setattr(_gpu_loader, "device_of", lambda given: given and DEVICE)
    return Cuda(fake, monkeypatch)
