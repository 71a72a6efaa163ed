"""Lightning's Trainer: `ModelCheckpoint` in mid-epoch, and `fit(ckpt_path=...)`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from . import common


class Module(LightningModule):
    """The network, which writes down what it trains and evaluates on."""

    def __init__(self) -> None:
        super().__init__()
        self.network = common.make_model()
        self.steps: list[common.Step] = []
        self.evaluated: list[int] = []

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Give the loss."""
        loss = common.loss_of(self.network, batch)
        self.steps.append(common.step_of(batch, loss))
        return loss

    def validation_step(self, batch: Any, _: int) -> None:
        """Note which rows came."""
        self.evaluated += batch["index"][batch["valid"]].tolist()

    def predict_step(self, batch: Any, _: int) -> Any:
        """Give the rows that came."""
        return batch["index"][batch["valid"]]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Give the optimizer."""
        return common.make_optimizer(self.network)


def make_trainer(folder: Path, **arguments: Any) -> Trainer:
    """Make a quiet trainer on the CPU."""
    ranks = common.world_size()
    quiet: dict[str, Any] = {
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    return Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", default_root_dir=folder,
        **quiet, **arguments,
    )  # fmt: skip


def train(data: str, save: Path | None, resume: Path | None) -> list[common.Step]:
    """Fit; a checkpoint comes every so many steps, and a run that is to stop ends there."""
    module = Module()
    folder = save or resume or Path(data).parent
    callbacks: list[Any] = []
    if save is not None:
        every = common.stop_step()
        callbacks = [
            ModelCheckpoint(dirpath=save, filename="stop", every_n_train_steps=every, save_on_train_epoch_end=False)
        ]
    trainer = make_trainer(
        folder,
        max_epochs=common.EPOCHS,
        max_steps=common.stop_step() if save is not None else -1,
        callbacks=callbacks,
        enable_checkpointing=save is not None,
    )
    with common.make_loader(data) as loader, common.make_loader(data, shuffle=False) as valid:
        trainer.fit(module, loader, valid, ckpt_path=str(resume / "stop.ckpt") if resume is not None else None)
        if save is None and resume is None:
            check_evaluation(trainer, module, valid)
    return module.steps


def check_evaluation(trainer: Trainer, module: Module, valid: Any) -> None:
    """Evaluate and predict: this rank's rows, each once."""
    with_mask = [batch["index"][batch["valid"]] for batch in valid]
    wanted = torch.cat(with_mask).tolist()
    module.evaluated.clear()
    trainer.validate(module, valid, verbose=False)
    assert module.evaluated == wanted
    predicted = trainer.predict(module, valid)
    assert predicted is not None
    assert torch.cat([each for each in predicted if isinstance(each, torch.Tensor)]).tolist() == wanted


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="lightning")
    common.main(train)
