"""Are the defaults good enough that nobody needs to tune? The default settings beside a grid of twelve, in turns.

    python benches/defaults/grid.py --binary target/release/forebay --data DIR --rounds 6 --out FILE.json
    python benches/defaults/grid.py ... --delay-us 2000      each file takes 2 ms to open (slowfs.c)
    taskset -c 0 python benches/defaults/grid.py ...         on one processor

slowfs needs root, cc, and Debian's fuse3 and libfuse3-dev.

Each setting is a node daemon of its own; one process takes batches from each in turn. A turn first takes what was made
ahead while the others had theirs, then times whole batches from one arrival to another. The best of a noisy grid is
partly luck: it is chosen on the odd rounds and compared with the default on the even ones.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Reads at a time of the engine, and reads admitted ahead of decoding.
READ_AHEAD = ((8, 64), (64, 1024))
DEPTHS = (2, 6)


@dataclass(frozen=True)
class Setting:
    """One daemon's settings; None is its default."""

    cpu_threads: int | None = None
    depth: int | None = None
    read_threads: int | None = None
    reads_in_flight: int | None = None

    @property
    def name(self) -> str:
        """Give it as a row's head."""
        if self == Setting():
            return "the default"
        return f"threads {self.cpu_threads}, depth {self.depth}, reads {self.read_threads}/{self.reads_in_flight}"


def grid(processors: int) -> list[Setting]:
    """Make the twelve points: half, all and twice the processors; shallow and deep; little and much read ahead."""
    threads = sorted({max(1, processors // 2), processors, 2 * processors})
    if len(threads) < 3:
        threads = [1, 2, 3]
    return [Setting(t, depth, *reads) for t in threads for depth in DEPTHS for reads in READ_AHEAD]


class Turns:
    """One setting's daemon and its endless stream of batches.

    raw_bytes: hand files of at most so many bytes over as they are; 0: decode and crop photographs.
    """

    def __init__(self, setting: Setting, binary: str, data: str, folder: Path, batch: int, raw_bytes: int = 0) -> None:
        from forebay.numpy import DataLoader
        from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

        lines = [f"{key} = {value}" for key, value in asdict(setting).items() if value is not None]
        config = folder / "node.toml"
        socket = folder / "s.sock"
        config.write_text("\n".join([f'socket = "{socket}"', *lines, "[[root]]", f'path = "{data}"', ""]))
        self.setting = setting
        self.child = subprocess.Popen([binary, "--log", "warn", "serve", "--config", str(config)])
        while not socket.exists():
            if self.child.poll() is not None:
                raise SystemExit(f"{setting.name}: the daemon ended with {self.child.returncode}")
            time.sleep(0.02)
        if raw_bytes:
            from forebay import Folder, Raw, Value

            of = {"fields": {"data": Raw("image", capacity=raw_bytes), "label": Value()}}
            source: Any = Folder(data, extensions=(".bin",))
        else:
            of, source = {"transform": [RandomResizedCrop(224), RandomHorizontalFlip()]}, data
        self.loader = DataLoader(source, batch_size=batch, shuffle=True, drop_last=True, daemon=str(socket), **of)
        self.batches = self._endless()

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from self.loader

    def turn(self, ahead: int, batches: int, batch: int) -> float:
        """Give images a second over `batches` of them, after `ahead` that were made or begun before."""
        for _ in range(ahead):
            next(self.batches)
        start = time.perf_counter()
        for _ in range(batches):
            next(self.batches)
        rate = batches * batch / (time.perf_counter() - start)
        self._rest()
        return rate

    def _rest(self) -> None:
        """Wait until the daemon has made what it may make ahead: the next one's turn is not to be disturbed by it."""
        spent, stands = -1, 0
        while stands < 3:
            time.sleep(0.05)
            fields = Path(f"/proc/{self.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
            now = int(fields[11]) + int(fields[12])
            stands = stands + 1 if now == spent else 0
            spent = now

    def close(self) -> None:
        """End loader and daemon."""
        self.loader.close()
        self.child.terminate()
        self.child.wait()


@contextlib.contextmanager
def slow(data: str, delay_us: int) -> Iterator[str]:
    """Show `data` through slowfs, or as it is where there is no delay."""
    if not delay_us:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="forebay-slowfs-") as folder:
        program, mount = f"{folder}/slowfs", f"{folder}/mount"
        flags = subprocess.check_output(["pkg-config", "--cflags", "--libs", "fuse3"], text=True).split()
        subprocess.check_call(["cc", "-O2", "-o", program, str(HERE / "slowfs.c"), *flags])
        os.mkdir(mount)
        child = subprocess.Popen([program, data, str(delay_us), mount])
        try:
            while not os.path.ismount(mount):
                if child.poll() is not None:
                    raise SystemExit("slowfs did not mount: it needs /dev/fuse and the right to mount")
                time.sleep(0.02)
            yield mount
        finally:
            subprocess.call(["fusermount3", "-u", "-z", mount])
            child.wait()


def compare(rates: dict[str, list[float]]) -> dict[str, Any]:
    """Choose the best point on odd rounds, and compare the default with it on even ones.

    `default_over_best` is the mean of the rounds' ratios, `error` its standard error.
    """
    points = {name: values for name, values in rates.items() if name != Setting().name}
    best = max(points, key=lambda name: statistics.mean(points[name][1::2]))
    ratios = [own / other for own, other in zip(rates[Setting().name][::2], rates[best][::2])]
    error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else float("nan")
    return {"best": best, "default_over_best": statistics.mean(ratios), "error": error, "rounds": len(ratios)}


def measure(options: argparse.Namespace, data: str) -> dict[str, list[float]]:
    """Give the rates of every round, by setting."""
    settings = [Setting(), *grid(len(os.sched_getaffinity(0)))]
    with tempfile.TemporaryDirectory(prefix="forebay-grid-") as folder:
        turns: list[Turns] = []
        try:
            for number, setting in enumerate(settings):
                own = Path(folder) / str(number)
                own.mkdir()
                turns.append(Turns(setting, options.binary, data, own, options.batch))
            rates: dict[str, list[float]] = {setting.name: [] for setting in settings}
            ahead = max(DEPTHS) + 2
            for round_number in range(-1, options.rounds):
                # Another order each round, so that nobody always follows the same neighbour.
                for one in random.Random(round_number).sample(turns, len(turns)):
                    rate = one.turn(ahead, options.batches, options.batch)
                    if round_number >= 0:
                        rates[one.setting.name].append(rate)
                print(f"round {round_number + 1} of {options.rounds}", file=sys.stderr)
            return rates
        finally:
            for one in turns:
                one.close()


def table(rates: dict[str, list[float]], verdict: dict[str, Any]) -> str:
    """Make the Markdown."""
    lines = ["| setting | images/s, mean | least | most |", "|---|---|---|---|"]
    for name, values in sorted(rates.items(), key=lambda item: -statistics.mean(item[1])):
        lines.append(f"| {name} | {statistics.mean(values):.0f} | {min(values):.0f} | {max(values):.0f} |")
    ratio, error = verdict["default_over_best"], verdict["error"]
    lines.append(f"\nThe default reaches {ratio:.3f} ± {error:.3f} of the best point ({verdict['best']}).")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/forebay")
    parser.add_argument("--data", required=True, help="a folder of class folders")
    parser.add_argument("--delay-us", type=int, default=0, help="what opening a file takes")
    parser.add_argument("--rounds", type=int, default=6, help="even; one more is thrown away")
    parser.add_argument("--batches", type=int, default=8, help="timed, a turn")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--out", type=Path, help="for the figures as JSON")
    options = parser.parse_args()
    with slow(str(Path(options.data).resolve()), options.delay_us) as data:
        rates = measure(options, data)
    verdict = compare(rates)
    print(table(rates, verdict))
    if options.out:
        facts = {"processors": len(os.sched_getaffinity(0)), "delay_us": options.delay_us, "batch": options.batch}
        options.out.write_text(json.dumps({**facts, **verdict, "images_per_second": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
