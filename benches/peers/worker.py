"""Measures one peer once, or converts for it, in a process of its own, and prints one line of JSON."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from . import catalogue, check, cold, tree
from .settings import PHOTOS, TASKS, Conversion, Install, Peer, Settings


def main() -> None:
    """Parse, do the one thing, print."""
    args = arguments()
    # Before any framework counts them: all its threads and processes get these, and each peer has a worker a core.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    module = importlib.import_module(f".{args.module}", __package__)
    task = TASKS[args.task]
    peer: Peer = next(peer for peer in catalogue.peers_of(module, task) if peer.name == args.peer)
    try:
        if args.convert_to:
            result = convert(peer, Conversion(Path(args.data), Path(args.convert_to), args.cores))
        else:
            settings = Settings(args.data, args.case, args.batch, args.cores, task)
            alone = cold.measure if args.case == "cold" else measure
            run = peer.measure or partial(alone, peer)
            result = run(settings, args.warmup, args.seconds) | {"versions": versions(module.INSTALL)}
    except check.WrongBatchError as wrong:
        print(f"error: {wrong}", file=sys.stderr, flush=True)
        _leave(1)
    # After a newline: what a framework has written to the same place may have none.
    print("\n" + json.dumps(result), flush=True)
    _leave(0)


def arguments() -> argparse.Namespace:
    """Parse what the harness has written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--convert-to")
    parser.add_argument("--task", choices=TASKS, default=PHOTOS.name)
    parser.add_argument("--case")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--warmup", type=float)
    parser.add_argument("--seconds", type=float)
    return parser.parse_args()


def measure(peer: Peer, settings: Settings, warmup_seconds: float, seconds: float) -> dict[str, Any]:
    """Take batches at once, touching none; the clock runs from one batch's arrival to another's."""
    began = time.perf_counter()
    batches = peer.batches(settings)
    batch = next(batches)
    first_batch_seconds = time.perf_counter() - began
    check.check_size(batch, settings)
    first, labels = check.copy_of_first(batch), check.copy_of_labels(batch)
    batch = next(batches)
    check.check_content(first, check.copy_of_first(batch), labels, settings)
    while time.perf_counter() - began < first_batch_seconds + warmup_seconds:
        batch = next(batches)
        check.check_size(batch, settings)
    pid, count = os.getpid(), 0
    started, cpu_before = time.perf_counter(), tree.cpu_seconds(pid)
    while time.perf_counter() - started < seconds:
        batch = next(batches)
        count += 1
    # No less than the clock's step, which is all that a very short run shows.
    wall, cpu = time.perf_counter() - started, max(tree.cpu_seconds(pid) - cpu_before, tree.STEP_SECONDS)
    memory = tree.memory(pid)
    rows = count * settings.batch
    return {
        "rows": rows,
        "seconds": wall,
        "rows_per_second": rows / wall,
        "cpu_s_per_1000": 1000 * cpu / rows,
        "pss_mb": memory.pss_bytes / 1e6,
        "pss_file_mb": memory.file_bytes / 1e6,
        "first_batch_seconds": first_batch_seconds,
    }


def convert(peer: Peer, conversion: Conversion) -> dict[str, Any]:
    """Write the peer's format, and tell what that took."""
    assert peer.convert is not None, f"{peer.name} reads the photographs as they are"
    started = time.perf_counter()
    peer.convert(conversion)
    written = [path for path in conversion.target.rglob("*") if path.is_file()]
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": tree.cpu_seconds(os.getpid()),
        "bytes": sum(path.stat().st_size for path in written),
    }


def versions(install: Install) -> dict[str, str]:
    """Tell what was really there: the packages that are pinned, and those that are shared."""
    names = [package.partition("==")[0] for package in install.packages]
    if install.torch:
        names += ["torch", "torchvision"]
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _leave(status: int) -> None:
    # Some peers take seconds to take themselves down, and some hang: nobody waits for that here.
    for child in tree.members(os.getpid())[1:]:
        try:
            os.kill(child, 9)
        except ProcessLookupError:
            continue
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
