"""Measures one peer once, in a process of its own, and prints one line of JSON. `run.py` starts it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time

import tree
from settings import Batch, Peer, Settings


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--dtype", choices=("u8", "f32"), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--warmup", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    settings = Settings(args.data, args.dtype, args.batch, args.workers)
    peer: Peer = importlib.import_module(args.module).PEER
    print(json.dumps(measure(peer, settings, args.warmup, args.seconds)))
    sys.stdout.flush()
    # Some peers take seconds to take themselves down, and some hang: nobody waits for that here.
    _end_children()
    os._exit(0)


def measure(peer: Peer, settings: Settings, warmup_seconds: float, seconds: float) -> dict[str, float]:
    """Take batches at once, touching none; the clock runs from one batch's arrival to another's."""
    began = time.perf_counter()
    batches = peer.batches(settings)
    check(next(batches), settings)
    first_batch_seconds = time.perf_counter() - began
    while time.perf_counter() - began < first_batch_seconds + warmup_seconds:
        check(next(batches), settings)
    pid, count = os.getpid(), 0
    started, cpu_before = time.perf_counter(), tree.cpu_seconds(os.getpid())
    while time.perf_counter() - started < seconds:
        next(batches)
        count += 1
    wall, cpu = time.perf_counter() - started, tree.cpu_seconds(pid) - cpu_before
    rows = count * settings.batch
    return {
        "rows": rows,
        "seconds": wall,
        "rows_per_second": rows / wall,
        "cpu_s_per_1000": 1000 * cpu / rows,
        "pss_mb": tree.pss_bytes(pid) / 1e6,
        "first_batch_seconds": first_batch_seconds,
    }


def check(batch: Batch, settings: Settings) -> None:
    """Refuse a peer that gives less than was asked for: it does not get into the table."""
    if batch.images.nbytes != settings.batch_bytes or len(batch.labels) != settings.batch:
        raise SystemExit(
            f"a batch of {batch.images.nbytes} bytes and {len(batch.labels)} labels, "
            f"asked for {settings.batch_bytes} and {settings.batch}"
        )


def _end_children() -> None:
    for child in tree.members(os.getpid())[1:]:
        try:
            os.kill(child, 9)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main()
