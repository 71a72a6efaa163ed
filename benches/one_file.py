"""Random samples inside of one large file: forebay's reads beside fio's direct ones, in turns on the same tar.

    PYTHONPATH=benches python benches/one_file.py --work /mnt/flash/scratch --rounds 5
    ... --engine uring                 an engine other than the daemon's own choice
    ... --direct-reads                 its reads past the page cache, as fio's are
    ... --members 40000 --out FILE.json

Makes a tar of 22,000 files of 48 KiB (1 GB), kept. A turn of forebay's is `forebay bench TAR --stage read --cold`:
all samples once, in random order, the tar dropped from the page cache before. A turn of fio's is as long,
`--direct=1 --rw=randread --bs=48k --iodepth=64`, with io_uring, or libaio where that is forbidden. What is printed is
files a second, processor time a file, and the ratios within the rounds; and what the kernel fetched for forebay's and
the bare threads' reads, which go through the page cache: above 1.00 where read-ahead brings what nobody asked for.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from hashlib import shake_128
from pathlib import Path
from typing import Any

from peers.envs import REPO, say
from peers.intervals import Interval, interval, paired_ratio
from peers.machine import describe, in_words

MEMBER_BYTES = 48 << 10
DEPTH = 64
IO_ENGINES = ("io_uring", "libaio")


def main() -> int:
    """Make what is not there, take turns, tell."""
    args = arguments()
    tar = made(args.work, args.members)
    say(f"{args.members} members of {MEMBER_BYTES >> 10} KiB in {tar}")
    turns: list[dict[str, dict[str, float]]] = []
    fetched: list[float] = []
    io_engine = next((name for name in IO_ENGINES if works(tar, name)), None)
    if io_engine is None:
        raise SystemExit(
            "error: fio reads nothing directly here\nhint: apt install fio; the file system must take O_DIRECT"
        )
    for number in range(1, args.rounds + 1):
        ours, bare, share = forebay(args, tar)
        theirs = fio(tar, io_engine, max(0.5, args.members / ours["per_second"]))
        turns.append({"forebay": ours, "bare": bare, "fio": theirs})
        fetched.append(share)
        say(f"round {number}: " + ", ".join(f"{name} {side['per_second']:.0f}/s" for name, side in turns[-1].items()))
    found = summary(turns, io_engine, args) | {"fetched_over_read": sorted(fetched)[len(fetched) // 2]}
    print(told(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", type=Path, required=True, help="where the tar is or is to be made: the disk that is measured"
    )
    parser.add_argument("--forebay", type=Path, default=REPO / "target" / "release" / "forebay")
    parser.add_argument("--direct-reads", action="store_true", help="its reads past the page cache")
    parser.add_argument("--engine", help="the storage engine (default: the daemon's choice)")
    parser.add_argument(
        "--members", type=int, default=22_000, help="samples in the tar (default: %(default)s, 1.08 GB)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="an interval needs two (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file")
    args = parser.parse_args()
    if not args.forebay.exists():
        parser.error(f"{args.forebay} is not there: ./dev build, or name yours with --forebay")
    if shutil.which("fio") is None:
        parser.error("fio is not installed: apt install fio")
    if min(args.members, args.rounds) < 1:
        parser.error("--members and --rounds must be above zero")
    return args


def made(work: Path, members: int, member_bytes: int = MEMBER_BYTES) -> Path:
    """Write the tar, on the disk when this returns."""
    name = f"members-{members}" if member_bytes == MEMBER_BYTES else f"members-{members}-of-{member_bytes}"
    tar, unfinished = work / f"{name}.tar", work / f"{name}.new"
    if tar.exists():
        return tar
    work.mkdir(parents=True, exist_ok=True)
    with unfinished.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for number in range(members):
            member = tarfile.TarInfo(f"{number:07}.bin")
            member.size = member_bytes
            archive.addfile(member, io.BytesIO(shake_128(number.to_bytes(8, "little")).digest(member_bytes)))
    # Pages that are not on the disk yet can't be dropped.
    os.sync()
    return unfinished.rename(tar)


def forebay(args: argparse.Namespace, tar: Path) -> tuple[dict[str, float], dict[str, float], float]:
    """Read all members once through the engine, and once with bare threads; what was fetched over what was read."""
    command = [str(args.forebay), "bench", str(tar), "--stage", "read", "--cold", "--rounds", "1"]
    command += ["--engine", args.engine] if args.engine else []
    command += ["--direct-reads"] if args.direct_reads else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
    report = json.loads(subprocess.run([*command, "--json"], check=True, stdout=subprocess.PIPE).stdout)
    fetched_bytes = 512 * (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before)
    (stage,) = report["stages"]
    (round_,) = stage["rounds"]

    def side(name: str) -> dict[str, float]:
        return {"per_second": round_[f"{name}_per_second"], "cpu_us": 1000 * round_[f"{name}_cpu_s_per_1000"]}

    return side("forebay"), side("bare"), fetched_bytes / (2 * args.members * MEMBER_BYTES)


def fio(tar: Path, io_engine: str, seconds: float) -> dict[str, float]:
    """Read at random places of the tar, past the page cache."""
    words = ["--name=read", f"--filename={tar}", "--readonly", "--direct=1", "--rw=randread", f"--bs={MEMBER_BYTES}"]
    words += [f"--iodepth={DEPTH}", f"--ioengine={io_engine}", "--randrepeat=0", "--time_based"]
    words += [f"--runtime={int(1000 * seconds)}ms", "--output-format=json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = subprocess.run(["fio", *words], check=True, stdout=subprocess.PIPE, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    read = json.loads(said[said.index("{") :])["jobs"][0]["read"]
    cpu_seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"per_second": read["iops"], "cpu_us": 1e6 * cpu_seconds / max(read["total_ios"], 1)}


def works(tar: Path, io_engine: str) -> bool:
    """Tell whether fio has the engine, and the kernel lets it."""
    try:
        return fio(tar, io_engine, 0.1)["per_second"] > 0
    except (subprocess.CalledProcessError, ValueError):
        return False


def summary(turns: list[dict[str, dict[str, float]]], io_engine: str, args: argparse.Namespace) -> dict[str, Any]:
    """Give middles and ratios with their intervals, and every round."""

    def of(side: str, figure: str) -> list[float]:
        return [turn[side][figure] for turn in turns]

    def triple(found: Interval | None) -> list[float | None] | None:
        return found and ([found.middle, found.low, found.high] if found.known else [found.middle, None, None])

    rates = {side: dict(enumerate(of(side, "per_second"))) for side in ("forebay", "bare", "fio")}
    return {
        "machine": describe(),
        "members": args.members,
        "member_bytes": MEMBER_BYTES,
        "engine": (args.engine or "default") + (", direct reads" if args.direct_reads else ""),
        "fio": f"{io_engine}, depth {DEPTH}, direct",
        "per_second": {side: triple(interval(of(side, "per_second"))) for side in rates},
        "cpu_us": {side: triple(interval(of(side, "cpu_us"))) for side in rates},
        "forebay_over_fio": triple(paired_ratio(rates["forebay"], rates["fio"])),
        "forebay_over_bare": triple(paired_ratio(rates["forebay"], rates["bare"])),
        "rounds": turns,
    }


def told(found: dict[str, Any]) -> str:
    """Lay it out as a table."""

    def shown(triple: list[float | None], digits: int) -> str:
        middle, low, high = triple
        bounds = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
        return f"{middle:.{digits}f}{bounds}"

    machine = found["machine"]
    lines = [
        f"{found['members']} samples of {found['member_bytes'] >> 10} KiB in one tar, random order, cold; "
        f"{in_words(machine, machine['processors'])}",
        "",
        "| side | reads/s | CPU us / read | forebay / it |",
        "|---|---|---|---|",
    ]
    names = {"forebay": f"**forebay**, engine {found['engine']}", "bare": "bare threads", "fio": f"fio, {found['fio']}"}
    for side, name in names.items():
        ratio = "" if side == "forebay" else shown(found[f"forebay_over_{side}"], 2)
        lines.append(
            f"| {name} | {shown(found['per_second'][side], 0)} | {shown(found['cpu_us'][side], 1)} | {ratio} |"
        )
    lines += ["", f"fetched for each byte that forebay and the bare threads read: {found['fetched_over_read']:.2f}"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
