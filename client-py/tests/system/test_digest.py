"""`loader.digest()` through the real daemon: what proves that two runs saw the same, and what it tells apart."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REAL, write_png

import forebay
from forebay._digest import EpochDigest
from forebay.errors import InvalidError, UnimplementedError
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .support import Node, write_indexed

ROWS = 96
FIELDS = {
    "image": forebay.Image("path", transform=[RandomResizedCrop((12, 12)), RandomHorizontalFlip()]),
    "index": forebay.Value(),
}
Epochs = dict[int, EpochDigest]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_indexed(tmp_path / "data", ROWS)


def make_loader(data: Path, **arguments: Any) -> DataLoader:
    return DataLoader(data, shuffle=True, fields=FIELDS, digest=True, **arguments)


def run(
    data: Path, world: int, state: dict[str, Any] | None = None, steps: int = 1000, **arguments: Any
) -> tuple[Epochs, dict[str, Any]]:
    """Take so many steps of an epoch on all ranks; give what they add up to, and the state behind them."""
    loaders = [make_loader(data, rank=rank, world_size=world, **arguments) for rank in range(world)]
    for loader in loaders:
        if state:
            loader.load_state_dict(state)
    iterators: list[Iterator[Any]] = [iter(loader) for loader in loaders]
    for _ in range(steps):
        if not all(next(iterator, None) is not None for iterator in iterators):
            break
    digests = forebay.combine_digests(loader.digest() for loader in loaders)
    state = loaders[0].state_dict()
    for loader in loaders:
        loader.close()
    return digests, state


def recomputed(*words: str) -> dict[str, Any]:
    done = subprocess.run([REAL, "show", *words, "--digest", "--json"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_8_and_16_ranks_and_a_run_that_changed_its_world_saw_the_same_epoch(data: Path) -> None:
    whole, _ = run(data, 1, batch_size=7)
    assert whole[0]["rows"] == whole[0]["to_row"] == ROWS
    assert run(data, 8, batch_size=4)[0] == whole
    assert run(data, 16, batch_size=3, prefetch=5)[0] == whole
    first, state = run(data, 8, batch_size=2, steps=2)
    second, state = run(data, 3, state, batch_size=5, steps=1)
    third, _ = run(data, 4, state, batch_size=3)
    assert forebay.combine_digests([json.loads(json.dumps(part)) for part in (third, first, second)]) == whole


def test_rows_that_came_twice_are_told_and_a_digest_beside_the_checkpoint_mends_it(data: Path) -> None:
    with make_loader(data, batch_size=8) as loader:
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state, saved = loader.state_dict(), loader.digest()
        next(batches)  # behind the checkpoint: lost with the process
        late = loader.digest()
    rest, _ = run(data, 1, state, batch_size=8)
    with pytest.raises(InvalidError, match="overlap"):
        forebay.combine_digests([late, rest])
    assert forebay.combine_digests([saved, rest]) == run(data, 1, batch_size=96)[0]


def test_another_pixel_label_seed_or_transform_is_seen(data: Path) -> None:
    whole = run(data, 1, batch_size=8)[0][0]
    seed = run(data, 1, batch_size=8, seed=1)[0][0]
    assert seed["order"] != whole["order"]
    assert seed["content"] != whole["content"]
    plain = {"image": forebay.Image("path", transform=[RandomResizedCrop((12, 12))]), "index": forebay.Value()}
    with DataLoader(data, shuffle=True, fields=plain, digest=True, batch_size=8) as loader:
        for _ in loader:
            pass
        other = loader.digest()[0]
    assert (other["order"], other["content"] != whole["content"]) == (whole["order"], True)
    lines = data.read_text().splitlines()
    data.write_text("\n".join([json.dumps(json.loads(lines[0]) | {"index": 1000}), *lines[1:]]) + "\n")
    label = run(data, 1, batch_size=8)[0][0]
    assert (label["order"], label["content"] != whole["content"]) == (whole["order"], True)


def test_the_command_comes_to_what_the_ranks_add_up_to(folder: Path, node: Node) -> None:
    transform = (RandomResizedCrop((12, 12)), RandomHorizontalFlip())
    loaders = [
        DataLoader(
            folder, 6, True, seed=4, transform=transform, rank=rank, world_size=3, digest=True, daemon=node.socket,
            job_id="run-7", start_epoch=2,
        )
        for rank in range(3)
    ]  # fmt: skip
    for loader in loaders:
        for _ in loader:
            pass
    seen = forebay.combine_digests(loader.digest() for loader in loaders)[2]
    words = ("--job", "run-7", "--socket", node.socket, "--epoch", "2")
    told = recomputed(*words, "--content")
    assert {name: told[name] for name in seen} == seen
    assert (told["job_id"], told["epoch"], told["epoch_rows"]) == ("run-7", 2, 40)
    assert "content" not in recomputed(*words)
    assert recomputed(*words)["order"] == seen["order"]
    part = recomputed(*words, "--content", "--from-row", "5", "--to-row", "17")
    assert (part["rows"], part["content"] != seen["content"]) == (12, True)
    spec = folder.parent / "job.json"
    spec.write_text(json.dumps(loaders[0]._spec))
    alone = recomputed("--spec", str(spec), "--epoch", "2", "--content")
    assert (alone["order"], alone["content"]) == (seen["order"], seen["content"])
    for loader in loaders:
        loader.close()


def test_a_command_for_an_unknown_job_names_those_there_are(folder: Path, node: Node) -> None:
    with DataLoader(folder, 4, transform=(RandomResizedCrop(8),), daemon=node.socket, job_id="run-7") as loader:
        assert loader.job.rows == 40
        command = [REAL, "show", "--job", "run-9", "--socket", node.socket, "--digest"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (1, "")
    assert "job run-9 is not known" in done.stderr
    assert "it knows run-7" in done.stderr


def test_an_outage_in_mid_epoch_changes_no_digest(data: Path, node: Node) -> None:
    whole = run(data, 1, batch_size=8)[0]
    with make_loader(data, batch_size=8, daemon=node.socket) as loader:
        for count, _ in enumerate(loader):
            if count == 4:
                node.kill()
                node.start()
        assert loader.digest() == whole


def test_a_loader_that_was_not_asked_says_so_and_an_older_daemon_too(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_png(data.parent / "other.png", 1)
    with DataLoader(data, 8, fields=FIELDS) as loader, pytest.raises(InvalidError, match="digest=True"):
        loader.digest()
    monkeypatch.setenv("FOREBAY_BINARY", str(Path(__file__).resolve().parents[1] / "fake_daemon.py"))
    with make_loader(data, batch_size=4) as loader, pytest.raises(UnimplementedError, match="cannot digest"):
        next(iter(loader))


def a_job(kind: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Make data and the arguments of a loader over it, for one kind of order."""
    if kind == "repeated":
        return write_indexed(folder / "data", 20), {"fields": FIELDS, "repeats": 3, "shuffle": True}
    if kind == "mixture":
        sources = {name: write_indexed(folder / name, count) for name, count in (("a", 20), ("b", 30))}
        return forebay.Mixture(sources, shares={"a": 3, "b": 1}, epoch_rows=1024), {"fields": FIELDS}
    rows = [{"path": f"{index}.bin", "count": 1 + 7 * index % 30} for index in range(60)]
    for index, row in enumerate(rows):
        np.arange(index, index + row["count"], dtype="<u4").tofile(folder / row["path"])
    (folder / "texts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    if kind == "packed":
        fields = {"tokens": forebay.Tokens("path", stored="uint32"), "ends": forebay.Boundaries()}
        packed = forebay.Packed(64, length="count")
        return folder / "texts.jsonl", {"fields": fields, "packed": packed, "shuffle": True}
    fields = {"tokens": forebay.Tokens("path", stored="uint32", capacity=32)}
    budget = forebay.TokenBudget(96, samples_max=8, length="count")
    return folder / "texts.jsonl", {"fields": fields, "token_budget": budget, "shuffle": True}


@pytest.mark.parametrize("kind", ["packed", "budget", "repeated", "mixture"])
def test_every_order_adds_up_to_the_same_on_any_ranks(tmp_path: Path, kind: str) -> None:
    data, arguments = a_job(kind, tmp_path)
    wholes: list[Epochs] = []
    for world, size in ((1, 7), (4, 2)):
        cut = {} if kind == "budget" else {"batch_size": size}
        loaders = [
            DataLoader(data, rank=rank, world_size=world, digest=True, **cut, **arguments) for rank in range(world)
        ]
        for loader in loaders:
            for _ in loader:
                pass
        wholes.append(forebay.combine_digests(loader.digest() for loader in loaders))
        for loader in loaders:
            loader.close()
    assert wholes[0] == wholes[1]
    assert wholes[0][0]["rows"] == wholes[0][0]["to_row"] > 1
