"""What a person sees of a node's daemon: `forebay top` on a terminal, and metrics that say what the client says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import REAL

from forebay.numpy import DataLoader

from .support import SMALL, Node, wait_until


class Terminal:
    """`forebay top` on a terminal of 120 columns and 30 lines."""

    def __init__(self, node: Node) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
            os.execv(REAL, [REAL, "top", "--socket", node.socket, "--interval", "100ms"])
        self.text = ""

    def until(self, words: str) -> None:
        """Read until it has drawn `words`."""
        deadline = time.monotonic() + 20
        while words not in self.text:
            assert time.monotonic() < deadline, f"never drew {words!r}: {self.text!r}"
            if select.select([self.fd], [], [], 0.1)[0]:
                self.text += os.read(self.fd, 65536).decode(errors="replace")

    def ends(self) -> int:
        """Read to its end, and give its status."""
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.text += data.decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminal(node: Node) -> Iterator[Terminal]:
    started = Terminal(node)
    yield started
    started.close()


LEFT_THE_ALTERNATE_SCREEN = "\x1b[?1049l"


@pytest.mark.parametrize("keys", [b"q", b"\x03"], ids=["q", "ctrl-c"])
def test_top_shows_a_loader_and_gives_the_terminal_back(
    node: Node, terminal: Terminal, folder: Path, keys: bytes
) -> None:
    loader = DataLoader(folder, batch_size=4, transform=list(SMALL), job_id="resnet", daemon=node.socket)
    with loader:
        next(iter(loader))
        terminal.until("resnet")
        terminal.until("q quit")
        os.write(terminal.fd, keys)
        assert terminal.ends() == 0
    assert LEFT_THE_ALTERNATE_SCREEN in terminal.text


def test_top_says_that_the_daemon_is_gone_and_finds_the_next_one(node: Node, terminal: Terminal) -> None:
    # Words alone: only what changes is drawn, so the spaces between them may never be.
    terminal.until("arena")
    node.kill()
    terminal.until("again")
    terminal.text = ""
    node.start()
    terminal.until("quit")
    os.write(terminal.fd, b"q")
    assert terminal.ends() == 0


def scrape(path: Path) -> dict[str, float]:
    """Ask for the metrics."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
        reply = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
    lines = reply.split("\r\n\r\n", 1)[1].splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_the_daemon_counts_the_wait_that_the_client_counts(
    make_node: Callable[[], Node], tmp_path: Path, folder: Path
) -> None:
    node = make_node().configure(tmp_path, metrics_listen=f"unix:{tmp_path}/metrics.sock").start()
    with DataLoader(folder, batch_size=4, transform=list(SMALL), daemon=node.socket) as loader:
        for _ in range(3):
            for _ in loader:
                time.sleep(0.002)
        stats = loader.stats()
        batches = stats["batches"]
        told = "forebay_batch_wait_seconds_count"
        figures = wait_until(
            lambda: (now := scrape(tmp_path / "metrics.sock")) and now[told] >= batches and now,
            f"all {batches} batches are counted",
        )
        waited = figures["forebay_batch_wait_seconds_sum"]
        # The client says it in whole microseconds.
        assert stats["wait_seconds"] - batches * 1e-6 <= waited <= stats["wait_seconds"] + 1e-6
        by_cause = sum(value for name, value in figures.items() if name.startswith("forebay_feed_wait_seconds_sum"))
        assert by_cause == pytest.approx(waited, abs=1e-9)
        assert figures['forebay_consumer_seconds_sum{spent="trainer"}'] > 0.5 * stats["trainer_seconds"]
        assert figures["forebay_rows_total"] >= stats["rows"] == 120  # it may have announced the next epoch's first
        (session,) = node.sessions()
        assert abs(int(session["feed_wait_us"]) * 1e-6 - waited) < 1e-6
