"""The plain loop; with several ranks under DistributedDataParallel, as torchrun starts them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import distributed

from . import common


def train(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Train; rank 0 writes the checkpoint, and all read it."""
    model = common.make_model()
    if common.world_size() > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = common.make_optimizer(model)
    steps: list[common.Step] = []
    with common.make_loader(data) as loader:
        if resume is not None:
            saved = torch.load(resume, weights_only=True)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            loader.load_state_dict(saved["loader"])
        first = loader.state_dict()["epoch"]
        for epoch in range(first, common.EPOCHS):
            loader.set_epoch(epoch)
            for batch in loader:
                loss = common.loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps.append(common.step_of(batch, loss))
                if save is not None and len(steps) == common.stop_step():
                    if not distributed.is_initialized() or distributed.get_rank() == 0:
                        states = {"model": model, "optimizer": optimizer, "loader": loader}
                        torch.save({name: each.state_dict() for name, each in states.items()}, save)
                    if distributed.is_initialized():
                        distributed.barrier()
                    return steps
    return steps


if __name__ == "__main__":
    if common.world_size() > 1:
        distributed.init_process_group("gloo")
    common.main(train)
    if distributed.is_initialized():
        distributed.destroy_process_group()
