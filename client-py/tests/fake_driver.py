"""Builds the driver of tests (`fake_cuda.c`) and has it taken for libcuda."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from forebay import _gpu_driver, _gpu_pin
from forebay._gpu_kernel import SOURCE

CC = shutil.which("cc") or shutil.which("gcc") or ""
needs_cc = pytest.mark.skipif(not CC, reason="no C compiler: the driver of tests is C")


def build(target: Path, *flags: str) -> Path:
    """Compile it; with `kernel_flags` also the cast's source, which it then runs where that is launched."""
    source = Path(__file__).with_name("fake_cuda.c")
    command = [CC, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", *flags, "-o", str(target), str(source)]
    subprocess.run(command, check=True)
    return target


def kernel_flags(options: list[str]) -> list[str]:
    """Give what compiles the cast's source along."""
    return [*options, "-include", str(SOURCE)]


class FakeDriver:
    """The driver of tests, taken for libcuda. Attributes are its `fake_...` variables."""

    def __init__(self, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        vars(self)["_library"] = ctypes.CDLL(str(library))
        monkeypatch.setattr(_gpu_driver, "_LIBRARY", str(library))
        _gpu_pin._said.clear()

    def __getattr__(self, name: str) -> int:
        return self._variable(name).value

    def __setattr__(self, name: str, value: int) -> None:
        self._variable(name).value = value

    def _variable(self, name: str) -> ctypes.c_int | ctypes.c_long:
        kind = ctypes.c_long if name in ("recorded", "passed", "registered_bytes") else ctypes.c_int
        return kind.in_dll(vars(self)["_library"], f"fake_{name}")
