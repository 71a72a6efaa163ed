"""Whether a batch is what was asked for. A peer that gives less does not get into the table."""

from __future__ import annotations

from typing import Any

from . import raw
from .settings import RAW, Batch, Settings

# Photographs, cropped at random: values over the first images of a batch lie well within these.
_UINT8_MEAN, _UINT8_DEVIATION = (20.0, 235.0), (15.0, 128.0)
_FLOAT32_MEAN, _FLOAT32_DEVIATION = (-2.2, 2.7), (0.25, 2.6)
_IMAGES_LOOKED_AT = 16


class WrongBatchError(Exception):
    """What is wrong with a batch, in a line."""


def check_size(batch: Batch, settings: Settings) -> None:
    """Refuse a batch with too few bytes, rows or labels, or of another type.

    Raises WrongBatchError.
    """
    dtype, size = str(batch.images.dtype).rpartition(".")[2], batch.images.nbytes
    if dtype != settings.dtype:
        raise WrongBatchError(f"gives {dtype}, asked for {settings.dtype}")
    if size != settings.batch_bytes or len(batch.labels) != settings.batch:
        raise WrongBatchError(
            f"gives a batch of {size} bytes and {len(batch.labels)} labels, "
            f"asked for {settings.batch_bytes} and {settings.batch}"
        )
    shape = tuple(batch.images.shape)[1:]
    if shape not in settings.shapes:
        asked = " or ".join(str(shape) for shape in sorted(settings.shapes))
        raise WrongBatchError(f"gives samples of shape {shape}, asked for {asked}")


def check_content(first: Any, second: Any, labels: Any, settings: Settings) -> None:
    """Refuse what cannot be two shuffled batches of augmented photographs, normalised where that was asked for.

    Of raw files: what is not their bytes, with their labels.

    first, second: copies of the first images of two batches; labels: all labels of the first.
    Raises WrongBatchError.
    """
    import numpy as np

    if np.array_equal(first, second):
        raise WrongBatchError("gives the same images again in the next batch")
    if len(np.unique(labels)) < 2:
        raise WrongBatchError("gives a batch of one class alone: not shuffled")
    if settings.task is RAW:
        for row, label in zip(first, labels.reshape(-1)):
            if (told := raw.wrong(row.tobytes(), int(label))) is not None:
                raise WrongBatchError(told)
        return
    mean_bounds, deviation_bounds = (
        (_UINT8_MEAN, _UINT8_DEVIATION) if settings.dtype == "uint8" else (_FLOAT32_MEAN, _FLOAT32_DEVIATION)
    )
    mean, deviation = float(first.mean(dtype=np.float64)), float(first.std(dtype=np.float64))
    for name, value, (low, high) in (("mean", mean, mean_bounds), ("deviation", deviation, deviation_bounds)):
        if not low <= value <= high:
            raise WrongBatchError(f"gives pixels of {name} {value:.3g}, photographs have {low} to {high}")


def copy_of_first(batch: Batch) -> Any:
    """Copy the first images of a batch: a peer may overwrite them with its next."""
    import numpy as np

    return np.array(batch.images[:_IMAGES_LOOKED_AT])


def copy_of_labels(batch: Batch) -> Any:
    """Copy a batch's labels."""
    import numpy as np

    return np.array(batch.labels)
