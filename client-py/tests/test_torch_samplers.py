"""torch's samplers mean in forebay what they mean in torch, or say what they mean."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CROP
from test_order import asked, lists_of

from forebay.errors import InvalidError
from forebay.numpy import DataLoader

data = pytest.importorskip("torch.utils.data")


def test_orders_that_forebay_has_are_forebays(capfd: pytest.CaptureFixture[str]) -> None:
    assert asked(sampler=data.SequentialSampler(range(30))).spec == asked().spec
    assert not capfd.readouterr().err
    assert asked(sampler=data.RandomSampler(range(30))).spec == asked(shuffle=True).spec
    assert "forebay shuffles in its place, by seed=0" in capfd.readouterr().err
    weighted = asked(sampler=data.WeightedRandomSampler([1, 0, 3], 50)).spec
    assert (weighted["sampler"], weighted["epoch_rows"]) == ("SAMPLER_WEIGHTED", "50")
    assert np.frombuffer(b64decode(weighted["weights"]), "<f8").tolist() == [1, 0, 3]


def test_orders_that_only_torch_has_are_drawn(capfd: pytest.CaptureFixture[str]) -> None:
    import torch

    def seeded() -> Any:
        return torch.Generator().manual_seed(3)

    for make in (
        lambda: data.RandomSampler(range(30), generator=seeded()),
        lambda: data.RandomSampler(range(30), num_samples=10, generator=seeded()),
        lambda: data.RandomSampler(range(30), replacement=True, generator=seeded()),
        lambda: data.SubsetRandomSampler(range(5, 15), generator=seeded()),
        lambda: data.WeightedRandomSampler([1, 2, 3], 2, replacement=False, generator=seeded()),
    ):
        assert lists_of(asked(sampler=make())) == [list(make())]
        assert "drew" in capfd.readouterr().err
    twice, expected = (
        data.RandomSampler(range(30), generator=seeded()),
        data.RandomSampler(range(30), generator=seeded()),
    )
    assert lists_of(asked(sampler=twice, sampler_epochs=2)) == [list(expected), list(expected)]
    assert len(lists_of(asked(sampler=data.RandomSampler(range(30), num_samples=70)))[0]) == 70


def test_a_subclass_is_drawn_whatever_it_derives_from() -> None:
    class Backwards(data.SequentialSampler):
        def __iter__(self) -> Any:
            return iter(range(len(self.data_source) - 1, -1, -1))

    assert lists_of(asked(sampler=Backwards(range(3)))) == [[2, 1, 0]]


def test_torchs_batch_sampler_is_its_sampler_and_a_batch_size() -> None:
    order = asked(batch_sampler=data.BatchSampler(data.RandomSampler(range(30)), 4, drop_last=True))
    assert (order.spec, order.batch_rows, order.drops_last) == (asked(shuffle=True).spec, 4, True)
    order = asked(batch_sampler=data.BatchSampler([5, 3, 1], 2, drop_last=False))
    assert (lists_of(order), order.batch_rows, order.drops_last) == ([[5, 3, 1]], 2, False)


def test_a_distributed_sampler_is_the_order_of_all_ranks_and_names_one() -> None:
    sampler = data.DistributedSampler(range(30), num_replicas=2, rank=1, seed=4)
    for changes in ({"sampler": sampler}, {"batch_sampler": data.BatchSampler(sampler, 4, False)}):
        order = asked(**changes)
        assert order.spec == asked(shuffle=True, seed=4).spec
        assert order.share is not None
        assert (order.share.rank, order.share.size, order.samples) == (1, 2, 30)


def test_one_ranks_part_in_another_wrapping_is_refused_with_the_cure() -> None:
    class Wrapper(list[Any]):
        def __init__(self, sampler: Any) -> None:
            super().__init__(sampler)
            self.sampler = sampler

    sampler = data.DistributedSampler(range(30), num_replicas=2, rank=0)
    for changes in ({"sampler": Wrapper(sampler)}, {"batch_sampler": Wrapper(sampler)}):
        with pytest.raises(InvalidError, match="cuts the order into ranks itself"):
            asked(**changes)


def test_a_sampler_of_another_data_set_is_refused(folder: Path, daemon: str) -> None:
    with pytest.raises(InvalidError, match="over 29 samples and the data set has 30"):
        len(DataLoader(folder, transform=CROP, sampler=data.RandomSampler(range(29))))
    assert len(DataLoader(folder, transform=CROP, sampler=data.RandomSampler(range(30)))) == 30
