"""tf.data as TensorFlow's own ImageNet input has it: the crop decoded alone, on its pool of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import raw
from .settings import FILE_BYTES, MEAN, RATIO, READERS, SCALE, SIDE, STD, Batch, Install, Peer, Settings


def batches_of(antialias: bool) -> Callable[[Settings], Iterator[Batch]]:
    """Give the peer's `batches` with or without antialiasing; tf.image.resize's own default is without."""

    def batches(settings: Settings) -> Iterator[Batch]:
        import numpy as np

        for images, labels in _dataset(settings, antialias):
            # Views: `.numpy()` would copy the batch.
            yield Batch(np.asarray(memoryview(images)), np.asarray(memoryview(labels)))

    return batches


def _dataset(settings: Settings, antialias: bool) -> Any:
    import tensorflow as tf

    folders = sorted(path for path in Path(settings.data).iterdir() if path.is_dir())
    files = [(str(file), label) for label, folder in enumerate(folders) for file in sorted(folder.iterdir())]
    paths, labels = zip(*files)
    mean, deviation = (tf.constant([255 * value for value in values]) for values in (MEAN, STD))

    def sample(path: Any, label: Any) -> Any:
        encoded = tf.io.read_file(path)
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.image.extract_jpeg_shape(encoded),
            bounding_boxes=tf.zeros([1, 0, 4]),
            area_range=SCALE,
            aspect_ratio_range=RATIO,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        window = tf.concat([begin[:2], size[:2]], axis=0)
        image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
        image = tf.image.resize(image, [SIDE, SIDE], antialias=antialias)
        image = tf.image.random_flip_left_right(image)
        if settings.dtype == "uint8":
            return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8), label
        return (image - mean) / deviation, label

    dataset = tf.data.Dataset.from_tensor_slices((list(paths), list(labels)))
    dataset = dataset.shuffle(len(files)).repeat()
    dataset = dataset.map(sample, num_parallel_calls=settings.workers, deterministic=False)
    options = tf.data.Options()
    options.threading.private_threadpool_size = settings.workers
    return dataset.batch(settings.batch, drop_remainder=True).prefetch(2).with_options(options)


def raw_batches(settings: Settings) -> Iterator[Batch]:
    """Read alone."""
    import numpy as np
    import tensorflow as tf

    def sample(path: Any, label: Any) -> Any:
        return tf.reshape(tf.io.decode_raw(tf.io.read_file(path), tf.uint8), [FILE_BYTES]), label

    paths, labels = raw.listed(settings.data)
    dataset = tf.data.Dataset.from_tensor_slices((paths, labels)).shuffle(len(paths)).repeat()
    dataset = dataset.map(sample, num_parallel_calls=READERS, deterministic=False)
    options = tf.data.Options()
    options.threading.private_threadpool_size = READERS
    for data, numbers in dataset.batch(settings.batch, drop_remainder=True).prefetch(2).with_options(options):
        yield Batch(np.asarray(memoryview(data)), np.asarray(memoryview(numbers)))


INSTALL = Install(("tensorflow-cpu==2.21.0",), torch=False, megabytes=1400, minutes=2)
PEERS = (
    Peer("tfdata", "decode_and_crop_jpeg, not antialiased (its default); threads", batches_of(antialias=False)),
    Peer("tfdata-antialias", "decode_and_crop_jpeg, antialiased; threads", batches_of(antialias=True)),
)
RAW_PEERS = (Peer("tfdata", "read_file, decode_raw; 16 threads", raw_batches),)
