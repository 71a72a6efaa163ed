"""What do small files lose beside a bulk reader, and beside a checkpoint writer? One daemon, some situations in turns.

    PYTHONPATH=client-py/src:benches python -m load.mixed --work /mnt/flash/scratch --rounds 5 --out FILE.json
    ... --in-tar                       the small files are members of one tar, which io_uring reads
    ... --priority 1                   their session is before its neighbour's, which has 0

`alone`: one session of 20,000 files of 50 KiB as they are, in random order, batches of 256. `bulk`: beside it another
process takes samples of 20 MB through the same daemon, as fast as it gets them, which are files; `members`: samples of
4 MB, which are members of a tar. `checkpoints`: beside it a process writes files of 2 GB, with fsync, a second apart.
Everything is cold: files are dropped from the page cache before each turn, and those of the bulk reader all the time. A
turn is a part of one epoch (`peers/cold.py`).

Told are the small files' rate and what a batch was waited for; how long their reads took (the daemon's histogram, so
between two of its bounds, and not beside the bulk reader, whose reads it holds too); what the neighbour did meanwhile.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
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
MEMBER_BYTES, MEMBERS, MEMBER_BATCH = 4_000_000, 320, 8
CHECKPOINT_BYTES, PIECE_BYTES = 2_000_000_000, 16 << 20
# A neighbour is given so long to get going.
HEAD_START_SECONDS = 1.0
SITUATIONS = ("alone", "bulk", "members", "checkpoints")
# Those beside which reads are held by more than one session.
READERS = ("bulk", "members")


def main() -> int:
    """Make the files, take turns, tell."""
    if sys.argv[1:2] == ["neighbour"]:
        return neighbour(sys.argv[2], Path(sys.argv[3]), sys.argv[4])
    args = arguments()
    small = make_small(args.work, args.in_tar)
    make_bulk(args.work)
    turns: list[dict[str, dict[str, float]]] = []
    with (
        tempfile.TemporaryDirectory(prefix="forebay-mixed-") as folder,
        Node(Path(folder), args.work, args.forebay) as node,
    ):
        for number in range(1, args.rounds + 1):
            turns.append({name: turn(name, node, small, args) for name in args.situations})
            rates = ", ".join(f"{name} {found['per_second']:.0f} files/s" for name, found in turns[-1].items())
            say(f"round {number} of {args.rounds}: {rates}")
    found = summary(turns) | {"in_tar": args.in_tar, "priority": args.priority}
    print(told(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the files are or are to be made: 4.7 GB, and 2 more"
    )
    parser.add_argument("--priority", type=int, default=0, help="of the small files' session (default: %(default)s)")
    parser.add_argument("--in-tar", action="store_true", help="the small files are members of a tar")
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


def make_small(work: Path, in_tar: bool) -> Path:
    """Write the small files where they are not there, in a folder or in a tar."""
    files = SETS["raw50k"].files
    small = work / ("small.tar" if in_tar else "small")
    if in_tar:
        make_tar(small, files, FILE_BYTES)
    elif not is_raw_made(small, SETS["raw50k"]):
        say(f"making {files} files of 50 KiB in {small}")
        raw.make(small, files)
    return small


def make_bulk(work: Path) -> None:
    """Write the large files, and the tar of large members, where they are not there."""
    folder = work / "bulk" / "all"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(BULK_FILES):
        path = folder / f"{number:03}{raw.SUFFIX}"
        if not path.exists() or path.stat().st_size != BULK_BYTES:
            path.write_bytes(os.urandom(BULK_BYTES))
    make_tar(work / "bulk-members.tar", MEMBERS, MEMBER_BYTES)
    os.sync()


def make_tar(path: Path, members: int, member_bytes: int) -> None:
    """Write a tar of noise where there is none."""
    if path.exists():
        return
    say(f"making {members} members of {member_bytes} bytes in {path}")
    unfinished = path.with_suffix(".new")
    with tarfile.open(unfinished, "w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(members):
            member = tarfile.TarInfo(f"{number:07}.bin")
            member.size = member_bytes
            archive.addfile(member, io.BytesIO(os.urandom(member_bytes)))
    os.sync()
    unfinished.rename(path)


def paths_of(data: Path) -> list[str]:
    """List the files of a tar, which is one, or of a folder."""
    return [str(data)] if data.suffix == ".tar" else raw.listed(str(data))[0]


def turn(name: str, node: Node, small: Path, args: argparse.Namespace) -> dict[str, float]:
    """Measure the small files once in one situation."""
    with beside(name, node, args.work) as work:
        raw.forget(paths_of(small))
        before, did_before = node.histogram("forebay_read_seconds"), work()
        waits, own = small_files(node, small, args.priority)
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
    return found if name in READERS else {**found, "read_p99_above_ms": 1000 * low, "read_p99_below_ms": 1000 * high}


def small_files(node: Node, data: Path, priority: int) -> tuple[list[float], dict[str, Any]]:
    """Take a part of an epoch at once; the seconds between one batch and the next, and the session's own sums."""
    from forebay import Raw
    from forebay.numpy import DataLoader

    first, last = cold.window(SETS["raw50k"].files, BATCH)
    waits: list[float] = []
    with DataLoader(
        source_of(data),
        batch_size=BATCH,
        shuffle=True,
        drop_last=True,
        seed=time.monotonic_ns() & 0xFFFF,
        rolling=False,
        priority=priority,
        fields={"data": Raw(column_of(data), capacity=FILE_BYTES)},
        daemon=node.socket,
    ) as loader:
        came = 0.0
        for number, _ in enumerate(loader, 1):
            now, then = time.perf_counter(), came
            came = now
            if number > first:
                waits.append(now - then)
            if number == last:
                # The one of small samples has the most rows, whatever its neighbour has had.
                own = max(node.sessions(), key=lambda session: int(session.get("rows", 0)))
                return waits, own
    raise AssertionError("an epoch is longer than its part")


def source_of(data: Path) -> Any:
    """Give the data set that these files are."""
    from forebay import Folder, Shards

    return Shards([str(data)]) if data.suffix == ".tar" else Folder(data, extensions=(raw.SUFFIX,))


def column_of(data: Path) -> str:
    """Name what holds a sample's bytes there."""
    return "bin" if data.suffix == ".tar" else "image"


@contextmanager
def beside(name: str, node: Node, work: Path) -> Iterator[Callable[[], float]]:
    """Let a neighbour work; gives what tells the bytes that it has read or written so far."""
    if name == "alone":
        yield lambda: 0.0
        return
    data = {"bulk": work / "bulk", "members": work / "bulk-members.tar"}.get(name, work)
    command = [sys.executable, "-m", f"{__package__}.mixed", "neighbour", name, str(data), node.socket]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    told, ended = [0.0], threading.Event()

    def listen() -> None:
        for line in child.stdout or ():
            told[0] = float(line)

    def forget() -> None:
        paths = paths_of(data)
        while not ended.wait(0.05):
            raw.forget(paths)

    threads = [threading.Thread(target=listen), *([threading.Thread(target=forget)] if name in READERS else [])]
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
        for left in work.glob("checkpoint-*"):
            left.unlink()


def neighbour(name: str, data: Path, socket: str) -> int:
    """Work until somebody ends it, printing the bytes done so far."""
    done = 0
    for piece in bulk_batches(data, socket) if name in READERS else checkpoints(data):
        done += piece
        print(done, flush=True)
    return 0


def bulk_batches(data: Path, socket: str) -> Iterator[int]:
    """Take large samples for ever."""
    from forebay import Raw
    from forebay.numpy import DataLoader

    batch, capacity = (MEMBER_BATCH, MEMBER_BYTES) if data.suffix == ".tar" else (BULK_BATCH, BULK_BYTES)
    loader = DataLoader(
        source_of(data),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        fields={"data": Raw(column_of(data), capacity=capacity)},
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
    what = "members of one tar" if found["in_tar"] else "files"
    before = f"priority {found['priority']}, " if found["priority"] else ""
    where = in_words(machine, machine["processors"])
    lines = [
        f"20,000 {what} of 50 KiB, {before}random order, cold, whole daemon; {where}",
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
