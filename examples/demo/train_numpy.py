"""Trains a softmax classifier on the demo's photographs with numpy alone, and says where the time went.

    python examples/demo/train_numpy.py .demo/photos

Its features are made to be simple: for each image, how often each of 64 colours occurs in it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from progress import bar, print_stats

IMAGE_PX = 64
LEVELS = 4  # a channel: 4 * 4 * 4 colours
ACCURACY_WANTED = 0.90

Floats = npt.NDArray[np.float32]


def features(images: npt.NDArray[np.uint8]) -> Floats:
    """Return (N, 64) float32, the square root of each colour's share, for (N, H, W, 3) uint8 images."""
    levels = (images // (256 // LEVELS)).astype(np.int64)
    colours = (levels[..., 0] * LEVELS + levels[..., 1]) * LEVELS + levels[..., 2]
    rows = np.arange(len(images))[:, None] * LEVELS**3
    counts = np.bincount((rows + colours.reshape(len(images), -1)).ravel(), minlength=len(images) * LEVELS**3)
    return np.sqrt(counts.reshape(len(images), -1) / colours[0].size).astype(np.float32)


def probabilities(inputs: Floats, weights: Floats) -> Floats:
    """Return (N, classes): the softmax of `inputs @ weights`."""
    scores = inputs @ weights
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def train_epoch(weights: Floats, moments: Floats, batches: Any, rate: float, title: str) -> None:
    """Move `weights` down the gradient of the cross entropy, in place, once a batch."""
    steps = len(batches)
    for step, (images, labels) in enumerate(batches, start=1):
        inputs = features(images)
        error = probabilities(inputs, weights)
        loss = -np.log(error[np.arange(len(labels)), labels] + 1e-9).mean()
        error[np.arange(len(labels)), labels] -= 1
        moments *= 0.9
        moments += inputs.T @ error / len(labels)
        weights -= rate * moments
        bar(title, step, steps, f"loss {loss:.2f}")


def accuracy(weights: Floats, batches: Iterable[Any]) -> float:
    """Return the share of images, 0..=1, whose class is the first guess."""
    right = total = 0
    for images, labels in batches:
        right += int((probabilities(features(images), weights).argmax(1) == labels).sum())
        total += len(labels)
    return right / total


def main() -> int:
    """Train, report, and return 0 if the accuracy was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with train/ and val/")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    from forebay.numpy import DataLoader
    from forebay.transforms import CenterCrop, RandomHorizontalFlip, RandomResizedCrop, Resize

    augment = [RandomResizedCrop(IMAGE_PX, scale=(0.3, 1.0)), RandomHorizontalFlip()]
    train = DataLoader(options.root / "train", batch_size=32, shuffle=True, seed=options.seed, transform=augment)
    val = DataLoader(options.root / "val", batch_size=32, transform=[Resize(IMAGE_PX + 8), CenterCrop(IMAGE_PX)])
    classes = sum(1 for entry in (options.root / "train").iterdir() if entry.is_dir())
    weights = np.zeros((LEVELS**3, classes), np.float32)
    moments = np.zeros_like(weights)

    started = time.perf_counter()
    for epoch in range(options.epochs):
        train_epoch(weights, moments, train, 1.0, f"epoch {epoch + 1:2}/{options.epochs}")
    seconds = time.perf_counter() - started
    reached = accuracy(weights, val)
    print(f"accuracy on {options.root / 'val'}: {reached:.1%} (wanted: {ACCURACY_WANTED:.0%})")
    print(f"training took {seconds:.1f} s")
    print_stats(train)
    return 0 if reached >= ACCURACY_WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
