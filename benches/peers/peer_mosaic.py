"""Mosaic Streaming: its MDS shards, read by the worker processes of torch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import augment
from .settings import IMAGENET_ROWS, Batch, Conversion, Install, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Give epochs of ImageNet's length, the shards repeated."""
    from streaming import Stream, StreamingDataset
    from streaming.base.util import clean_stale_shared_memory
    from torch.utils.data import DataLoader

    class Photos(StreamingDataset):
        """A stored sample to (image, label)."""

        from_bytes = augment.FromBytes(settings.dtype)

        def __getitem__(self, at: Any) -> Any:
            sample = super().__getitem__(at)
            return self.from_bytes(sample["image"]), sample["label"]

    clean_stale_shared_memory()  # What a run that was killed has left would be refused.
    rows = StreamingDataset(local=settings.data, batch_size=settings.batch).num_samples
    clean_stale_shared_memory()
    stream = Stream(local=settings.data, repeat=-(-IMAGENET_ROWS // rows))
    dataset = Photos(streams=[stream], shuffle=True, batch_size=settings.batch)
    loader = DataLoader(
        dataset,
        batch_size=settings.batch,
        num_workers=settings.workers,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        for images, labels in loader:
            yield Batch(images, labels)


def convert(conversion: Conversion) -> None:
    """Write the photographs as they are into MDS shards of 64 MB."""
    from streaming import MDSWriter

    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(conversion.target), columns=columns, size_limit="64mb", exist_ok=True) as shards:
        for path, label in conversion.samples():
            shards.write({"image": path.read_bytes(), "label": label})


INSTALL = Install(("mosaicml-streaming==0.13.0",), megabytes=970, minutes=3)
PEERS = (Peer("mosaic", "its shards; decode_jpeg and transforms v2, antialiased; processes", batches, convert, 1.0),)
