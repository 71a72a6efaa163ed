"""WebDataset: tar shards, shuffled by shard and within a buffer, in the worker processes of torch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import augment
from .settings import Batch, Conversion, Install, Peer, Settings

SHARDS = 16
BUFFER_ROWS = 1000


def batches(settings: Settings) -> Iterator[Batch]:
    """Batch in the workers, so that a whole batch crosses to this process at a time."""
    import webdataset as wds

    shards = sorted(str(path) for path in Path(settings.data).glob("*.tar"))
    dataset = (
        wds.WebDataset(shards, shardshuffle=len(shards))
        .shuffle(BUFFER_ROWS)
        .to_tuple("jpg", "cls")
        .map_tuple(augment.FromBytes(settings.dtype), int)
        .batched(settings.batch, partial=False)
        .repeat()
    )
    for images, labels in wds.WebLoader(dataset, batch_size=None, num_workers=settings.workers):
        yield Batch(images, labels)


def convert(conversion: Conversion) -> None:
    """Write the photographs as they are into tar files, in random order, as its documents advise."""
    import webdataset as wds

    samples = conversion.samples()
    pattern = str(conversion.target / "photos-%06d.tar")
    with wds.ShardWriter(pattern, maxcount=-(-len(samples) // SHARDS), verbose=0) as shards:
        for index, (path, label) in enumerate(samples):
            shards.write({"__key__": f"{index:08d}", "jpg": path.read_bytes(), "cls": label})


INSTALL = Install(("webdataset==1.0.2",), megabytes=30, minutes=1)
PEERS = (
    Peer(
        "webdataset",
        f"tar, buffer of {BUFFER_ROWS}; decode_jpeg and transforms v2, antialiased; processes",
        batches,
        convert,
        1.1,
    ),
)
