"""Fixtures: a daemon (the fake one; the real one where there is a binary), and small data for both."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay import _daemon
from forebay.transforms import CenterCrop

CROP = (CenterCrop(16),)  # batches need one size; the images of these tests have it already
FAKE = Path(__file__).with_name("fake_daemon.py")
REAL = os.environ.get("FOREBAY_BINARY", "") or shutil.which("forebay") or ""


def write_png(path: Path, seed: int, side: int = 16) -> None:
    """Write a small RGB image whose pixels depend on `seed`; zlib alone, no imaging library."""
    rows = b"".join(
        b"\0" + bytes((seed * 7 + x * 5 + y * 3 + c * 50) % 256 for x in range(side) for c in range(3))
        for y in range(side)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def write_pixels(path: Path, pixels: Any) -> None:
    """Write `(height, width, 3)` u8 as a PNG, numpy's or any that has `shape` and gives rows."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def write_folder(root: Path, per_class: int = 10, classes: str = "abc") -> Path:
    """Make a folder of class folders."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(per_class):
            write_png(root / name / f"{index:03}.png", label * per_class + index)
    return root


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give each test a process that knows of no daemon, no rank and no socket."""
    for name in (
        "RANK",
        "WORLD_SIZE",
        "MASTER_ADDR",
        "LOCAL_WORLD_SIZE",
        "FOREBAY_SOCKET",
        "FOREBAY_FAKE",
        "FOREBAY_CPU_THREADS",
        "FOREBAY_READ_THREADS",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FOREBAY_BINARY", str(FAKE))
    monkeypatch.setenv("FOREBAY_CACHE_DIR", "")  # nothing of one test, or of this machine, in another
    yield
    forget_daemons()


def forget_daemons() -> None:
    """End all daemons, as if this process had never used one."""
    _daemon.shutdown()
    _daemon._private = None
    _daemon._nodes.clear()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason="no binary"))])
def daemon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let private daemons be the fake one, then the real one."""
    if request.param == "real":
        monkeypatch.setenv("FOREBAY_BINARY", REAL)
    return request.param


class Fake:
    """The fake daemon with a script, as private child or on a socket."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.script = folder / "script.json"
        self.socket = str(folder / "fake.sock")
        self._monkeypatch = monkeypatch
        self._node: subprocess.Popen[bytes] | None = None

    def misbehave(self, *instances: dict[str, Any]) -> None:
        """Say what each daemon that starts does wrong, one after the other."""
        self.script.write_text(json.dumps({"instances": list(instances)}))
        self._monkeypatch.setenv("FOREBAY_FAKE", str(self.script))

    @property
    def starts(self) -> int:
        """How many were started."""
        counter = Path(f"{self.script}.count")
        return counter.stat().st_size if counter.exists() else 0

    def listen(self) -> str:
        """Start one on a socket."""
        self.stop()
        self._node = subprocess.Popen([sys.executable, str(FAKE), "serve", "--socket", self.socket])
        deadline = time.monotonic() + 10
        while not os.path.exists(self.socket) and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.socket

    def stop(self) -> None:
        """Kill the one on the socket."""
        if self._node is not None:
            self._node.kill()
            self._node.wait()
            self._node = None
        if os.path.exists(self.socket):
            os.unlink(self.socket)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fake]:
    made = Fake(tmp_path, monkeypatch)
    yield made
    made.stop()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """30 small images in the classes a, b and c."""
    return write_folder(tmp_path / "data")


def wait_until(check: Callable[[], Any], seconds: float = 10.0) -> bool:
    """Wait for something that another process does in its own time."""
    deadline = time.monotonic() + seconds
    while not check() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(check())


def child_pids() -> set[int]:
    """Give the living children of this process."""
    me, found = os.getpid(), set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[1]) == me and fields[0] != "Z":
                found.add(int(entry.name))
    return found
