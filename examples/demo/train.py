"""Trains a small network on the demo's photographs, and says where the time went.

    python examples/demo/train.py .demo/photos

`--loader torchvision` takes torchvision's ImageFolder and torch's own loader with the same transforms
instead, to compare the accuracy.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import torch
from progress import bar, print_stats
from torch import Tensor, nn

IMAGE_PX = 64
ACCURACY_WANTED = 0.95


def network(classes: int) -> nn.Sequential:
    """Four strided convolutions and a mean: 0.1 million weights, a millisecond an image on one core."""
    layers: list[nn.Module] = []
    channels = 3
    for wider in (24, 48, 64, 96):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def forebay_loaders(root: Path, batch_size: int, seed: int) -> tuple[Any, Any]:
    """Return the training and the validation loader: (N, 3, 64, 64) float32 images and (N,) int64 labels."""
    from forebay.torch import DataLoader
    from forebay.transforms import CenterCrop, Normalize, RandomHorizontalFlip, RandomResizedCrop, Resize

    train = DataLoader(
        root / "train",
        batch_size=batch_size,
        shuffle=True,
        seed=seed,
        transform=[RandomResizedCrop(IMAGE_PX, scale=(0.3, 1.0)), RandomHorizontalFlip(), Normalize()],
    )
    val = DataLoader(
        root / "val",
        batch_size=batch_size,
        transform=[Resize(IMAGE_PX + 8), CenterCrop(IMAGE_PX), Normalize()],
    )
    return train, val


def torchvision_loaders(root: Path, batch_size: int, seed: int) -> tuple[Any, Any]:
    """Return the same two loaders made of torchvision and torch alone."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import (
        CenterCrop,
        Compose,
        Normalize,
        RandomHorizontalFlip,
        RandomResizedCrop,
        Resize,
        ToTensor,
    )

    finish = [ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    augment = Compose([RandomResizedCrop(IMAGE_PX, scale=(0.3, 1.0)), RandomHorizontalFlip(), *finish])
    plain = Compose([Resize(IMAGE_PX + 8), CenterCrop(IMAGE_PX), *finish])
    order = torch.Generator().manual_seed(seed)
    train = DataLoader(
        ImageFolder(root / "train", augment),
        batch_size,
        shuffle=True,
        num_workers=2,
        generator=order,
        drop_last=True,
    )
    return train, DataLoader(ImageFolder(root / "val", plain), batch_size, num_workers=2)


def accuracy(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the share of images, 0..=1, whose class is the network's first guess."""
    net.eval()
    right = total = 0
    with torch.inference_mode():
        for images, labels in batches:
            right += int((net(images).argmax(1) == labels).sum())
            total += len(labels)
    return right / total


def timed(batches: Iterable[Any], waited: list[float]) -> Iterator[Any]:
    """Yield the batches, and add to `waited[0]` the seconds spent waiting for each."""
    iterator = iter(batches)
    while True:
        asked = time.perf_counter()
        try:
            batch = next(iterator)
        except StopIteration:
            return
        waited[0] += time.perf_counter() - asked
        yield batch


def train_epoch(net: nn.Module, train: Any, optimizer: Any, schedule: Any, title: str) -> float:
    """Train for one epoch; return the seconds it waited for batches."""
    net.train()
    waited = [0.0]
    steps = len(train) if isinstance(train, Sized) else 0
    for step, (images, labels) in enumerate(timed(train, waited), start=1):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar(title, step, steps, f"loss {loss.item():.2f}")
    return waited[0]


def main() -> int:
    """Train, report, and return 0 if the accuracy was reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder with train/ and val/")
    parser.add_argument("--loader", choices=["forebay", "torchvision"], default="forebay")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    # Half the cores compute, half decode: torch's threads wait for each other at every layer, and where one
    # has lost its core to a decoder they all stand (on two busy cores: 27 s an epoch against 64 s).
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // 2))
    make = forebay_loaders if options.loader == "forebay" else torchvision_loaders
    train, val = make(options.root, options.batch_size, options.seed)
    classes = sum(1 for entry in (options.root / "train").iterdir() if entry.is_dir())
    net = network(classes).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=options.epochs * len(train))

    started, waited = time.perf_counter(), 0.0
    for epoch in range(options.epochs):
        waited += train_epoch(net, train, optimizer, schedule, f"epoch {epoch + 1:2}/{options.epochs}")
    seconds = time.perf_counter() - started
    reached = accuracy(net, val)
    print(f"accuracy on {options.root / 'val'}: {reached:.1%} (wanted: {ACCURACY_WANTED:.0%})")
    print(f"training took {seconds:.1f} s, of which {waited:.1f} s ({waited / seconds:.0%}) waiting for batches")
    print_stats(train)
    return 0 if reached >= ACCURACY_WANTED else 1


if __name__ == "__main__":
    sys.exit(main())
