"""NVIDIA DALI without a GPU: crop-only decode, antialiased resize, flip and normalise on its own threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from settings import MEAN, RATIO, SCALE, SIDE, STD, Batch, Peer, Settings


def batches(settings: Settings) -> Iterator[Batch]:
    """Give batches without end; DALI has no epochs unless asked."""
    import numpy as np

    pipeline = _pipeline(settings)
    pipeline.build()
    while True:
        images, labels = pipeline.run()
        # Views of DALI's own memory, no copy: good until the next run, as its own iterators have it.
        yield Batch(np.asarray(images.as_tensor()), np.asarray(labels.as_tensor()))


def _pipeline(settings: Settings) -> Any:
    from nvidia.dali import fn, pipeline_def, types

    @pipeline_def(batch_size=settings.batch, num_threads=settings.workers, device_id=None, prefetch_queue_depth=2)
    def photos() -> Any:
        encoded, labels = fn.readers.file(file_root=settings.data, shuffle_after_epoch=True, name="files")
        images = fn.decoders.image_random_crop(
            encoded, device="cpu", output_type=types.RGB, random_area=SCALE, random_aspect_ratio=RATIO
        )
        images = fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_LINEAR, antialias=True)
        flip = fn.random.coin_flip(probability=0.5)
        if settings.dtype == "u8":
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


PEER = Peer("dali-cpu", "file reader, image_random_crop, resize antialiased", batches, ("nvidia-dali-cuda120",))
