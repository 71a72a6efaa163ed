"""What a batch must be to count."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest

from peers.check import WrongBatchError, check_content, check_size
from peers.settings import Batch, Settings
from peers.tests.peer_fake import good

SETTINGS = Settings("", "uint8", 4, 1)
FLOATS = Settings("", "float32", 4, 1)


def pair(settings: Settings) -> tuple[Any, Any, Any]:
    first, second = islice(good(settings), 2)
    return first.images, second.images, first.labels


@pytest.mark.parametrize("settings", [SETTINGS, FLOATS])
def test_a_good_batch_passes_in_either_memory_order(settings: Settings):
    first, second, labels = pair(settings)
    check_size(Batch(first, labels), settings)
    check_size(Batch(first.transpose(0, 2, 3, 1), labels), settings)
    check_content(first, second, labels, settings)


def test_another_size_type_or_shape_is_refused():
    images, _, labels = pair(SETTINGS)
    with pytest.raises(WrongBatchError, match="bytes"):
        check_size(Batch(images[:3], labels), SETTINGS)
    with pytest.raises(WrongBatchError, match="3 labels"):
        check_size(Batch(images, labels[:3]), SETTINGS)
    with pytest.raises(WrongBatchError, match="gives uint8, asked for float32"):
        check_size(Batch(images, labels), FLOATS)
    with pytest.raises(WrongBatchError, match="shape"):
        check_size(Batch(images.reshape(4, 3, 112, 448), labels), SETTINGS)


def test_a_batch_given_twice_is_refused():
    first, _, labels = pair(SETTINGS)
    with pytest.raises(WrongBatchError, match="same images"):
        check_content(first, first.copy(), labels, SETTINGS)


def test_an_unshuffled_batch_is_refused():
    first, second, _ = pair(SETTINGS)
    with pytest.raises(WrongBatchError, match="not shuffled"):
        check_content(first, second, np.zeros(4), SETTINGS)


def test_floats_that_were_not_normalised_and_empty_images_are_refused():
    first, second, labels = pair(FLOATS)
    with pytest.raises(WrongBatchError, match="mean"):
        check_content(first * 64 + 128, second, labels, FLOATS)
    with pytest.raises(WrongBatchError, match="deviation"):
        check_content(np.full_like(first, 0.5), second, labels, FLOATS)
