"""torch's DataLoader at its fastest: torchvision's decode_jpeg and transforms v2 on tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peer_torchvision_pil import epochs
from settings import MEAN, RATIO, SCALE, SIDE, STD, Batch, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Give epoch after epoch of persistent worker processes."""
    import torch
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps: list[Any] = [
        v2.RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO, antialias=True),
        v2.RandomHorizontalFlip(),
    ]
    if settings.dtype == "f32":
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    yield from epochs(ImageFolder(settings.data, v2.Compose(steps), loader=_decode), settings)


def _decode(path: str) -> Any:
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    return decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


PEER = Peer("torchvision-tensor", "DataLoader, decode_jpeg and v2, antialiased", batches)
