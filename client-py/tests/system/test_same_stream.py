"""The stream is a function of data, spec and seed: no setting, daemon or way to reach it changes a byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forebay import _daemon
from forebay.numpy import DataLoader
from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

from .batches import stream
from .support import Node, children_of

TRANSFORM = (RandomResizedCrop((20, 24)), RandomHorizontalFlip(), Normalize())


def make_loader(folder: Path, **arguments: Any) -> DataLoader:
    return DataLoader(folder, batch_size=6, shuffle=True, transform=TRANSFORM, seed=4, **arguments)


def taken(folder: Path, **arguments: Any) -> list[Any]:
    with make_loader(folder, **arguments) as loader:
        return stream(loader, 21)


@pytest.fixture
def wanted(folder: Path) -> list[Any]:
    return taken(folder)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_any_number_of_threads(folder: Path, wanted: list[Any], make_node: Callable[[], Node], threads: int) -> None:
    node = make_node().configure(folder).start("--cpu-threads", str(threads))
    assert node.stats()["cpu_threads"] == threads
    assert taken(folder, daemon=node.socket) == wanted


@pytest.mark.parametrize("arguments", [
    {"prefetch": 1}, {"prefetch": 2}, {"prefetch": 16}, {"max_leases": 1}, {"max_leases": 32},
    {"prefetch": 1, "max_leases": 1}, {"rolling": False}, {"rolling": False, "prefetch": 16},
], ids=str)  # fmt: skip
def test_any_depth_and_number_of_leases(folder: Path, wanted: list[Any], arguments: dict[str, Any]) -> None:
    assert taken(folder, **arguments) == wanted


@pytest.mark.parametrize("keys", [
    {"read_threads": 1}, {"reads_in_flight": 1}, {"read_budget": "1KiB"}, {"depth": 7}, {"max_leases": 7},
], ids=str)  # fmt: skip
def test_any_configuration_of_the_node(
    folder: Path, wanted: list[Any], make_node: Callable[[], Node], keys: dict[str, Any]
) -> None:
    node = make_node().configure(folder, **keys).start()
    assert taken(folder, daemon=node.socket) == wanted


def test_a_private_and_a_node_daemon(
    folder: Path, wanted: list[Any], node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert taken(folder, daemon=node.socket) == wanted
    _daemon.shutdown()
    monkeypatch.setenv("FOREBAY_SOCKET", node.socket)
    # Other tests may have left workers behind.
    before = children_of(os.getpid())
    assert node.pid in before
    assert taken(folder) == wanted
    assert children_of(os.getpid()) == before, "FOREBAY_SOCKET starts no private daemon"


def test_two_daemons_take_turns(folder: Path, wanted: list[Any], make_node: Callable[[], Node]) -> None:
    nodes = [make_node().configure(folder).start() for _ in range(2)]
    with (
        make_loader(folder, daemon=nodes[0].socket) as one,
        make_loader(folder, daemon=nodes[1].socket) as two,
    ):
        assert stream(one, 10) == stream(two, 10) == wanted[:10]
        state = one.state_dict()
        two.load_state_dict(state)
        assert stream(two, 11) == wanted[10:]
    assert not any(level in node.words() for node in nodes for level in ("WARN", "ERROR"))


def test_two_clients_of_one_node_at_once(folder: Path, wanted: list[Any], node: Node) -> None:
    with make_loader(folder, daemon=node.socket) as one, make_loader(folder, daemon=node.socket) as two:
        pairs = list(zip(*(stream_lazily(loader, 21) for loader in (one, two))))
    assert pairs == [(entry, entry) for entry in wanted]


def stream_lazily(loader: DataLoader, batches: int) -> Any:
    """Give a stream one batch at a time, so that two of them interleave."""
    from .batches import batch_digest, cursor_of

    count = 0
    while True:
        for batch in loader:
            yield batch_digest(batch), cursor_of(loader)
            count += 1
            if count == batches:
                return
