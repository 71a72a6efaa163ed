"""What do small files lose beside a bulk reader, and beside a checkpoint writer? One daemon, three situations in turns.

    PYTHONPATH=client-py/src:benches python -m load.mixed --work /mnt/flash/scratch --rounds 5 --out FILE.json

`alone`: one session of 20,000 files of 50 KiB as they are, in random order, batches of 256. `bulk`: beside it another
process takes samples of 20 MB through the same daemon, as fast as it gets them. `checkpoints`: beside it a process
writes files of 2 GB, with fsync, a second apart. Everything is cold: files are dropped from the page cache before each
turn, and those of the bulk reader all the time. A turn is a part of one epoch (`peers/cold.py`).

Told are the small files' rate and what a batch was waited for; how long their reads took (the daemon's histogram, so
between two of its bounds, and not beside the bulk reader, whose reads it holds too); what the neighbour did meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peers import cold, raw
from peers.datasets import SETS, is_raw_made
from peers.envs import say
from peers.intervals import Interval, interval, paired_ratio
from peers.machine import describe, in_words
from peers.settings import FILE_BYTES

from .node import Node, built, quantile

BATCH = 256
BULK_BYTES, BULK_FILES, BULK_BATCH = 20_000_000, 64, 2
CHECKPOINT_BYTES, PIECE_BYTES = 2_000_000_000, 16 << 20
# A neighbour is given so long to get going.
HEAD_START_SECONDS = 1.0
SITUATIONS = ("alone", "bulk", "checkpoints")


def main() -> int:
    """Make the files, take turns, tell."""
    if sys.argv[1:2] == ["neighbour"]:
        return neighbour(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    args = arguments()
    small, bulk = args.work / "small", args.work / "bulk"
    if not is_raw_made(small, SETS["raw50k"]):
        say(f"making {SETS['raw50k'].files} files of 50 KiB and {BULK_FILES} of 20 MB in {args.work}")
        raw.make(small, SETS["raw50k"].files)
    make_bulk(bulk)
    turns: list[dict[str, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="forebay-mixed-") as folder,
        Node(Path(folder), args.work, args.forebay) as node,
    ):
        for number in range(1, args.rounds + 1):
            turns.append({name: turn(name, node, small, bulk) for name in args.situations})
            rates = ", ".join(f"{name} {found['per_second']:.0f} files/s" for name, found in turns[-1].items())
            say(f"round {number} of {args.rounds}: {rates}")
    found = summary(turns)
    print(told(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the files are or are to be made: 2.4 GB, and 2 more"
    )
    parser.add_argument("--forebay", type=Path, default=built())
    parser.add_argument("--rounds", type=int, default=5, help="an interval needs two (default: %(default)s)")
    parser.add_argument("--only", default=",".join(SITUATIONS), help="situations (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file")
    args = parser.parse_args()
    args.situations = args.only.split(",")
    if unknown := set(args.situations) - set(SITUATIONS):
        parser.error(f"unknown {', '.join(unknown)}; there are {', '.join(SITUATIONS)}")
    if not args.forebay.exists():
        parser.error(f"{args.forebay} is not there: ./dev build, or name yours with --forebay")
    args.work, args.forebay = args.work.resolve(), args.forebay.resolve()
    return args


def make_bulk(folder: Path) -> None:
    """Write the large files where they are not there: noise, no two alike."""
    (folder / "all").mkdir(parents=True, exist_ok=True)
    for number in range(BULK_FILES):
        path = folder / "all" / f"{number:03}{raw.SUFFIX}"
        if not path.exists() or path.stat().st_size != BULK_BYTES:
            path.write_bytes(os.urandom(BULK_BYTES))
    os.sync()


def turn(name: str, node: Node, small: Path, bulk: Path) -> dict[str, float]:
    """Measure the small files once in one situation."""
    paths, _ = raw.listed(str(small))
    with beside(name, node, bulk) as work:
        raw.forget(paths)
        before, did_before = node.histogram("forebay_read_seconds"), work()
        waits, own = small_files(node, small)
        # Histograms take what they were given every two seconds.
        did, wall = work() - did_before, sum(waits)
        time.sleep(2.1)
        after = node.histogram("forebay_read_seconds")
    os.sync()
    low, high = quantile(before, after, 0.99)
    reads = float(own.get("reads", 0)) or 1.0
    found = {
        "per_second": len(waits) * BATCH / wall,
        "batch_wait_p50_ms": 1000 * sorted(waits)[len(waits) // 2],
        "batch_wait_p99_ms": 1000 * sorted(waits)[-1 - len(waits) // 100],
        "read_mean_ms": float(own.get("readUs", 0)) / reads / 1000,
        "neighbour_mb_per_s": did / wall / 1e6,
    }
    return found if name == "bulk" else {**found, "read_p99_above_ms": 1000 * low, "read_p99_below_ms": 1000 * high}


def small_files(node: Node, folder: Path) -> tuple[list[float], dict[str, Any]]:
    """Take a part of an epoch at once; the seconds between one batch and the next, and the session's own sums."""
    from forebay import Folder, Raw, Value
    from forebay.numpy import DataLoader

    first, last = cold.window(SETS["raw50k"].files, BATCH)
    waits: list[float] = []
    with DataLoader(
        Folder(folder, extensions=(raw.SUFFIX,)),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        seed=time.monotonic_ns() & 0xFFFF,
        rolling=False,
        fields={"data": Raw("image", capacity=FILE_BYTES), "label": Value()},
        daemon=node.socket,
    ) as loader:
        came = 0.0
        for number, _ in enumerate(loader, 1):
            now, then = time.perf_counter(), came
            came = now
            if number > first:
                waits.append(now - then)
            if number == last:
                own = next(session for session in node.sessions() if int(session.get("rows", 0)) > BATCH * BULK_BATCH)
                return waits, own
    raise AssertionError("an epoch is longer than its part")


@contextmanager
def beside(name: str, node: Node, bulk: Path) -> Iterator[Callable[[], float]]:
    """Let a neighbour work; gives what tells the bytes that it has read or written so far."""
    if name == "alone":
        yield lambda: 0.0
        return
    folder = bulk if name == "bulk" else bulk.parent
    command = [sys.executable, "-m", f"{__package__}.mixed", "neighbour", name, str(folder), node.socket]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told, ended = [0.0], threading.Event()

    def listen() -> None:
        for line in child.stdout or ():
            told[0] = float(line)

    def forget() -> None:
        paths, _ = raw.listed(str(bulk))
        while not ended.wait(0.05):
            raw.forget(paths)

    threads = [threading.Thread(target=listen), *([threading.Thread(target=forget)] if name == "bulk" else [])]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 60
        while not told[0] and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(HEAD_START_SECONDS)
        yield lambda: told[0]
    finally:
        ended.set()
        child.kill()
        child.wait()
        for thread in threads:
            thread.join()
        for left in bulk.parent.glob("checkpoint-*"):
            left.unlink()


def neighbour(name: str, folder: Path, socket: str) -> int:
    """Work until somebody ends it, printing the bytes done so far."""
    done = 0
    for piece in bulk_batches(folder, socket) if name == "bulk" else checkpoints(folder):
        done += piece
        print(done, flush=True)
    return 0


def bulk_batches(folder: Path, socket: str) -> Iterator[int]:
    """Take large samples for ever."""
    from forebay import Folder, Raw
    from forebay.numpy import DataLoader

    loader = DataLoader(
        Folder(folder, extensions=(raw.SUFFIX,)),
        batch_size=BULK_BATCH,
        shuffle=True,
        drop_last=True,
        fields={"data": Raw("image", capacity=BULK_BYTES)},
        daemon=socket,
    )
    while True:
        for batch in loader:
            yield batch["data"].nbytes


def checkpoints(folder: Path) -> Iterator[int]:
    """Write checkpoints for ever, as training code does: beside, flushed, then in the place of the last."""
    piece = os.urandom(PIECE_BYTES)
    while True:
        new = folder / "checkpoint-new"
        with new.open("wb", buffering=0) as file:
            for _ in range(CHECKPOINT_BYTES // PIECE_BYTES):
                yield file.write(piece)
            os.fsync(file.fileno())
        new.rename(folder / "checkpoint-last")
        time.sleep(1.0)


def summary(turns: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Give each situation's figures, and its rate over that of `alone` in the same round."""

    def triple(found: Interval | None) -> list[float | None] | None:
        return found and ([found.middle, found.low, found.high] if found.known else [found.middle, None, None])

    rates = {name: dict(enumerate(turn[name]["per_second"] for turn in turns)) for name in turns[0]}
    situations: dict[str, Any] = {}
    for name in turns[0]:
        figures = {key: [turn[name][key] for turn in turns] for key in turns[0][name]}
        situations[name] = {
            key: triple(interval(values)) if min(values) > 0 else sorted(values)[len(values) // 2]
            for key, values in figures.items()
            if not key.startswith("read_p99")
        }
        for key in ("read_p99_above_ms", "read_p99_below_ms"):
            if key in figures:
                situations[name][key] = sorted(figures[key])[len(turns) // 2]
        if name != "alone" and "alone" in rates:
            situations[name]["over_alone"] = triple(paired_ratio(rates[name], rates["alone"]))
    return {"machine": describe(), "batch": BATCH, "rounds": turns, "situations": situations}


def told(found: dict[str, Any]) -> str:
    """Lay it out as a table."""
    machine = found["machine"]
    lines = [
        f"20,000 files of 50 KiB, random order, cold, whole daemon; {in_words(machine, machine['processors'])}",
        "",
        "| situation | files/s | of alone | batch wait, ms: half, 99 % | a read, ms: mean, 99 % | neighbour, MB/s |",
        "|---|---|---|---|---|---|",
    ]

    def shown(value: Any, digits: int) -> str:
        if not isinstance(value, list):
            return "" if value is None else f"{value:.{digits}f}"
        middle, low, high = value
        return f"{middle:.{digits}f}" + ("" if low is None else f" ({low:.{digits}f} to {high:.{digits}f})")

    for name, of in found["situations"].items():
        bounds = [of.get(f"read_p99_{side}_ms") for side in ("above", "below")]
        p99 = "" if bounds[1] is None else f", {bounds[0]:g} to {bounds[1]:g}"
        waits = f"{shown(of['batch_wait_p50_ms'], 1)}; {shown(of['batch_wait_p99_ms'], 1)}"
        cells = [name, shown(of["per_second"], 0), shown(of.get("over_alone"), 2), waits]
        cells += [shown(of["read_mean_ms"], 2) + p99, shown(of["neighbour_mb_per_s"], 0)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
