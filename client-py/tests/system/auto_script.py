"""A training script that knows nothing of forebay, for `forebay run --auto`: prints what it saw, a line an epoch."""

from __future__ import annotations

import json
import os
import pickle
import sys

import torch
from torch import distributed
from torch.utils.data import DataLoader, DistributedSampler
from torchvision import transforms
from torchvision.datasets import ImageFolder


class Own(DataLoader):
    """A loader of somebody else's, which is none of ours."""


def flipped(images: object) -> object:
    """Do something that Normalize does not."""
    return torch.flip(images, (-1,))


def tell(shown: object) -> None:
    """Print a line at once: torchrun has its ranks' prints unbuffered, the line and its end one after the other."""
    os.write(1, f"{json.dumps(shown)}\n".encode())


def train(root: str, kind: str) -> None:
    """Read two epochs, with a step of a model each batch."""
    torch.manual_seed(11)
    if "RANK" in os.environ:
        distributed.init_process_group("gloo")
    if kind == "patched":
        transforms.Normalize.forward = lambda self, images: flipped(images)
    steps = [transforms.RandomResizedCrop(32), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    if kind == "split":
        steps[2:2] = [transforms.TrivialAugmentWide()]
    dataset = ImageFolder(root, transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.25] * 3)]))
    sampler = DistributedSampler(dataset, seed=3) if distributed.is_initialized() else None
    loader = DataLoader(dataset, batch_size=6, shuffle=sampler is None, sampler=sampler, num_workers=1)
    model = torch.nn.Linear(3 * 32 * 32, 3)
    if sampler is not None:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    tell({"weights": float(next(model.parameters()).detach().sum()), "steps": len(loader)})
    for epoch in range(2):
        if sampler is not None:
            sampler.set_epoch(epoch)
        marks = []
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(model(images.view(len(images), -1)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            marks += [(label, round(float(image.sum()), 3)) for image, label in zip(images, labels.tolist())]
        tell({"epoch": epoch, "rows": marks})
    kinds = [type(each).__module__ for each in (loader, Own(dataset), pickle.loads(pickle.dumps(loader)))]
    shown = {"loaders": kinds, "is_torchs": isinstance(loader, DataLoader), "sitecustomize": os.environ.get("SEEN", "")}
    tell(shown)
    if distributed.is_initialized():
        distributed.destroy_process_group()


def spawned(rank: int, root: str, kind: str) -> None:
    """Train in a process of torch's own spawning."""
    train(root, kind)


if __name__ == "__main__":
    if sys.argv[2] == "spawn":
        torch.multiprocessing.spawn(spawned, (sys.argv[1], "plain"), nprocs=1)
    else:
        train(*sys.argv[1:])
