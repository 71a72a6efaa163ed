"""Batches as torch tensors over the daemon's shared memory, without a copy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch

from ._agreement import AgreeingResolver
from ._batch import Array
from ._job import TensorSpec
from ._loader import Loader

__all__ = ["DataLoader"]

# torch's stub leaves the argument of from_numpy untyped.
_from_numpy = cast("Callable[[Array], torch.Tensor]", torch.from_numpy)  # pyright: ignore


class DataLoader(Loader[Any]):
    """Torch batches; all arguments of `forebay._loader.Loader`.

    A folder gives `(images, labels)`: images of shape `(rows, 3, height, width)` in channels_last memory,
    uint8, float32, float16 or bfloat16; labels `(rows,)` int64.
    With `views=2` the images are `(rows, 2, 3, height, width)`:
    `a, b = images.unbind(1)` takes them apart and `images.flatten(0, 1)` is all of them as one batch in channels_last
    memory, both without a copy. Anything else gives a dict in declared order. In-place changes
    are harmless, and the memory is the batch's as long as a tensor or a view of it lives.

    In a process group of several ranks without a state root, all take the data that the first of them found.
    """

    _resolver_type = AgreeingResolver

    def _tensor(self, array: Array, spec: TensorSpec) -> torch.Tensor:
        tensor = _from_numpy(array)
        if spec.dtype == "bfloat16":  # numpy has only its bits
            tensor = tensor.view(torch.bfloat16)
        return tensor.movedim(-1, -3) if spec.channels_last and array.ndim > 3 else tensor

    def _mask(self, valid: Array) -> torch.Tensor:
        return _from_numpy(valid)
