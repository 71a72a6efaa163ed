"""Hugging Face's Trainer: train and evaluate with loaders of forebay, and go on from a checkpoint in mid-epoch.

    class Trainer(forebay.hf.LoaderMixin, transformers.Trainer): ...

    trainer = Trainer(model, args, train_loader=loader)
    trainer.train(resume_from_checkpoint=True)

The Trainer itself saves nothing of its loader, and reads an epoch up to where it left it. Here the loader's state lies
in each checkpoint's folder, and the first batch of a resumed run is the next one.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ._notice import say
from .errors import InvalidError, StateError
from .torch import DataLoader

if TYPE_CHECKING:

    class TrainerCallback:
        """What transformers calls back; without its types, since it may be absent."""
else:
    from transformers import TrainerCallback

__all__ = ["STATE_FILE", "LoaderCallback", "LoaderMixin"]

# In the folder of a checkpoint, beside trainer_state.json.
STATE_FILE = "forebay_loader.json"


class LoaderCallback(TrainerCallback):
    """Keeps the state of a loader in the checkpoints of a Trainer, whose `get_train_dataloader()` gives that loader.

    Needs `TrainingArguments(ignore_data_skip=True)`: without it the Trainer would skip batches that the loader has
    skipped already. Rank 0 writes, all ranks read.

    Args:
        loader: the one that is trained with.
        checkpoint: the folder to go on from, where it is not `checkpoint-STEP` in the Trainer's `output_dir`.

    """

    def __init__(self, loader: DataLoader, checkpoint: str | os.PathLike[str] | None = None) -> None:
        self.loader = loader
        self.checkpoint = checkpoint

    def on_init_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Refuse a Trainer that would skip batches by itself."""
        if not args.ignore_data_skip:
            raise InvalidError(
                "a Trainer that skips batches itself, beside a loader that goes on where it was",
                hint="pass TrainingArguments(ignore_data_skip=True)",
            )

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Load the state of the checkpoint that the Trainer has just loaded."""
        if not state.global_step:
            return
        folder = self.checkpoint or _folder(args, state)
        path = os.path.join(folder, STATE_FILE)
        try:
            with open(path) as file:
                saved: dict[str, Any] = json.load(file)
        except FileNotFoundError as error:
            raise StateError(
                f"{folder} holds no state of a forebay loader",
                hint="a checkpoint of before: continue without LoaderCallback and with ignore_data_skip=False; "
                "or name its folder: LoaderCallback(loader, checkpoint=...)",
            ) from error
        self.loader.load_state_dict(saved)
        say(f"the loader goes on at epoch {saved['epoch']}, row {saved['position']}")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the loader's state into the folder of the checkpoint."""
        saved = self.loader.state_dict()
        if args.should_save:
            with open(os.path.join(_folder(args, state), STATE_FILE), "w") as file:
                json.dump(saved, file)


def _folder(args: Any, state: Any) -> str:
    return os.path.join(args.output_dir, f"checkpoint-{state.global_step}")


class LoaderMixin:
    """A Trainer over loaders of forebay: `class Own(LoaderMixin, transformers.Trainer)`.

    Args:
        train_loader: what to train with; its state is kept in each checkpoint.
        eval_loader: what to evaluate with.
        args, kwargs: those of the Trainer.

    """

    def __init__(
        self, *args: Any, train_loader: DataLoader | None = None, eval_loader: DataLoader | None = None, **kwargs: Any
    ) -> None:
        self.train_loader, self.eval_loader = train_loader, eval_loader
        self._saver: LoaderCallback | None = None
        if train_loader is not None:
            kwargs.setdefault("train_dataset", train_loader.dataset)
            arguments = kwargs["args"] if "args" in kwargs else args[1]
            arguments.ignore_data_skip = True
            self._saver = LoaderCallback(train_loader)
            kwargs["callbacks"] = [*(kwargs.get("callbacks") or ()), self._saver]
        if eval_loader is not None:
            kwargs.setdefault("eval_dataset", eval_loader.dataset)
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, and remember where from: the Trainer's callbacks are not told."""
        if self._saver is not None and isinstance(resume_from_checkpoint, (str, os.PathLike)):
            self._saver.checkpoint = resume_from_checkpoint
        trainer: Any = super()
        return trainer.train(resume_from_checkpoint, *args, **kwargs)

    def get_train_dataloader(self) -> Any:
        """Give the loader that was passed, else what the Trainer makes."""
        trainer: Any = super()
        if self.train_loader is None:
            return trainer.get_train_dataloader()
        accelerator: Any = vars(self)["accelerator"]
        return accelerator.prepare(self.train_loader)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Give the loader that was passed, but for another data set than its own."""
        trainer: Any = super()
        # The Trainer passes on its own data set where its user named none.
        is_own = eval_dataset is None or eval_dataset is vars(self).get("eval_dataset")
        if self.eval_loader is None or not is_own:
            return trainer.get_eval_dataloader(eval_dataset)
        accelerator: Any = vars(self)["accelerator"]
        return accelerator.prepare(self.eval_loader)
