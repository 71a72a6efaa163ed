"""Evaluation of an odd number of rows over several ranks: a metric counts each row once."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import distributed

from forebay import _daemon

from . import common


def evaluate(data: str) -> dict[str, float]:
    """Evaluate in the middle of a training epoch, with two loaders on one daemon."""
    sums = torch.zeros(2, dtype=torch.float64)
    with (
        common.make_loader(data) as train,
        common.make_loader(data, shuffle=False) as valid,
    ):
        training = iter(train)
        next(training)
        for batch in valid:
            counts = batch["valid"]
            sums += torch.tensor([float(batch["index"][counts].double().sum()), float(counts.sum())])
        rest = len(list(training))
    if distributed.is_initialized():
        distributed.all_reduce(sums)
    return {"sum": sums[0].item(), "rows": sums[1].item(), "rest": rest, "daemons": int(_daemon._private is not None)}


if __name__ == "__main__":
    if common.world_size() > 1:
        distributed.init_process_group("gloo")
    common.write(Path(sys.argv[2]), evaluate(sys.argv[1]))
    if distributed.is_initialized():
        distributed.destroy_process_group()
