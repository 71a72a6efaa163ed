"""Grain over the files as they are, in threads and in processes, with torchvision's operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import augment
from .settings import Batch, Install, Peer, Settings


class Decode:
    """A path and its label to (image, label), as arrays; picklable."""

    def __init__(self, dtype: str) -> None:
        self.from_bytes = augment.FromBytes(dtype)

    def __call__(self, sample: Any) -> Any:
        """Read, decode, augment."""
        import torch

        torch.set_num_threads(1)  # The threads are Grain's.
        path, label = sample
        return self.from_bytes(Path(path).read_bytes()).numpy(), label


def batches_in(kind: str) -> Callable[[Settings], Iterator[Batch]]:
    """Give the peer's `batches`, made in `threads` or in `processes`."""

    def batches(settings: Settings) -> Iterator[Batch]:
        import grain
        from torchvision.datasets import ImageFolder

        rows = grain.MapDataset.source(ImageFolder(settings.data).samples).shuffle(seed=0).repeat()
        # Batched before it is iterated: a thread or a process makes whole batches.
        batched = rows.map(Decode(settings.dtype)).batch(settings.batch, drop_remainder=True)
        if kind == "threads":
            read = grain.ReadOptions(num_threads=settings.workers, prefetch_buffer_size=2 * settings.workers)
            dataset = batched.to_iter_dataset(read)
        else:
            read = grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
            options = grain.MultiprocessingOptions(num_workers=settings.workers, per_worker_buffer_size=2)
            dataset = batched.to_iter_dataset(read).mp_prefetch(options)
        for images, labels in dataset:
            yield Batch(images, labels)

    return batches


INSTALL = Install(("grain==0.2.18",), megabytes=50, minutes=1)
PEERS = (
    Peer("grain-threads", "a batch a thread; decode_jpeg and transforms v2, antialiased", batches_in("threads")),
    Peer("grain-processes", "a batch a process; decode_jpeg and transforms v2, antialiased", batches_in("processes")),
)
