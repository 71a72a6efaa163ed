"""What a process and its descendants have used: processor seconds, and memory that counts no page twice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
STEP_SECONDS = 1 / _TICKS


@dataclass(frozen=True)
class Memory:
    """Proportional set size: a shared page counts once, spread over those that map it.

    file_bytes: the part of it that is pages of files: libraries, and data that is mapped from the page cache.
    """

    pss_bytes: int
    file_bytes: int


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree and of children waited for, in steps of STEP_SECONDS a process."""
    return sum(sum(int(field) for field in _stat(member)[11:15]) for member in members(pid)) / _TICKS


def memory(pid: int) -> Memory:
    """Sum the tree's memory."""
    parts = [_rollup(member) for member in members(pid)]
    return Memory(sum(part.get("Pss", 0) for part in parts), sum(part.get("Pss_File", 0) for part in parts))


def device_bytes(pid: int) -> int:
    """Sum what the tree's living processes have had fetched from devices, as the kernel counts it."""
    return sum(_fetched(member) for member in members(pid))


def members(pid: int) -> list[int]:
    """Give the process and all of its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found, open_ = [], [pid]
    while open_:
        found.append(open_.pop())
        open_ += children.get(found[-1], [])
    return found


def is_alive(pid: int) -> bool:
    """Tell whether a process is there and no zombie, which uses nothing any more."""
    return _stat(pid)[0] not in {"0", "Z", "X"}


def _stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat from the state on; zeros for a process that has just ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["0"] * 50
    return text.rpartition(")")[2].split()


def _fetched(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("read_bytes:")), 0)


def _rollup(pid: int) -> dict[str, int]:
    """Read /proc/PID/smaps_rollup as bytes by name; nothing for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines[1:])
    return {field[0].rstrip(":"): int(field[1]) * 1024 for field in fields if field[-1] == "kB"}
