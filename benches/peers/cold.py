"""Measures one peer on files that the page cache has just forgotten: part of one epoch, since a second one is warm."""

from __future__ import annotations

import os
import time
from typing import Any

from . import check, raw, tree
from .settings import FILE_BYTES, Peer, Settings

# Batches at both ends of the epoch that are not measured: at its start pipelines fill, at its end they run dry. In
# between each batch that comes stands for one that was read meanwhile.
_FIRST_SHARE, _LAST_SHARE = 0.1, 0.05


def window(files: int, batch: int) -> tuple[int, int]:
    """Tell after which batches of the epoch the clock starts and stops, counted from 1.

    Raises ValueError for so few files that nothing is left.
    """
    batches = files // batch
    first, last = max(2, round(batches * _FIRST_SHARE)), batches - max(1, round(batches * _LAST_SHARE))
    if last <= first:
        raise ValueError(f"{files} files are too few for cold batches of {batch}")
    return first, last


def measure(peer: Peer, settings: Settings, _warmup_seconds: float, _seconds: float) -> dict[str, Any]:
    """Take batches at once, touching none, to the end of the window. The harness has dropped the files before."""
    first, last = window(len(raw.listed(settings.data)[0]), settings.batch)
    pid, began = os.getpid(), time.perf_counter()
    batches = peer.batches(settings)
    batch = next(batches)
    first_batch_seconds = time.perf_counter() - began
    check.check_size(batch, settings)
    seen, labels = check.copy_of_first(batch), check.copy_of_labels(batch)
    batch = next(batches)
    second = check.copy_of_first(batch)
    for _ in range(2, first):
        batch = next(batches)
    started, cpu_before, device_before = time.perf_counter(), tree.cpu_seconds(pid), tree.device_bytes(pid)
    for _ in range(first, last):
        batch = next(batches)
    wall, cpu = time.perf_counter() - started, max(tree.cpu_seconds(pid) - cpu_before, tree.STEP_SECONDS)
    device, memory = tree.device_bytes(pid) - device_before, tree.memory(pid)
    # Not before: generating what the files should hold takes longer than reading them.
    check.check_size(batch, settings)
    check.check_content(seen, second, labels, settings)
    rows = (last - first) * settings.batch
    return {
        "rows": rows,
        "seconds": wall,
        "rows_per_second": rows / wall,
        "cpu_s_per_1000": 1000 * cpu / rows,
        "pss_mb": memory.pss_bytes / 1e6,
        "pss_file_mb": memory.file_bytes / 1e6,
        "first_batch_seconds": first_batch_seconds,
        "from_device": device / (rows * FILE_BYTES),
    }
