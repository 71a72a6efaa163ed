"""Lists of samples, from whatever holds or yields their indices to the bytes that a job carries."""

from __future__ import annotations

import operator
from base64 import b64encode
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, cast

import numpy as np

from ._batch import Array
from ._record import record
from ._wire import CONTROL_BYTES_MAX
from .errors import InvalidError

# Base64 makes four bytes of three, and a MiB is left for the rest of the job.
PAYLOAD_BYTES_MAX = (CONTROL_BYTES_MAX - (1 << 20)) // 4 * 3
INDICES_MAX = PAYLOAD_BYTES_MAX // 4


@record
class Batches:
    """The indices of all batches, end to end, and how many each batch has."""

    indices: Array
    sizes: tuple[int, ...]

    @property
    def rows(self) -> int | None:
        """The one size that all have, but for the last, which may be smaller; None where there is none."""
        first, last = self.sizes[0], self.sizes[-1]
        return first if last <= first and all(size == first for size in self.sizes[:-1]) else None


def indices_of(name: str, given: Any) -> Array:
    """Give the indices that an array, a tensor, a sequence or an iterator holds: uint32, or uint64 where one needs it.

    Raises `InvalidError` for none, more than a job carries, negative ones, and what is no index.
    """
    if hasattr(given, "__array__"):
        array = _as_array(name, given)
    else:
        try:
            values: list[Any] = list(islice(iter(given), INDICES_MAX + 1))
        except TypeError as error:
            raise InvalidError(f"{name}={given!r} is not iterable") from error
        array = _from_list(name, values)
    if array.ndim != 1:
        raise InvalidError(f"{name}: indices of shape {array.shape}", hint="one dimension is needed: indices.ravel()")
    return _checked(name, array)


def batches_of(name: str, given: Any) -> Batches:
    """Give the batches that an iterable of lists of indices holds; a matrix has one a row."""
    if hasattr(given, "__array__"):
        matrix = _as_array(name, given)
        if matrix.ndim != 2 or not matrix.size:
            raise InvalidError(f"{name}: indices of shape {matrix.shape}", hint="a matrix has a batch a row")
        return Batches(_checked(name, matrix.ravel()), (matrix.shape[1],) * matrix.shape[0])
    values: list[Any] = []
    sizes: list[int] = []
    try:
        for batch in given:
            before = len(values)
            values.extend(batch)
            sizes.append(len(values) - before)
            if len(values) > INDICES_MAX:
                break
    except TypeError as error:
        raise InvalidError(
            f"{name} gives no lists of indices", causes=[str(error)], hint="a batch is a list"
        ) from error
    if not all(sizes):
        raise InvalidError(f"{name}: batch {sizes.index(0)} is empty", hint="leave empty batches out")
    return Batches(_checked(name, _from_list(name, values)), tuple(sizes))


def to_wire(name: str, lists: Iterable[tuple[Array, Sequence[int]]]) -> list[dict[str, Any]]:
    """Give the `forebay.v1.IndexList` of each list and the sizes of its batches, if it has any."""
    made: list[dict[str, Any]] = []
    carried = 0
    for indices, sizes in lists:
        carried += indices.nbytes + 8 * len(sizes)
        if carried > PAYLOAD_BYTES_MAX:
            raise _too_many(name)
        key = "wide" if indices.itemsize == 8 else "indices"
        made.append({key: base64_of(indices), **({"sizes": list(sizes)} if sizes else {})})
    return made


def base64_of(array: Array) -> str:
    """Give an array's bytes as the JSON mapping carries them."""
    return b64encode(np.ascontiguousarray(array).data).decode()


def _as_array(name: str, given: Any) -> Array:
    try:
        return np.asarray(given)
    except Exception as error:
        raise InvalidError(
            f"{name} cannot be read as an array", causes=[str(error)], hint="a tensor: pass it as .cpu()"
        ) from error


def _from_list(name: str, values: list[Any]) -> Array:
    """Give a list as an array. A list of numpy's or torch's numbers comes as objects and is taken one by one."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        array = np.empty(0, np.object_)
    if array.dtype.kind in "iub" and array.ndim == 1:
        return array
    whole: list[int] = []
    for place, value in enumerate(values):
        try:
            whole.append(operator.index(value))
        except TypeError as error:
            raise InvalidError(
                f"{name}: entry {place} is {value!r}", hint="an index is a whole number from 0"
            ) from error
    return np.array(whole, np.uint64 if whole and min(whole) >= 0 else np.int64)


def _checked(name: str, array: Array) -> Array:
    if array.size == 0:
        raise InvalidError(f"{name} gives no index", hint="an iterator that was read already gives none")
    if array.dtype.kind == "b":
        raise InvalidError(f"{name}: a mask of booleans", hint="numpy.flatnonzero(mask) gives the indices")
    if array.dtype.kind not in "iu":
        raise InvalidError(f"{name}: indices of type {array.dtype}", hint="an index is a whole number from 0")
    if array.size > INDICES_MAX:
        raise _too_many(name)
    if array.dtype.kind == "i" and int(array.min()) < 0:
        place = int(np.argmax(array < 0))
        raise InvalidError(f"{name}: entry {place} is {array[place]}", hint="indices count from 0")
    return array.astype("<u4" if int(array.max()) < 1 << 32 else "<u8")


def _too_many(name: str) -> InvalidError:
    return InvalidError(
        f"{name}: more than a job carries: some {INDICES_MAX // 1_000_000} million indices, in all lists together",
        hint="fewer sampler_epochs=, sampler='shuffled', or sampler='weighted' with a column of weights",
    )


def weights_of(given: Any) -> Array:
    """Give one float64 a sample, checked as far as it can be without the data set.

    Raises `InvalidError` for what are no weights: negative, not finite, all zero.
    """
    if not hasattr(given, "__array__") and hasattr(given, "__iter__"):
        given = list(cast("Iterable[Any]", given))
    array = _as_array("weights", given)
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iuf":
        raise InvalidError(
            f"weights of shape {array.shape} and type {array.dtype}", hint="one number a sample, or a column's name"
        )
    array = array.astype("<f8")
    wrong = ~np.isfinite(array) | (array < 0)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise InvalidError(f"weights: entry {place} is {array[place]}", hint="a weight is a number of at least 0")
    if not array.any():
        raise InvalidError("weights: all are 0")
    if array.nbytes > PAYLOAD_BYTES_MAX:
        raise InvalidError(
            f"weights: {array.size} of them, where a job carries {PAYLOAD_BYTES_MAX // 8}",
            hint="put them into a column of the list: weights='column'",
        )
    return array
