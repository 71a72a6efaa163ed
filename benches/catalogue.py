"""Ask how fast, and in how much memory, a million files or twenty million names are indexed and opened.

    python benches/catalogue.py --work /data/scratch --forebay target/release/forebay [--millions 20]

Makes real directory entries (hard links to small PNGs: a million inodes say nothing more about listing), asks each
question in a process of its own, and prints a table. Beside it: `find`, and torchvision's `ImageFolder` where it is
there. The client package must be importable. Removes what it made unless --keep is given.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

LINKS_MAX = 60_000  # of one inode on ext4: 65,000

OPEN = """
import sys, time
from forebay.numpy import DataLoader
from forebay.transforms import Resize
started = time.perf_counter()
with DataLoader(sys.argv[1], batch_size=64, transform=(Resize((8, 8)),)) as loader:
    images, labels = next(iter(loader))
    print(time.perf_counter() - started)
"""

PEER = """
import sys, time
from torchvision.datasets import ImageFolder
started = time.perf_counter()
ImageFolder(sys.argv[1])
print(time.perf_counter() - started)
"""


def png(side: int = 8) -> bytes:
    """Give a small grey picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + bytes(side)) * side)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def fill(folder: Path, count: int, stem: str) -> None:
    """Put `count` names of one picture into a new folder."""
    folder.mkdir(parents=True)
    at = os.open(folder, os.O_RDONLY)
    for index in range(count):
        name = f"{stem}_{index:08}.png"
        if index % LINKS_MAX == 0:
            first = name
            (folder / name).write_bytes(png())
        else:
            os.link(first, name, src_dir_fd=at, dst_dir_fd=at)
    os.close(at)


def run(command: list[str], **environment: str) -> tuple[float, float, str]:
    """Run to the end: seconds, peak megabytes of the process and what it printed."""
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, env=os.environ | environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status != 0:
            raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1000, out.read()


def printed(command: list[str], **environment: str) -> float:
    """Run a program that prints its own seconds."""
    return float(run(command, **environment)[2])


def best(times: int, ask: Callable[[], float]) -> float:
    """Ask several times; the least disturbed answer."""
    return min(ask() for _ in range(times))


class Table:
    """Rows of question and answer."""

    def __init__(self) -> None:
        """Begin a table."""
        print("| | seconds | entries/s | peak MB |\n|---|---|---|---|")

    def row(self, what: str, seconds: float, entries: int = 0, peak_mb: float = 0.0) -> None:
        """Print one."""
        rate = f"{entries / seconds:,.0f}" if entries else ""
        print(f"| {what} | {seconds:.2f} | {rate} | {f'{peak_mb:.0f}' if peak_mb else ''} |", flush=True)


def folder(table: Table, name: str, root: Path, count: int, args: argparse.Namespace) -> None:
    """Ask everything about a folder of class folders."""
    cache = args.work / "cache"
    find = best(3, lambda: run(["find", str(root), "-type", "f", "-fprintf", "/dev/null", "x"])[0])
    table.row(f"{name}: `find` (one thread)", find, count)
    place = args.work / "set"
    index = [args.forebay, "index", str(root), "--dataset", str(place), "--json"]
    seconds, peak, out = run(index)
    assert json.loads(out)["counts"]["added"] == count
    table.row(f"{name}: `forebay index`, the first time", seconds, count, peak)
    table.row("... of that, the listing", json.loads(out)["seconds"], count)
    seconds, peak, out = run(index)
    assert json.loads(out)["counts"]["known"] == count
    table.row(f"{name}: `forebay index` again, nothing new", seconds, count, peak)
    shutil.rmtree(place)
    opening = [sys.executable, "-c", OPEN, str(root)]
    environment = {"FOREBAY_BINARY": args.forebay, "FOREBAY_CACHE_DIR": str(cache)}
    table.row(f"{name}: first open, to the first batch", printed(opening, **environment), count)
    table.row(f"{name}: re-open, to the first batch", best(3, lambda: printed(opening, **environment)), count)
    no_cache = environment | {"FOREBAY_CACHE_DIR": ""}
    table.row(f"{name}: open without the cache", best(3, lambda: printed(opening, **no_cache)), count)
    try:
        table.row(f"{name}: torchvision `ImageFolder(root)`", printed([sys.executable, "-c", PEER, str(root)]), count)
    except SystemExit:
        print(f"| {name}: torchvision is not there | | | |")
    shutil.rmtree(cache, ignore_errors=True)


def names(table: Table, millions: int, args: argparse.Namespace) -> None:
    """Ask about a list of names, without a look at the folder."""
    root, names, place = args.work / "nothing", args.work / "names.txt", args.work / "set"
    root.mkdir(exist_ok=True)
    with names.open("w") as out:
        for row in range(millions * 1_000_000):
            out.write(f"n{row // 20_000:08}/n{row // 20_000:08}_{row % 20_000:08}.JPEG\n")
    index = [args.forebay, "index", str(root), "--from", str(names), "--dataset", str(place), "--json"]
    for what in ("the first time", "again"):
        seconds, peak, _ = run(index)
        what = f"{millions} million names: `forebay index --from`, {what} ({peak / millions:.0f} MB a million)"
        table.row(what, seconds, millions * 1_000_000, peak)
    files = sum(path.stat().st_size for path in place.rglob("*.parquet"))
    print(f"\nThe list has {names.stat().st_size / 1e6:.0f} MB, the data set {files / 1e6:.0f} MB.")
    shutil.rmtree(place)
    names.unlink()


def main() -> None:
    """Ask everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder on the storage in question")
    parser.add_argument("--forebay", default=shutil.which("forebay"), help="the binary")
    parser.add_argument("--millions", type=int, default=20, help="names of the list")
    parser.add_argument("--keep", action="store_true", help="leave the folders there")
    args = parser.parse_args()
    args.forebay = str(Path(args.forebay).resolve())
    wide, flat = args.work / "wide", args.work / "flat"
    if not wide.exists():
        for index in range(1000):
            fill(wide / f"n{index:08}", 1000, f"n{index:08}")
    if not flat.exists():
        fill(flat / "all", 1_000_000, "x")
    time.sleep(2.1)  # what was changed within two seconds before it is listed is listed again
    table = Table()
    folder(table, "1000 folders of 1000", wide, 1_000_000, args)
    folder(table, "one folder of a million", flat, 1_000_000, args)
    names(table, args.millions, args)
    if not args.keep:
        shutil.rmtree(wide)
        shutil.rmtree(flat)


if __name__ == "__main__":
    main()
