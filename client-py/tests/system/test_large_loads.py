"""Large samples and few descriptors: memory stays where its settings put it, and nothing runs out in mid-run."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import REAL, write_folder

from forebay import Folder, Raw
from forebay.numpy import DataLoader

from .support import SMALL, Node, pick

MB = 1 << 20
SAMPLE_BYTES = pick(48 * MB, 200 * MB)
READ_BUDGET = pick(4 * MB, 64 * MB)
# Stacks of threads, what malloc keeps, the runtime: measured 4 to 16. Less than another sample.
OWN_BYTES = 24 * MB


def peak_bytes(pid: int) -> int:
    """Give a process's peak of resident memory, its arenas included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """12 large samples; holes, so that they take no disk."""
    folder = tmp_path / "volumes" / "all"
    folder.mkdir(parents=True)
    for number in range(12):
        with (folder / f"{number}.bin").open("wb") as file:
            file.write(bytes([number + 1]) * 4096)
            file.truncate(SAMPLE_BYTES)
            os.fsync(file.fileno())
    return folder.parent


def evict(folder: Path) -> None:
    """Drop files from memory, so that they are read into buffers: what is there goes straight to the slots."""
    for path in folder.rglob("*.bin"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@pytest.mark.deadline(pick(60, 600))
@pytest.mark.parametrize("depth", pick((1, 2, 8), (1, 2, 8, 32)))
def test_memory_is_the_slots_the_read_budget_and_a_sample_at_any_depth(
    make_node: Callable[[], Node], volumes: Path, tmp_path: Path, depth: int
) -> None:
    arena = 40 * SAMPLE_BYTES // MB
    node = make_node().configure(
        tmp_path, cpu_threads=2, read_threads=16, read_budget=f"{READ_BUDGET // MB}MiB", arena_budget=f"{arena}MiB"
    )
    node.start()
    before = peak_bytes(node.pid)
    fields = {"volume": Raw("image", capacity=SAMPLE_BYTES)}
    data = Folder(volumes, extensions=(".bin",))
    with DataLoader(data, batch_size=1, fields=fields, prefetch=depth, max_leases=2, daemon=node.socket) as loader:
        for is_cold in (True, False, True):
            if is_cold:
                evict(volumes)
            for batch in loader:
                assert batch["volume"].shape == (1, SAMPLE_BYTES)
                assert batch["volume"][0, 0] > 0
                assert batch["volume"][0, -1] == 0
        (session,) = node.sessions()
    slots = session["slots"] * SAMPLE_BYTES
    allowed = before + slots + READ_BUDGET + SAMPLE_BYTES + OWN_BYTES
    assert peak_bytes(node.pid) <= allowed, f"{peak_bytes(node.pid) / MB:.0f} MiB, {allowed / MB:.0f} are allowed"
    node.stop()


def limited(folder: Path, limit: str) -> str:
    """Give a program that runs the daemon with so many open files: `-n 256`, or `-Sn 64` which it may raise itself."""
    script = folder / "limited"
    script.write_text(f'#!/bin/sh\nulimit {limit}\nexec {REAL} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def test_with_256_descriptors_no_read_fails_for_want_of_one(make_node: Callable[[], Node], tmp_path: Path) -> None:
    data = write_folder(tmp_path / "data", 60, "abc")
    node = make_node().configure(tmp_path, cpu_threads=2, read_threads=128)
    node.start(binary=limited(tmp_path, "-n 256"))
    with contextlib.ExitStack() as stack:
        loaders = [
            stack.enter_context(DataLoader(data, batch_size=20, transform=SMALL, prefetch=4, daemon=node.socket))
            for _ in range(12)
        ]
        for batches in zip(*loaders, strict=True):
            assert all(len(labels) == 20 for _, labels in batches)
        assert [session.get("retries", 0) for session in node.sessions()] == [0] * len(node.sessions())
    node.stop()


def test_a_low_limit_that_may_be_raised_is(make_node: Callable[[], Node], tmp_path: Path) -> None:
    node = make_node().configure(tmp_path, read_threads=128).start(binary=limited(tmp_path, "-Sn 70"))
    limits = Path(f"/proc/{node.pid}/limits").read_text().splitlines()
    soft, hard = next(line.split()[3:5] for line in limits if line.startswith("Max open files"))
    assert soft == hard != "70"
    node.stop()


def test_too_few_descriptors_for_the_reads_are_refused_at_the_start_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(f'read_threads = 128\n[[root]]\npath = "{tmp_path}"\n')
    command = [limited(tmp_path, "-n 100"), "serve", "--config", str(tmp_path / "node.toml")]
    socket = ["--socket", str(tmp_path / "s.sock")]
    done = subprocess.run([*command, *socket], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert "100 open files are allowed, and 128 reads at a time need 192" in done.stderr
    assert "LimitNOFILE" in done.stderr
