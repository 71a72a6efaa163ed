"""torch's DataLoader over torchvision's ImageFolder as most people write it: Pillow and transforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from settings import MEAN, RATIO, SCALE, SIDE, STD, Batch, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Give epoch after epoch of persistent worker processes."""
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps: list[Any] = [
        transforms.RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO),
        transforms.RandomHorizontalFlip(),
    ]
    if settings.dtype == "u8":
        steps.append(transforms.PILToTensor())
    else:
        steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    yield from epochs(ImageFolder(settings.data, transforms.Compose(steps)), settings)


def epochs(dataset: Any, settings: Settings) -> Iterator[Batch]:
    """Give epoch after epoch of one DataLoader; both of torchvision's forms use it."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        dataset,
        batch_size=settings.batch,
        shuffle=True,
        drop_last=True,
        num_workers=settings.workers,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            yield Batch(images, labels)


PEER = Peer("torchvision-pil", "DataLoader, Pillow, antialiased", batches)
