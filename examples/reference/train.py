"""Trains a small network on a folder of class folders, in the shape of torchvision's reference script.

python examples/reference/train.py .demo/shapes
torchrun --nproc-per-node 2 examples/reference/train.py .demo/shapes
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import presets
import torch
from torch import distributed, nn
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import default_collate
from torch.utils.data.distributed import DistributedSampler
from torch.utils.data.sampler import RandomSampler, SequentialSampler
from torchvision.datasets import ImageFolder

RESIZE_PX, CROP_PX = 40, 32


def network(classes: int) -> nn.Sequential:
    """Three convolutions and a mean: 0.1 million weights."""
    layers: list[nn.Module] = []
    channels = 3
    for wider in (24, 48, 96):
        layers += [nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.BatchNorm2d(wider), nn.ReLU()]
        channels = wider
    layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def load_data(args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Give both data loaders, and the sampler that is to be told of each epoch where there is one."""
    dataset = ImageFolder(
        args.data_path / "train", presets.train_preset(CROP_PX, not args.no_auto_augment, args.random_erase)
    )
    dataset_test = ImageFolder(args.data_path / "val", presets.eval_preset(RESIZE_PX, CROP_PX))
    if args.distributed:
        train_sampler: Any = DistributedSampler(dataset, seed=args.seed)
        test_sampler: Any = DistributedSampler(dataset_test, shuffle=False)
    else:
        train_sampler = RandomSampler(dataset)
        test_sampler = SequentialSampler(dataset_test)

    mix = presets.mixup_cutmix(args.mixup_alpha, args.cutmix_alpha, len(dataset.classes))

    def collate_fn(batch: list[Any]) -> Any:
        return mix(*default_collate(batch))

    data_loader = DataLoader(
        dataset,
        batch_size=args.batch_size,
        sampler=train_sampler,
        num_workers=args.workers,
        generator=None if args.distributed else torch.Generator().manual_seed(args.seed),
        collate_fn=default_collate if mix is None else collate_fn,
        drop_last=not args.distributed,
    )
    data_loader_test = DataLoader(
        dataset_test, batch_size=args.batch_size, sampler=test_sampler, num_workers=args.workers
    )
    return data_loader, data_loader_test, train_sampler if args.distributed else None


def train_one_epoch(model: nn.Module, criterion: nn.Module, optimizer: Any, schedule: Any, loader: Any) -> list[float]:
    """Train, and give the loss of each step."""
    model.train()
    losses: list[float] = []
    for image, target in loader:
        loss = criterion(model(image), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


def evaluate(model: nn.Module, criterion: nn.Module, loader: Any) -> tuple[float, float]:
    """Give the mean loss and the share of right guesses, over all ranks."""
    model.eval()
    sums = torch.zeros(3)
    with torch.inference_mode():
        for image, target in loader:
            output = model(image)
            right = (output.argmax(1) == target).sum()
            sums += torch.tensor([criterion(output, target) * len(target), right, len(target)])
    if distributed.is_initialized():
        distributed.all_reduce(sums)
    return float(sums[0] / sums[2]), float(sums[1] / sums[2])


def main(args: argparse.Namespace) -> None:
    """Train, tell of each epoch, and write what was seen."""
    args.distributed = "RANK" in os.environ
    if args.distributed:
        distributed.init_process_group("gloo")
    is_first = os.environ.get("RANK", "0") == "0"
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    data_loader, data_loader_test, sampler = load_data(args)
    model: nn.Module = network(len(list((args.data_path / "train").iterdir())))
    if args.distributed:
        model = nn.parallel.DistributedDataParallel(model)
    criterion = nn.CrossEntropyLoss(label_smoothing=args.label_smoothing)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=0.9, weight_decay=1e-4)
    steps = args.epochs * len(data_loader)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=args.lr, total_steps=steps)
    told: list[dict[str, Any]] = []
    for epoch in range(args.epochs):
        if sampler is not None:
            sampler.set_epoch(epoch)
        losses = train_one_epoch(model, criterion, optimizer, schedule, data_loader)
        test_loss, accuracy = evaluate(model, criterion, data_loader_test)
        told.append({"epoch": epoch, "losses": losses, "test_loss": test_loss, "accuracy": accuracy})
        mean = sum(losses) / len(losses)
        if is_first:
            print(f"epoch {epoch}: loss {mean:.3f}, test loss {test_loss:.3f}, accuracy {accuracy:.1%}", flush=True)
    if args.output is not None and is_first:
        args.output.write_text(json.dumps(told))
    if args.distributed:
        distributed.destroy_process_group()


def get_args_parser() -> argparse.ArgumentParser:
    """Say what can be set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", type=Path, help="folder with train/ and val/")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("-b", "--batch-size", type=int, default=32)
    parser.add_argument("-j", "--workers", type=int, default=2)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--label-smoothing", type=float, default=0.1)
    parser.add_argument("--mixup-alpha", type=float, default=0.2)
    parser.add_argument("--cutmix-alpha", type=float, default=1.0)
    parser.add_argument("--no-auto-augment", action="store_true", help="without TrivialAugment")
    parser.add_argument("--random-erase", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file for every step's loss, JSON")
    return parser


if __name__ == "__main__":
    main(get_args_parser().parse_args())
