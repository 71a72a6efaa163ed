"""Batches as numpy arrays over the daemon's shared memory, without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._batch import Array
from ._job import TensorSpec
from ._loader import Loader
from ._python import is_read_here
from .errors import InvalidError

__all__ = ["DataLoader"]


class DataLoader(Loader[Any]):
    """Numpy batches; all arguments of `forebay._loader.Loader`, and `layout`.

    A folder gives `(images, labels)`: images `(rows, height, width, 3)` with `layout="NHWC"` or
    `(rows, 3, height, width)` with `"NCHW"`, uint8, float32 or float16, with `views=2` behind a dimension more,
    `(rows, 2, ...)`; labels `(rows,)` int64. Anything else gives a dict in declared order. The arrays are writable and
    stay valid as long as they or views of them live.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a loader of the kind that the data needs: a data set of the user's own is read by Python workers."""
        if cls is DataLoader and is_read_here(args, kwargs, streams=False):
            from ._python.numpy import OwnNumpyLoader

            return object.__new__(OwnNumpyLoader)
        return object.__new__(cls)

    def __init__(self, *args: Any, layout: str = "NHWC", **kwargs: Any) -> None:
        if layout not in ("NHWC", "NCHW"):
            raise InvalidError(f"layout={layout!r} is neither 'NHWC' nor 'NCHW'")
        self._layout = layout
        if layout == "NCHW":
            self._memory_order = "MEMORY_ORDER_ROW_MAJOR"
        super().__init__(*args, **kwargs)
        if any(field.get("dtype") == "DTYPE_BFLOAT16" for field in self._spec["fields"]):
            raise InvalidError("numpy has no bfloat16", hint="take float16, or tensors of forebay.torch")

    def _tensor(self, array: Array, spec: TensorSpec) -> Array:
        if self._layout == "NCHW" and spec.channels_last and array.ndim > 3:
            return np.moveaxis(array, -1, -3)
        return array

    def _mask(self, valid: Array) -> Array:
        return valid
