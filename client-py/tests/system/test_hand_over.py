"""A batch of 38.5 MB reaches the consumer without a copy; what that costs is printed, never asserted."""

from __future__ import annotations

import mmap
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import forebay
from conftest import write_png
from forebay.numpy import DataLoader
from forebay.transforms import Resize

from .support import pick

ROWS = 256
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
    wall: list[float] = []
    cpu: list[float] = []
    first = True
    with DataLoader(data, batch_size=ROWS, tail="drop", fields=fields, prefetch=2) as loader:
        batches = iter(loader)
        for _ in range(pick(4, 50)):
            wait_for_ready(loader)
            before = time.thread_time_ns(), time.perf_counter_ns()
            batch = next(batches, None)
            after = time.thread_time_ns(), time.perf_counter_ns()
            if batch is None:
                batches = iter(loader)
                continue
            if first:  # it maps the arena
                first = False
            else:
                cpu.append((after[0] - before[0]) / 1000)
                wall.append((after[1] - before[1]) / 1000)
            images: Any = batch["image"]
            assert images.nbytes == BATCH_BYTES
            assert images.ctypes.data % mmap.PAGESIZE == 0
            assert lies_in_an_arena(images.ctypes.data, images.nbytes)
            assert images.flags.writeable
            del batch, images
        assert loader.stats()["copies"] == 0
    print(
        f"hand-over of {BATCH_BYTES / 1e6:.1f} MB, client, {len(cpu)} batches: CPU min {min(cpu):.0f}, "
        f"median {statistics.median(cpu):.0f}, p90 {np.percentile(cpu, 90):.0f} us; "
        f"wall median {statistics.median(wall):.0f} us"
    )


def wait_for_ready(loader: DataLoader) -> None:
    """Wait until the daemon has a batch on our socket, so that `next()` measures the hand-over alone."""
    import select

    (session,) = list(loader._pool._sessions)
    channel = session._channel
    if channel is not None:
        select.select([channel.records.sock], [], [], 30)
        time.sleep(0.02)


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
