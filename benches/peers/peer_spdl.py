"""SPDL's pipeline of threads, a batch made by one thread at a time, over torchvision's operators."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from . import augment, raw
from .settings import FILE_BYTES, READERS, Batch, Install, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Make whole batches in each thread: an item of the pipeline costs more than an image, a batch hides that."""
    import torch
    from spdl.pipeline import PipelineBuilder
    from torchvision.datasets import ImageFolder
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    torch.set_num_threads(1)  # The threads are the pipeline's.
    samples: list[tuple[str, int]] = ImageFolder(settings.data).samples
    transform = augment.from_tensor(settings.dtype)

    def batch_of(chosen: list[tuple[str, int]]) -> Batch:
        images = [transform(decode_jpeg(read_file(path), mode=ImageReadMode.RGB)) for path, _ in chosen]
        return Batch(torch.stack(images), torch.tensor([label for _, label in chosen]))

    builder = PipelineBuilder().add_source(_chosen(samples, settings.batch))
    pipeline: Any = builder.pipe(batch_of, concurrency=settings.workers).add_sink(2).build(num_threads=settings.workers)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def raw_batches(settings: Settings) -> Iterator[Batch]:
    """Read whole batches in each thread, each file straight into its row."""
    import numpy as np
    import torch
    from spdl.pipeline import PipelineBuilder

    def batch_of(chosen: list[tuple[str, int]]) -> Batch:
        data = np.empty((len(chosen), FILE_BYTES), np.uint8)
        for row, (path, _) in zip(data, chosen):
            with open(path, "rb", buffering=0) as file:
                file.readinto(row)
        return Batch(torch.from_numpy(data), torch.tensor([label for _, label in chosen]))

    samples = list(zip(*raw.listed(settings.data)))
    builder = PipelineBuilder().add_source(_chosen(samples, settings.batch))
    pipeline: Any = builder.pipe(batch_of, concurrency=READERS).add_sink(2).build(num_threads=READERS)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def _chosen(samples: list[tuple[str, int]], size: int) -> Iterator[list[tuple[str, int]]]:
    random, order = Random(0), list(samples)
    while True:
        random.shuffle(order)
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


INSTALL = Install(("spdl-core==0.8.0", "spdl-io==0.8.0"), megabytes=70, minutes=1)
PEERS = (Peer("spdl", "threads, a batch each; decode_jpeg and transforms v2, antialiased", batches),)
RAW_PEERS = (Peer("spdl", "16 threads, a batch each, files read into their rows", raw_batches),)
