"""What a million files, and samples of 200 MB, cost: time to open, the rate that is kept, memory.

    PYTHONPATH=client-py/src:benches python -m load.scale --work /mnt/flash/scratch --out FILE.json
    ... --only files --files 1000000 --seconds 60
    ... --only samples --depths 1,2,8,32

`files`: a million files in a thousand folders, without blocks on the disk, each an inode of its own, opened as samples
of 50 KiB and read in random order for a minute. `samples`: files of 200 MB, of holes too, in batches of one at each
depth; the peak of the daemon's resident memory stands beside what its settings allow: slots, read budget, one sample.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from peers.envs import say
from peers.machine import describe, in_words
from peers.settings import FILE_BYTES

from .node import Node, built

FOLDERS = 1000
BATCH = 256
MB = 1 << 20
SAMPLE_BYTES, SAMPLES = 200 * MB, 8
LEASES = 2
READ_BUDGET_BYTES = 64 * MB


def main() -> int:
    """Make what is not there, measure, tell."""
    args = arguments()
    found: dict[str, Any] = {"machine": describe()}
    if "files" in args.only:
        make_files(args.work / "files", args.files)
        found["files"] = files(args)
    if "samples" in args.only:
        make_samples(args.work / "samples")
        found["samples"] = [sample(args, depth) for depth in args.depths]
    print(told(found))
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def arguments() -> argparse.Namespace:
    """Parse and check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the files are or are to be made")
    parser.add_argument("--forebay", type=Path, default=built())
    parser.add_argument("--only", default="files,samples", help="questions (default: both)")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=60.0, help="of random reads (default: %(default)s)")
    parser.add_argument("--depths", default="1,2,8,32", help="batches in flight (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="keep the figures in this JSON file")
    args = parser.parse_args()
    args.only, args.depths = args.only.split(","), [int(depth) for depth in args.depths.split(",")]
    if not args.forebay.exists():
        parser.error(f"{args.forebay} is not there: ./dev build, or name yours with --forebay")
    args.work, args.forebay = args.work.resolve(), args.forebay.resolve()
    return args


def make_files(folder: Path, count: int) -> None:
    """Make them where they are not there yet."""
    done = folder / "made"
    if done.exists() and done.read_text() == str(count):
        return
    say(f"making {count} files in {folder}")
    for number in range(FOLDERS):
        inside = folder / "data" / f"{number:04}"
        inside.mkdir(parents=True, exist_ok=True)
        for index in range(number, count, FOLDERS):
            with (inside / f"{index:07}.bin").open("wb") as file:
                file.truncate(FILE_BYTES)
    done.write_text(str(count))


def make_samples(folder: Path) -> None:
    """Make them where they are not there yet."""
    (folder / "all").mkdir(parents=True, exist_ok=True)
    for number in range(SAMPLES):
        with (folder / "all" / f"{number}.bin").open("wb") as file:
            file.truncate(SAMPLE_BYTES)


def files(args: argparse.Namespace) -> dict[str, Any]:
    """Open the files through a daemon, and read for a while."""
    from forebay import Folder, Raw, Value
    from forebay.numpy import DataLoader

    data = args.work / "files" / "data"
    with (
        tempfile.TemporaryDirectory(prefix="forebay-scale-") as folder,
        Node(Path(folder), args.work, args.forebay) as node,
    ):
        began = time.perf_counter()
        loader = DataLoader(
            Folder(data, extensions=(".bin",)),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            fields={"data": Raw("image", capacity=FILE_BYTES), "label": Value()},
            daemon=node.socket,
        )
        batches = iter(loader)
        next(batches)
        first = time.perf_counter() - began
        started, rates, rows = time.perf_counter(), [], 0
        while time.perf_counter() - started < args.seconds:
            part, before = time.perf_counter(), rows
            while time.perf_counter() - part < args.seconds / 6:
                batch = next(batches, None)
                if batch is None:
                    batches = iter(loader)
                    continue
                rows += len(batch["label"])
            rates.append((rows - before) / (time.perf_counter() - part))
        told_ = {
            "files": args.files,
            "first_batch_seconds": first,
            "rows": rows,
            "per_second": rows / (time.perf_counter() - started),
            "per_second_first_and_last_sixth": [rates[0], rates[-1]],
            "daemon_peak_mb": node.peak_bytes() / MB,
            "descriptors": node.descriptors(),
        }
        loader.close()
    return told_


def sample(args: argparse.Namespace, depth: int) -> dict[str, Any]:
    """Read large samples with so many batches in flight."""
    from forebay import Folder, Raw
    from forebay.numpy import DataLoader

    arena = f"{(depth + LEASES + 1) * SAMPLE_BYTES // MB + 64}MiB"
    settings = {"read_budget": f"{READ_BUDGET_BYTES // MB}MiB", "arena_budget": arena}
    with (
        tempfile.TemporaryDirectory(prefix="forebay-scale-") as folder,
        Node(Path(folder), args.work, args.forebay, **settings) as node,
    ):
        own = node.peak_bytes()
        loader = DataLoader(
            Folder(args.work / "samples", extensions=(".bin",)),
            batch_size=1,
            fields={"data": Raw("image", capacity=SAMPLE_BYTES)},
            prefetch=depth,
            max_leases=LEASES,
            daemon=node.socket,
        )
        started, rows = time.perf_counter(), 0
        for _ in range(max(3, 2 * depth // SAMPLES)):
            rows += sum(1 for _ in loader)
        seconds = time.perf_counter() - started
        (session,) = node.sessions()
        slots = int(session["slots"]) * SAMPLE_BYTES
        peak = node.peak_bytes()
        loader.close()
    say(f"depth {depth}: {peak / MB:.0f} MiB")
    return {
        "depth": depth,
        "gb_per_second": rows * SAMPLE_BYTES / seconds / 1e9,
        "peak_mb": peak / MB,
        "slots_mb": slots / MB,
        "own_mb": own / MB,
        "beside_slots_mb": (peak - slots - own) / MB,
        "allowed_beside_slots_mb": (READ_BUDGET_BYTES + SAMPLE_BYTES) / MB,
    }


def told(found: dict[str, Any]) -> str:
    """Say it in lines and a table."""
    lines = [in_words(found["machine"], found["machine"]["processors"]), ""]
    if "files" in found:
        of = found["files"]
        early, late = of["per_second_first_and_last_sixth"]
        lines += [
            f"{of['files']} files: first batch after {of['first_batch_seconds']:.1f} s, "
            f"then {of['per_second']:.0f} files/s "
            f"({early:.0f} in the first sixth of the time, {late:.0f} in the last)",
            f"daemon: {of['daemon_peak_mb']:.0f} MiB at most, {of['descriptors']} descriptors",
            "",
        ]
    if "samples" in found:
        lines += [
            "| depth | GB/s | daemon's peak, MiB | of it slots | itself | the rest | allowed: budget and a sample |",
            "|---|---|---|---|---|---|---|",
        ]
        for of in found["samples"]:
            keys = ("peak_mb", "slots_mb", "own_mb", "beside_slots_mb", "allowed_beside_slots_mb")
            sizes = " | ".join(f"{of[key]:.0f}" for key in keys)
            lines.append(f"| {of['depth']} | {of['gb_per_second']:.2f} | {sizes} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
