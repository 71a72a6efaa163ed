"""Accelerate: `prepare`, gradients accumulated to the end of an epoch, `save_state`, `gather_for_metrics`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from . import common

ACCUMULATED = 2


def train(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Train with two batches a step of the optimizer; the state is saved at a step of it."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATED)
    model = common.make_model()
    loader: Any = common.make_loader(data)
    model, optimizer, prepared = accelerator.prepare(model, common.make_optimizer(model), loader)
    assert prepared is loader, "prepare() made another loader"
    steps: list[common.Step] = []
    syncs: list[bool] = []
    if resume is not None:
        accelerator.load_state(str(resume))
    for epoch in range(loader.state_dict()["epoch"], common.EPOCHS):
        loader.set_epoch(epoch)
        for batch in loader:
            with accelerator.accumulate(model):
                loss = common.loss_of(model, batch)
                accelerator.backward(loss)
                syncs.append(accelerator.sync_gradients)
                optimizer.step()
                optimizer.zero_grad()
            steps.append(common.step_of(batch, loss))
            if save is not None and len(steps) == common.stop_step():
                accelerator.save_state(str(save))
                loader.close()
                return steps
        assert syncs[-1], "gradients were accumulated past the end of an epoch"
    if save is None and resume is None:
        check_metrics(accelerator, data)
    loader.close()
    return steps


def check_metrics(accelerator: Accelerator, data: str) -> None:
    """Gather an evaluation of all rows: each comes once, in order, however many there are."""
    loader: Any = accelerator.prepare(common.make_loader(data, shuffle=False))
    seen: list[torch.Tensor] = [accelerator.gather_for_metrics(batch["index"]) for batch in loader]
    assert torch.cat(seen).tolist() == list(range(common.ROWS))
    loader.close()


if __name__ == "__main__":
    common.main(train)
