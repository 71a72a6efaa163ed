"""What trainers look for on a loader: `dataset`, `sampler`, `batch_sampler`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from ._loader import Loader


class DatasetView:
    """What a loader reads, for those who ask `loader.dataset`: its length and its classes."""

    def __init__(self, loader: Loader[Any]) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return self._loader.job.rows

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

    @property
    def sampler(self) -> SamplerView:
        """Itself."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Have the loader's next `iter()` start `epoch`."""
        self._loader.set_epoch(epoch)


class Viewed:
    """A loader as trainers see it."""

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
    def sampler(self) -> SamplerView:
        """An object with `set_epoch`, for trainers."""
        return SamplerView(cast("Loader[Any]", self))

    @property
    def batch_sampler(self) -> SamplerView:
        """An object with `set_epoch` and `sampler`, for trainers."""
        return SamplerView(cast("Loader[Any]", self))
