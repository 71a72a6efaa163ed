"""Shards larger than memory: random epochs with direct_reads auto, never and always, beside fio's direct reads.

    PYTHONPATH=client-py/src:benches python benches/beyond_memory.py --work /mnt/flash/scratch --left-gb 4.5
    ... --members 130000 --epochs 5 --rounds 3 --out FILE.json

Makes a tar of 130,000 files of 48 KiB (6.5 GB), kept, and holds so much memory that --left-gb are available (locked, so
it needs the right to lock it). A turn starts a daemon, drops the tar from the page cache, and takes --epochs epochs of
all samples as they are, in random order; counted are the last two. What is printed is samples a second, the daemon's
processor time a sample, and what the device brought over what was taken: 1 where nothing came from memory.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import mmap
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import one_file
from load.node import Node
from peers.envs import REPO, say
from peers.intervals import Interval, interval, paired_ratio
from peers.machine import describe, in_words

MODES = ("auto", "never", "always")
FIO_SECONDS = 6.0
BATCH = 256


def main() -> int:
    """Make what is not there, take turns, tell."""
    args = arguments()
    tar = one_file.made(args.work, args.members)
    io_engine = next((name for name in one_file.IO_ENGINES if one_file.works(tar, name)), None)
    if io_engine is None:
        raise SystemExit("error: fio reads nothing directly here\nhint: the file system must take O_DIRECT")
    balloon = held(args.left_gb)
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(1, args.rounds + 1):
        sides = {mode: turn(args, tar, mode) for mode in MODES[number % 3 :] + MODES[: number % 3]}
        sides["fio"] = one_file.fio(tar, io_engine, FIO_SECONDS) | {"fetched": 1.0}
        rounds.append(sides)
        told = ", ".join(f"{name} {side['per_second']:.0f}/s, {side['fetched']:.2f}" for name, side in sides.items())
        say(f"round {number}: {told}")
    del balloon
    found = summary(rounds, args)
    print(table(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the tar is or is to be made")
    parser.add_argument("--forebay", type=Path, default=REPO / "target" / "release" / "forebay")
    parser.add_argument("--members", type=int, default=130_000, help="samples in the tar (default: %(default)s)")
    parser.add_argument(
        "--left-gb", type=float, default=4.5, help="memory that is left available (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=5, help="of a turn, at least two (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="an interval needs two (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file")
    args = parser.parse_args()
    if not args.forebay.exists():
        parser.error(f"{args.forebay} is not there: ./dev build, or name yours with --forebay")
    if shutil.which("fio") is None:
        parser.error("fio is not installed: apt install fio")
    if args.epochs < 2 or min(args.members, args.rounds) < 1:
        parser.error("--epochs must be at least two, --members and --rounds above zero")
    return args


def available_bytes() -> int:
    """Give the memory that is to be had."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


def held(left_gb: float) -> mmap.mmap | None:
    """Lock memory until so much is left; its owner frees it."""
    much = available_bytes() - int(left_gb * 1e9)
    if much <= 0:
        return None
    balloon = mmap.mmap(-1, much)
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(balloon)))
    if ctypes.CDLL(None, use_errno=True).mlock(address, ctypes.c_size_t(much)) != 0:
        why = os.strerror(ctypes.get_errno())
        raise SystemExit(f"error: {much >> 20} MiB cannot be locked: {why}\nhint: ulimit -l unlimited, or root")
    return balloon


def turn(args: argparse.Namespace, tar: Path, mode: str) -> dict[str, float]:
    """Take all epochs through a daemon of its own; gives the figures of the last two."""
    from forebay import Raw, Shards
    from forebay.numpy import DataLoader

    with tar.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    fields = {"data": Raw("bin", capacity=one_file.MEMBER_BYTES)}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-") as folder,
        Node(Path(folder), args.work, args.forebay, direct_reads=mode) as node,
        DataLoader(Shards([str(tar)]), batch_size=BATCH, shuffle=True, fields=fields, daemon=node.socket) as loader,
    ):
        for _ in range(args.epochs - 2):
            drain(loader)
        start, cpu, read = time.perf_counter(), cpu_seconds(node.pid), read_bytes(tar)
        rows = drain(loader) + drain(loader)
        seconds = time.perf_counter() - start
        return {
            "per_second": rows / seconds,
            "cpu_us": 1e6 * (cpu_seconds(node.pid) - cpu) / rows,
            "fetched": (read_bytes(tar) - read) / (rows * one_file.MEMBER_BYTES),
        }


def drain(loader: Any) -> int:
    """Take one epoch; gives its rows."""
    return sum(len(batch["data"]) for batch in loader)


def cpu_seconds(pid: int) -> float:
    """Give a process's processor time."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def read_bytes(tar: Path) -> int:
    """Give what the tar's device has read since the machine started, for anybody."""
    device = tar.stat().st_dev
    number = [str(os.major(device)), str(os.minor(device))]
    lines = (line.split() for line in Path("/proc/diskstats").read_text().splitlines())
    return next(512 * int(words[5]) for words in lines if words[:2] == number)


def summary(rounds: list[dict[str, dict[str, float]]], args: argparse.Namespace) -> dict[str, Any]:
    """Give middles and ratios with their intervals, and every round."""

    def triple(found: Interval | None) -> list[float | None] | None:
        return found and ([found.middle, found.low, found.high] if found.known else [found.middle, None, None])

    def of(side: str, figure: str) -> list[float]:
        return [turns[side][figure] for turns in rounds]

    sides = (*MODES, "fio")
    rates = {side: dict(enumerate(of(side, "per_second"))) for side in sides}
    return {
        "machine": describe(),
        "members": args.members,
        "member_bytes": one_file.MEMBER_BYTES,
        "left_gb": args.left_gb,
        "epochs": args.epochs,
        **{
            figure: {side: triple(interval(of(side, figure))) for side in sides}
            for figure in ("per_second", "cpu_us", "fetched")
        },
        "auto_over": {side: triple(paired_ratio(rates["auto"], rates[side])) for side in sides if side != "auto"},
        "rounds": rounds,
    }


def table(found: dict[str, Any]) -> str:
    """Lay it out."""

    def shown(values: list[float | None] | None, digits: int) -> str:
        if values is None:
            return ""
        middle, low, high = values
        bounds = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
        return f"{middle:.{digits}f}{bounds}"

    machine = found["machine"]
    size_gb = found["members"] * found["member_bytes"] / 1e9
    lines = [
        f"a tar of {size_gb:.1f} GB beside {found['left_gb']:g} GB of memory, random epochs, the last two of "
        f"{found['epochs']}; {in_words(machine, machine['processors'])}",
        "",
        "| side | samples/s | auto / it | CPU us / sample | fetched |",
        "|---|---|---|---|---|",
    ]
    for side in (*MODES, "fio"):
        name = "fio, direct" if side == "fio" else f"direct_reads = {side}"
        ratio = "" if side == "auto" else shown(found["auto_over"][side], 2)
        rate, cpu = shown(found["per_second"][side], 0), shown(found["cpu_us"][side], 1)
        lines.append(f"| {name} | {rate} | {ratio} | {cpu} | {shown(found['fetched'][side], 2)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
