"""Storage that takes long to answer: reads run ahead, as many at a time as the daemon may make."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import write_folder

from forebay.numpy import DataLoader

from .support import SMALL, Node, slow_mount

FUSE = pytest.mark.skipif(
    os.getuid() != 0 or not os.path.exists("/dev/fuse"), reason="needs root and /dev/fuse, to mount a slow folder"
)
READS = 12


@FUSE
@pytest.mark.parametrize("prefetch", [1, 4])
def test_as_many_files_are_opened_at_a_time_as_there_are_read_threads_and_batches_are_the_same(
    make_node: Callable[[], Node], tmp_path: Path, prefetch: int
) -> None:
    near = write_folder(tmp_path / "near", 40, "ab")
    node = make_node().configure(tmp_path, cpu_threads=2, read_threads=READS).start()

    def epoch(data: Path) -> list[np.ndarray]:
        with DataLoader(
            data, batch_size=16, shuffle=True, seed=3, transform=SMALL, prefetch=prefetch, daemon=node.socket
        ) as loader:
            return [images.copy() for images, _ in loader]

    with slow_mount(near, tmp_path / "slow", 2, together=READS) as mount:
        far = epoch(mount.path)
    # What hides 2 ms a file is that others are asked for meanwhile: the batch in hand and those behind it are never
    # fewer than the threads that read.
    assert mount.opening_most == READS
    assert all(np.array_equal(one, other) for one, other in zip(far, epoch(near), strict=True))
    node.stop()


@FUSE
def test_one_reader_opens_one_file_at_a_time(make_node: Callable[[], Node], tmp_path: Path) -> None:
    near = write_folder(tmp_path / "near", 10, "ab")
    node = make_node().configure(tmp_path, cpu_threads=2, read_threads=1).start()
    with (
        slow_mount(near, tmp_path / "slow", 2) as mount,
        DataLoader(mount.path, batch_size=4, transform=SMALL, daemon=node.socket) as loader,
    ):
        assert sum(len(labels) for _, labels in loader) == 20
    assert mount.opening_most == 1
    node.stop()
