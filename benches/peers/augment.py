"""The augmentation as torchvision's transforms, which most peers leave to their user. Imported in a peer's process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .settings import MEAN, RATIO, SCALE, SIDE, STD


def from_pillow(dtype: str) -> Callable[[Any], Any]:
    """Give the transform of a Pillow image as most people write it."""
    from torchvision import transforms

    steps: list[Any] = [
        transforms.RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO),
        transforms.RandomHorizontalFlip(),
    ]
    if dtype == "uint8":
        steps.append(transforms.PILToTensor())
    else:
        steps += [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return transforms.Compose(steps)


def from_tensor(dtype: str) -> Callable[[Any], Any]:
    """Give the transform of a uint8 tensor, C H W: torchvision's fastest form."""
    import torch
    from torchvision.transforms import v2

    steps: list[Any] = [
        v2.RandomResizedCrop(SIDE, scale=SCALE, ratio=RATIO, antialias=True),
        v2.RandomHorizontalFlip(),
    ]
    if dtype == "float32":
        steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    return v2.Compose(steps)


class FromBytes:
    """JPEG bytes to an augmented tensor, picklable for worker processes that are not forked."""

    def __init__(self, dtype: str) -> None:
        self.transform = from_tensor(dtype)

    def __call__(self, encoded: Any) -> Any:
        """Decode the whole image, then crop, resize, flip."""
        import numpy as np
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        # A tensor over read-only bytes draws a warning; decode_jpeg only reads.
        data = torch.from_numpy(np.frombuffer(encoded, np.uint8).copy())
        return self.transform(decode_jpeg(data, mode=ImageReadMode.RGB))
