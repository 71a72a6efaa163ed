"""A job that is told to stop by SIGTERM, saves, and is started again with fewer ranks."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import torch
from torch import distributed

from . import common

GLOBAL_BATCH = 8


def train(data: str, checkpoint: Path, started: Path | None) -> list[common.Step]:
    """Train until told to stop, all ranks behind the same step; without `started` to the end of the next epoch.

    `started`: where to leave a mark once training is under way.
    """
    stop = torch.zeros(1)
    signal.signal(signal.SIGTERM, lambda *_: stop.fill_(1))
    model = common.make_model()
    if common.world_size() > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = common.make_optimizer(model)
    inner = getattr(model, "module", model)
    steps: list[common.Step] = []
    with common.make_loader(data, batch_size=None, global_batch_size=GLOBAL_BATCH) as loader:
        if checkpoint.exists():
            saved = torch.load(checkpoint, weights_only=True)
            inner.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            loader.load_state_dict(saved["loader"])
        first = loader.state_dict()["epoch"]
        for epoch in range(first, first + (2 if started is None else 1_000_000)):
            loader.set_epoch(epoch)
            for batch in loader:
                loss = common.loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps.append(common.step_of(batch, loss))
                if started is not None:
                    time.sleep(0.02)  # so that not too many epochs pass before anybody looks
                    if len(steps) == 3:
                        started.touch()
                told = stop.clone()
                if distributed.is_initialized():
                    distributed.all_reduce(told)
                if told.item():
                    if not distributed.is_initialized() or distributed.get_rank() == 0:
                        states = {"model": inner, "optimizer": optimizer, "loader": loader}
                        torch.save({name: each.state_dict() for name, each in states.items()}, checkpoint)
                    return steps
    return steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    if common.world_size() > 1:
        distributed.init_process_group("gloo")
    data, out, mark = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    common.write(out, train(data, out / "checkpoint", out / mark if mark else None))
    if distributed.is_initialized():
        distributed.destroy_process_group()
