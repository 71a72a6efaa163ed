"""`forebay show --samples` names what a step really was: keys, crops, flips, views, substitutes, after every change."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL, write_folder, write_png

from forebay._show import ShownRow
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .support import Node, wait_until

TRANSFORM = (RandomResizedCrop((12, 12)), RandomHorizontalFlip())
Row = Mapping[str, Any]


def make_loader(folder: Path, **arguments: Any) -> DataLoader:
    return DataLoader(folder, shuffle=True, seed=5, transform=TRANSFORM, **{"job_id": "run-7", **arguments})


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([REAL, "show", *words], capture_output=True, text=True, timeout=50)


def samples(*words: str) -> list[Row]:
    done = command(*words, "--samples", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def facts(row: Row) -> tuple[Any, ...]:
    """What a named row has in common with one that `loader.show` shows: the second decodes, the first does not."""
    cuts = [
        (image["field"], image["width"], image["height"], *(image["crop"].get(side, 0) for side in SIDES),
         image.get("flip", False))
        for image in row.get("images", ())
    ]  # fmt: skip
    return int(row.get("position", 0)), row["key"], row.get("valid", False), tuple(cuts)


SIDES = ("left", "top", "width", "height")


def facts_of(row: ShownRow) -> tuple[Any, ...]:
    """The same of a row that was shown."""
    cuts = [(cut.field, *cut.size, *(getattr(cut.crop, side) for side in SIDES), cut.flip) for cut in row.images]
    return row.position, row.key, row.valid, tuple(cuts)


def shown(loader: DataLoader, step: int, rank: int) -> list[tuple[Any, ...]]:
    return [facts_of(row) for row in loader.show(loader.batch_size, epoch=1, step=step, rank=rank).rows]


def test_the_rows_of_a_step_and_rank_are_those_that_the_rank_got_before_and_after_a_change_of_ranks(
    folder: Path, node: Node
) -> None:
    state: dict[str, Any] | None = None
    for world, size, steps in ((4, 2, 2), (2, 3, 2), (8, 1, 2)):
        loaders = [
            make_loader(folder, batch_size=size, rank=rank, world_size=world, daemon=node.socket, start_epoch=1)
            for rank in range(world)
        ]
        for rank, loader in enumerate(loaders):
            if state:
                loader.load_state_dict(state)
            batches = iter(loader)
            for _ in range(steps):
                position = loader.state_dict()["position"]
                images, labels = next(batches)
                words = ("--world", str(world), "--batch", str(size), "--rank", str(rank), "--position", str(position))
                rows = samples("--job", "run-7", "--socket", node.socket, "--epoch", "1", *words)
                assert [int(row["values"][0]["text"]) for row in rows] == labels.tolist()
                assert [facts(row) for row in rows] == [facts_of(row) for row in loader.show(len(images)).rows]
        state = loaders[0].state_dict()
        for loader in loaders:
            loader.close()


@pytest.mark.parametrize("tail", ["drop", "partial", "pad"])
def test_every_step_of_an_epoch_is_named_as_it_is_shown_fillers_too(folder: Path, node: Node, tail: str) -> None:
    words = ("--job", "run-7", "--socket", node.socket, "--epoch", "1", "--world", "3", "--batch", "6", "--tail", tail)
    with make_loader(folder, batch_size=6, rank=0, world_size=3, tail=tail, daemon=node.socket) as loader:
        for step in range(len(loader)):
            for rank in range(3):
                rows = samples(*words, "--step", str(step), "--rank", str(rank))
                assert [facts(row) for row in rows] == shown(loader, step, rank)
        done = command(*words, "--step", str(len(loader)), "--samples")
        assert f"steps go from 0 to {len(loader) - 1}" in done.stderr
        assert "ranks go from 0 to 2" in command(*words, "--rank", "3", "--samples").stderr


def test_views_are_named_one_by_one(folder: Path, node: Node) -> None:
    with make_loader(folder, batch_size=5, views=3, daemon=node.socket) as loader:
        sheet = loader.show(5, epoch=0, step=2)
        rows = samples("--job", "run-7", "--socket", node.socket, "--batch", "5", "--step", "2")
    assert [len(row["images"]) for row in rows] == [3] * 5
    cuts = [[(image.get("view", 0), image["crop"]["width"], image["crop"]["height"]) for image in row["images"]]
            for row in rows]  # fmt: skip
    assert cuts == [[(view, cut.crop.width, cut.crop.height) for view, cut in enumerate(row.images)]
                    for row in sheet.rows]  # fmt: skip


@pytest.mark.parametrize("policy", ["substitute", "mask"])
def test_corrupt_samples_are_told_from_what_sessions_noted_and_by_decoding(
    folder: Path, node: Node, policy: str
) -> None:
    for name in ("a/003.png", "c/001.png"):
        (folder / name).write_bytes(b"no image")
    words = ("--job", "run-7", "--socket", node.socket, "--batch", "40")
    with make_loader(folder, batch_size=40, on_bad_sample=policy, daemon=node.socket) as loader:
        assert loader.job.rows == 40
        planned = samples(*words)
        assert {row["state"] for row in planned} == {"ROW_STATE_PLANNED"}
        assert sum("its header" in row.get("note", "") for row in planned) == 2
        assert "--recompute" in command(*words, "--samples").stdout
        made = samples(*words, "--recompute")
        batch = iter(loader)
        next(batch)
        noted = samples(*words)
    state = {"substitute": "ROW_STATE_SUBSTITUTED", "mask": "ROW_STATE_MASKED"}[policy]
    for rows in (made, noted):
        assert [row["state"] for row in rows].count(state) == 2
        changed = [row for row in rows if row["state"] == state]
        assert {row["bad"][0]["key"] for row in changed} == {"a/003.png", "c/001.png"}
    assert [facts(row) for row in noted] == [facts(row) for row in made]
    same = [(row["key"], row.get("attempt", 0), row.get("valid", False)) for row in noted]
    assert same == [(row["key"], row.get("attempt", 0), row.get("valid", False)) for row in made]


def test_a_saved_spec_names_the_same_without_a_daemon_and_without_the_files(folder: Path, tmp_path: Path) -> None:
    with make_loader(folder, batch_size=8) as loader:
        (tmp_path / "job.json").write_text(json.dumps(loader._spec))
        want = shown(loader, 3, 0)
    words = ("--spec", str(tmp_path / "job.json"), "--epoch", "1", "--batch", "8", "--step", "3")
    assert [facts(row) for row in samples(*words)] == want
    gone = folder / want[0][1]
    saved = gone.read_bytes()
    gone.write_bytes(b"")
    rows = samples(*words)
    assert (rows[0]["key"], "images" in rows[0], bool(rows[0]["note"])) == (want[0][1], False, True)
    gone.write_bytes(saved)


def test_a_header_that_begins_late_is_found(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "late", per_class=2, classes="a")
    pil = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    shutil.rmtree(folder / "a")
    (folder / "a").mkdir()
    # A colour profile of 200 kB stands in front of the frame's header.
    pil.new("RGB", (64, 48), (200, 10, 30)).save(folder / "a" / "late.jpg", icc_profile=bytes(200_000))
    assert (folder / "a" / "late.jpg").stat().st_size > 200_000
    (row,) = samples(str(folder), "--batch", "1")
    assert (row["images"][0]["width"], row["images"][0]["height"]) == (64, 48)


def recorded(place: Path, *words: str) -> list[Row]:
    """Name rows from the state root alone: no daemon, and no world or batch size told."""
    return samples("--job", "run-7", "--state-root", str(place), *words)


def test_a_runs_steps_are_found_in_its_state_root_though_ranks_and_batches_changed(
    folder: Path, tmp_path: Path
) -> None:
    place = tmp_path / "state"
    place.mkdir()
    taken: list[tuple[int, int, list[tuple[Any, ...]]]] = []
    state: dict[str, Any] | None = None
    step = 0
    # The second cluster dies behind its checkpoint: the third begins at the checkpoint, and its steps count.
    for world, size, steps, kept in ((4, 2, 2, 2), (2, 3, 3, 1), (8, 1, 2, 2)):
        loaders = [
            make_loader(folder, batch_size=size, rank=rank, world_size=world, state_root=place) for rank in range(world)
        ]
        for loader in loaders:
            if state:
                loader.load_state_dict(state)
        iterators = [iter(loader) for loader in loaders]
        for done in range(1, steps + 1):
            for rank, (loader, batches) in enumerate(zip(loaders, iterators)):
                next(batches)
                if done <= kept:
                    rows = [facts_of(row) for row in loader.show(size).rows]
                    taken.append((step + done - 1, rank, rows))
            if done == kept:
                state = loaders[0].state_dict()
        step += kept
        for loader in loaders:
            loader.close()
    wait_until(lambda: len(list(place.glob("jobs/run-7/cuts/*.json"))) == 3, "three cuts are recorded")
    for number, rank, rows in taken:
        assert [facts(row) for row in recorded(place, "--step", str(number), "--rank", str(rank))] == rows
    # Three steps took 22 rows; the other 18 are three steps of the 8 ranks.
    run = ("--job", "run-7", "--state-root", str(place), "--samples")
    assert "an epoch of 40 rows has 6, under 3 cuts" in command(*run, "--step", "6").stderr
    assert "ranks go from 0 to 1" in command(*run, "--step", "2", "--rank", "2").stderr
    # The epochs behind it go on as the last one was cut.
    assert len(recorded(place, "--epoch", "1", "--step", "4", "--rank", "7")) == 1


def test_an_epochs_digests_are_computed_from_its_pins_though_the_data_grew(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    pinned: dict[str, Any] = {"state_root": place, "follow": "epoch", "rolling": False, "digest": True}
    with make_loader(folder, batch_size=7, **pinned) as loader:
        for _ in loader:
            pass
        write_png(folder / "b" / "new.png", 99)
        for _ in loader:
            pass
        seen = loader.digest()
    assert (seen[0]["rows"], seen[1]["rows"]) == (40, 41)
    for epoch in (0, 1):
        words = ("--job", "run-7", "--state-root", str(place), "--epoch", str(epoch), "--digest", "--content", "--json")
        told = json.loads(command(*words).stdout)
        assert {name: told[name] for name in seen[epoch]} == seen[epoch]
    rows = [row for step in range(6) for row in recorded(place, "--epoch", "1", "--step", str(step))]
    assert sum(row["key"] == "b/new.png" for row in rows) == 1
    # Named without the data, too: only crops are not told then.
    shutil.rmtree(folder)
    bare = recorded(place, "--epoch", "1", "--step", "2")
    assert [row["key"] for row in bare] == [row["key"] for row in rows[14:21]]
    assert all("images" not in row and row["note"] for row in bare)


def test_corrupt_samples_stay_in_the_runs_ledger_behind_its_daemon(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.mkdir()
    for name in ("a/003.png", "c/001.png"):
        (folder / name).write_bytes(b"no image")
    with make_loader(folder, batch_size=8, on_bad_sample="substitute", state_root=place) as loader:
        for _ in loader:
            pass
        made = [row for step in range(5) for row in loader.show(8, epoch=0, step=step).rows]
    wait_until(lambda: list(place.glob("jobs/run-7/ledger/*.json")), "the ledger is saved")
    rows = [row for step in range(5) for row in recorded(place, "--step", str(step))]
    substituted = [row for row in rows if row["state"] == "ROW_STATE_SUBSTITUTED"]
    assert {row["bad"][0]["key"] for row in substituted} == {"a/003.png", "c/001.png"}
    assert [(int(row.get("position", 0)), row["key"], row.get("attempt", 0)) for row in rows] == [
        (row.position, row.key, row.attempt) for row in made
    ]


def test_what_no_state_root_knows_is_said(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "state"
    missing = command("--job", "run-7", "--state-root", str(place), "--samples")
    assert missing.returncode == 1
    assert str(place) in missing.stderr
    place.mkdir()
    unknown = command("--job", "run-7", "--state-root", str(place), "--samples").stderr
    assert "has no job run-7" in unknown
    nowhere = command("--job", "run-7", "--samples").stderr
    assert "--state-root PLACE" in nowhere
    with make_loader(folder, batch_size=8, state_root=place, follow="epoch", rolling=False) as loader:
        next(iter(loader))
    future = command("--job", "run-7", "--state-root", str(place), "--epoch", "5", "--samples").stderr
    assert "epoch 5 of job run-7 has no pin" in future
    wait_until(lambda: list(place.glob("jobs/run-7/cuts/*.json")), "the cut is recorded")
    for file in place.glob("jobs/run-7/cuts/*.json"):
        file.unlink()
    uncut = command("--job", "run-7", "--state-root", str(place), "--samples")
    assert "not recorded" in uncut.stderr
    assert "--world" in uncut.stderr
    assert len(recorded(place, "--world", "2", "--batch", "4", "--rank", "1")) == 4
