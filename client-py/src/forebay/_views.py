"""What trainers look for on a loader: `dataset`, `sampler`, `batch_sampler`; and its rows one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from ._iterator import BatchIterator
from ._order import Order
from ._session import Batch

if TYPE_CHECKING:
    from ._loader import Loader


class DatasetView:
    """What a loader reads, for those who ask `loader.dataset`: its length and its classes."""

    def __init__(self, loader: Loader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return self._loader.job.rows

    @property
    def loader(self) -> Loader[Any]:
        """Whose data it is."""
        return self._loader

    @property
    def classes(self) -> list[str]:
        """The class names; the index is the label."""
        return list(self._loader.job.classes)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return {name: index for index, name in enumerate(self._loader.job.classes)}


class SamplerView:
    """Where trainers look for `set_epoch`: `loader.sampler`, `loader.batch_sampler.sampler`."""

    def __init__(self, loader: Loader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        """Count the rows that each rank gets in an epoch, with those that only fill up."""
        return self._loader.rows_a_rank()

    def set_epoch(self, epoch: int) -> None:
        """Have the loader's next `iter()` start `epoch`."""
        self._loader.hear_epoch(epoch)


class BatchSamplerView:
    """The same for `loader.batch_sampler`: the size of its batches, and how many there are."""

    def __init__(self, loader: Loader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    @property
    def sampler(self) -> Any:
        """What `loader.sampler` gives."""
        return self._loader.sampler

    @property
    def batch_size(self) -> int | None:
        """Rows of one rank's batch."""
        return self._loader.batch_size

    @property
    def drop_last(self) -> bool:
        """Whether rows that fill no whole batch are left out."""
        return self._loader.drop_last

    def set_epoch(self, epoch: int) -> None:
        """Have the loader's next `iter()` start `epoch`."""
        self._loader.hear_epoch(epoch)


def rows_of(batch: Any) -> list[Any]:
    """Take a batch apart into its rows, which lie in its memory: a tuple gives tuples, a dict gives dicts."""
    if isinstance(batch, Mapping):
        named = cast("Mapping[str, Any]", batch)
        return [dict(zip(named, row)) for row in zip(*map(_parts, named.values()))]
    return list(zip(*map(_parts, batch)))


def _parts(column: Any) -> Any:
    return column.unbind(0) if hasattr(column, "unbind") else column


class Viewed:
    """A loader as trainers see it."""

    _order: Order

    def _iterate(self, convert: Callable[[Batch], tuple[Any, Any]]) -> BatchIterator[Any]:
        raise NotImplementedError

    def _convert(self, batch: Batch) -> tuple[Any, Any]:
        raise NotImplementedError

    @property
    def dataset(self) -> DatasetView:
        """What is read."""
        return DatasetView(cast("Loader[Any]", self))

    @property
    def classes(self) -> list[str]:
        """The class names; the index is the label."""
        return self.dataset.classes

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The label of each class name."""
        return self.dataset.class_to_idx

    @property
    def sampler(self) -> Any:
        """The DistributedSampler that the loader was given, else an object with `set_epoch`, for trainers."""
        share = self._order.share
        return SamplerView(cast("Loader[Any]", self)) if share is None else share.sampler

    @property
    def batch_sampler(self) -> Any:
        """An object with `set_epoch` and `sampler`, for trainers."""
        return BatchSamplerView(cast("Loader[Any]", self))

    def rows(self) -> Iterator[Any]:
        """Begin the next epoch and give this rank's rows one at a time, without those that only fill up.

        Each is a tuple or a dict of views of its batch, as the data set has them: behind the transforms, and before
        `batch_transform` and `collate_fn`.
        """
        batches = self._iterate(self._convert)
        for batch in batches:
            valid = batches.valid
            if isinstance(valid, int):
                yield from rows_of(batch)
            else:
                yield from (row for row, counts in zip(rows_of(batch), valid.tolist()) if counts)
