"""What Hugging Face Accelerate expects of a loader that it has prepared; imported without it.

Its `prepare()` makes other loaders anew. Ours it leaves as they are, and they do themselves what it would add: tell its
gradient state where they stand, and move batches to its device.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, cast

from ._iterator import BatchIterator
from ._job import Cursor
from ._report import Delivered

if TYPE_CHECKING:
    from .torch import DataLoader


class Accelerated:
    """A loader as Accelerate knows those that it has prepared."""

    # Has `save_state` and `load_state` keep `state_dict()`.
    use_stateful_dataloader = True
    # Whether the newest batch is the epoch's last, so that gradients are not accumulated past it.
    end_of_dataloader = False
    # Rows of the epoch's last step that count, over all ranks: `gather_for_metrics` leaves out those behind. 0: all do.
    remainder = 0
    _is_prepared = False
    # Names the newest iterator: an older one that goes later must not sign the loader off.
    watch: object = None

    @property
    def _is_accelerate_prepared(self) -> bool:
        """Say so to `prepare()`, which is who asks; from then on the loader tells Accelerate where it stands."""
        self._is_prepared = "accelerate.state" in sys.modules
        return True

    @_is_accelerate_prepared.setter
    def _is_accelerate_prepared(self, value: bool) -> None:
        """Take no notice: `prepare()` marks whatever it returns."""

    @property
    def total_batch_size(self) -> int:
        """Rows of a step of all ranks."""
        return cast("DataLoader", self).global_rows()

    @property
    def total_dataset_length(self) -> int:
        """Rows of the data set."""
        return len(cast("DataLoader", self).dataset)


class Watched:
    """An iterator of a loader that Accelerate has prepared."""

    def __init__(self, loader: DataLoader, batches: BatchIterator[Any]) -> None:
        state: Any = importlib.import_module("accelerate.state")
        self._loader = loader
        self._batches = batches
        self._device: Any = state.PartialState().device
        self._state: Any = state.GradientState()
        loader.end_of_dataloader = False
        loader.remainder = loader.last_rows(batches.cursor)
        self._state._add_dataloader(loader)
        self._watch = loader.watch = object()

    @property
    def cursor(self) -> Cursor:
        """Where the next batch starts."""
        return self._batches.cursor

    @property
    def delivered(self) -> Delivered | None:
        """The newest batch that it gave."""
        return self._batches.delivered

    def __iter__(self) -> Watched:
        return self

    def __next__(self) -> Any:
        try:
            batch = next(self._batches)
        except StopIteration:
            self._leave()
            raise
        self._loader.end_of_dataloader = self._batches.is_over
        return self._moved(batch)

    def __del__(self) -> None:
        if hasattr(self, "_watch"):
            self._leave()

    def _moved(self, batch: Any) -> Any:
        if self._device.type == "cpu":
            return batch
        utils: Any = importlib.import_module("accelerate.utils")
        return utils.send_to_device(batch, self._device)

    def _leave(self) -> None:
        if self._loader.watch is self._watch:
            self._loader.watch = None
            self._state._remove_dataloader(self._loader)
