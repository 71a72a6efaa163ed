"""No loader: bare threads of `forebay bench` that open, read, decode the crop and resize into a buffer of their own.

What forebay is held against as its ceiling: the same rows, the same decoder and kernels, nothing handed to anybody.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .settings import Batch, Install, Peer, Settings


def measure(settings: Settings, warmup_seconds: float, seconds: float) -> dict[str, Any]:
    """Run both turns of the stage `floor`, each for half of the time; the files were read before, so no warm-up."""
    words = ["bench", settings.data, "--stage", "floor", "--rounds", "1", "--seconds", str(seconds / 2), "--json"]
    words += ["--dtype", settings.dtype, "--batch", str(settings.batch), "--threads", str(settings.workers)]
    words += ["--warmup", str(warmup_seconds)]
    said = subprocess.run([binary(), *words], stdout=subprocess.PIPE, text=True, check=True).stdout
    report = json.loads(said)
    (stage,) = report["stages"]
    (round_,) = stage["rounds"]
    turns = ("forebay", "bare")
    wall = sum(round_["rows"] / round_[f"{turn}_per_second"] for turn in turns)
    cpu = sum(round_["rows"] * round_[f"{turn}_cpu_s_per_1000"] / 1000 for turn in turns)
    rows = 2 * round_["rows"]
    return {
        "rows": rows,
        "seconds": wall,
        "rows_per_second": rows / wall,
        "cpu_s_per_1000": 1000 * cpu / rows,
        "pss_mb": report["peak_memory_bytes"] / 1e6,
        "pss_file_mb": 0.0,
        "first_batch_seconds": 0.0,
    }


def binary() -> str:
    """Find the command: what the harness names, else what this tree has built."""
    built = Path(__file__).parents[2] / "target" / "release" / "forebay"
    return os.environ.get("FOREBAY_BINARY") or str(built)


def no_batches(settings: Settings) -> Iterator[Batch]:
    """Give nothing: it is measured by itself."""
    raise NotImplementedError(f"{settings.data}: the floor hands over no batch")


INSTALL = Install(torch=False)
PEERS = (
    Peer(
        "rust-floor",
        "no loader: a bare loop of threads in Rust, antialiased, to no consumer",
        no_batches,
        measure=measure,
    ),
)
