"""What a process and its descendants have used: processor seconds, and memory that counts no page twice."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of the tree and of children waited for, in steps of 10 ms a process."""
    return sum(sum(int(field) for field in _stat(member)[11:15]) for member in members(pid)) / _TICKS


def pss_bytes(pid: int) -> int:
    """Proportional set size of the tree: shared pages count once, spread over those that map them."""
    return sum(_pss(member) for member in members(pid))


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


def _stat(pid: int) -> list[str]:
    """Read the fields of /proc/PID/stat from the state on; zeros for a process that has just ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ["0"] * 50
    return text.rpartition(")")[2].split()


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
