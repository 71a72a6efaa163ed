"""What is done to an image on its way to the network, for training and for evaluation."""

from __future__ import annotations

from typing import Any

import torch
from torchvision.transforms import v2

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def finish() -> list[Any]:
    """Turn a Pillow image into the numbers that the network takes."""
    return [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def train_preset(crop_size: int, auto_augment: bool, random_erase: float) -> Any:
    """Random crop and flip, maybe an augmentation drawn for each image, maybe a piece erased."""
    steps: list[Any] = [v2.RandomResizedCrop(crop_size, scale=(0.35, 1.0), antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.TrivialAugmentWide()] if auto_augment else []
    steps += finish()
    steps += [v2.RandomErasing(p=random_erase)] if random_erase > 0 else []
    return v2.Compose(steps)


def eval_preset(resize_size: int, crop_size: int) -> Any:
    """Give the middle of an image."""
    return v2.Compose([v2.Resize(resize_size, antialias=True), v2.CenterCrop(crop_size), *finish()])


def mixup_cutmix(mixup_alpha: float, cutmix_alpha: float, num_classes: int) -> Any:
    """Mix the images of a batch, and their labels, in one of two ways; None where neither is asked for."""
    ways: list[Any] = [v2.MixUp(alpha=mixup_alpha, num_classes=num_classes)] if mixup_alpha > 0 else []
    ways += [v2.CutMix(alpha=cutmix_alpha, num_classes=num_classes)] if cutmix_alpha > 0 else []
    return v2.RandomChoice(ways) if ways else None
