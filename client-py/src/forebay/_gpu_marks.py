"""NVTX ranges, so that a timeline of Nsight Systems shows where a loader waits and copies.

They are made where a profiler has been attached or `FOREBAY_NVTX=1` says so, and cost nothing to speak of elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Protocol

# The profiler names the library that takes what NVTX is told.
_PROFILER = ("NVTX_INJECTION64_PATH", "NSYS_PROFILING_SESSION_ID")
# NVTX as a library: of CUDA 13's wheels, and of CUDA up to 12.
_LIBRARIES = ("libnvtx3interop.so.1", "libnvToolsExt.so.1")

# Puts what runs within it into a range of this name.
Marks = Callable[[str], "AbstractContextManager[None]"]
_NOTHING = contextlib.nullcontext()


class _Ranges(Protocol):
    """Where ranges go."""

    def push(self, name: str) -> None: ...

    def pop(self) -> None: ...


def _without(_: str) -> AbstractContextManager[None]:
    return _NOTHING


def marks() -> Marks:
    """Give what makes ranges, or what does nothing. What the environment says now holds for an iterator's life."""
    asked = os.environ.get("FOREBAY_NVTX", "")
    wanted = asked not in ("", "0") or (asked == "" and any(name in os.environ for name in _PROFILER))
    found = _ranges() if wanted else None
    return _without if found is None else _within(found)


def _within(ranges: _Ranges) -> Marks:
    @contextlib.contextmanager
    def within(name: str) -> Generator[None]:
        ranges.push(name)
        try:
            yield
        finally:
            ranges.pop()

    return within


def _ranges() -> _Ranges | None:
    """Find NVTX: torch's own, where torch was imported and has it; else a library of its own."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.version.cuda is not None:
        return _OfTorch(torch.cuda.nvtx)
    for name in _LIBRARIES:
        with contextlib.suppress(OSError, AttributeError):
            return _OfLibrary(ctypes.CDLL(name))
    return None


class _OfTorch:
    def __init__(self, nvtx: Any) -> None:
        self._nvtx = nvtx

    def push(self, name: str) -> None:
        self._nvtx.range_push(name)

    def pop(self) -> None:
        self._nvtx.range_pop()


class _OfLibrary:
    def __init__(self, library: Any) -> None:
        self._push, self._pop = library.nvtxRangePushA, library.nvtxRangePop
        self._push.argtypes, self._pop.argtypes = (ctypes.c_char_p,), ()

    def push(self, name: str) -> None:
        self._push(name.encode())

    def pop(self) -> None:
        self._pop()
