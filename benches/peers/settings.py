"""What every peer is asked for, and what a peer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SIDE = 224
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Settings:
    """One measurement: RandomResizedCrop(224), flip, shuffled, whole batches only.

    dtype: `u8`, or `f32`: normalised with ImageNet's mean and deviation, N C H W.
    """

    data: str
    dtype: str
    batch: int
    workers: int

    @property
    def batch_bytes(self) -> int:
        """Image bytes of a whole batch."""
        return self.batch * 3 * SIDE * SIDE * (1 if self.dtype == "u8" else 4)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a peer hands over: an array or tensor of images, its labels, both in this process's memory."""

    images: Any
    labels: Any


@dataclass(frozen=True, slots=True)
class Peer:
    """A loader in the set-up that serves it best.

    batches: makes an endless iterator over epochs; imports the framework itself.
    packages: what pip must install beside torch and torchvision.
    """

    name: str
    note: str
    batches: Callable[[Settings], Iterator[Batch]]
    packages: tuple[str, ...] = ()
