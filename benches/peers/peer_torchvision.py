"""torch's DataLoader over torchvision's ImageFolder: as most people write it, and at its fastest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import augment, raw
from .settings import IMAGENET_ROWS, Batch, Install, Peer, Settings


def pillow_batches(settings: Settings) -> Iterator[Batch]:
    """Decode with Pillow, transform Pillow images."""
    from torchvision.datasets import ImageFolder

    yield from _batches(ImageFolder(settings.data, augment.from_pillow(settings.dtype)), settings, settings.workers)


def tensor_batches(settings: Settings) -> Iterator[Batch]:
    """Decode with decode_jpeg, transform tensors."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(settings.data, augment.from_tensor(settings.dtype), loader=_decode)
    yield from _batches(dataset, settings, settings.workers)


class Files:
    """A file's bytes and its label, read one at a time."""

    def __init__(self, folder: str) -> None:
        self.paths, self.labels = raw.listed(folder)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        import numpy as np
        import torch

        return torch.from_numpy(np.fromfile(self.paths[index], np.uint8)), self.labels[index]


def raw_batches(settings: Settings) -> Iterator[Batch]:
    """Read in processes: as many as cores, or where the disk is waited for four times as many."""
    workers = settings.workers * (4 if settings.case == "cold" else 1)
    yield from _batches(Files(settings.data), settings, workers)


def _batches(dataset: Any, settings: Settings, workers: int) -> Iterator[Batch]:
    from torch.utils.data import DataLoader, RandomSampler

    loader = DataLoader(
        dataset,
        batch_size=settings.batch,
        # Draws one permutation of the data set after the other.
        sampler=RandomSampler(dataset, num_samples=max(IMAGENET_ROWS, len(dataset))),
        drop_last=True,
        num_workers=workers,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            yield Batch(images, labels)


def _decode(path: str) -> Any:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


INSTALL = Install()
PEERS = (
    Peer("torchvision-tensor", "DataLoader, decode_jpeg and transforms v2, antialiased; processes", tensor_batches),
    Peer("torchvision-pil", "DataLoader, Pillow and transforms, antialiased; processes", pillow_batches),
)
RAW_PEERS = (Peer("torch", "DataLoader, np.fromfile, a process a core; cold: four", raw_batches),)
