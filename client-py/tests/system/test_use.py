"""The ways people use a loader that are hard on it: right data, no deadlock, one daemon, flat memory."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop, Resize

from .batches import batch_digest, stream
from .support import (
    Node,
    arenas,
    client,
    daemons_of,
    descriptors,
    is_alive,
    pick,
    private_pid,
    rss_bytes,
    wait_until,
    write_indexed,
)

TRANSFORM = (RandomResizedCrop((24, 24)), RandomHorizontalFlip())


def make_loader(folder: Path, **arguments: Any) -> DataLoader:
    return DataLoader(folder, batch_size=3, shuffle=True, transform=TRANSFORM, **arguments)


@pytest.fixture
def wanted(folder: Path) -> list[str]:
    """The digests of a hundred batches and more: eight epochs of fourteen."""
    with make_loader(folder) as loader:
        return [digest for digest, _ in stream(loader, 112)]


def test_a_list_of_a_loader_holds_the_epoch(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        held = list(loader)
        assert [batch_digest(batch) for batch in held] == wanted[:14]
        assert len(daemons_of(os.getpid())) == 1


def test_zip_of_a_loader_with_itself_gives_two_epochs_at_once(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        pairs = [(batch_digest(one), batch_digest(two)) for one, two in zip(loader, loader)]
        assert pairs == list(zip(wanted[:14], wanted[14:28]))
        assert len(daemons_of(os.getpid())) == 1


def test_a_hundred_batches_held_are_all_right(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        held: list[Any] = []
        while len(held) < 100:
            held.extend(loader)
        assert [batch_digest(batch) for batch in held] == wanted[: len(held)]
        slots = loader.stats()["daemon"]["sessions"][0]["slots"]
        assert loader.stats()["copies"] == len(held) - (slots - 2)
        assert len(daemons_of(os.getpid())) == 1


def test_in_place_operations_on_batches_reach_no_other_batch(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        for batch, digest in zip(loader, wanted):
            assert batch_digest(batch) == digest
            for tensor in batch:
                tensor[...] = 77
        assert [batch_digest(batch) for batch in loader] == wanted[14:28]


def test_torch_batches_take_in_place_operations_and_outlive_everything(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from forebay.torch import DataLoader as TorchLoader

    loader = TorchLoader(folder, batch_size=4, shuffle=True, transform=TRANSFORM)
    plain = [(images.clone(), labels.clone()) for images, labels in loader]
    loader.set_epoch(0)
    kept = []
    for images, labels in loader:
        images.add_(1).mul_(2)
        labels.neg_()
        kept.append((images, labels))
    loader.close()
    del loader
    gc.collect()
    for (images, labels), (image, label) in zip(kept, plain):
        assert torch.equal(images, (image + 1) * 2)
        assert torch.equal(labels, -label)


def test_a_child_forked_in_mid_epoch_iterates_on_its_own_daemon_and_harms_no_parent(folder: Path) -> None:
    with client("epoch", folder) as plain:
        whole = [digest for digest, _ in plain.result()["digests"]]
    with client("fork_and_iterate", folder) as forker:
        told = forker.result()
    assert told["parent"] == whole
    assert told["child"]["digests"] == whole
    assert "from which this one was forked" in told["child"]["refused"]
    assert told["child"]["daemon"] not in (0, told["daemon"])
    assert told["restarts"] == 0
    wait_until(lambda: not is_alive(told["child"]["daemon"]), "the child's daemon is gone")


def test_a_child_forked_in_mid_epoch_joins_the_nodes_daemon_again(folder: Path, node: Node) -> None:
    with client("epoch", folder) as plain:
        whole = [digest for digest, _ in plain.result()["digests"]]
    with client("fork_and_iterate", folder, environment={"FOREBAY_SOCKET": node.socket}) as forker:
        told = forker.result()
    assert (told["parent"], told["child"]["digests"]) == (whole, whole)
    assert told["restarts"] == 0
    wait_until(lambda: not node.sessions(), "no session is left")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_ranks_in_worker_processes_see_their_own_rows(folder: Path, method: str) -> None:
    with client("spawn_workers", folder, method) as parent:
        told = parent.result()
    assert told["exits"] == [0, 0]
    assert told["ranks"][0] == told["mine"]
    assert told["ranks"][1] != told["mine"]
    pids = {told["daemon"], *told["daemons"]}
    assert len(pids) == 3, "one daemon a process"
    wait_until(lambda: not any(map(is_alive, pids)), "all daemons are gone")


def run_threads(bodies: list[Any]) -> None:
    """Run all bodies at once and raise what any of them raised."""
    errors: list[BaseException] = []

    def guarded(body: Any) -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(body,), daemon=True) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_threads_on_one_iterator_share_an_epoch_without_loss(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        batches, seen = iter(loader), list[str]()
        run_threads([lambda: seen.extend(batch_digest(batch) for batch in batches)] * 6)
        assert sorted(seen) == sorted(wanted[:14])


def test_threads_on_one_loader_take_an_epoch_each(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as loader:
        epochs: list[list[str]] = []
        run_threads([lambda: epochs.append([batch_digest(batch) for batch in loader])] * 6)
        assert sorted(epochs) == sorted(wanted[start : start + 14] for start in range(0, 84, 14))
        assert len(daemons_of(os.getpid())) == 1


def test_threads_on_loaders_of_their_own_share_one_daemon(folder: Path, wanted: list[str]) -> None:
    def whole() -> None:
        with make_loader(folder) as loader:
            assert [digest for digest, _ in stream(loader, 42)] == wanted[:42]

    run_threads([whole] * 6)
    assert len(daemons_of(os.getpid())) == 1
    assert len(loader_sessions()) == 0


def loader_sessions() -> list[Any]:
    """Give the private daemon's session table, once it has noticed what was closed."""
    from forebay import _daemon

    connection = _daemon.get_daemon().connection()
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not connection.request("stats", {}).get("sessions"), "no sessions", 5)
    return connection.request("stats", {}).get("sessions", [])


def test_loaders_for_training_and_evaluation_take_turns_on_one_daemon(folder: Path, wanted: list[str]) -> None:
    with make_loader(folder) as train, DataLoader(folder, batch_size=7, transform=(Resize((8, 8)),)) as valid:
        check = [batch_digest(batch) for batch in valid]
        for epoch in range(3):
            assert [batch_digest(batch) for batch in train] == wanted[epoch * 14 : epoch * 14 + 14]
            assert [batch_digest(batch) for batch in valid] == check
        assert len(daemons_of(os.getpid())) == 1


@pytest.mark.deadline(300)
def test_memory_and_descriptors_are_flat_over_many_epochs(tmp_path: Path) -> None:
    data = write_indexed(tmp_path / "data", 240, side=48)
    fields = dict(make_fields())
    with DataLoader(data, batch_size=16, shuffle=True, fields=fields) as loader:
        marks: list[tuple[int, int, int, int, int]] = []
        for epoch in range(pick(14, 60)):
            indexes = np.concatenate([batch["index"] for batch in loader])
            assert sorted(indexes[:240].tolist()) == list(range(240))
            if epoch == 3:  # and now and then an iterator that is left in the middle
                next(iter(loader))
            gc.collect()
            pid = private_pid()
            marks.append(
                (
                    rss_bytes(os.getpid()),
                    rss_bytes(pid),
                    len(descriptors(os.getpid())),
                    len(descriptors(pid)),
                    arenas(os.getpid()),
                )
            )
    middle, last = marks[len(marks) // 2], marks[-1]
    assert last[0] - middle[0] < 4 << 20, f"the client grew: {marks}"
    assert last[1] - middle[1] < 8 << 20, f"the daemon grew: {marks}"
    assert last[2:] == middle[2:], f"descriptors grew: {marks}"
    kib = [value >> 10 for value in (middle[0], last[0], middle[1], last[1])]
    print("flat: client {} -> {} KiB, daemon {} -> {} KiB".format(*kib))


def make_fields() -> Any:
    import forebay

    return {"image": forebay.Image("path", transform=[Resize((32, 32))]), "index": forebay.Value()}


@pytest.mark.deadline(300)
def test_loaders_made_again_and_again_leave_nothing(folder: Path) -> None:
    marks: list[tuple[int, int, int]] = []
    for _ in range(pick(30, 300)):
        loader = make_loader(folder)
        batches = iter(loader)
        next(batches)
        del loader, batches
        gc.collect()
        marks.append((len(descriptors(os.getpid())), arenas(os.getpid()), rss_bytes(os.getpid())))
    assert marks[-1][:2] == marks[5][:2], marks
    assert marks[-1][2] - marks[len(marks) // 2][2] < 4 << 20, marks
    pid = private_pid()
    assert len(loader_sessions()) == 0
    assert arenas(pid) == 0
    assert len(daemons_of(os.getpid())) == 1


def test_the_daemons_of_a_node_share_its_processors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "10000")
    with make_loader(folder) as loader:
        next(iter(loader))
        assert loader.stats()["daemon"]["cpu_threads"] == 1
