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
# Peers that stall where an epoch begins get epochs of this many rows where they can: the few thousand files that are
# measured here would make them stall every few seconds.
IMAGENET_ROWS = 1_281_167


@dataclass(frozen=True)
class Settings:
    """One measurement: RandomResizedCrop(224), flip, shuffled, whole batches only.

    data: a folder of class folders of JPEGs; for a peer that converts, what its `convert` has made.
    dtype: `uint8`, or `float32`: normalised with ImageNet's mean and deviation. Either order in memory will do.
    """

    data: str
    dtype: str
    batch: int
    workers: int

    @property
    def batch_bytes(self) -> int:
        """Image bytes of a whole batch."""
        return self.batch * 3 * SIDE * SIDE * (1 if self.dtype == "uint8" else 4)


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
