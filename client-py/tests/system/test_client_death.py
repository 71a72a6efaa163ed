"""A client that dies at any moment leaves no process, no socket, no descriptor and no file behind."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import (
    Client,
    Node,
    arenas,
    client,
    descriptors,
    is_alive,
    pick,
    shared_memory,
    tagged,
    wait_until,
)

TIMES = pick(6, 50)


class Litter:
    """Folders that a client might leave something in, and the tag that its processes inherit."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tag = f"{os.getpid()}-{folder.name}"
        self.folders = [folder / name for name in ("home", "tmp", "run", "cwd")]
        for made in self.folders:
            made.mkdir()
        home, tmp, run, cwd = map(str, self.folders)
        for name, value in {"HOME": home, "TMPDIR": tmp, "XDG_RUNTIME_DIR": run}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("FOREBAY_TEST_TAG", self.tag)
        monkeypatch.chdir(cwd)
        self._shared = shared_memory()

    def check(self) -> None:
        """Make sure that nothing is left."""
        wait_until(lambda: not tagged(self.tag) - {os.getpid()}, f"no process is left of {self.tag}")
        assert [list(made.iterdir()) for made in self.folders] == [[], [], [], []]
        assert shared_memory() == self._shared


@pytest.fixture
def litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Litter:
    return Litter(tmp_path, monkeypatch)


def start_up_seconds(folder: Path, **environment: str) -> float:
    """Measure how long a client takes until it trains."""
    started = time.monotonic()
    with client("train", folder, environment=environment) as trainer:
        trainer.line()
        return time.monotonic() - started


def random_kills(folder: Path, times: int, **environment: str) -> Iterator[Client]:
    """Start clients and kill each at another moment: while it starts, connects, resolves, opens or trains."""
    draw, whole = random.Random(11), start_up_seconds(folder, **environment)
    for index in range(times):
        with client("train", folder, environment=environment) as trainer:
            if index % 2:
                trainer.line()
                time.sleep(draw.uniform(0, 0.3))
            else:
                time.sleep(draw.uniform(0.3, 1.0) * whole)
            trainer.kill()
            yield trainer


@pytest.mark.deadline(600)
def test_a_client_killed_at_random_moments_takes_its_private_daemon_along(folder: Path, litter: Litter) -> None:
    for _ in random_kills(folder, TIMES):
        litter.check()


@pytest.mark.deadline(600)
def test_a_client_killed_at_random_moments_leaves_nothing_in_the_nodes_daemon(
    folder: Path, node: Node, litter: Litter
) -> None:
    start_up_seconds(folder, FOREBAY_SOCKET=node.socket)
    wait_until(lambda: not node.sessions(), "the first session ends")
    wait_until(lambda: node.holdings()[1] == 0, "its arena goes")
    time.sleep(0.2)
    before = node.holdings()
    for _ in random_kills(folder, TIMES, FOREBAY_SOCKET=node.socket):
        wait_until(lambda: not node.sessions(), "the session table is empty")
        wait_until(lambda: node.holdings() == before, f"descriptors and arenas are {before} again")
    litter.check()


@pytest.mark.deadline(180)
def test_forked_children_that_live_on_keep_no_private_daemon(folder: Path, litter: Litter) -> None:
    for _ in range(pick(2, 10)):
        with client("train_with_children", folder) as trainer:
            told = trainer.line()
            time.sleep(random.uniform(0, 0.2))
            trainer.kill()
            with ending(told["children"]) as children:
                wait_until(lambda pid=told["daemon"]: not is_alive(pid), "the daemon is gone")
                assert all(is_alive(child) for child in children)
                assert all(not ours(child) and not arenas(child) for child in children)
        litter.check()


@pytest.mark.deadline(180)
def test_forked_children_that_live_on_keep_no_session_of_the_node(folder: Path, node: Node, litter: Litter) -> None:
    for _ in range(pick(2, 10)):
        with client("train_with_children", folder, environment={"FOREBAY_SOCKET": node.socket}) as trainer:
            told = trainer.line()
            assert len(node.sessions()) >= 1
            time.sleep(random.uniform(0, 0.2))
            trainer.kill()
            with ending(told["children"]) as children:
                wait_until(lambda: not node.sessions(), "the session table is empty")
                wait_until(lambda: node.holdings()[1] == 0, "its arenas are gone")
                assert all(is_alive(child) for child in children)
        litter.check()


@contextlib.contextmanager
def ending(children: list[int]) -> Iterator[list[int]]:
    """Kill the children in the end."""
    try:
        yield children
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def ours(child: int) -> list[str]:
    """Give the sockets of a forked child; its three pipes are the test's."""
    return [link for link in descriptors(child) if link.startswith(("socket:", "/memfd:", "anon_inode:[pidfd"))]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGSEGV])
def test_a_client_that_ends_by_a_signal_takes_its_daemon_along(
    folder: Path, litter: Litter, number: signal.Signals
) -> None:
    with client("train", folder) as trainer:
        daemon = trainer.line()["daemon"]
        os.kill(trainer.pid, number)
        trainer.process.wait(20)
        wait_until(lambda: not is_alive(daemon), "the daemon is gone")
    for core in litter.folders[3].glob("core*"):
        core.unlink()
    litter.check()


def test_ctrl_c_in_the_terminal_reaches_the_training_and_not_its_daemon(folder: Path) -> None:
    with client("train", folder) as trainer:
        daemon = trainer.line()["daemon"]
        os.kill(daemon, signal.SIGINT)
        time.sleep(0.3)
        assert is_alive(daemon)
        assert os.getpgid(daemon) != os.getpgid(trainer.pid)


def test_a_daemon_that_a_thread_started_outlives_the_thread(folder: Path) -> None:
    with client("first_use_on_a_thread_that_ends", folder) as trainer:
        told = trainer.result()
    assert told["same_daemon"]
    assert told["restarts"] == 0
    assert told["first"] == told["digests"][0]
    assert len(told["digests"]) == 10


def test_nothing_starts_and_nothing_opens_before_the_first_use(folder: Path, litter: Litter) -> None:
    with client("listen_only", folder) as importer:
        assert importer.line() == {"daemon": 0}
        assert tagged(litter.tag) - {os.getpid()} == {importer.pid}
        assert not ours(importer.pid)
