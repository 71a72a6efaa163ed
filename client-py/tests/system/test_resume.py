"""Cursors, epochs and states through the real daemon: every row once, wherever a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from forebay.errors import StateError
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .batches import batch_digest, cursor_of, stream
from .support import write_indexed

ROWS = 480
FIELDS = {
    "image": forebay.Image("path", transform=[RandomResizedCrop((12, 12)), RandomHorizontalFlip()]),
    "index": forebay.Value(),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """480 rows, so that a step of 96 fits five times."""
    return write_indexed(tmp_path_factory.mktemp("resume") / "data", ROWS)


def make_loader(data: Path, **arguments: Any) -> DataLoader:
    return DataLoader(data, shuffle=True, fields=FIELDS, **arguments)


Row = tuple[int, bytes]


def rows_of(batch: Any) -> list[Row]:
    """Give each row's index and pixels, without those that only fill up."""
    return [
        (int(index), image.tobytes())
        for index, image, valid in zip(batch["index"], batch["image"], batch.get("valid", np.ones(len(batch["index"]))))
        if valid
    ]


def test_a_run_resumes_at_every_batch_as_if_it_had_never_stopped(data: Path) -> None:
    with make_loader(data, batch_size=50) as loader:
        whole = stream(loader, 20)
        loader.set_epoch(0)
        states = []
        for _ in range(2):
            for _ in loader:
                states.append(json.loads(json.dumps(loader.state_dict())))
    assert all(len(json.dumps(state)) < 1024 for state in states)
    for index, state in enumerate(states[:19]):
        with make_loader(data, batch_size=50) as loader:
            loader.load_state_dict(state)
            assert stream(loader, 20)[: 19 - index] == whole[index + 1 :], f"behind batch {index}"


@pytest.mark.parametrize("size", [1, 7, 32, 480])
def test_a_run_resumes_with_another_batch_size_at_the_same_row(data: Path, size: int) -> None:
    with make_loader(data, batch_size=50) as loader:
        rows = [row for batch in loader for row in rows_of(batch)]
        loader.set_epoch(0)
        batches = iter(loader)
        for _ in range(3):
            next(batches)
        state = loader.state_dict()
    with make_loader(data, batch_size=size) as loader:
        loader.load_state_dict(state)
        assert [row for batch in loader for row in rows_of(batch)] == rows[150:]


def test_8_then_4_then_6_ranks_in_mid_epoch_see_the_same_rows(data: Path) -> None:
    with make_loader(data, batch_size=96) as alone:
        whole = [rows_of(batch) for batch in alone]
        whole += [rows_of(batch) for batch in alone]
    seen: list[list[Row]] = []
    state: dict[str, Any] | None = None
    for size, steps in ((8, 2), (4, 4), (6, 3)):
        loaders = [make_loader(data, global_batch_size=96, rank=rank, world_size=size) for rank in range(size)]
        for loader in loaders:
            if state:
                loader.load_state_dict(state)
        left = steps
        while left:
            for step in zip(*loaders):
                seen.append([row for batch in step for row in rows_of(batch)])
                left -= 1
                if not left:
                    break
        states = [loader.state_dict() for loader in loaders]
        assert all(other == states[0] for other in states), "a state is equal on every rank"
        state = states[0]
        for loader in loaders:
            loader.close()
    assert seen == whole[:9]


@pytest.mark.parametrize("tail", ["drop", "partial", "pad"])
def test_all_ranks_take_equal_steps_of_equal_shape_whatever_the_tail(data: Path, tail: str) -> None:
    loaders = [make_loader(data, batch_size=11, rank=rank, world_size=3, tail=tail) for rank in range(3)]
    epochs = [list(loader) for loader in loaders]
    assert len({len(epoch) for epoch in epochs}) == 1
    for step in zip(*epochs):
        assert len({batch["image"].shape for batch in step}) == 1
    seen = [index for epoch in epochs for batch in epoch for index, _ in rows_of(batch)]
    assert len(seen) == len(set(seen)) == (ROWS - ROWS % 33 if tail == "drop" else ROWS)
    for loader in loaders:
        loader.close()


def test_epochs_differ_and_set_epoch_gives_one_again(data: Path) -> None:
    with make_loader(data, batch_size=96) as loader:
        epochs = [[batch_digest(batch) for batch in loader] for _ in range(4)]
        assert len({tuple(epoch) for epoch in epochs}) == 4
        loader.set_epoch(2)
        assert [batch_digest(batch) for batch in loader] == epochs[2]
        assert [batch_digest(batch) for batch in loader] == epochs[3]
        loader.sampler.set_epoch(1)
        assert [batch_digest(batch) for batch in loader] == epochs[1]


def test_break_and_a_new_for_go_on_to_a_new_epoch(data: Path) -> None:
    with make_loader(data, batch_size=96) as loader:
        epochs = [[batch_digest(batch) for batch in loader] for _ in range(3)]
        loader.set_epoch(0)
        for count, _ in enumerate(loader):
            if count == 1:
                break
        assert cursor_of(loader) == (0, 192)
        assert [batch_digest(batch) for batch in loader] == epochs[1]
        for _ in loader:
            break
        assert cursor_of(loader) == (2, 96)


def test_a_loaded_state_serves_the_first_iter_only(data: Path) -> None:
    with make_loader(data, batch_size=96) as loader:
        epochs = [[batch_digest(batch) for batch in loader] for _ in range(2)]
        loader.set_epoch(0)
        batches = iter(loader)
        next(batches), next(batches)
        state = loader.state_dict()
    with make_loader(data, batch_size=96) as loader:
        loader.load_state_dict(state)
        assert loader.state_dict() == state
        assert [batch_digest(batch) for batch in loader] == epochs[0][2:]
        assert [batch_digest(batch) for batch in loader] == epochs[1]


def test_the_state_is_that_of_the_newest_iterators_last_delivered_batch(data: Path) -> None:
    with make_loader(data, batch_size=96, prefetch=4) as loader:
        older = iter(loader)
        next(older), next(older)
        newer = iter(loader)
        next(newer)
        next(older)
        assert cursor_of(loader) == (1, 96)


def test_a_state_at_the_end_of_an_epoch_goes_on_with_the_next(data: Path) -> None:
    with make_loader(data, batch_size=96) as loader:
        epochs = [[batch_digest(batch) for batch in loader] for _ in range(2)]
        loader.set_epoch(0)
        for _ in loader:
            state = loader.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    with make_loader(data, batch_size=96) as loader:
        loader.load_state_dict(state)
        assert [batch_digest(batch) for batch in loader] == epochs[1]


def test_a_state_of_other_data_another_seed_or_another_content_is_refused(data: Path, tmp_path: Path) -> None:
    with make_loader(data, batch_size=96) as loader:
        state = loader.state_dict()
    with make_loader(data, batch_size=96, seed=9) as loader, pytest.raises(StateError, match="hint: "):
        loader.load_state_dict(state)
    fewer = write_indexed(tmp_path / "fewer", 8)
    with (
        make_loader(fewer, batch_size=4) as loader,
        pytest.raises(StateError, match=r"snapshot \w+ with 480 rows is now \w+ with 8 rows"),
    ):
        loader.load_state_dict(state)
    plain = {"index": forebay.Value()}
    with DataLoader(data, batch_size=96, shuffle=True, fields=plain) as loader:
        with pytest.raises(StateError, match="field image: was there and is not now"):
            loader.load_state_dict(state)
        loader.load_state_dict(state, allow_changed="content")
        assert len(list(loader)) == 5


def test_batches_taken_ahead_are_not_in_the_state(data: Path) -> None:
    """What the daemon has ready and nobody took is delivered again after a resume."""
    import time

    with make_loader(data, batch_size=10, prefetch=8) as loader:
        batches = iter(loader)
        taken = [index for index, _ in rows_of(next(batches))]
        time.sleep(0.3)
        state = loader.state_dict()
    with make_loader(data, batch_size=10) as loader:
        loader.load_state_dict(state)
        taken += [index for batch in loader for index, _ in rows_of(batch)]
    assert sorted(taken) == list(range(ROWS))
