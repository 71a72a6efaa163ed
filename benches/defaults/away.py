"""Is storage that is 2 ms away hidden? The same files read from here, and through slowfs, in turns.

    python benches/defaults/away.py --data DIR --rounds 6                     photographs: decoding is the slower half
    python benches/defaults/away.py --data DIR --raw 51200 --read-threads 64  files as they are: reading is all
    ... --delay-us 2000 --out FILE.json

Each side is a node daemon with the default settings, or with --read-threads, and takes its batches as `grid.py` does.
What a side with a delay could give at most is its reads at a time over the delay, which stands beside the rates. With
--raw and --read-threads a bare loop of as many threads reads the same mount in the same rounds: what it and this
machine can give.
slowfs needs root, cc, and Debian's fuse3 and libfuse3-dev.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from grid import Setting, Turns, slow

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from peers.intervals import Interval, interval, paired_ratio
from peers.machine import describe, in_words

READ_THREADS_LEAST = 16  # of the daemon, where nobody sets them


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/forebay")
    parser.add_argument("--data", required=True, help="a folder of class folders of photographs, or of .bin files")
    parser.add_argument(
        "--raw", type=int, default=0, metavar="BYTES", help="hand over .bin files of at most so many bytes"
    )
    parser.add_argument("--delay-us", type=int, default=2000, help="what opening a file takes (default: %(default)s)")
    parser.add_argument("--read-threads", type=int, help="reads at a time (default: the daemon's)")
    parser.add_argument("--rounds", type=int, default=6, help="one more is thrown away (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=16, help="timed, a turn (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path, help="for the figures as JSON")
    options = parser.parse_args()
    data = str(Path(options.data).resolve())
    with slow(data, options.delay_us) as mounted:
        rates = measure(options, {"here": data, "away": mounted})
    found = summary(rates, options)
    print(told(found))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")


def measure(options: argparse.Namespace, sides: dict[str, str]) -> dict[str, list[float]]:
    """Give the rates of every round, by side."""
    turns: dict[str, Turns] = {}
    with tempfile.TemporaryDirectory(prefix="forebay-away-") as folder:
        try:
            for name, data in sides.items():
                own = Path(folder) / name
                own.mkdir()
                setting = Setting(read_threads=options.read_threads)
                turns[name] = Turns(setting, options.binary, data, own, options.batch, options.raw)
            rates: dict[str, list[float]] = {name: [] for name in turns}
            for number in range(-1, options.rounds):
                for name in sorted(turns, reverse=number % 2 == 0):
                    rate = turns[name].turn(4, options.batches, options.batch)
                    if number >= 0:
                        rates[name].append(rate)
                if options.raw and options.read_threads and number >= 0:
                    rates.setdefault("bare", []).append(bare(options, sides["away"]))
                print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            return rates
        finally:
            for one in turns.values():
                one.close()


def bare(options: argparse.Namespace, mounted: str) -> float:
    """Give the files a second that bare threads open, read and close."""
    command = [options.binary, "bench", mounted, "--stage", "read-floor", "--threads", str(options.read_threads)]
    command += ["--rounds", "1", "--seconds", "3", "--warmup", "0", "--json"]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return float(found["stages"][0]["bare"]["per_second"]["median"])


def summary(rates: dict[str, list[float]], options: argparse.Namespace) -> dict[str, Any]:
    """Give both rates and their ratio, with intervals, and what the delay allows."""

    def triple(found: Interval | None) -> list[float] | None:
        return found and [found.middle, found.low, found.high]

    threads = options.read_threads or max(READ_THREADS_LEAST, 2 * len(os.sched_getaffinity(0)))
    by_round = {name: dict(enumerate(values)) for name, values in rates.items()}
    return {
        "machine": describe(),
        "delay_us": options.delay_us,
        "raw_bytes": options.raw,
        "batch": options.batch,
        "read_threads": threads,
        "most_per_second": threads * 1e6 / max(1, options.delay_us),
        "per_second": {name: triple(interval(values)) for name, values in rates.items()},
        "away_over_here": triple(paired_ratio(by_round["away"], by_round["here"])),
        "rounds": rates,
        **({"away_over_bare": triple(paired_ratio(by_round["away"], by_round["bare"]))} if "bare" in rates else {}),
    }


def told(found: dict[str, Any]) -> str:
    """Say it in a few lines."""

    def shown(triple: list[float], digits: int) -> str:
        return "{0:.{3}f} ({1:.{3}f} to {2:.{3}f})".format(*triple, digits)

    what = f"files of at most {found['raw_bytes']} bytes as they are" if found["raw_bytes"] else "photographs"
    machine = found["machine"]
    beside: list[str] = []
    if "bare" in found["per_second"]:
        beside = [
            f"bare threads there  {shown(found['per_second']['bare'], 0)} a second",
            f"away / bare        {shown(found['away_over_bare'], 3)}",
        ]
    return "\n".join(
        [
            f"{what}; {in_words(machine, machine['processors'])}",
            f"from here          {shown(found['per_second']['here'], 0)} a second",
            f"{found['delay_us'] / 1000:g} ms away          {shown(found['per_second']['away'], 0)} a second; "
            f"{found['read_threads']} reads at a time allow {found['most_per_second']:.0f}",
            f"away / here        {shown(found['away_over_here'], 3)}",
            *beside,
        ]
    )


if __name__ == "__main__":
    main()
