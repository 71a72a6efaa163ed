"""Lightning Fabric: `setup_dataloaders`, `save`, `load`; it counts epochs from the start of the process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric

from . import common


def train(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Train; all ranks save and load together."""
    fabric = Fabric(
        accelerator="cpu", devices=common.world_size(), strategy="ddp" if common.world_size() > 1 else "auto"
    )
    fabric.launch()
    model = common.make_model()
    wrapped, optimizer = fabric.setup(model, common.make_optimizer(model))
    with common.make_loader(data) as loader:
        batches: Any = fabric.setup_dataloaders(loader)
        assert (len(batches), len(batches.dataset), batches.batch_size) == (len(loader), common.ROWS, common.BATCH)
        state = {"model": wrapped, "optimizer": optimizer, "loader": loader}
        if resume is not None:
            fabric.load(resume, state)
        steps: list[common.Step] = []
        for _ in range(loader.state_dict()["epoch"], common.EPOCHS):
            for batch in batches:
                loss = common.loss_of(wrapped, batch)
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()
                steps.append(common.step_of(batch, loss))
                if save is not None and len(steps) == common.stop_step():
                    fabric.save(save, state)
                    return steps
    return steps


if __name__ == "__main__":
    common.main(train)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
