"""LitData: its optimised chunks, read by the worker processes of its own DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import augment
from .settings import Batch, Conversion, Install, Peer, Settings


class Augmented:
    """A stored sample, alone in a tuple, to (image, label); picklable."""

    def __init__(self, dtype: str) -> None:
        self.from_bytes = augment.FromBytes(dtype)

    def __call__(self, samples: Any) -> Any:
        """Decode and augment."""
        (sample,) = samples
        return self.from_bytes(sample["image"]), sample["label"]


def batches(settings: Settings) -> Iterator[Batch]:
    """Give one epoch without end: a parallel of one data set is what goes round and round."""
    from litdata import ParallelStreamingDataset, StreamingDataLoader, StreamingDataset

    photos = StreamingDataset(settings.data, shuffle=True)
    dataset = ParallelStreamingDataset([photos], length=float("inf"), transform=Augmented(settings.dtype))
    loader = StreamingDataLoader(
        dataset,
        batch_size=settings.batch,
        num_workers=settings.workers,
        drop_last=True,
    )
    for images, labels in loader:
        yield Batch(images, labels)


def stored(sample: tuple[Path, int]) -> dict[str, Any]:
    """Give what a chunk keeps of a photograph: its bytes as they are."""
    path, label = sample
    return {"image": path.read_bytes(), "label": label}


def convert(conversion: Conversion) -> None:
    """Write chunks of 64 MB, the size its documents use."""
    from litdata import optimize

    optimize(
        stored,
        inputs=conversion.samples(),
        output_dir=str(conversion.target),
        chunk_bytes="64MB",
        num_workers=conversion.workers,
        mode="overwrite",
        verbose=False,
    )


INSTALL = Install(("litdata==0.2.76",), megabytes=90, minutes=1)
PEERS = (Peer("litdata", "its chunks; decode_jpeg and transforms v2, antialiased; processes", batches, convert, 1.0),)
