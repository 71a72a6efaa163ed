"""Shards read in their order: what it brings that one read serves neighbours, beside a stream of 1 MiB reads of fio's.

    PYTHONPATH=client-py/src:benches python benches/in_order.py --work /mnt/flash/scratch
    ... --beside target/before/forebay   another build in the same rounds
    ... --rounds 5 --out FILE.json

For samples of 1 KiB and of 48 KiB a tar of about 1 GB, kept; for each a turn starts a daemon and takes one epoch in
order. Three states of the page cache: `past`, for which the daemon is told that there is next to none, so that the
epoch is read past it; `cold`, the tar dropped from it before; `warm`, all of it there. What is printed is MB/s of
samples, the daemon's processor time a sample, the device's reads for each, and the ratios within the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import one_file
from beyond_memory import cpu_seconds, drain
from load.node import Node
from peers.envs import REPO, say
from peers.intervals import Interval, interval, paired_ratio
from peers.machine import describe, in_words

SAMPLES = ((1 << 10, 500_000), (48 << 10, 22_000))
STATES: dict[str, dict[str, str]] = {"past": {"page_cache": "1MiB"}, "cold": {}, "warm": {}}
BATCH_BYTES = 12 << 20
FIO_SECONDS = 3.0


def main() -> int:
    """Make what is not there, take turns, tell."""
    args = arguments()
    tars = {size: one_file.made(args.work, count, size) for size, count in SAMPLES}
    builds = {"forebay": args.forebay} | ({"beside": args.beside} if args.beside else {})
    io_engine = next((name for name in one_file.IO_ENGINES if one_file.works(tars[SAMPLES[1][0]], name)), None)
    rounds: list[dict[str, dict[str, float]]] = []
    for number in range(1, args.rounds + 1):
        sides: dict[str, dict[str, float]] = {}
        order = list(builds)[:: 1 if number % 2 else -1]
        for size, tar in tars.items():
            for state in STATES:
                sides |= {f"{size} {state} {name}": turn(args, tar, size, state, builds[name]) for name in order}
        if io_engine is not None:
            sides["fio"] = stream(tars[SAMPLES[1][0]], io_engine)
        rounds.append(sides)
        say(f"round {number}: " + ", ".join(f"{name} {side['mb_per_second']:.0f}" for name, side in sides.items()))
    found = summary(rounds, list(builds))
    print(table(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the tars are or are to be made")
    parser.add_argument("--forebay", type=Path, default=REPO / "target" / "release" / "forebay")
    parser.add_argument("--beside", type=Path, help="another build, in turns with it")
    parser.add_argument("--rounds", type=int, default=3, help="an interval needs two (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file")
    args = parser.parse_args()
    for build in filter(None, (args.forebay, args.beside)):
        if not build.exists():
            parser.error(f"{build} is not there: ./dev build, or name yours with --forebay")
    if shutil.which("fio") is None:
        parser.error("fio is not installed: apt install fio")
    if args.rounds < 1:
        parser.error("--rounds must be above zero")
    return args


def turn(args: argparse.Namespace, tar: Path, size: int, state: str, build: Path) -> dict[str, float]:
    """Take one epoch in order through a daemon of its own."""
    from forebay import Raw, Shards
    from forebay.numpy import DataLoader

    fields = {"data": Raw("bin", capacity=size)}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-") as folder,
        Node(Path(folder), args.work, build, **STATES[state]) as node,
        DataLoader(Shards([str(tar)]), batch_size=BATCH_BYTES // size, fields=fields, daemon=node.socket) as loader,
    ):
        # Whose number of batches is known, its headers are read.
        if len(loader) == 0:
            raise SystemExit(f"error: {tar} holds no batch")
        with tar.open("rb") as file:
            if state == "warm":
                while file.read(1 << 20):
                    pass
            else:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        start, cpu, reads = time.perf_counter(), cpu_seconds(node.pid), device_reads(tar)
        rows = drain(loader)
        seconds = time.perf_counter() - start
        return {
            "mb_per_second": rows * size / seconds / 1e6,
            "cpu_us": 1e6 * (cpu_seconds(node.pid) - cpu) / rows,
            "device_reads": (device_reads(tar) - reads) / rows,
        }


def device_reads(tar: Path) -> int:
    """Give how many reads the tar's device has served since the machine started, for anybody."""
    device = tar.stat().st_dev
    number = [str(os.major(device)), str(os.minor(device))]
    lines = (line.split() for line in Path("/proc/diskstats").read_text().splitlines())
    return next(int(words[3]) for words in lines if words[:2] == number)


def stream(tar: Path, io_engine: str) -> dict[str, float]:
    """Read the tar from end to end, past the page cache, as fast as the device gives it."""
    words = ["--name=read", f"--filename={tar}", "--readonly", "--direct=1", "--rw=read", "--bs=1M", "--iodepth=32"]
    words += [f"--ioengine={io_engine}", "--time_based", f"--runtime={FIO_SECONDS}", "--output-format=json"]
    said = subprocess.run(["fio", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    read = json.loads(said[said.index("{") :])["jobs"][0]["read"]
    return {"mb_per_second": read["bw_bytes"] / 1e6}


def summary(rounds: list[dict[str, dict[str, float]]], builds: list[str]) -> dict[str, Any]:
    """Give middles and ratios with their intervals, and every round."""

    def triple(found: Interval | None) -> list[float | None] | None:
        return found and ([found.middle, found.low, found.high] if found.known else [found.middle, None, None])

    def rates(side: str) -> dict[int, float]:
        return {number: turns[side]["mb_per_second"] for number, turns in enumerate(rounds)}

    def over(side: str, other: str) -> list[float | None] | None:
        return triple(paired_ratio(rates(side), rates(other))) if other in rounds[0] and other != side else None

    sides = [
        {
            "sample_bytes": size,
            "state": state,
            "build": name,
            **{
                figure: triple(interval([turns[f"{size} {state} {name}"][figure] for turns in rounds]))
                for figure in ("mb_per_second", "cpu_us")
            },
            "device_reads": mean([turns[f"{size} {state} {name}"]["device_reads"] for turns in rounds]),
            "over_beside": over(f"{size} {state} {name}", f"{size} {state} beside"),
            "over_fio": over(f"{size} {state} {name}", "fio"),
        }
        for size, _ in SAMPLES
        for state in STATES
        for name in builds
    ]
    return {"machine": describe(), "samples": SAMPLES, "sides": sides, "rounds": rounds}


def table(found: dict[str, Any]) -> str:
    """Lay it out."""

    def shown(values: list[float | None] | None, digits: int) -> str:
        if values is None:
            return ""
        middle, low, high = values
        bounds = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
        return f"{middle:.{digits}f}{bounds}"

    machine = found["machine"]
    lines = [
        f"tars of 1 GB in their order, one epoch a turn; {in_words(machine, machine['processors'])}",
        "",
        "| samples | page cache | build | MB/s | / beside | / fio | CPU us / sample | device reads / sample |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for side in found["sides"]:
        ratios = [shown(side[name], 2) for name in ("over_beside", "over_fio")]
        figures = [shown(side["mb_per_second"], 0), *ratios, shown(side["cpu_us"], 2), f"{side['device_reads']:.3f}"]
        words = [f"{side['sample_bytes'] >> 10} KiB", side["state"], side["build"], *figures]
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
