"""Writes tensorflow.tfrecord beside it, with TensorFlow's own writer: `python make_tfrecord.py`."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf


def bytes_of(*values: bytes) -> tf.train.Feature:
    """Give a list of bytes."""
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def floats(*values: float) -> tf.train.Feature:
    """Give a list of floats."""
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def ints(*values: int) -> tf.train.Feature:
    """Give a list of whole numbers."""
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


with tf.io.TFRecordWriter(str(Path(__file__).with_name("tensorflow.tfrecord"))) as writer:
    for number in range(3):
        image = bytes([0xFF, 0xD8, number]) + bytes([number]) * (300 * number)
        feature = {
            "image/encoded": bytes_of(image),
            "image/class/label": ints(number * 500 - 1),
            "image/filename": bytes_of(f"größe-{number}.jpg".encode()),
            "score": floats(number / 4),
            "box": floats(0, 1, 2, number),
            "ids": ints(*range(number + 2)),
            "none": ints(),
        }
        example = tf.train.Example(features=tf.train.Features(feature=feature))
        writer.write(example.SerializeToString())
