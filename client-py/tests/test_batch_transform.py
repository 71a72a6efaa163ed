"""`batch_transform`: Python work on each batch, in the process that trains."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import CROP

from forebay.errors import InvalidError
from forebay.numpy import DataLoader


def labels(batch: Any) -> list[int]:
    return batch[1].tolist()


def test_next_gives_what_it_returns_for_what_next_would_give(daemon: str, folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=CROP) as plain:
        wanted = [labels(batch) for batch in plain]
    seen: list[tuple[int, ...]] = []

    def transform(batch: Any) -> dict[str, Any]:
        seen.append(batch[0].shape)
        return {"labels": labels(batch)}

    with DataLoader(folder, batch_size=4, transform=CROP, batch_transform=transform) as loader:
        assert [batch["labels"] for batch in loader] == wanted
    assert seen[0] == (4, 16, 16, 3)


def test_none_is_a_batch_like_any_other(folder: Path) -> None:
    with DataLoader(folder, batch_size=4, transform=CROP, batch_transform=lambda _: None) as loader:
        assert list(loader) == [None] * len(loader)


def test_its_error_comes_out_as_it_is_and_the_same_batch_comes_again(daemon: str, folder: Path) -> None:
    class OddError(Exception):
        pass

    failures = [3, 3, 5]
    count = 0

    def transform(batch: Any) -> list[int]:
        nonlocal count
        if failures and count == failures[0]:
            failures.pop(0)
            raise OddError("odd")
        count += 1
        return labels(batch)

    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP) as plain:
        wanted = [labels(batch) for batch in plain]
    with DataLoader(folder, batch_size=4, shuffle=True, transform=CROP, batch_transform=transform) as loader:
        iterator, got, positions = iter(loader), [], []
        raised: list[OddError] = []
        while len(got) < len(wanted):
            positions.append(loader.state_dict()["position"])
            try:
                got.append(next(iterator))
            except OddError as error:
                raised.append(error)
        assert got == wanted
        assert [error.args for error in raised] == [("odd",)] * 3
        if sys.version_info >= (3, 11):
            noted = [error.__notes__ for error in raised]
            assert noted == [[f"in batch_transform of the batch at epoch 0, row {row}"] for row in (12, 12, 20)]
        assert positions == [0, 4, 8, 12, 12, 12, 16, 20, 20, 24, 28]
        with pytest.raises(StopIteration):
            next(iterator)


def test_its_time_is_pythons_and_not_the_trainers(daemon: str, folder: Path) -> None:
    def transform(batch: Any) -> Any:
        time.sleep(0.02)
        return batch

    with DataLoader(folder, batch_size=4, transform=CROP, batch_transform=transform) as loader:
        list(loader)
        stats = loader.stats()
    assert stats["python_seconds"] >= 0.02 * 8
    assert stats["trainer_seconds"] < stats["python_seconds"]
    assert "Python's own work" in str(stats)


def test_what_cannot_be_called_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidError, match="batch_transform='resize' is not callable"):
        DataLoader(folder, batch_transform="resize")  # type: ignore[arg-type]


def test_torch_gets_tensors(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    from forebay.torch import DataLoader as TorchLoader

    def transform(batch: Any) -> Any:
        images, classes = batch
        return images.float().mean(dim=(1, 2, 3)), classes

    with TorchLoader(folder, batch_size=4, transform=CROP, batch_transform=transform) as loader:
        means, _ = next(iter(loader))
        assert means.dtype == torch.float32
        assert means.shape == (4,)
