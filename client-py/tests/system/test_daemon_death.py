"""Whatever happens to the daemon, the stream is that of a run in which nothing happened, byte for byte."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .batches import batch_digest, cursor_of, stream
from .support import Node, pick, private_pid, wait_until

TRANSFORM = (RandomResizedCrop((24, 24)), RandomHorizontalFlip())
BATCHES = pick(120, 500)
EVERY = 20


def make_loader(folder: Path, **arguments: Any) -> DataLoader:
    return DataLoader(folder, batch_size=3, shuffle=True, transform=TRANSFORM, **arguments)


def stream_with(loader: DataLoader, batches: int, each: Callable[[int], None]) -> list[tuple[str, Any]]:
    """Take the stream of `batches.stream`, calling `each` behind every batch while the last one is held."""
    taken: list[tuple[str, Any]] = []
    while len(taken) < batches:
        for batch in loader:
            taken.append((batch_digest(batch), cursor_of(loader)))
            each(len(taken))
            if len(taken) == batches:
                break
    return taken


@pytest.fixture
def wanted(folder: Path) -> list[tuple[str, Any]]:
    with make_loader(folder) as loader:
        return stream(loader, BATCHES)


@pytest.mark.deadline(300)
def test_a_private_daemon_killed_every_20_batches_changes_no_byte_and_no_cursor(
    folder: Path, wanted: list[tuple[str, Any]]
) -> None:
    pids: list[int] = []

    def kill(count: int) -> None:
        if count % EVERY == 0:
            pids.append(private_pid())
            os.kill(pids[-1], signal.SIGKILL)

    with make_loader(folder) as loader:
        assert stream_with(loader, BATCHES, kill) == wanted
        assert loader.stats()["restarts"] >= len(set(pids)) - 1
    assert len(set(pids)) == BATCHES // EVERY


@pytest.mark.deadline(300)
def test_a_node_daemon_killed_and_started_again_every_20_batches_changes_nothing(
    folder: Path, node: Node, wanted: list[tuple[str, Any]]
) -> None:
    def kill(count: int) -> None:
        if count % EVERY == 0:
            node.kill()
            node.start()

    with make_loader(folder, daemon=node.socket) as loader:
        assert stream_with(loader, BATCHES, kill) == wanted


def test_a_daemon_stopped_and_continued_changes_nothing(folder: Path, wanted: list[tuple[str, Any]]) -> None:
    with make_loader(folder) as loader, pausing(pick(3, 20)) as pauses:
        assert stream_with(loader, BATCHES, lambda _: time.sleep(0.01)) == wanted
        assert loader.stats()["restarts"] == 0
    assert pauses


@contextlib.contextmanager
def pausing(times: int) -> Iterator[list[int]]:
    """Stop this process's daemon again and again for a quarter of a second, from another thread."""
    over, pauses, draw = threading.Event(), [], random.Random(7)

    def pause() -> None:
        while len(pauses) < times and not over.wait(draw.uniform(0.02, 0.1)):
            with contextlib.suppress(AssertionError, ProcessLookupError):
                pid = private_pid()
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.25)
                os.kill(pid, signal.SIGCONT)
                pauses.append(pid)

    thread = threading.Thread(target=pause)
    thread.start()
    try:
        yield pauses
    finally:
        over.set()
        thread.join()


def test_a_daemon_killed_while_it_is_stopped_changes_nothing(folder: Path, wanted: list[tuple[str, Any]]) -> None:
    def stop_then_kill(count: int) -> None:
        if count == 30:
            pid = private_pid()
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()

    with make_loader(folder) as loader:
        assert stream_with(loader, BATCHES, stop_then_kill) == wanted


@pytest.fixture(scope="module")
def big_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3000 names of a few files, so that resolving takes long enough to be killed in its middle."""
    from conftest import write_folder

    root = write_folder(tmp_path_factory.mktemp("big") / "data", per_class=3, classes="abc")
    for name in "abc":
        for index in range(1000):
            os.link(root / name / f"{index % 3:03}.png", root / name / f"x{index:04}.png")
    return root


@pytest.mark.deadline(240)
def test_a_kill_in_the_middle_of_resolve_or_open_changes_nothing(big_folder: Path) -> None:
    from forebay import _daemon

    def first_batches() -> list[Any]:
        with make_loader(big_folder) as loader:
            return stream(loader, 3)

    _daemon.get_daemon().connection()
    started = time.monotonic()
    wanted = first_batches()
    whole = time.monotonic() - started
    for moment in range(pick(12, 60)):
        # The connection is there, so what the kill meets is resolve, open, attach or the first batches.
        _daemon.get_daemon().connection()
        victim = private_pid()
        delay = whole * moment / pick(12, 60)
        killer = threading.Timer(delay, kill_quietly, (victim,))
        killer.start()
        assert first_batches() == wanted, f"killed after {delay * 1000:.1f} ms"
        killer.join()
        wait_until(lambda pid=victim: not os.path.exists(f"/proc/{pid}/exe"), "the victim is gone")


def kill_quietly(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
