"""A batch of 38.5 MB reaches the consumer without a copy; what that costs is printed, never asserted."""

from __future__ import annotations

import mmap
import re
import statistics
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import write_png

import forebay
from forebay.numpy import DataLoader
from forebay.transforms import Resize

from .support import pick, wait_until

ROWS = 256
BURST = 3
BATCH_BYTES = ROWS * 224 * 224 * 3


@pytest.fixture
def data(tmp_path: Path) -> forebay.Records:
    """Few small files that decode fast, so that the daemon stays ahead of the consumer."""
    write_png(tmp_path / "one.png", 1, side=8)
    rows = [{"path": "one.png", "key": str(index)} for index in range(ROWS * 8)]
    return forebay.Records(rows, root=tmp_path, columns={"path": "path", "key": "text"})


def mapped_ranges() -> list[tuple[int, int]]:
    """Give where this process has arenas mapped."""
    maps = Path("/proc/self/maps").read_text()
    found = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) .*/memfd:forebay", maps, re.MULTILINE)
    return [(int(low, 16), int(high, 16)) for low, high in found]


def lies_in_an_arena(address: int, length: int) -> bool:
    return any(low <= address and address + length <= high for low, high in mapped_ranges())


@pytest.mark.deadline(300)
def test_a_large_batch_is_handed_over_without_a_copy(data: forebay.Records) -> None:
    fields = {"image": forebay.Image("path", transform=[Resize((224, 224))])}
    after_idling: list[float] = []
    in_a_row: list[float] = []
    with DataLoader(data, batch_size=ROWS, tail="drop", fields=fields, prefetch=BURST) as loader:
        next(iter(loader))  # maps the arena
        for _ in range(pick(1, 15)):
            batches = iter(loader)
            wait_until_idle(loader)
            for place in range(BURST):
                before = time.thread_time_ns()
                batch = next(batches)
                spent_us = (time.thread_time_ns() - before) / 1000
                (in_a_row if place else after_idling).append(spent_us)
                images: Any = batch["image"]
                assert images.nbytes == BATCH_BYTES
                assert images.ctypes.data % mmap.PAGESIZE == 0
                assert lies_in_an_arena(images.ctypes.data, images.nbytes)
                assert images.flags.writeable
                del batch, images
        assert loader.stats()["copies"] == 0
    for name, spent in (("first after idling", after_idling), ("the next ones", in_a_row)):
        print(
            f"hand-over of {BATCH_BYTES / 1e6:.1f} MB that is ready, client's CPU, {name} ({len(spent)}): "
            f"min {min(spent):.0f}, median {statistics.median(spent):.0f}, max {max(spent):.0f} us"
        )


def wait_until_idle(loader: DataLoader) -> None:
    """Wait until the daemon has sent all that it may: its count of batches stands still."""
    sent = [-1]

    def stands_still() -> bool:
        time.sleep(0.3)
        sessions = loader.stats()["daemon"].get("sessions", [])
        sent.append(sum(session.get("batches", 0) for session in sessions))
        return sent[-1] == sent[-2]

    wait_until(stands_still, "the daemon has all of them ready", 120)


def test_a_torch_batch_is_the_arenas_own_memory(data: forebay.Records) -> None:
    pytest.importorskip("torch")
    from forebay.torch import DataLoader as TorchLoader

    fields = {"image": forebay.Image("path", transform=[Resize((64, 64))])}
    with TorchLoader(data, batch_size=ROWS, tail="drop", fields=fields) as loader:
        images = next(iter(loader))["image"]
        assert tuple(images.shape) == (ROWS, 3, 64, 64)
        assert lies_in_an_arena(images.data_ptr(), images.nbytes)
        assert images.permute(0, 2, 3, 1).is_contiguous(), "channels_last"
        outlived = images[3]
    pixels = outlived.clone()
    del images, loader
    assert (outlived == pixels).all()
