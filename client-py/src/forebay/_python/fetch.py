"""Samples of a user's data set, one after the other, each with draws of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from .seeds import Draws
from .tasks import Keys


class StoppedError(BaseException):
    """Nobody wants the samples any more. No Exception, so that no code of the user swallows it."""


class Fetcher:
    """Gets samples of `dataset`.

    `note`: told which sample of the task is being made; may raise `StoppedError`.
    """

    def __init__(self, dataset: Any, seed: int, note: Callable[[int], None]) -> None:
        self._dataset = dataset
        self._by_batch = has_getitems(dataset)
        self._note = note
        self.draws = Draws(seed)

    def each(self, keys: Keys, take: Callable[[int, Any], None]) -> None:
        """Give each sample with its number to `take`; maybe all of them twice.

        Raises what the data set or `take` raises.
        """
        if self._by_batch:
            self._note(len(keys.indices))
            self.draws.start_all(keys.place(0))
            for number, sample in enumerate(self._dataset.__getitems__(list(keys.indices))):
                take(number, sample)
            return
        draws = self.draws
        while True:
            draws.watch()
            try:
                self._all(keys, take)
            except Exception:
                if not draws.moved():
                    raise
            else:
                if not draws.moved():
                    return

    def one(self, keys: Keys) -> Any:
        """Give the first sample, and see what it draws from."""
        found: list[Any] = []
        self.each(keys.part(0, 1), lambda _, sample: found.append(sample))
        return found[-1]

    def _all(self, keys: Keys, take: Callable[[int, Any], None]) -> None:
        dataset, note, start = self._dataset, self._note, self.draws.start
        if not self.draws.needed:
            for number, index in enumerate(keys.indices):
                note(number)
                take(number, dataset[index])
            return
        for number, index in enumerate(keys.indices):
            note(number)
            start(keys.place(number))
            take(number, dataset[index])


def has_getitems(dataset: Any) -> bool:
    """Whether a data set gives whole batches. torch's Subset always says so and asks the one beneath it."""
    kind = cast("type[object]", type(dataset))
    if kind.__name__ == "Subset" and kind.__module__ == "torch.utils.data.dataset":
        return has_getitems(dataset.dataset)
    return callable(getattr(dataset, "__getitems__", None))
