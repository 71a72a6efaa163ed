"""What every peer is asked for, and what a peer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

SIDE = 224
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
DTYPES = ("uint8", "float32")
CACHES = ("warm", "cold")
FILE_BYTES = 50 << 10  # of a file that is handed over as it is
# Peers that stall where an epoch begins get epochs of this many rows where they can: the few thousand files that are
# measured here would make them stall every few seconds.
IMAGENET_ROWS = 1_281_167
# Files read at a time, where reading is all there is to do: as many as forebay reads on a small machine.
READERS = 16


@dataclass(frozen=True)
class Task:
    """What all peers are asked for.

    unit: what is counted.
    cases: what is measured apart from each other, each with a table of its own.
    cpu: the heading of processor time, what a second per 1000 is in its unit, and its digits.
    extra: the heading of a column that is this task's alone.
    """

    name: str
    title: str
    unit: str
    cases: tuple[str, ...]
    cpu: tuple[str, float, int]
    extra: str


PHOTOS = Task(
    "photos",
    "Photographs to training batches, loaders in turns",
    "images",
    DTYPES,
    ("CPU s / 1000", 1.0, 2),
    "converted first",
)
RAW = Task(
    "raw",
    "Files of 50 KiB to batches of their bytes, loaders in turns",
    "files",
    CACHES,
    ("CPU us / file", 1000.0, 1),
    "from the device",
)
TASKS = {task.name: task for task in (PHOTOS, RAW)}


@dataclass(frozen=True)
class Settings:
    """One measurement, shuffled, whole batches only. Photographs: RandomResizedCrop(224), flip. Raw: a file's bytes.

    data: a folder of class folders; for a peer that converts, what its `convert` has made.
    case: of photographs the dtype: `uint8`, or `float32`: normalised with ImageNet's mean and deviation, in either
        order in memory. Of raw files the page cache: `warm`, or `cold`.
    """

    data: str
    case: str
    batch: int
    workers: int
    task: Task = PHOTOS

    @property
    def dtype(self) -> str:
        """Of the batches."""
        return self.case if self.task is PHOTOS else "uint8"

    @property
    def shapes(self) -> frozenset[tuple[int, ...]]:
        """Of a sample; any of them will do."""
        return frozenset({(SIDE, SIDE, 3), (3, SIDE, SIDE)} if self.task is PHOTOS else {(FILE_BYTES,)})

    @property
    def batch_bytes(self) -> int:
        """Image bytes of a whole batch, or bytes of its files."""
        sample_bytes = 3 * SIDE * SIDE * (1 if self.dtype == "uint8" else 4) if self.task is PHOTOS else FILE_BYTES
        return self.batch * sample_bytes


@dataclass(frozen=True)
class Batch:
    """What a peer hands over: an array or tensor of images, its labels, both in this process's memory."""

    images: Any
    labels: Any


@dataclass(frozen=True)
class Conversion:
    """What a peer that reads a format of its own starts from: photographs in class folders, and where to write."""

    photos: Path
    target: Path
    workers: int

    def samples(self) -> list[tuple[Path, int]]:
        """Give every photograph with the number of its class, in a random order that is always the same.

        Formats whose readers shuffle within a buffer or a shard are written so.
        """
        classes = sorted(path for path in self.photos.iterdir() if path.is_dir())
        samples = [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]
        Random(0).shuffle(samples)
        return samples


@dataclass(frozen=True)
class Install:
    """What a peer's Python needs.

    packages: for pip, each with its version, so that two runs compare the same thing.
    torch: whether it sees the torch and torchvision that all peers share.
    megabytes, minutes: on disk and on the clock, measured once, for the announcement.
    debian: what its build needs from the distribution, as (what proves that it is there, package); the proof is
        `program NAME`, `header NAME` beside Python's own, or `library NAME` as pkg-config knows it.
    """

    packages: tuple[str, ...] = ()
    torch: bool = True
    megabytes: int = 0
    minutes: int = 0
    debian: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Peer:
    """A loader in one set-up.

    note: the set-up, for the table.
    batches: makes an iterator without end, and imports the framework itself.
    convert: writes the format that `batches` reads; None for a peer that reads the photographs as they are.
    converted_share: how many times the photographs' bytes that takes, roughly, for the announcement.
    measure: measures by itself, as (settings, warm-up seconds, seconds) -> the figures of `worker.measure`; for what
        gives no batches.
    """

    name: str
    note: str
    batches: Callable[[Settings], Iterator[Batch]]
    convert: Callable[[Conversion], None] | None = None
    converted_share: float = 0.0
    measure: Callable[[Settings, float, float], dict[str, Any]] | None = None
