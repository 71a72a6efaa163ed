"""Ask how fast a user's own data set comes through forebay's workers, beside torch's DataLoader with as many.

    python benches/python_path.py [--workers 2] [--turns 5] [--seconds 4] [--json]

Three data sets as people write them: photographs in a zip file with torchvision's transforms, a table in memory, and a
dict of sound and text. Both loaders run in one process, epoch by epoch in turns, with workers that live on; an epoch
that is shorter than --seconds is repeated. The ratio is forebay's rows a second over torch's, turn by turn; its median
counts. Beside it the same by processor time of all processes, which other work on the machine disturbs less. Needs
torch, torchvision and Pillow, and the client package with its binary (FOREBAY_BINARY).
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


def write_photos(path: str, count: int = 512) -> str:
    """Write photographs of about 500 x 375 pixels, with structure at all scales."""
    from PIL import Image

    draw = np.random.default_rng(1)
    with zipfile.ZipFile(path, "w") as file:
        for index in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize((500, 375))
            noise = draw.integers(-12, 12, (375, 500, 3))
            pixels = np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)
            made = io.BytesIO()
            Image.fromarray(pixels).save(made, "JPEG", quality=85)
            file.writestr(f"{index}.jpg", made.getvalue())
    return path


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


def compare(made: Callable[[], Dataset], batch: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure both loaders in turns."""
    how = {"batch_size": batch, "shuffle": True, "num_workers": arguments.workers, "persistent_workers": True}
    ours, theirs = DataLoader(made(), **how), TorchLoader(made(), **how)
    for loader in (ours, theirs):
        epoch(loader, 0)
    turns: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for turn in range(arguments.turns):
        pair = (ours, theirs) if turn % 2 == 0 else (theirs, ours)
        speeds = {id(loader): epoch(loader, arguments.seconds) for loader in pair}
        turns.append((speeds[id(ours)], speeds[id(theirs)]))
    ours.close()
    ratios = [mine[0] / other[0] for mine, other in turns]
    return {
        "rows_per_second": statistics.median(mine[0] for mine, _ in turns),
        "torch_rows_per_second": statistics.median(other[0] for _, other in turns),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "cpu_ratio": statistics.median(mine[1] / other[1] for mine, other in turns),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--only", choices=["photos", "table", "clips"])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(os.path.join(folder, "photos.zip"))
        kinds: dict[str, tuple[Callable[[], Dataset], int]] = {
            "photos": (lambda: ZippedPhotos(photos), 64),
            "table": (Table, 256),
            "clips": (Clips, 64),
        }
        kinds = {name: kind for name, kind in kinds.items() if arguments.only in (None, name)}
        found = {name: compare(made, batch, arguments) for name, (made, batch) in kinds.items()}
    if arguments.json:
        print(json.dumps({"torch": torch.__version__, "python": platform.python_version(), **found}, indent=2))
        return
    print(f"{arguments.workers} workers, {arguments.turns} turns; rows a second, medians\n")
    print(f"{'':8} {'forebay':>10} {'torch':>10} {'ratio':>7}   {'least to most':15} by processor time")
    for name, row in found.items():
        print(
            f"{name:8} {row['rows_per_second']:10.0f} {row['torch_rows_per_second']:10.0f} {row['ratio']:7.2f}   "
            f"{row['ratio_min']:.2f} to {row['ratio_max']:<7.2f} {row['cpu_ratio']:.2f}"
        )


if __name__ == "__main__":
    main()
