"""One comparison: what is chosen, what was made ready for it, and what came of it so far."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import catalogue, children, convert, datasets, machine, plot, raw, table
from .catalogue import Entry
from .convert import Photos
from .envs import Pythons, say
from .rounds import Outcome, PeerFailedError, Run, in_turns
from .settings import PHOTOS, RAW, Task

CONVERT_LIMIT_SECONDS = 3600.0
RUN_LIMIT_SECONDS = 300.0
# Of the pages of cold files: as many may have stayed.
RESIDENT_MOST = 0.01


class Comparison:
    """One run of it all: what is chosen, where it is, and what came of it so far."""

    def __init__(self, args: argparse.Namespace, pythons: Pythons) -> None:
        self.args, self.pythons = args, pythons
        self.entries: dict[str, Entry] = {}
        self.cores: dict[str, int] = {}
        for entry in args.peers:
            for cores in reversed(args.cores):
                row = row_name(entry.peer.name, cores, args.cores[-1])
                self.entries[row], self.cores[row] = entry, cores
        self.env = children.environment(args.binary)
        self.outcome = Outcome()
        self.conversions: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.photos = Photos(args.data, 0, 0, "")
        self.done = 0

    @property
    def task(self) -> Task:
        """What is asked of the peers."""
        return self.args.set.task

    def prepare(self) -> None:
        """Make the data, install each peer and convert for it; who fails here is not measured."""
        self.make_data()
        self.photos = Photos.read(self.args.data)
        if self.args.set.name != "photos" and self.task is PHOTOS:
            say(f"{self.args.set.words}: made where they are not there yet")
            self.args.data = datasets.made(self.args.work, self.args.set, self.photos, self.pythons.with_torch())
            self.photos = Photos.read(self.args.data)
        for name, entry in self.entries.items():
            try:
                self.pythons.python_for(entry)
                if entry.peer.convert:
                    self.conversions[name] = self.convert(name)
            except PeerFailedError as failed:
                say(f"{name}: {failed}")
                self.outcome.failures.update({(name, case): str(failed) for case in self.args.cases})

    def run(self) -> None:
        """Measure, in turns, those that are ready."""
        in_turns(list(self.entries), self.args.cases, self.args.rounds, self.measure, self.outcome)

    def make_data(self) -> None:
        """Make raw files where that is asked for; else let forebay make photographs, unless some were named."""
        if self.task is RAW:
            if not datasets.is_raw_made(self.args.data, self.args.set):
                say(f"making {self.args.set.files} {self.args.set.words} in {self.args.data}")
                raw.make(self.args.data, self.args.set.files)
            return
        if not self.args.synthetic or is_made(self.args.synthetic):
            return
        binary = self.args.binary or shutil.which("forebay")
        if not binary:
            raise SystemExit("error: no forebay to make photographs with\nhint: ./dev build, or name yours with --data")
        # Every fifth of a class goes to val/, which is not used here.
        files = datasets.SETS["photos"].files
        count = str(files * 5 // 4)
        say(f"making {files} photographs in {self.args.synthetic}")
        command = [str(binary), "synth", str(self.args.synthetic), "--images", count]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode != 0:
            raise SystemExit("error: could not make photographs\nhint: the lines above say why; --data names yours")

    def convert(self, row: str) -> dict[str, Any]:
        """Give what a peer's conversion took, now or when it was made."""
        entry = self.entries[row]

        def run(target: Path) -> dict[str, Any]:
            say(f"converting for {entry.peer.name}")
            return self.ask(row, "convert", ["--data", str(self.photos.folder), "--convert-to", str(target)])

        return convert.converted(entry.peer, self.photos, self.args.work / "converted", run)

    def measure(self, name: str, case: str, round_: int) -> Run:
        """Measure one peer once, its data in the page cache, or none of it where the case is cold."""
        entry, args = self.entries[name], self.args
        data = convert.place(args.work / "converted", entry.peer, self.photos) if entry.peer.convert else args.data
        if case == "cold":
            chill(data, inodes=args.drop_inodes)
        else:
            warm(data)
        self.done += 1
        words = f"[{self.done}/{len(self.entries) * len(args.cases) * args.rounds}] round {round_}, {case}, {name}"
        arguments = ["--data", str(data), "--task", self.task.name, "--case", case]
        for option in ("batch", "warmup", "seconds"):
            arguments += [f"--{option}", str(getattr(args, option))]
        try:
            figures = self.ask(name, f"{case}-{round_}", arguments)
        except PeerFailedError as failed:
            say(f"{words}: {failed}")
            raise
        say(f"{words}: {figures['rows_per_second']:.0f} {self.task.unit}/s")
        self.versions[name] = figures.pop("versions") | (self.forebay_version() if name == table.OURS else {})
        return figures

    def ask(self, row: str, what: str, arguments: Sequence[str]) -> dict[str, Any]:
        """Run a peer's worker, on as many cores as its row says."""
        entry = self.entries[row]
        limit = CONVERT_LIMIT_SECONDS if what == "convert" else RUN_LIMIT_SECONDS + self.args.seconds + self.args.warmup
        named = [
            "--module",
            catalogue.module_of(entry.family),
            "--peer",
            entry.peer.name,
            "--cores",
            str(self.cores[row]),
        ]
        log = self.args.work / "logs" / f"{row.replace(' ', '-')}-{what}.log"
        return children.ask_worker(self.pythons.python_for(entry), [*named, *arguments], self.env, log, limit)

    def forebay_version(self) -> dict[str, str]:
        """Ask our own command, which pip does not know here."""
        if not self.args.binary:
            return {}
        done = subprocess.run([str(self.args.binary), "--version"], capture_output=True, text=True, check=False)
        return {"forebay": done.stdout.strip().rpartition(" ")[2]}

    def tell(self) -> None:
        """Print the table and keep it, with the plot and every run's figures."""
        args, outcome, rows = self.args, self.outcome, table.summarise(self.outcome.runs)
        here = machine.describe()
        about = [self.data_in_words(), machine.in_words(here, args.cores[-1])]
        notes = {name: entry.peer.note for name, entry in self.entries.items()}
        kept = {
            "machine": here,
            "settings": {name: getattr(args, name) for name in ("rounds", "seconds", "warmup", "batch", "cores")},
            "data": {
                "set": args.set.name,
                "synthetic": bool(args.synthetic),
                "files": self.photos.files,
                "bytes": self.photos.bytes,
            },
            "versions": self.versions,
            "conversions": self.conversions,
            "failures": [{"peer": peer, "case": of, "reason": why} for (peer, of), why in outcome.failures.items()],
            "summary": table.record(rows),
            "runs": outcome.runs,
        }
        tables = table.markdown(rows, outcome, args.cases, notes, self.conversions, self.task)
        drawing = plot.svg(rows, args.cases, self.conversions, outcome.failures, self.task.title, about, self.task)
        contents = {
            "peers.md": f"{'; '.join(about)}\n\n{tables}\n",
            "peers.svg": drawing,
            "peers.json": json.dumps(kept, indent=1) + "\n",
        }
        args.out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (args.out / name).write_text(content)
        print(contents["peers.md"], end="")
        say(f"kept in {args.out}: {', '.join(contents)}")

    def data_in_words(self) -> str:
        """Say what was loaded, without a path."""
        if self.task is RAW:
            names = "and names and inodes with them" if self.args.drop_inodes else "names and inodes not"
            cold = f"; cold: dropped from the page cache before each run, {names}"
            return f"{self.photos.files} {self.args.set.words}, batches of {self.args.batch}{cold}"
        files, kind = self.photos.files, f"{'synthetic ' * bool(self.args.synthetic)}{self.args.set.words}"
        mean_kb = self.photos.bytes / max(files, 1) / 1000
        return f"{files} {kind} of {mean_kb:.0f} KB in a warm page cache, batches of {self.args.batch} x 224 x 224"


def row_name(peer: str, cores: int, cores_most: int) -> str:
    """Name a row: the peer alone on all the cores of the run, so that every ratio is to forebay on those."""
    return peer if cores == cores_most else f"{peer} on {cores} core{'s' * (cores > 1)}"


def is_made(synthetic: Path) -> bool:
    """Tell whether all photographs are there; `forebay synth` goes on where it was stopped."""
    return sum(1 for _ in synthetic.glob("train/*/*")) >= datasets.SETS["photos"].files


def chill(folder: Path, *, inodes: bool) -> None:
    """Have the page cache forget every file.

    inodes: and the kernel all names and inodes, which it keeps for the whole machine.
    Raises PeerFailedError where it did not.
    """
    paths, _ = raw.listed(str(folder))
    raw.forget(paths)
    if (share := raw.resident(paths)) > RESIDENT_MOST:
        raise PeerFailedError(f"not cold: the page cache kept {100 * share:.0f} % of the files' pages")
    if inodes:
        Path("/proc/sys/vm/drop_caches").write_text("2")


def warm(folder: Path) -> None:
    """Read every file once, so that no peer waits for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 22):
                    pass
