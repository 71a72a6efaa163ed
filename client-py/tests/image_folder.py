"""A folder of small JPEGs, and transforms of a user's own, for tests of torchvision's ImageFolder."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import numpy as np

CLASSES, PER_CLASS = ("ant", "bee", "cow"), 12


def write_photos(root: Path) -> Path:
    """Write smooth pictures of several sizes, one colour a class, as JPEG; two as PNG."""
    from PIL import Image

    rng = np.random.default_rng(7)
    for label, name in enumerate(CLASSES):
        (root / name / "more").mkdir(parents=True)
        for number in range(PER_CLASS):
            height, width = (int(side) for side in rng.integers(70, 130, 2))
            y, x = np.mgrid[:height, :width]
            waves = [np.sin(x / rng.uniform(3, 30) + y / rng.uniform(3, 30)) for _ in range(3)]
            pixels = 120 + 60 * np.stack(waves, -1) + 40 * (np.arange(3) == label)
            folder = root / name / "more" if number % 5 == 4 else root / name
            kind = "png" if number == 3 else "jpg"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.{kind}", quality=92)
    return root


class Seen:
    """Gives its image as it is, where that is of the type that it should be."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, image: Any) -> Any:
        assert type(image).__name__ == self.kind, type(image)
        return image


class Brighter:
    """Adds a random number to all pixels, in place where that is possible, drawn from all three generators."""

    def __call__(self, tensor: Any) -> Any:
        import torch

        return tensor.add_(random.random() + np.random.random() + torch.rand(1).item())


class Ends:
    """Ends its process at one image in so many, as long as the file is there."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __call__(self, image: Any) -> Any:
        if random.random() < 0.2 and os.path.exists(self.mark):
            os.unlink(self.mark)
            os.kill(os.getpid(), signal.SIGKILL)
        return image


class Raises:
    """Has something against every image."""

    def __call__(self, image: Any) -> Any:
        raise ValueError("not this one")


def mixed(samples: list[Any]) -> Any:
    """Mix each image of a batch with another one, as MixUp does."""
    import torch

    images, labels = torch.utils.data.default_collate(samples)
    return torch.lerp(images, images.roll(1, 0), torch.rand(1).item()), labels
