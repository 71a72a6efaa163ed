"""Ask how fast samples that Python makes come through forebay's workers, beside torch's DataLoader with as many.

    python benches/python_path.py [--workers 2] [--turns 5] [--seconds 4] [--only KIND,KIND] [--json] [--out FOLDER]

Three data sets as people write them: photographs in a zip file with torchvision's transforms, a table in memory, and a
dict of sound and text. And `split`: torchvision's ImageFolder with a crop and a flip, which forebay's daemon then does,
and TrivialAugment, normalising and RandomErasing behind them, which both do in as many workers. Both loaders run in one
process, epoch by epoch in turns, with workers that live on; an epoch that is shorter than --seconds is repeated. The
ratio is forebay's rows a second over torch's, turn by turn; its median counts. Beside it the same by processor time of
all processes, which other work on the machine disturbs less; and how long the first batch took from the making of a
loader on, its processes and the daemon included. Needs torch, torchvision and Pillow, and the client package with its
binary (FOREBAY_BINARY).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import Dataset

from forebay.torch import DataLoader


class ZippedPhotos(Dataset):
    """JPEGs in one zip file, cropped, flipped and turned into tensors."""

    def __init__(self, path: str) -> None:
        from torchvision import transforms

        self.path = path
        self.file: zipfile.ZipFile | None = None
        with zipfile.ZipFile(path) as file:
            self.names = file.namelist()
        steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        """Count the photographs."""
        return len(self.names)

    def __getitem__(self, index: int) -> Any:
        """Read, decode and augment one."""
        from PIL import Image

        if self.file is None:
            self.file = zipfile.ZipFile(self.path)
        with Image.open(io.BytesIO(self.file.read(self.names[index]))) as image:
            return self.transform(image.convert("RGB")), index % 1000


class Table(Dataset):
    """Rows of numbers in memory, with a class."""

    def __init__(self) -> None:
        self.x = np.random.default_rng(0).standard_normal((100_000, 64), dtype=np.float32)
        self.y = np.arange(len(self.x)) % 10

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        """Give a row."""
        return self.x[index], int(self.y[index])


class Clips(Dataset):
    """Sound of a second, louder or softer by chance, and its text."""

    def __init__(self) -> None:
        self.sounds = np.random.default_rng(0).standard_normal((64, 16_000), dtype=np.float32)

    def __len__(self) -> int:
        """Count the clips."""
        return 8192

    def __getitem__(self, index: int) -> Any:
        """Give a clip."""
        gain = 1 + torch.rand(1)
        return {"audio": torch.from_numpy(self.sounds[index % 64]) * gain, "text": f"clip {index}", "id": index}


def folder(root: str) -> Dataset:
    """Give torchvision's own data set, with the transforms of its training script."""
    from torchvision import datasets, transforms

    steps = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.TrivialAugmentWide()]
    steps += [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    return datasets.ImageFolder(root, transforms.Compose([*steps, transforms.RandomErasing(p=0.1)]))


def write_photos(path: Path, count: int = 512) -> None:
    """Write photographs of about 500 x 375 pixels, with structure at all scales: `photos.zip`, and `classes/`."""
    from PIL import Image

    draw = np.random.default_rng(1)
    with zipfile.ZipFile(path / "photos.zip", "w") as file:
        for index in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
            noise = draw.integers(-12, 12, (375, 500, 3))
            pixels = np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)
            made = io.BytesIO()
            Image.fromarray(pixels).save(made, "JPEG", quality=85)
            file.writestr(f"{index}.jpg", made.getvalue())
            label = path / "classes" / f"{index % 16:02}"
            label.mkdir(parents=True, exist_ok=True)
            (label / f"{index}.jpg").write_bytes(made.getvalue())


def cpu_seconds() -> float:
    """Give what this process and all below it have used of the processors."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
            parents[int(name)], ticks[int(name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine = {os.getpid()}
    while below := {pid for pid, parent in parents.items() if parent in mine and pid not in mine}:
        mine |= below
    return sum(ticks[pid] for pid in mine) / os.sysconf("SC_CLK_TCK")


def epoch(loader: Iterable[Any], seconds: float) -> tuple[float, float]:
    """Go through a loader for at least so long; give rows a second, and rows a second of a processor."""
    cpu, started = cpu_seconds(), time.perf_counter()
    rows = 0
    while True:
        for batch in loader:
            first = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
            rows += len(first)
            first.view(-1)[:: 1 << 16].sum()  # looked at, a number in each 256 KB
        spent = time.perf_counter() - started
        if spent >= seconds:
            return rows / spent, rows / max(cpu_seconds() - cpu, 0.01)


def first_batch_seconds(loader: Iterable[Any], since: float) -> float:
    """Take the first batch, and the rest of the epoch, which warms what is left to warm."""
    batches = iter(loader)
    next(batches)
    spent = time.perf_counter() - since
    for _ in batches:
        pass
    return spent


def compare(made: Callable[[], Dataset], batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both loaders in turns."""
    how = {"batch_size": batch, "shuffle": True, "num_workers": arguments.workers, "persistent_workers": True}
    loaders, first = [], []
    for kind in (DataLoader, TorchLoader):
        dataset = made()
        since = time.perf_counter()
        loaders.append(kind(dataset, **how))
        first.append(first_batch_seconds(loaders[-1], since))
    turns: list[list[tuple[float, float]]] = []
    for turn in range(arguments.turns):
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        speeds = {number: epoch(loaders[number], arguments.seconds) for number in order}
        turns.append([speeds[0], speeds[1]])
    loaders[0].close()
    ratios = [mine[0] / other[0] for mine, other in turns]
    return {
        "rows_per_second": statistics.median(mine[0] for mine, _ in turns),
        "torch_rows_per_second": statistics.median(other[0] for _, other in turns),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "cpu_ratio": statistics.median(mine[1] / other[1] for mine, other in turns),
        "first_batch_seconds": first[0],
        "torch_first_batch_seconds": first[1],
    }


KINDS = ("photos", "table", "clips", "split")


def kinds_in(place: Path) -> dict[str, tuple[Callable[[], Dataset], int]]:
    """Give each kind's data set, and its batch size."""
    return {
        "photos": (lambda: ZippedPhotos(str(place / "photos.zip")), 64),
        "table": (Table, 256),
        "clips": (Clips, 64),
        "split": (lambda: folder(str(place / "classes")), 64),
    }


def show(found: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print a table."""
    print(f"{arguments.workers} workers, {arguments.turns} turns; rows a second, medians\n")
    words = f"{'':8} {'forebay':>10} {'torch':>10} {'ratio':>7}   {'least to most':14} {'by processor time':18}"
    print(f"{words} first batch, seconds")
    for name, row in found.items():
        print(
            f"{name:8} {row['rows_per_second']:10.0f} {row['torch_rows_per_second']:10.0f} {row['ratio']:7.2f}   "
            f"{row['ratio_min']:.2f} to {row['ratio_max']:<6.2f} {row['cpu_ratio']:<18.2f} "
            f"{row['first_batch_seconds']:.1f}, torch {row['torch_first_batch_seconds']:.1f}"
        )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2, help="processes of each loader (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="epochs of each loader, or more (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of a turn, at least (default: %(default)s)")
    parser.add_argument("--only", default=",".join(KINDS), metavar="KINDS", help="of %(default)s")
    parser.add_argument("--json", action="store_true", help="print that instead of a table")
    parser.add_argument("--out", type=Path, help="a folder for python-path.json")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(KINDS):
        parser.error(f"unknown kind {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        write_photos(Path(name))
        found = {kind: compare(*kinds_in(Path(name))[kind], arguments) for kind in chosen}
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    report = {**versions, "workers": arguments.workers, "turns": arguments.turns, **found}
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "python-path.json").write_text(json.dumps(report, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        show(found, arguments)


if __name__ == "__main__":
    main()
