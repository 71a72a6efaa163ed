"""A user's own data set as batches of numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from .. import numpy as _numpy
from .._batch import Array
from ..errors import InvalidError
from .iterator import Frame
from .loader import OwnLoader
from .shape import Leaf, is_tensor, numpy_of

__all__ = ["OwnNumpyLoader"]


class NumpyFrame:
    """Numpy's arrays."""

    def leaf(self, array: Array, leaf: Leaf) -> Array:
        """Give the array itself."""
        if leaf.kind == "tensor" and leaf.stored != leaf.dtype:
            raise InvalidError(f"numpy has no {leaf.dtype}", hint="give float32, or take tensors of forebay.torch")
        return array

    def whole(self, batch: Any) -> Any:
        """Give numpy's arrays of tensors, if there are any."""
        return mapped_values(batch, lambda value: numpy_of(value) if is_tensor(value) else value)


def mapped_values(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change each value of a structure of dicts, lists, tuples and named tuples."""
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return {key: mapped_values(item, change) for key, item in items.items()}
    if isinstance(value, (list, tuple)):
        items = cast("list[Any]", value)
        made = [mapped_values(item, change) for item in items]
        kind = cast("Any", type(cast("object", value)))
        if hasattr(kind, "_fields"):
            return kind(*made)
        return tuple(made) if isinstance(value, tuple) else made
    return change(value)


class OwnNumpyLoader(OwnLoader, _numpy.DataLoader):
    """`forebay.numpy.DataLoader` over a data set that is read here."""

    _shown = "forebay.numpy.DataLoader"

    def _frame(self) -> Frame:
        return NumpyFrame()
