"""Epochs, positions and states: each `iter()` is the next epoch, and a state goes on at the next row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CROP, Fake, write_folder

import forebay
from forebay.errors import CorruptError, InvalidError, NotFoundError, UnimplementedError
from forebay.numpy import DataLoader
from forebay.transforms import Normalize, RandomResizedCrop, Resize


def batch_bytes(batch: Any) -> bytes:
    parts = batch.values() if isinstance(batch, dict) else batch
    return b"".join(part.tobytes() if hasattr(part, "tobytes") else repr(part).encode() for part in parts)


def epochs(loader: DataLoader, count: int) -> list[list[bytes]]:
    return [[batch_bytes(batch) for batch in loader] for _ in range(count)]


def test_every_sample_comes_once_an_epoch_in_another_order(daemon: str, tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", per_class=7)
    with DataLoader(data, batch_size=4, shuffle=True, transform=CROP) as loader:
        seen = []
        for _ in range(3):
            labels = np.concatenate([labels for _, labels in loader])
            assert sorted(labels) == [0] * 7 + [1] * 7 + [2] * 7
            seen.append(labels.tolist())
        assert seen[0] != seen[1] != seen[2]
        assert len(loader) == 6
        assert loader.classes == ["a", "b", "c"]
        assert loader.class_to_idx == {"a": 0, "b": 1, "c": 2}
        assert len(loader.dataset) == 21


def test_shapes_dtypes_and_layouts(daemon: str, folder: Path) -> None:
    crop = [RandomResizedCrop((8, 12))]
    for arguments, shape, dtype in (
        ({"transform": crop}, (4, 8, 12, 3), np.uint8),
        ({"transform": [*crop, Normalize()]}, (4, 8, 12, 3), np.float32),
        ({"transform": crop, "dtype": "float32"}, (4, 8, 12, 3), np.float32),
        ({"transform": crop, "layout": "NCHW"}, (4, 3, 8, 12), np.uint8),
    ):
        with DataLoader(folder, batch_size=4, **arguments) as loader:
            images, labels = next(iter(loader))
            assert (images.shape, images.dtype) == (shape, dtype)
            assert images.flags.c_contiguous
            assert (labels.shape, labels.dtype) == ((4,), np.int64)


def test_set_epoch_overrides_the_next_iter_only(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 6)
        loader.sampler.set_epoch(4)
        assert epochs(loader, 2) == wanted[4:]
        loader.batch_sampler.sampler.set_epoch(1)
        assert epochs(loader, 1) == wanted[1:2]


def test_break_and_a_new_for_go_on_to_a_new_epoch(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 3)
        loader.set_epoch(0)
        for _ in loader:
            break
        for batch in loader:
            assert batch_bytes(batch) == wanted[1][0]
            break
        assert epochs(loader, 1) == wanted[2:3]


@pytest.mark.parametrize("rolling", [True, False])
def test_a_session_is_kept_over_epochs_and_breaks(folder: Path, rolling: bool) -> None:
    with DataLoader(folder, batch_size=4, rolling=rolling, transform=CROP) as loader:
        epochs(loader, 3)
        daemon = loader.stats()["daemon"]
        assert daemon["opened"] == 1
        assert daemon["sessions"][0]["seeks"] == (0 if rolling else 2)
        for _ in range(3):
            next(iter(loader))
        daemon = loader.stats()["daemon"]
        assert daemon["opened"] == 1
        assert len(daemon["sessions"]) == 1


def test_resuming_at_every_position_continues_the_same_sequence(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=7, shuffle=True, seed=3, transform=[Resize((8, 8))]) as loader:
        wanted, states = [], [loader.state_dict()]
        for _ in range(2):
            for batch in loader:
                wanted.append(batch_bytes(batch))
                states.append(loader.state_dict())
    for position, state in enumerate(states):
        state = json.loads(json.dumps(state))
        assert len(json.dumps(state)) < 1000
        with DataLoader(folder, batch_size=7, shuffle=True, seed=3, transform=[Resize((8, 8))]) as loader:
            loader.load_state_dict(state)
            assert loader.state_dict() == state
            rest = [part for epoch in epochs(loader, 2) for part in epoch]
            assert rest[: len(wanted) - position] == wanted[position:]


def test_a_state_serves_the_first_iter_only_and_then_comes_the_next_epoch(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=6, shuffle=True, transform=CROP) as loader:
        wanted = epochs(loader, 3)
        loader.set_epoch(1)
        iterator = iter(loader)
        next(iterator)
        next(iterator)
        state = loader.state_dict()
        assert (state["epoch"], state["position"]) == (1, 12)
        loader.load_state_dict(state)
        assert epochs(loader, 2) == [wanted[1][2:], wanted[2]]


def test_set_epoch_of_the_loaded_epoch_keeps_the_row(folder: Path) -> None:
    with DataLoader(folder, batch_size=6, transform=CROP) as loader:
        next(iter(loader))
        state = loader.state_dict()
        loader.load_state_dict(state)
        loader.set_epoch(0)
        assert len(list(loader)) == 4
        loader.load_state_dict(state)
        loader.set_epoch(2)
        assert len(list(loader)) == 5


def test_the_state_is_the_newest_iterators(folder: Path) -> None:
    with DataLoader(folder, batch_size=10, transform=CROP) as loader:
        old = iter(loader)
        next(old)
        new = iter(loader)
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)
        next(new)
        next(old)
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 10)
        assert len(list(new)) == 2
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (2, 0)


def test_ranks_split_each_step_and_another_number_goes_on(daemon: str, folder: Path) -> None:
    def labels(world: int, state: dict[str, Any] | None, steps: int) -> tuple[list[int], dict[str, Any]]:
        taken: list[list[list[int]]] = []
        for rank in range(world):
            with DataLoader(
                folder, global_batch_size=6, shuffle=True, rank=rank, world_size=world, fields=FIELDS
            ) as loader:
                if state:
                    loader.load_state_dict(state)
                iterator = iter(loader)
                taken.append([next(iterator)["label"].tolist() for _ in range(steps)])
                after = loader.state_dict()
        return [row for step in zip(*taken) for share in step for row in share], after

    fields: Any = FIELDS
    with DataLoader(folder, batch_size=6, shuffle=True, fields=fields) as loader:
        wanted = [row for batch in loader for row in batch["label"].tolist()]
    first, state = labels(2, None, 2)
    second, state = labels(3, state, 2)
    third, _ = labels(1, state, 1)
    assert first + second + third == wanted


FIELDS = {"label": forebay.Value()}


@pytest.mark.parametrize(("tail", "sizes", "valid"), [
    ("drop", [8, 8, 8], [8, 8, 8]),
    ("partial", [8, 8, 8, 3], [8, 8, 8, 3]),
    ("pad", [8, 8, 8, 8], [8, 8, 8, 3]),
])  # fmt: skip
def test_tails(daemon: str, tmp_path: Path, tail: str, sizes: list[int], valid: list[int]) -> None:
    data = write_folder(tmp_path / "data", per_class=9)
    with DataLoader(data, batch_size=8, tail=tail, with_valid=True, transform=CROP) as loader:
        got = [(len(labels), int(mask.sum())) for _, labels, mask in loader]
        assert got == list(zip(sizes, valid))
        assert len(loader) == len(sizes)
        assert int(loader.valid.sum()) == valid[-1]


def test_an_epoch_without_a_batch_ends_at_once_and_says_so(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with DataLoader(folder, batch_size=31, drop_last=True, transform=CROP) as loader:
        assert list(loader) == []
        assert len(loader) == 0
        assert loader.state_dict()["epoch"] == 1
    assert "an epoch has no batch" in capfd.readouterr().err


def test_a_state_with_fewer_rows_left_than_a_batch_goes_on_with_the_next_epoch(folder: Path) -> None:
    with DataLoader(folder, batch_size=14, drop_last=True, transform=CROP) as loader:
        next(iterator := iter(loader))
        state = {**loader.state_dict(), "position": 28}
        del iterator
    with DataLoader(folder, batch_size=4, drop_last=True, transform=CROP) as loader:
        loader.load_state_dict(state)
        iterator = iter(loader)
        next(iterator)
        assert loader.state_dict()["epoch"] == 1


def test_lists_of_dicts_and_files_give_dicts_in_declared_order(daemon: str, folder: Path, tmp_path: Path) -> None:
    rows = [{"path": f"data/a/{i:03}.png", "n": i, "x": i / 2, "text": "é" * i, "v": [i, 1.5]} for i in range(1, 5)]
    fields: Any = {
        "text": forebay.Value(),
        "picture": forebay.Image("path", transform=[Resize((4, 4))]),
        "number": forebay.Value("n"),
        "x": forebay.Value(dtype="float32"),
        "v": forebay.Value(),
    }
    (tmp_path / "list.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    columns = {"path": "path", "n": "int", "x": "float", "text": "text", "v": ("float_vector", 2)}
    for data in (
        forebay.Records(rows, root=tmp_path, columns=columns),
        forebay.List(tmp_path / "list.jsonl", columns=columns),
    ):
        with DataLoader(data, batch_size=4, fields=fields, tail="drop") as loader:
            (batch,) = loader
            assert list(batch) == list(fields)
            assert batch["text"] == ["é" * i for i in range(1, 5)]
            assert batch["picture"].shape == (4, 4, 4, 3)
            assert batch["number"].tolist() == [1, 2, 3, 4]
            assert batch["x"].tolist() == [0.5, 1.0, 1.5, 2.0]
            assert batch["v"].tolist() == [[i, 1.5] for i in range(1, 5)]


def test_a_csv_without_fields_gives_all_columns(daemon: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("n,x,name\n1,0.5,one\n2,1.5,two\n")
    with DataLoader(tmp_path / "list.csv", batch_size=2) as loader:
        (batch,) = loader
        assert list(batch) == ["n", "x", "name", "valid"]
        assert batch["name"] == ["one", "two"]
        assert batch["valid"].tolist() == [True, True]


def test_a_fault_comes_in_order_and_the_next_call_asks_again(folder: Path, fake: Fake) -> None:
    fake.misbehave({"fault": {"epoch": 0, "position": 8, "kind": "ERROR_KIND_CORRUPT", "times": 2}})
    with DataLoader(folder, batch_size=4, shuffle=True, seed=5, transform=CROP) as loader:
        iterator = iter(loader)
        got = [batch_bytes(next(iterator)) for _ in range(2)]
        for _ in range(2):
            with pytest.raises(CorruptError, match=r"decode: at epoch 0, row 8 \[a/0.png\]\nhint: mend it") as info:
                next(iterator)
            assert info.value.object == "a/0.png"
        got += [batch_bytes(batch) for batch in iterator]
        loader.set_epoch(0)
        assert epochs(loader, 1) == [got]


def test_a_fatal_fault_ends_the_session_and_the_next_call_opens_another(folder: Path, fake: Fake) -> None:
    fault = {"epoch": 0, "position": 8, "kind": "ERROR_KIND_INTERNAL", "times": 1, "fatal": True}
    fake.misbehave({"fault": fault})
    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        iterator = iter(loader)
        next(iterator), next(iterator)
        with pytest.raises(forebay.ForebayError):
            next(iterator)
        assert next(iterator)[1].tolist() == [0, 0, 1, 1]


def test_errors_of_the_daemon_name_cause_and_cure(daemon: str, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError) as info:
        iter(DataLoader(tmp_path / "nowhere"))
    assert isinstance(info.value, FileNotFoundError)
    assert str(tmp_path / "nowhere") in str(info.value)
    assert info.value.hint


def test_a_closed_loader_says_so(folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=CROP) as loader:
        iterator = iter(loader)
        next(iterator)
    with pytest.raises(InvalidError, match="its loader was closed"):
        next(iterator)
    with pytest.raises(InvalidError, match="this loader was closed"):
        iter(loader)


def test_stats_count_and_can_be_read(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=[Resize((8, 8))]) as loader:
        list(loader)
        stats = loader.stats()
        assert (stats["batches"], stats["rows"]) == (8, 30)
        assert stats["bytes"] == 30 * (8 * 8 * 3 + 8 + 1)
        assert stats["wait_seconds"] >= 0
        assert "8 batches, 30 rows" in str(stats)


def test_a_loader_says_what_its_share_of_the_daemon_is(daemon: str, folder: Path) -> None:
    arguments: dict[str, Any] = {"batch_size": 4, "transform": [Resize((8, 8))]}
    with DataLoader(folder, **arguments) as plain, DataLoader(folder, weight=3, priority=-2, **arguments) as other:
        assert len(list(plain)) == 8
        if daemon == "fake":  # as one from before there were priorities
            with pytest.raises(UnimplementedError, match="no priorities"):
                list(other)
            return
        assert len(list(other)) == 8
        shares = [(int(s["weight"]), int(s.get("priority", 0))) for s in other.stats()["daemon"]["sessions"]]
        assert shares == [(1, 0), (3, -2)]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"batch_size": 0}, "batch_size=0"),
    ({"batch_size": 2.5}, "batch_size=2.5"),
    ({"batch_size": 2, "global_batch_size": 4}, "exclude each other"),
    ({"tail": "keep"}, "tail='keep'"),
    ({"tail": "pad", "drop_last": True}, "contradict"),
    ({"on_bad_sample": "skip"}, "on_bad_sample='skip'"),
    ({"seed": -1}, "seed=-1"),
    ({"rank": 1}, "go together"),
    ({"rank": 2, "world_size": 2}, "rank 2 of 2"),
    ({"weight": 0}, "weight=0"),
    ({"weight": 1001}, "from 1 to 1000"),
    ({"priority": 101}, "from -100 to 100"),
    ({"priority": None}, "priority=None"),
    ({"layout": "CHWN"}, "layout='CHWN'"),
    ({"dtype": "int64"}, "cannot be int64"),
    ({"transform": [Normalize()], "dtype": "uint8"}, "cannot be uint8"),
    ({"transform": [object()]}, "not one of forebay's transforms"),
    ({"fields": {"x": 3}}, "is no forebay.Image"),
    ({"fields": {"image": forebay.Image()}, "transform": []}, "belong to the fields"),
])  # fmt: skip
def test_wrong_arguments_are_refused_before_anything_starts(
    folder: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidError, match=message):
        DataLoader(folder, **arguments)


def test_a_global_batch_that_does_not_divide_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidError, match="does not divide among 4 ranks"):
        iter(DataLoader(folder, global_batch_size=6, rank=0, world_size=4))
