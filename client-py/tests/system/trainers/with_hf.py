"""Hugging Face's Trainer, by the mixin and by the callback; the checkpoint lies in the middle of an epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from forebay.hf import LoaderCallback, LoaderMixin

from . import common


class Network(torch.nn.Module):
    """The network as the Trainer calls it, which writes down what it trains on."""

    def __init__(self) -> None:
        super().__init__()
        self.network = common.make_model()
        self.steps: list[common.Step] = []

    def forward(self, image: Any, index: Any, valid: Any) -> dict[str, Any]:
        """Give the loss, and as predictions the rows that came."""
        batch = {"image": image, "index": index, "valid": valid}
        loss = common.loss_of(self.network, batch)
        if self.training:
            self.steps.append(common.step_of(batch, loss))
        return {"loss": loss, "logits": index}


class OwnTrainer(LoaderMixin, Trainer):
    """By the mixin."""


class PlainTrainer(Trainer):
    """By the callback alone."""

    loader: Any = None

    def get_train_dataloader(self) -> Any:
        """Give the loader."""
        return self.accelerator.prepare(self.loader)


def make_trainer(model: Network, data: str, out: Path, by_mixin: bool, stop: int) -> Any:
    """Make one that saves where the run is to stop, and stops there."""
    arguments = TrainingArguments(
        output_dir=str(out), num_train_epochs=common.EPOCHS, max_steps=stop or -1, save_steps=stop or 10_000,
        save_strategy="steps" if stop else "no", report_to=[], use_cpu=True, disable_tqdm=True, logging_strategy="no",
        lr_scheduler_type="constant", learning_rate=0.01, ignore_data_skip=not by_mixin, label_names=["index"],
        max_grad_norm=0.0,
    )  # fmt: skip
    loader = common.make_loader(data)
    if by_mixin:
        return OwnTrainer(
            model, arguments, train_loader=loader, eval_loader=common.make_loader(data, shuffle=False),
            optimizers=(common.make_optimizer(model), None),
        )  # fmt: skip
    trainer = PlainTrainer(
        model, arguments, train_dataset=loader.dataset, callbacks=[LoaderCallback(loader)],
        optimizers=(common.make_optimizer(model), None),
    )  # fmt: skip
    trainer.loader = loader
    return trainer


def train(data: str, save: Path | None, resume: Path | None, by_mixin: bool = True) -> list[common.Step]:
    """Train in the folder of the checkpoint."""
    model = Network()
    stop = common.stop_step() if save is not None else 0
    folder = save or resume or Path(data).parent / "whole"
    trainer = make_trainer(model, data, folder, by_mixin, stop)
    trainer.train(resume_from_checkpoint=resume is not None)
    if by_mixin and save is None and resume is None:
        evaluated = trainer.evaluation_loop(trainer.get_eval_dataloader(), "evaluation")
        assert evaluated.predictions.tolist() == list(range(common.ROWS))
    return model.steps


def both(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Train by the mixin, and see that the callback alone comes to the same."""
    steps = train(data, save, resume)
    beside = [path and path.with_name("by-callback") for path in (save, resume)]
    assert train(data, *beside, by_mixin=False) == steps
    return steps


if __name__ == "__main__":
    common.main(both)
