"""NVIDIA DALI without a GPU: crop-only decode, resize, flip and normalise on its own threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from . import raw
from .settings import MEAN, RATIO, SCALE, SIDE, STD, Batch, Install, Peer, Settings


def batches_of(antialias: bool) -> Callable[[Settings], Iterator[Batch]]:
    """Give the peer's `batches` with or without antialiasing; DALI's own default is without."""

    def batches(settings: Settings) -> Iterator[Batch]:
        import numpy as np

        pipeline = _pipeline(settings, antialias)
        pipeline.build()
        while True:  # DALI has no epochs unless asked.
            images, labels = pipeline.run()
            # Views of DALI's own memory, no copy: good until the next run, as its own iterators have it.
            yield Batch(np.asarray(images.as_tensor()), np.asarray(labels.as_tensor()))

    return batches


def _pipeline(settings: Settings, antialias: bool) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=settings.batch, num_threads=settings.workers, device_id=None, prefetch_queue_depth=2)
    def photos() -> Any:
        encoded, labels = fn.readers.file(file_root=settings.data, shuffle_after_epoch=True, name="files")
        images = fn.decoders.image_random_crop(
            encoded, device="cpu", output_type=types.RGB, random_area=SCALE, random_aspect_ratio=RATIO
        )
        images = fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR, antialias=antialias)
        flip = fn.random.coin_flip(probability=0.5)
        if settings.dtype == "uint8":
            return fn.flip(images, horizontal=flip), labels
        images = fn.crop_mirror_normalize(
            images,
            dtype=types.FLOAT,
            output_layout="CHW",
            mean=[255 * value for value in MEAN],
            std=[255 * value for value in STD],
            mirror=flip,
        )
        return images, labels

    return photos()


def raw_batches(settings: Settings) -> Iterator[Batch]:
    """Read alone: DALI's own reader, without mapping the files."""
    import numpy as np
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=settings.batch, num_threads=settings.workers, device_id=None, prefetch_queue_depth=2)
    def files() -> Any:
        data, labels = fn.readers.file(
            file_root=settings.data,
            file_filters=f"*{raw.SUFFIX}",
            shuffle_after_epoch=True,
            dont_use_mmap=True,
            name="files",
        )
        return data, labels

    pipeline: Any = files()
    pipeline.build()
    while True:
        data, labels = pipeline.run()
        yield Batch(np.asarray(data.as_tensor()), np.asarray(labels.as_tensor()))


INSTALL = Install(("nvidia-dali-cuda120==2.4.0",), torch=False, megabytes=1100, minutes=1)
PEERS = (
    Peer("dali-cpu", "no GPU; crop-only decode, antialiased; threads", batches_of(antialias=True)),
    Peer("dali-cpu-noaa", "no GPU; crop-only decode, not antialiased; threads", batches_of(antialias=False)),
)
RAW_PEERS = (Peer("dali", "fn.readers.file, no mapping; its one thread a reader", raw_batches),)
