"""What the system tests share: daemons, clients in processes of their own, and looks into /proc."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL, write_png

from forebay._daemon import Connection
from forebay.transforms import Resize

FULL = os.environ.get("FOREBAY_FULL", "") not in ("", "0")
TESTS = Path(__file__).resolve().parents[1]
NOBODY = 65534
SMALL = (Resize((8, 8)),)


def pick(fast: int, full: int) -> int:
    """Give the count for every run, or the whole one where FOREBAY_FULL asks for it."""
    return full if FULL else fast


class DeadlineError(BaseException):
    """A test that hangs has failed. Not an Exception, so that no code under test swallows it."""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Look again until `condition()` is true, and give what it gave."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.01)


def write_indexed(root: Path, count: int, side: int = 16) -> Path:
    """Make a JSON Lines list of `count` images whose `index` column says which row it is."""
    (root / "images").mkdir(parents=True)
    with (root / "list.jsonl").open("w") as lines:
        for index in range(count):
            write_png(root / "images" / f"{index:05}.png", index, side)
            lines.write(json.dumps({"path": f"images/{index:05}.png", "index": index}) + "\n")
    return root / "list.jsonl"


# What the kernel knows


def children_of(pid: int) -> set[int]:
    """Give the living children of a process."""
    found = set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[1]) == pid and fields[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def daemons_of(pid: int) -> set[int]:
    """Give the private daemons of a process: other tests may have left it workers."""

    def is_daemon(child: int) -> bool:
        with contextlib.suppress(OSError):
            return b"serve" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        return False

    return {child for child in children_of(pid) if is_daemon(child)}


def is_alive(pid: int) -> bool:
    """Tell a running process from one that is gone or only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def descriptors(pid: int) -> list[str]:
    """Give what each open descriptor of a process leads to."""
    links: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(os.readlink(entry))
    return links


def arenas(pid: int) -> int:
    """Count the memfds that a process holds open or mapped."""
    mapped = re.findall(r" (\d+) +/memfd:", Path(f"/proc/{pid}/maps").read_text())
    inodes = set(map(int, mapped))
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.readlink(entry).startswith("/memfd:"):
                inodes.add(entry.stat().st_ino)
    return len(inodes)


def rss_bytes(pid: int) -> int:
    """Give resident memory without what is shared with others."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")


def private_pid() -> int:
    """Give this process's private daemon."""
    from forebay import _daemon

    assert _daemon._private is not None
    pid = _daemon._private.pid
    assert pid is not None
    return pid


# Daemons of a node


class Node:
    """`forebay serve --config` on a socket of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.socket = str(folder / "node.sock")
        self.config = folder / "node.toml"
        self.log = folder / "node.log"
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, *roots: Path | str, **keys: Any) -> Node:
        """Write the configuration; a root is a path, or whole TOML lines."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in {"socket": self.socket, **keys}.items()]
        for root in roots:
            lines.append("[[root]]")
            lines.append(root if isinstance(root, str) else f"path = {json.dumps(str(root))}")
        self.config.write_text("\n".join(lines) + "\n")
        return self

    def start(self, *arguments: str, binary: str = REAL, uid: int | None = None) -> Node:
        """Start it, maybe as another user, and wait until it listens."""
        command = [binary, "serve", "--config", str(self.config), *arguments]
        groups: Any = [] if uid is not None else None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stderr=log, stdin=subprocess.DEVNULL, user=uid, group=uid, extra_groups=groups
            )
        wait_until(self._listens, f"{self.socket} answers ({self.words()})")
        return self

    @property
    def pid(self) -> int:
        """Its process."""
        assert self.process is not None
        return self.process.pid

    def words(self) -> str:
        """Give what it said on stderr."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; give its status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(20)

    def stats(self) -> dict[str, Any]:
        """Ask for its sums on a connection of its own."""
        connection = Connection(self.connect())
        try:
            return connection.request("stats", {})
        finally:
            connection.close()

    def sessions(self) -> list[dict[str, Any]]:
        """Give its session table."""
        return self.stats().get("sessions", [])

    def connect(self) -> socket.socket:
        """Connect without a word."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.connect(self.socket)
        return sock

    def holdings(self) -> tuple[int, int]:
        """Count its descriptors and its arenas."""
        return len(descriptors(self.pid)), arenas(self.pid)

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended with {self.process.returncode}: {self.words()}"
        with contextlib.suppress(OSError):
            self.connect().close()
            return True
        return False


def serve(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `forebay serve`, which is expected to end by itself."""
    return subprocess.run([REAL, "serve", *arguments], capture_output=True, text=True, timeout=20, check=False)


# Clients in processes of their own


class Client:
    """A program of `programs.py` in a process of its own, which prints one line of JSON a step."""

    def __init__(
        self,
        program: str,
        *arguments: str | int | Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "system.programs", program, *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def line(self) -> Any:
        """Wait for the next line it prints."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, f"the client ended with {self.process.wait(10)}: {self._errors()}"
        return json.loads(text)

    def tell(self, text: str = "") -> None:
        """Write one line to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def result(self, seconds: float = 60.0) -> Any:
        """Wait for its end and give the last line."""
        out, errors = self.process.communicate(timeout=seconds)
        assert self.process.returncode == 0, f"the client ended with {self.process.returncode}: {errors}"
        return json.loads(out.splitlines()[-1])

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it where it still runs, and close our pipes."""
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def _errors(self) -> str:
        assert isinstance(self.process.stderr, io.TextIOBase)
        return self.process.stderr.read()


@contextlib.contextmanager
def client(
    program: str,
    *arguments: str | int | Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Client]:
    """Start a program of `programs.py`, and leave nothing of it behind."""
    started = Client(program, *arguments, environment=environment)
    try:
        yield started
    finally:
        started.close()


def public(folder: Path) -> Path:
    """Let every user reach `folder`; pytest's temporary folders are the user's own."""
    for parent in [folder, *folder.parents]:
        if parent == Path(parent.anchor):
            break
        with contextlib.suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    return folder


def tagged(tag: str) -> set[int]:
    """Give the living processes that inherited FOREBAY_TEST_TAG=`tag`: a client, its daemon, its children."""
    needle, found = f"FOREBAY_TEST_TAG={tag}".encode(), set[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            with contextlib.suppress(OSError):
                if needle in (entry / "environ").read_bytes().split(b"\0"):
                    found.add(int(entry.name))
    return found


def shared_memory() -> set[str]:
    """Give the names in /dev/shm that could be ours."""
    return {name for name in os.listdir("/dev/shm") if "forebay" in name}


# Storage that is far away


class SlowMount:
    """A folder seen through `slow_mount.py`; after its end, how many files were being opened at a time at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.opening_most = 0


@contextlib.contextmanager
def slow_mount(source: Path, at: Path, delay_ms: int, together: int = 1) -> Iterator[SlowMount]:
    """Show `source` at `at`: each file takes `delay_ms` to open, and the first ones until `together` are asked for."""
    at.mkdir()
    command = [sys.executable, str(TESTS / "slow_mount.py"), str(source), str(at), str(delay_ms), "32", str(together)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        mount = SlowMount(at)
        try:
            if not server.stdout.readline():
                pytest.skip(f"no FUSE here: {server.stderr.read().decode().strip()}")
            yield mount
        finally:
            server.stdin.close()
            mount.opening_most = int(server.stdout.readline() or 0)
            server.wait(10)
