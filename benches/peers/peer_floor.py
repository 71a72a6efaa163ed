"""No loader: bare threads of `forebay bench`, which hand nothing to anybody.

What forebay is held against as its ceiling: the same rows, the same decoder and kernels, into a buffer of each thread's
own. Where files are wanted as they are: open, pread and close, into as much memory as a loader's batches go round in.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import raw
from .settings import FILE_BYTES, Batch, Install, Peer, Settings


def measure(settings: Settings, warmup_seconds: float, seconds: float) -> dict[str, Any]:
    """Run both turns of the stage `floor`, each for half of the time; the files were read before, so no warm-up."""
    timed = ["--seconds", str(seconds / 2), "--warmup", str(warmup_seconds)]
    return figures(bench("floor", settings, ["--dtype", settings.dtype, *timed]))


def measure_raw(settings: Settings, warmup_seconds: float, seconds: float) -> dict[str, Any]:
    """Run both turns of the stage `read-floor`. Cold: over all files, and the first turn alone, since it warms them."""
    if settings.case == "warm":
        timed = ["--seconds", str(seconds / 2), "--warmup", str(warmup_seconds)]
        return figures(bench("read-floor", settings, timed))
    files = len(raw.listed(settings.data)[0])
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
    report = bench("read-floor", settings, ["--rows", str(files), "--warmup", "0"])
    device_bytes = 512 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before)
    return figures(report, ("forebay",)) | {"from_device": device_bytes / (files * FILE_BYTES)}


def bench(stage: str, settings: Settings, more: list[str]) -> dict[str, Any]:
    """Give the report of one round."""
    words = ["bench", settings.data, "--stage", stage, "--rounds", "1", "--json", *more]
    words += ["--batch", str(settings.batch), "--threads", str(settings.workers)]
    return json.loads(subprocess.run([binary(), *words], stdout=subprocess.PIPE, text=True, check=True).stdout)


def figures(report: dict[str, Any], turns: Sequence[str] = ("forebay", "bare")) -> dict[str, Any]:
    """Add up the turns of a report's one stage and round; both are the bare loop's."""
    (stage,) = report["stages"]
    (round_,) = stage["rounds"]
    wall = sum(round_["rows"] / round_[f"{turn}_per_second"] for turn in turns)
    cpu = sum(round_["rows"] * round_[f"{turn}_cpu_s_per_1000"] / 1000 for turn in turns)
    rows = len(turns) * round_["rows"]
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
RAW_PEERS = (
    Peer(
        "bare-loop",
        "no loader: 16 threads in Rust, open, pread, close; to no consumer",
        no_batches,
        measure=measure_raw,
    ),
)
