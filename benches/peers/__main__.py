"""Measures loaders side by side on this machine: one process a peer and round, the peers in turns.

  ./dev bench peers                                    all of them, on photographs that forebay makes
  ./dev bench peers --only dali,tfdata,forebay --rounds 5
  ./dev bench peers --data /data/imagenet/val --dtype float32 --seconds 30
  ./dev bench peers --set 12mp --rounds 5             also: progressive, small32; made of the same photographs
  ./dev bench peers --only forebay,dali --cores 1,2   how each goes from one core to two
  ./dev bench peers --set raw50k --rounds 5           files of 50 KiB as they are, page cache warm and cold
  ./dev bench peers --list                             what --only takes

Each peer gets a venv of its own in ./target/peers, with pinned versions. The table goes to standard output; --out gets
it too, with the plot and every run's figures. A peer that cannot be installed, or fails, stands in it with the reason.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from . import catalogue, children, convert, datasets, plan
from .catalogue import Entry
from .comparison import Comparison, is_made
from .convert import Photos
from .envs import REPO, WORK, Pythons, missing_debian, say
from .settings import CACHES, DTYPES, RAW


def main() -> int:
    """Plan, install, convert, measure in turns, tell."""
    args = arguments()
    pythons = Pythons.find(args.work / "venvs", args.work / "logs", args.torch_python)
    if args.debian:
        print(" ".join(dict.fromkeys(name for entry in args.peers for name in missing_debian(entry.install))))
        return 0
    steps = steps_of(args, pythons)
    if args.plan:
        print(plan.told(steps))
        return 0
    if not args.announced:
        say(f"this will, in {args.work}:\n{plan.shown(steps)}")
    children.stop_on_signals()
    comparison, status = Comparison(args, pythons), 0
    try:
        comparison.prepare()
        comparison.run()
    except children.StoppedError as stopped:
        say("stopped; what is installed and converted stays, and the table has what was measured")
        status = stopped.status
    if comparison.outcome.runs or comparison.outcome.failures:
        comparison.tell()
    return status or (0 if comparison.outcome.runs else 1)


def arguments() -> argparse.Namespace:
    """Parse the command line and check it whole."""
    parser = argparse.ArgumentParser(
        prog="./dev bench peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="A,B", help="these families or peers (default: all)")
    parser.add_argument("--list", action="store_true", help="list families and peers, and end")
    parser.add_argument(
        "--data",
        type=Path,
        help="a folder of class folders of JPEGs (default: `forebay synth` makes one); of raw50k: where its files are, "
        "or are to be made",
    )
    parser.add_argument(
        "--dtype", default="", metavar="A,B", help=f"of photographs: {', '.join(DTYPES)} (default: both)"
    )
    parser.add_argument("--cache", default="", metavar="A,B", help=f"of raw50k: {', '.join(CACHES)} (default: both)")
    parser.add_argument(
        "--drop-inodes",
        action="store_true",
        help="cold: have the kernel forget names and inodes too, those of the whole machine (root)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="an interval needs two (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured, of one run (default: %(default)s)")
    parser.add_argument("--warmup", type=float, default=5.0, help="seconds before, not measured (default: %(default)s)")
    parser.add_argument(
        "--set",
        choices=list(datasets.SETS),
        default="photos",
        help="measure on what is made of the photographs, or on raw files: %(choices)s (default: %(default)s)",
    )
    parser.add_argument("--batch", type=int, help="images (default: 256; 32 of 12mp)")
    parser.add_argument(
        "--cores",
        default="",
        metavar="A,B",
        help="for each peer, and as many workers; several: each peer once with each (default: all this may use)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for peers.md, peers.svg, peers.json (default: ./target/peers/results, -SET behind it)",
    )
    parser.add_argument("--binary", type=Path, help="the forebay command (default: ./target/release/forebay)")
    parser.add_argument(
        "--torch-python", type=Path, help="a Python with torch and torchvision (default: one is looked for)"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="where venvs, conversions and logs are kept")
    for name in ("plan", "debian", "announced"):  # What ./dev asks.
        parser.add_argument(f"--{name}", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.set = datasets.SETS[args.set]
    there = catalogue.entries(task=args.set.task)
    if args.list:
        for entry in there:
            print(f"{entry.family:12}  {entry.peer.name:20}  {entry.peer.note}")
        parser.exit()
    check(parser, args, there)
    return args


def check(parser: argparse.ArgumentParser, args: argparse.Namespace, there: list[Entry]) -> None:
    """Turn what was typed into what is used, or say what is wrong with it."""
    try:
        args.peers = catalogue.chosen(args.only, there)
    except catalogue.UnknownPeerError as unknown:
        parser.error(str(unknown))
    raw, known = args.set.task is RAW, args.set.task.cases
    if args.dtype if raw else args.cache:
        parser.error("--dtype is of photographs, --cache of --set raw50k")
    asked = args.cache if raw else args.dtype
    args.cases = asked.split(",") if asked else list(known)
    if wrong := [case for case in args.cases if case not in known]:
        parser.error(f"unknown {', '.join(wrong)}; there are {', '.join(known)}")
    args.batch = args.set.batch if args.batch is None else args.batch
    if min(args.rounds, args.batch, args.seconds) <= 0 or args.warmup < 0:
        parser.error("--rounds, --batch and --seconds must be above zero")
    usable = len(os.sched_getaffinity(0))
    args.cores = cores_of(args.cores, usable)
    if not args.cores or not 0 < args.cores[0] <= args.cores[-1] <= usable:
        parser.error(f"--cores: this process may use 1 to {usable}")
    args.work = args.work.resolve()
    results = "results" if args.set.name == "photos" else f"results-{args.set.name}"
    args.out = (args.out or args.work / results).resolve()
    args.synthetic = None if args.data or raw else args.work / "photos"
    args.data = (args.data or (datasets.raw_folder(args.work, args.set) if raw else args.synthetic / "train")).resolve()
    if not raw and not args.synthetic and not any(args.data.glob("*/*")):
        parser.error(f"{args.data} has no class folders with files; without --data photographs are made")
    args.binary = args.binary or next(filter(Path.exists, [REPO / "target" / "release" / "forebay"]), None)


def cores_of(text: str, usable: int) -> list[int]:
    """Give the numbers of cores in order, empty where one of them is no number."""
    parts = [part.strip() for part in text.split(",")] if text else [str(usable)]
    return sorted({int(part) for part in parts}) if all(part.isdecimal() for part in parts) else []


def steps_of(args: argparse.Namespace, pythons: Pythons) -> list[plan.Step]:
    """Say what is still to be done."""
    steps: dict[str, plan.Step] = {}
    for entry in args.peers:
        for name, install in pythons.missing(entry):
            text = f"install {', '.join(install.packages)} in {pythons.folder.relative_to(args.work)}/{name}"
            steps[name] = plan.Step(install.megabytes, install.minutes, text)
    if args.set.task is RAW:
        if not datasets.is_raw_made(args.data, args.set):
            steps["set"] = plan.Step(args.set.megabytes, args.set.minutes, f"make {args.set.files} {args.set.words}")
    else:
        steps |= steps_of_photos(args)
    measuring = plan.measuring(
        len(args.peers) * len(args.cores), len(args.cases), args.rounds, args.seconds, args.warmup
    )
    return [*steps.values(), measuring]


def steps_of_photos(args: argparse.Namespace) -> dict[str, plan.Step]:
    """Say what is still to be made of photographs."""
    steps: dict[str, plan.Step] = {}
    made = not args.synthetic or is_made(args.synthetic)
    if not made:
        standard = datasets.SETS["photos"]
        steps["synth"] = plan.Step(standard.megabytes, standard.minutes, f"make {standard.files} {standard.words}")
    photos = Photos.read(args.data)
    if args.set.name != "photos":
        target = datasets.folder_of(args.work, args.set, photos)
        made = (target / datasets.MARKER).exists()
        if not made:
            steps["set"] = plan.Step(args.set.megabytes, args.set.minutes, f"make {args.set.files} {args.set.words}")
        photos = Photos.read(target / "train")
    megabytes = photos.bytes / 1e6 if made else args.set.megabytes
    for peer in (entry.peer for entry in args.peers if entry.peer.convert):
        if not (convert.place(args.work / "converted", peer, photos) / convert.MARKER).exists():
            size = int(megabytes * peer.converted_share)
            steps[f"convert {peer.name}"] = plan.Step(size, 1, f"convert the photographs for {peer.name}")
    return steps


if __name__ == "__main__":
    sys.exit(main())
