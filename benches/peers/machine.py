"""What a figure means nothing without: the machine it was made on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe() -> dict[str, Any]:
    """Tell processor, cores, memory and kernel; no name and no path."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    values = dict(reversed([(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in lines)]))
    flags = values.get("flags", "").split()
    return {
        "processor": values.get("model name", platform.machine()),
        "processor_model": values.get("model", ""),
        "vector": next((name for name in ("avx512f", "avx2", "sse4_1") if name in flags), "none"),
        "processors": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def in_words(machine: dict[str, Any], cores: int) -> str:
    """Say it in a line."""
    gib = machine["memory_bytes"] / 2**30
    return f"{machine['processor']} ({machine['vector']}), {cores} cores, {gib:.0f} GiB, Linux {machine['kernel']}"
