"""Mixtures, samplers, weights and batches through the real daemon: the rows asked for, wherever a run goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_png

import forebay
from forebay.errors import InvalidError, StateError
from forebay.numpy import DataLoader
from forebay.transforms import CenterCrop, RandomResizedCrop

BLOCK = 1024
SIZES = {"web": 300, "code": 70, "rare": 9}
NUMBERS = {"source": forebay.Source(), "index": forebay.Value()}
CROPS = {**NUMBERS, "image": forebay.Image("path", transform=[RandomResizedCrop((12, 12))])}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, forebay.Records]:
    """Three sources of numbered images. Two thirds of a source's samples are of class 0, a sixth each of 1 and 2."""
    root = tmp_path_factory.mktemp("orders")
    made: dict[str, forebay.Records] = {}
    for source, (name, count) in enumerate(SIZES.items()):
        (root / name).mkdir()
        rows = [
            {"path": f"{name}/{i}.png", "index": i, "kind": max(0, i % 6 - 3), "heavy": i % 3} for i in range(count)
        ]
        for row in rows:
            write_png(root / row["path"], row["index"] + source)
        made[name] = forebay.Records(rows, root)
    return made


def mixture(data: dict[str, Any], **changes: Any) -> forebay.Mixture:
    return forebay.Mixture(data, **{"shares": {"web": 3, "code": 1, "rare": 0.01}, **changes})


def values(loader: DataLoader, epochs: int = 1, name: str = "index") -> list[int]:
    """Give a field of so many epochs' rows."""
    return [int(value) for _ in range(epochs) for batch in loader for value in batch[name]]


def test_ratios_hold_in_every_block_of_1024_rows_and_each_source_comes_whole(data: dict[str, Any]) -> None:
    mixed = mixture(data, epoch_rows=2 * BLOCK, sequential=["code"])
    visits = {name: Counter(dict.fromkeys(range(size), 0)) for name, size in SIZES.items()}
    in_order: list[int] = []
    with DataLoader(mixed, BLOCK, fields=NUMBERS) as loader:
        assert (len(loader), loader.sources, len(loader.dataset)) == (2, ["web", "code", "rare"], 2 * BLOCK)
        for block in (block for _ in range(5) for block in loader):
            for source, name in enumerate(SIZES):
                came = block["index"][block["source"] == source].tolist()
                due = BLOCK * {"web": 3, "code": 1, "rare": 0.01}[name] / 4.01
                assert len(came) in (int(due), int(due) + 1), f"{len(came)} rows of {name}, where {due} are due"
                visits[name].update(came)
                assert spread(visits[name]) <= 1, f"a sample of {name} comes twice before another comes once"
                in_order += came if name == "code" else []
    assert all(min(counts.values()) >= 2 for counts in visits.values())
    assert in_order == [row % SIZES["code"] for row in range(len(in_order))]


def spread(visits: Counter[int]) -> int:
    """Tell how much more often the one sample came than the other."""
    return max(visits.values()) - min(visits.values())


def test_a_schedule_changes_the_shares_at_its_rows(data: dict[str, Any]) -> None:
    schedule = [(0, {"web": 1, "code": 0, "rare": 0}), (2 * BLOCK, {"web": 1, "code": 3, "rare": 0})]
    with DataLoader(mixture(data, shares=None, schedule=schedule, epoch_rows=BLOCK), 256, fields=NUMBERS) as loader:
        blocks = [Counter(values(loader, name="source")) for _ in range(4)]
    assert blocks == [{0: 1024}, {0: 1024}, {0: 256, 1: 768}, {0: 256, 1: 768}]


def test_an_epoch_is_one_pass_over_the_source_that_is_named(data: dict[str, Any]) -> None:
    # 300 samples at 3 rows of 4.01 take 401, which is one block; 70 at 0.01 of 4.01 take 28,070, which is 28.
    for changes, blocks in (
        ({"epoch_of": "web"}, 1),
        ({"shares": {"web": 4, "code": 0.01, "rare": 0}, "epoch_of": "code"}, 28),
    ):
        assert len(DataLoader(mixture(data, **changes), BLOCK, fields=NUMBERS)) == blocks


def test_folders_share_one_class_map(tmp_path: Path) -> None:
    for source, names in (("one", "bc"), ("two", "abd")):
        for name in names:
            (tmp_path / source / name).mkdir(parents=True)
            write_png(tmp_path / source / name / "x.png", ord(name))
    folders = {name: tmp_path / name for name in ("one", "two")}
    crop = [CenterCrop(16)]
    looks: dict[bytes, str] = {}
    for folder in folders.values():
        with DataLoader(folder, transform=crop) as loader:
            looks.update({images.tobytes(): loader.classes[labels[0]] for images, labels in loader})
    with DataLoader(forebay.Mixture(folders, shares={"one": 1, "two": 1}), 64, transform=crop) as loader:
        assert loader.classes == ["b", "c", "a", "d"]
        images, labels = next(iter(loader))
        assert {loader.classes[label] for label in labels} == set("abcd")
        assert [loader.classes[label] for label in labels] == [looks[image.tobytes()] for image in images]


def test_classes_come_equally_often_in_every_block(data: dict[str, Any]) -> None:
    kinds: list[int] = [row["kind"] for row in data["web"].rows]
    arguments: Any = {"sampler": "balanced", "balanced_by": "kind", "epoch_rows": BLOCK, "fields": NUMBERS}
    assert sorted(Counter(kinds).values()) == [50, 50, 200]
    visits = Counter(dict.fromkeys(range(SIZES["web"]), 0))
    with DataLoader(data["web"], 128, **arguments) as loader:
        for _ in range(3):
            epoch = values(loader)
            assert sorted(Counter(kinds[index] for index in epoch).values()) == [341, 341, 342]
            visits.update(epoch)
            for kind in range(3):
                assert spread(Counter({i: count for i, count in visits.items() if kinds[i] == kind})) <= 1


def test_weights_of_a_column_an_array_or_torch_are_the_frequencies(data: dict[str, Any]) -> None:
    rows, seed = 9000, 11
    weights = [row["heavy"] for row in data["code"].rows]
    asked: Any = {"sampler": "weighted", "epoch_rows": rows, "seed": seed, "fields": NUMBERS}
    with DataLoader(data["code"], 500, weights="heavy", **asked) as loader:
        drawn, next_epoch = values(loader), values(loader)
    counts, due = np.bincount(drawn, minlength=70), np.array(weights) * rows / sum(weights)
    assert not counts[due == 0].any()
    chi_square = float(((counts - due) ** 2 / np.maximum(due, 1)).sum())
    assert 15 < chi_square < 100, f"{chi_square} of 45 degrees of freedom"
    assert drawn != next_epoch
    with DataLoader(data["code"], 500, weights=np.array(weights) / 7, **asked) as loader:
        assert values(loader) == drawn
    torch = pytest.importorskip("torch.utils.data")
    sampler = torch.WeightedRandomSampler(weights, rows)
    with DataLoader(data["code"], 500, sampler=sampler, seed=seed, fields=NUMBERS) as loader:
        assert values(loader) == drawn
    with pytest.raises(InvalidError, match="3 weights for 70 samples"):
        len(DataLoader(data["code"], weights=[1, 2, 3], **{**asked, "sampler": "weighted"}))


class Lists:
    """A sampler with another list each epoch, of another length."""

    def __init__(self, *lists: list[Any]) -> None:
        self.lists, self.epoch = lists, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Any]:
        return iter(self.lists[self.epoch])


def test_a_list_comes_as_it_is_given_epoch_after_epoch(data: dict[str, Any]) -> None:
    chosen = np.random.default_rng(1).integers(0, SIZES["web"], 100)
    with DataLoader(data["web"], 32, sampler=chosen, fields=NUMBERS) as loader:
        assert values(loader, 2) == chosen.tolist() * 2
        assert (len(loader), len(loader.dataset)) == (4, 100)
    lists = [[5, 4, 3], list(range(50)), [7] * 9]
    with DataLoader(data["web"], 4, sampler=Lists(*lists), sampler_epochs=3, fields=NUMBERS) as loader:
        for epoch in range(5):
            assert len(loader) == -(-len(lists[epoch % 3]) // 4)
            assert [int(i) for b in loader for i in b["index"][b["valid"]]] == lists[epoch % 3]
        loader.seek(4, 12)
        assert values(loader)[:2] == [48, 49]
        with pytest.raises(InvalidError, match="an epoch has 1 steps of 4 rows"):
            loader.seek(3, 2)
    with pytest.raises(InvalidError, match="300"):
        len(DataLoader(data["web"], sampler=[5, 300], fields=NUMBERS))


BATCHES = [[3, 1], [4, 1, 5, 9], [2], [6, 5, 3, 5, 8], [9, 7]]


@pytest.mark.parametrize("world", [1, 2])
def test_batches_of_several_sizes_come_whole_one_a_rank_a_step(data: dict[str, Any], world: int) -> None:
    came: list[list[list[int]]] = []
    for rank in range(world):
        with DataLoader(
            data["web"], batch_sampler=BATCHES, fields=NUMBERS, rank=rank, world_size=world, daemon=None
        ) as loader:
            assert (len(loader), loader.batch_size) == (-(-5 // world), None)
            for _ in range(2):
                came.append([batch["index"][batch["valid"]].tolist() for batch in loader])
    if world == 1:
        assert came == [BATCHES, BATCHES]
    else:
        assert came[0] == came[1] == BATCHES[::2]
        assert came[2] == came[3] == [*BATCHES[1::2], []], (
            "the last step repeats the first batch, of which no row counts"
        )


def test_batches_of_one_size_may_be_cut_anew(data: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch.utils.data")
    with DataLoader(
        data["code"], batch_sampler=torch.BatchSampler(range(0, 70, 2), 8, False), fields=NUMBERS
    ) as loader:
        assert [len(batch["index"]) for batch in loader] == [8, 8, 8, 8, 3]
        state = loader.state_dict()
    with DataLoader(data["code"], 5, sampler=range(0, 70, 2), fields=NUMBERS) as loader:
        loader.load_state_dict(state)
    with DataLoader(data["code"], batch_sampler=torch.BatchSampler(range(35), 8, True), fields=NUMBERS) as loader:
        assert [len(batch["index"]) for batch in loader] == [8, 8, 8, 8]


def test_repetitions_of_a_sample_are_other_crops(data: dict[str, Any]) -> None:
    with DataLoader(data["rare"], 27, shuffle=True, repeats=3, fields=CROPS) as loader:
        batch = next(iter(loader))
        assert (len(loader), batch["index"][::3].tolist()) == (1, batch["index"][2::3].tolist())
        assert sorted(batch["index"].tolist()) == sorted([*range(9)] * 3)
        assert len({image.tobytes() for image in batch["image"]}) == 27
    windowed: Any = {"repeats": 3, "repeat_window": 4, "epoch_rows": 9}
    with DataLoader(data["rare"], 4, fields=NUMBERS, **windowed) as loader:
        assert values(loader) == [0, 1, 2, 3, 0, 1, 2, 3, 0]


ORDERS: dict[str, Any] = {
    "mixture": lambda data: {"data": mixture(data, epoch_rows=BLOCK)},
    "schedule": lambda data: {
        "data": mixture(
            data, shares=None, epoch_rows=BLOCK,
            schedule=[(0, {"web": 1, "code": 1, "rare": 0}), (BLOCK, {"web": 0, "code": 1, "rare": 1})],
        )
    },
    "balanced": lambda data: {"data": data["web"], "sampler": "balanced", "balanced_by": "kind", "epoch_rows": BLOCK},
    "weighted": lambda data: {"data": data["web"], "sampler": "weighted", "weights": "heavy", "epoch_rows": 500},
    "weights": lambda data: {"data": data["code"], "sampler": "weighted", "weights": range(70)},
    "explicit": lambda data: {"data": data["web"], "sampler": list(range(299, 0, -3))},
    "lists": lambda data: {"data": data["web"], "sampler": Lists([*range(90)], [*range(150)]), "sampler_epochs": 2},
    "repeats": lambda data: {"data": data["code"], "shuffle": True, "repeats": 3, "repeat_window": 16},
    "mixed repeats": lambda data: {"data": mixture(data, epoch_rows=BLOCK), "repeats": 2, "epoch_rows": BLOCK},
    "batches": lambda data: {"data": data["web"], "batch_sampler": [[*range(i, 2 * i)] for i in range(1, 40)]},
}  # fmt: skip

Row = tuple[int, int, bytes]


def run(order: dict[str, Any], world: int, batch: int, state: Any, steps: int) -> tuple[list[Row], Any]:
    """Take so many steps of all ranks, epoch after epoch: the rows that count, in order, and the state behind them."""
    ranks: list[list[list[Row]]] = []
    saved: Any = None
    size = {} if "batch_sampler" in order else {"batch_size": batch}
    for rank in range(world):
        with DataLoader(**order, **size, fields=CROPS, rank=rank, world_size=world) as loader:
            if state is not None:
                loader.load_state_dict(state)
            taken: list[list[Row]] = []
            while len(taken) < steps:
                for got in loader:
                    taken.append(rows_of(got))
                    if len(taken) == steps:
                        break
            assert saved in (None, loader.state_dict()), "the ranks' states differ"
            saved = loader.state_dict()
            ranks.append(taken)
    return [row for step in zip(*ranks) for part in step for row in part], saved


def rows_of(batch: Any) -> list[Row]:
    columns = zip(batch["source"], batch["index"], batch["image"], batch["valid"])
    return [(int(source), int(index), image.tobytes()) for source, index, image, valid in columns if valid]


@pytest.mark.parametrize("name", ORDERS)
def test_every_order_goes_on_under_other_ranks_and_batches_as_if_never_stopped(data: dict[str, Any], name: str) -> None:
    order = ORDERS[name](data)
    whole, _ = run(order, 1, 60, None, 70)
    first, state = run(order, 2, 30, None, 7)
    second, state = run(order, 3, 11, state, 5)
    third, state = run(order, 1, 47, state, 12)
    resumed = [*first, *second, *third]
    assert len(whole) > len(resumed) > len(first) + len(second) > len(first) > 0
    assert resumed == whole[: len(resumed)]


def test_another_share_sampler_or_weight_is_another_order_and_the_state_says_so(data: dict[str, Any]) -> None:
    def loader_of(name: str, **changes: Any) -> DataLoader:
        arguments = ORDERS[name](data)
        return DataLoader(**{**arguments, **changes}, fields=CROPS)

    others = {
        "mixture": {"data": mixture(data, epoch_rows=BLOCK, shares={"web": 2, "code": 1, "rare": 0.01})},
        "weights": {"weights": range(1, 71)},
        "explicit": {"sampler": list(range(299, 0, -3))[::-1]},
        "repeats": {"repeats": 2},
        "balanced": {"sampler": "shuffled", "balanced_by": None, "epoch_rows": None},
    }
    for name, changes in others.items():
        with loader_of(name) as loader:
            state = loader.state_dict()
        with loader_of(name, **changes) as loader, pytest.raises(StateError, match="another order") as error:
            loader.load_state_dict(state)
        assert "sampler" in error.value.causes[0], f"{name}: {error.value}"
