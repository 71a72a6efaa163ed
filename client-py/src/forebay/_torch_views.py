"""A loader's data set and samplers as torch's own types, which some trainers insist on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils import data

from ._views import BatchSamplerView, DatasetView, SamplerView
from .errors import InvalidError


class Dataset(DatasetView, data.IterableDataset[Any]):
    """What a loader reads: its length, its classes, and this rank's rows one at a time.

    A loader of torch's own over it gives the same rows in the same order, through one copy more.
    """

    def __iter__(self) -> Iterator[Any]:
        worker = data.get_worker_info()
        if worker is None or worker.id == 0:  # the others would give the same rows again
            yield from self._loader.rows()

    def __repr__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}({self._loader!r})"


class Sampler(SamplerView, data.Sampler[int]):
    """Where trainers look for `set_epoch`."""

    def __iter__(self) -> Iterator[int]:
        raise _unlisted()


class BatchSampler(BatchSamplerView, data.BatchSampler):
    """Where trainers look for `batch_size`, `drop_last` and `sampler`."""

    def __iter__(self) -> Iterator[list[int]]:
        raise _unlisted()


def _unlisted() -> InvalidError:
    return InvalidError(
        "the indices of forebay's order are the daemon's and are not listed here",
        hint="`loader.show(epoch=0, step=3)` names the samples of any batch; a field of an index column gives them all",
    )
