"""What all training programs share: the data, a small model, and a record of every step.

A program trains three times: without a stop, up to one in the middle of its second epoch, and from there. It writes
what each rank saw, sample by sample, and every loss; `test_trainers.py` compares them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

import forebay
from forebay.torch import DataLoader
from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

ROWS = 52
BATCH = 4
EPOCHS = 3
# Steps of the second epoch before the stop; an even number, where two make one of the optimizer.
STEPS_AFTER_AN_EPOCH = 4

FIELDS = {
    "image": forebay.Image("path", transform=[RandomResizedCrop((8, 8)), RandomHorizontalFlip(), Normalize()]),
    "index": forebay.Value(),
}

# The indices of the samples that count, and the loss.
Step = tuple[list[int], float]


def make_loader(data: str, **arguments: Any) -> DataLoader:
    """Make the loader that all programs train with: random crops and flips, so that pixels show the order too."""
    return DataLoader(data, **{"batch_size": BATCH, "shuffle": True, "seed": 3, "fields": FIELDS, **arguments})


def make_model() -> torch.nn.Module:
    """Make the same small network each time."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1), torch.nn.Flatten(0)
    )


def make_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Make an optimizer with a memory, so that a resume that loses it shows."""
    return torch.optim.Adam(model.parameters(), lr=0.01)


def loss_of(model: Callable[[Any], torch.Tensor], batch: dict[str, Any]) -> torch.Tensor:
    """Give the mean loss of the rows that count."""
    predicted = model(batch["image"].contiguous())
    errors = (predicted - batch["index"].float() / ROWS) ** 2
    return errors[batch["valid"]].mean()


def step_of(batch: dict[str, Any], loss: Any) -> Step:
    """Write a step down."""
    return batch["index"][batch["valid"]].tolist(), float(loss)


def world_size() -> int:
    """Give how many ranks there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def stop_step() -> int:
    """Give the step to stop behind."""
    return -(-ROWS // (BATCH * world_size())) + STEPS_AFTER_AN_EPOCH


class Train(Protocol):
    """Train to the end, or to the stop with a checkpoint at `save`, or from the checkpoint at `resume` on."""

    def __call__(self, data: str, save: Path | None, resume: Path | None) -> list[Step]:
        """Give what this rank saw."""
        ...


def main(train: Train) -> None:
    """Run a program: `python -m system.trainers.NAME DATA OUT`."""
    torch.set_num_threads(1)
    data, out = sys.argv[1], Path(sys.argv[2])
    checkpoint = out / "checkpoint"
    told = {
        "whole": train(data, None, None),
        "before": train(data, checkpoint, None),
        "after": train(data, None, checkpoint),
    }
    write(out, told)


def write(out: Path, told: Any) -> None:
    """Write what this rank has to tell."""
    (out / f"rank{os.environ.get('RANK', '0')}.json").write_text(json.dumps(told))
