"""Fixtures of the system tests: the real daemon only, and a deadline for every test."""

from __future__ import annotations

import faulthandler
import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL, write_folder

from .support import DeadlineError, Node

DEADLINE_SECONDS = 60


def pytest_configure(config: pytest.Config) -> None:
    """Name our marker."""
    config.addinivalue_line("markers", "deadline(seconds): a hang is a failure after so long (default 60)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no daemon to test."""
    for item in items:
        if not REAL and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="no binary: FOREBAY_BINARY names none, nor is one on PATH"))


@pytest.fixture(autouse=True)
def deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that hangs; end the whole run, with every thread's stack, where even that does not help."""
    marker = request.node.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE_SECONDS

    def late(*_: Any) -> None:
        faulthandler.dump_traceback()
        raise DeadlineError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    faulthandler.dump_traceback_later(seconds + 60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def real(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let private daemons be the real one."""
    monkeypatch.setenv("FOREBAY_BINARY", REAL)
    gc.collect()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 small images in the classes a, b, c and d."""
    return write_folder(tmp_path / "data", classes="abcd")


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[[], Node]]:
    """Make nodes that are gone after the test, and whose daemons never panicked."""
    made: list[Node] = []

    def make() -> Node:
        made.append(Node(tmp_path / f"node{len(made)}"))
        return made[-1]

    yield make
    for node in made:
        node.stop()
        assert "panicked" not in node.words(), node.words()


@pytest.fixture
def node(make_node: Callable[[], Node], tmp_path: Path) -> Node:
    """Run a daemon whose only root is the test's own folder."""
    return make_node().configure(tmp_path).start()
