"""A user's own data set in torch's terms: tensors, structures, workers as torch's are."""

from __future__ import annotations

import copy
import random
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from conftest import REAL  # noqa: E402
from torch.utils.data import DataLoader as TorchLoader  # noqa: E402
from torch.utils.data import (  # noqa: E402
    Dataset,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
    get_worker_info,
)

from forebay.errors import InvalidError  # noqa: E402
from forebay.torch import DataLoader  # noqa: E402

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")


@pytest.fixture(autouse=True)
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOREBAY_BINARY", REAL)


class Mixed(Dataset):
    """Every kind of value that torch's default collate knows."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return {
            "image": torch.full((3, 4, 4), index, dtype=torch.uint8),
            "half": torch.full((2,), index / 3, dtype=torch.bfloat16),
            "array": np.arange(3, dtype=np.float64) + index,
            "scalar": np.float32(index),
            "zero": torch.tensor(index),
            "flag": index % 2 == 0,
            "number": index,
            "real": index / 7,
            "name": f"sample {index}",
            "nested": (index, [index, torch.ones(2) * index]),
        }


class Drawn(Dataset):
    """Draws from torch."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return torch.rand(3), random.random(), np.random.rand()


class Worker(Dataset):
    """Tells what torch tells a worker."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        info = get_worker_info()
        return info.id, info.num_workers, info.dataset is self, torch.get_num_threads()


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(range(10))


def assert_same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs):
            assert_same(our, their)
    else:
        assert ours == theirs


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("collate", [None, default_collate])
def test_batches_equal_those_of_torch(workers: int, collate: Any) -> None:
    with DataLoader(dataset=Mixed(), batch_size=9, num_workers=workers, collate_fn=collate) as loader:
        for ours, theirs in zip(loader, TorchLoader(Mixed(), batch_size=9), strict=True):
            assert_same(ours, theirs)


def own_collate(samples: list[Any]) -> Any:
    images = torch.stack([sample["image"] for sample in samples]).contiguous(memory_format=torch.channels_last)
    return images, torch.stack([sample["half"] for sample in samples]), {"n": len(samples), "flags": [True]}


def test_what_a_collate_function_makes_arrives_as_it_was() -> None:
    with DataLoader(Mixed(), 20, num_workers=2, collate_fn=own_collate) as loader:
        for ours, theirs in zip(loader, TorchLoader(Mixed(), 20, collate_fn=own_collate), strict=True):
            assert_same(ours, theirs)
            assert ours[0].is_contiguous(memory_format=torch.channels_last)
            ours[0].mul_(0)  # the batch's own memory


def test_draws_of_torch_are_seeded_by_row() -> None:
    def epoch(workers: int, rows: int) -> Any:
        with DataLoader(Drawn(), rows, shuffle=True, num_workers=workers) as loader:
            return [torch.cat(parts) for parts in zip(*((a.flatten(), b, c) for a, b, c in loader))]

    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    alone = epoch(0, 10)
    assert torch.equal(torch.rand(1), wanted)
    for made in (epoch(2, 10), epoch(1, 3), epoch(3, 40)):
        assert_same(made, alone)
    assert len(set(alone[1].tolist())) == 40


def test_workers_are_as_torch_makes_them() -> None:
    with DataLoader(Worker(), 16, num_workers=2) as loader:
        for ids, counts, same, threads in loader:
            assert set(ids.tolist()) <= {0, 1}
            assert (counts == 2).all()
            assert same.all()
            assert (threads == 1).all()
    assert get_worker_info() is None


def test_data_sets_of_torch_itself_work() -> None:
    x, y = torch.arange(60.0).reshape(20, 3), torch.arange(20)
    subset = Subset(TensorDataset(x, y), range(10, 20))
    with DataLoader(subset, 5, num_workers=1) as loader:
        assert_same(list(loader), list(TorchLoader(subset, 5)))
    with DataLoader([(float(index), index) for index in range(20)], 5, num_workers=1) as loader:
        assert [batch[1].tolist() for batch in loader] == [list(range(at, at + 5)) for at in range(0, 20, 5)]


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_come_alone_as_torch_converts_them(workers: int) -> None:
    with DataLoader(Mixed(), batch_size=None, num_workers=workers) as loader:
        for ours, theirs in zip(loader, TorchLoader(Mixed(), batch_size=None), strict=True):
            assert_same(ours, theirs)


def test_ragged_and_lists_are_tensors_too() -> None:
    from own_data import Boxes

    with DataLoader(Boxes(), 6, num_workers=1, collate_fn=("stack", {"boxes": "ragged", "labels": "list"})) as loader:
        images, targets = next(iter(loader))
        assert isinstance(images, torch.Tensor)
        assert isinstance(targets["boxes"].values, torch.Tensor)
    with DataLoader(Boxes(), 6, num_workers=1, collate_fn="list") as loader:
        images, targets = next(iter(loader))
        assert isinstance(images[0], torch.Tensor)
        assert isinstance(targets[0]["boxes"], torch.Tensor)


def test_data_that_can_only_be_iterated_is_left_to_torch(capfd: pytest.CaptureFixture[str]) -> None:
    loader = DataLoader(Stream(), batch_size=4)
    assert [batch.tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert "Stream can only be iterated: torch's own DataLoader runs it" in capfd.readouterr().err
    with pytest.raises(InvalidError, match="needs __getitem__"):
        DataLoader(Stream(), batch_size=4, seed=3)


def test_a_generator_gives_the_seed() -> None:
    def first(**how: Any) -> Any:
        with DataLoader(Drawn(), 8, shuffle=True, num_workers=0, **how) as loader:
            return next(iter(loader))

    assert_same(first(generator=torch.Generator().manual_seed(7)), first(seed=7))


def test_a_loader_is_one_of_torchs_and_can_be_copied() -> None:
    with DataLoader(Drawn(), 10, shuffle=True, num_workers=1, collate_fn="stack") as loader:
        assert isinstance(loader, TorchLoader)
        assert isinstance(loader.dataset, Drawn)
        assert (loader.num_workers, loader.batch_size, len(loader)) == (1, 10, 4)
        first = list(loader)
        copied = copy.copy(loader)
        copied.set_epoch(0)
        assert_same(list(copied), first)
        copied.close()


def test_a_distributed_sampler_gives_the_rank() -> None:
    seen: list[int] = []
    for rank in range(2):
        sampler = DistributedSampler(Mixed(), num_replicas=2, rank=rank, shuffle=True, seed=4)
        with DataLoader(Mixed(), 5, sampler=sampler, num_workers=1) as loader:
            seen += [number for batch in loader for number in batch["number"].tolist()]
    assert sorted(seen) == list(range(40))
