"""torch.distributed.checkpoint: the loader is one of its Stateful objects, beside the model and the optimizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.stateful import Stateful

from . import common


class App(Stateful):
    """A model and its optimizer, as torch's own guide has it."""

    def __init__(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        """Give both."""
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take both."""
        set_state_dict(
            self.model,
            self.optimizer,
            model_state_dict=state_dict["model"],
            optim_state_dict=state_dict["optimizer"],
        )


def train(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Train; all ranks save and load together."""
    model: Any = common.make_model()
    if common.world_size() > 1:
        model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = common.make_optimizer(model)
    steps: list[common.Step] = []
    with common.make_loader(data) as loader:
        assert isinstance(loader, Stateful)
        states = {"app": App(model, optimizer), "loader": loader}
        if resume is not None:
            dcp.load(states, checkpoint_id=resume)
        for epoch in range(loader.state_dict()["epoch"], common.EPOCHS):
            loader.set_epoch(epoch)
            for batch in loader:
                loss = common.loss_of(model, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                steps.append(common.step_of(batch, loss))
                if save is not None and len(steps) == common.stop_step():
                    dcp.save(states, checkpoint_id=save)
                    return steps
    return steps


if __name__ == "__main__":
    if "RANK" not in os.environ:
        os.environ.update(RANK="0", WORLD_SIZE="1", MASTER_ADDR="localhost", MASTER_PORT="0")
    distributed.init_process_group("gloo")
    common.main(train)
    distributed.destroy_process_group()
