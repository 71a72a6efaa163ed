"""Kernels, and the cast as one: compiled once a process for its device by NVRTC, which CUDA builds of torch bring."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from ._gpu_driver import CudaError, Driver, driver
from .errors import DeviceError

SOURCE = Path(__file__).with_name("_gpu_cast.cu")
_NAME = b"forebay_cast"
_THREADS = 256
# Enough blocks to fill any device; each goes over many pixels.
_BLOCKS_MAX = 4096
_NVRTC = ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so")

_ELEMENTS = {4: "unsigned int", 2: "unsigned short"}


def options(element_bytes: int, planes: bool) -> list[str]:
    """Give what makes the source one of its four kernels, to NVRTC and to a C compiler."""
    return [f"-DELEMENT={_ELEMENTS[element_bytes]}", f"-DPLANES={int(planes)}"]


class Kernel:
    """The cast of one element size and layout on one device."""

    def __init__(self, loaded: Driver, ordinal: int, element_bytes: int, planes: bool) -> None:
        """Compile and load it; raises `CudaError` or `DeviceError` where that is not possible."""
        major, minor = loaded.capability(ordinal)
        image = compiled(f"sm_{major}{minor}", options(element_bytes, planes))
        self._driver, self._context = loaded, loaded.context(ordinal)
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        with loaded.within(self._context):
            loaded.call("cuModuleLoadData", ctypes.byref(module), image)
            loaded.call("cuModuleGetFunction", ctypes.byref(function), module, _NAME)
        self._function = function.value or 0

    def __call__(self, bytes_at: int, target_at: int, table_at: int, plane: int, pixels: int, stream: int) -> None:
        """Put it on a stream: `pixels` of 3 bytes from `bytes_at` on, images of `plane` pixels.

        Addresses are the device's.
        The tensors must live until it has run; torch's allocator sees to that for tensors of the same stream.
        """
        wanted = -(-pixels // (4 * _THREADS))
        arguments = [
            *(ctypes.c_void_p(address) for address in (bytes_at, target_at, table_at)),
            *(ctypes.c_ulonglong(count) for count in (plane, pixels)),
        ]
        with self._driver.within(self._context):
            self._driver.launch(self._function, max(1, min(wanted, _BLOCKS_MAX)), _THREADS, stream, arguments)


@cache
def kernel(ordinal: int, element_bytes: int, planes: bool) -> Kernel | str:
    """Give a kernel, or why there is none."""
    try:
        return Kernel(driver(), ordinal, element_bytes, planes)
    except (CudaError, DeviceError) as error:
        return str(error).partition("\n")[0]


def compiled(architecture: str, defined: list[str], source: Path = SOURCE) -> bytes:
    """Compile a source, the cast's or another, for an architecture such as `sm_90`; needs no device.

    Raises `DeviceError` where there is no NVRTC or it refuses, with what it says.
    """
    nvrtc = _nvrtc()
    program = ctypes.c_void_p()
    text, name = source.read_bytes(), source.name.encode()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    try:
        asked = [f"--gpu-architecture={architecture}".encode(), *(text.encode() for text in defined)]
        code = nvrtc.nvrtcCompileProgram(program, len(asked), (ctypes.c_char_p * len(asked))(*asked))
        if code:
            log = _bytes(nvrtc, program, "ProgramLog").rstrip(b"\0").decode("utf-8", "replace")
            raise DeviceError(f"NVRTC does not compile {source.name} for {architecture}", causes=[log.strip()])
        return _bytes(nvrtc, program, "CUBIN")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _bytes(nvrtc: Any, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    found = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, found))
    return found.raw


def _check(nvrtc: Any, code: int) -> None:
    if code:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise DeviceError(f"NVRTC: {nvrtc.nvrtcGetErrorString(code).decode()}")


@cache
def _nvrtc() -> Any:
    """Load NVRTC: one that the process has already or the loader finds, else that of the CUDA wheels beside torch."""
    causes: list[str] = []
    for name in (*_NVRTC, *_of_wheels()):
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            causes.append(str(error))
    raise DeviceError("there is no NVRTC here", causes=causes[:1], hint="pip install nvidia-cuda-nvrtc")


def _of_wheels() -> list[str]:
    """Find NVRTC in the wheels that hold parts of CUDA, newest first."""
    found = importlib.util.find_spec("nvidia")
    places = found.submodule_search_locations if found is not None else None
    return sorted(
        (str(file) for place in places or () for file in Path(place).glob("*/lib/libnvrtc.so.*")), reverse=True
    )
