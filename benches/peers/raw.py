"""Files that are handed over as they are: what is in them, how they are made, and what a page cache keeps of them.

A file begins with its number, and the rest follows from that: whoever has a sample can tell whether it is whole.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterable
from hashlib import shake_128
from pathlib import Path

from .settings import FILE_BYTES

SUFFIX = ".bin"
CLASSES = 100
_NUMBER_BYTES = 8
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
_LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def contents(number: int) -> bytes:
    """Give the bytes of a file: noise, so that no storage compresses them or keeps two alike once."""
    head = number.to_bytes(_NUMBER_BYTES, "little")
    return head + shake_128(head).digest(FILE_BYTES - _NUMBER_BYTES)


def make(target: Path, files: int) -> None:
    """Write them all, in class folders, and have them on the disk: pages that are not there yet can't be dropped."""
    for label in range(min(CLASSES, files)):
        (target / f"{label:03}").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        (target / f"{number % CLASSES:03}" / f"{number:06}{SUFFIX}").write_bytes(contents(number))
    os.sync()


def wrong(sample: bytes, label: int) -> str | None:
    """Say what is wrong with a sample; None where it is a whole file with its own label."""
    number = int.from_bytes(sample[:_NUMBER_BYTES], "little")
    if number >= 1 << 32 or sample != contents(number):
        return "gives bytes that are no whole file"
    if label != number % CLASSES:
        return f"gives file {number} the label {label}, its folder is number {number % CLASSES}"
    return None


def listed(folder: str) -> tuple[list[str], list[int]]:
    """Give every file's path, and the number of its class."""
    classes = sorted(path for path in Path(folder).iterdir() if path.is_dir())
    pairs = [(str(file), label) for label, path in enumerate(classes) for file in sorted(path.iterdir())]
    return [path for path, _ in pairs], [label for _, label in pairs]


def forget(paths: Iterable[str]) -> None:
    """Ask the kernel to drop what its page cache keeps of the files. Names and inodes stay."""
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def resident(paths: Iterable[str]) -> float:
    """Tell what share of the files' pages lies in memory. The files must be ours: the kernel hides others'."""
    pages = there = 0
    for path in paths:
        file = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(file).st_size
            count = -(-size // mmap.PAGESIZE)
            at = _LIBC.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
            if at == ctypes.c_void_p(-1).value:
                raise OSError(ctypes.get_errno(), f"map {path}")
            found = ctypes.create_string_buffer(count)
            failed = _LIBC.mincore(at, size, found)
            _LIBC.munmap(at, size)
            if failed:
                raise OSError(ctypes.get_errno(), f"mincore of {path}")
        finally:
            os.close(file)
        pages, there = pages + count, there + sum(byte & 1 for byte in found.raw)
    return there / max(pages, 1)
