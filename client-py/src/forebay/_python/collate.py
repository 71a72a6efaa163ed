"""How samples become a batch: `stack` as torch does it, `list`, `ragged` and `pad`, or one of these a field."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Union, cast

import numpy as np

from .._batch import Array
from ..errors import InvalidError
from .shape import Branch, Leaf, MismatchError, Node, is_tensor, leaves_of, numpy_of, rebuilt, shape_of
from .whole import Room

MODES = ("stack", "list", "ragged", "pad")

# One mode for all fields, or a mode a field, nested as samples are.
Modes = Union[str, Sequence[Any], Mapping[Any, Any]]


class Ragged(NamedTuple):
    """Arrays of different lengths end to end: those of row i are `values[offsets[i]:offsets[i + 1]]`."""

    values: Any
    offsets: Any


class Padded(NamedTuple):
    """Arrays padded with zeros to the largest of the batch, and each row's own size: one number, or one a dimension."""

    values: Any
    lengths: Any


def modes_of(given: Any) -> Modes | None:
    """Give the modes that `collate_fn=` names, or None where it is a function.

    Raises `InvalidError` for what is neither. torch's own `default_collate` is `stack`.
    """
    if given is None or _is_default(given):
        return "stack"
    if callable(given):
        return None
    _check_modes(given)
    return cast("Modes", given)


def _is_default(given: Any) -> bool:
    name = getattr(given, "__name__", "")
    return name == "default_collate" and str(getattr(given, "__module__", "")).startswith("torch.utils.data")


def _check_modes(given: Any) -> None:
    if isinstance(given, str):
        if given not in MODES:
            raise InvalidError(f"collate_fn={given!r} is none of {', '.join(MODES)}", hint="or pass a function")
    elif isinstance(given, Mapping):
        for each in cast("Mapping[Any, Any]", given).values():
            _check_modes(each)
    elif isinstance(given, (list, tuple)):
        for each in cast("list[Any]", given):
            _check_modes(each)
    else:
        raise InvalidError(
            f"collate_fn={given!r} is neither a function nor one of {', '.join(MODES)}",
            hint='nor a mode a field, as in {"image": "stack", "boxes": "ragged"}',
        )


def is_rows(modes: Modes | None) -> bool:
    """Whether every sample has its place in the batch before it is made."""
    return modes == "stack"


class Collated:
    """Makes a batch of whole samples by modes. `first`: the shape that all samples share, but for their sizes."""

    def __init__(self, modes: Modes) -> None:
        self._modes = modes

    def __call__(self, samples: list[Any], room: Room) -> Any:
        """Give the batch, with numpy arrays; large ones are made in `room`.

        Raises `InvalidError` where samples do not fit together.
        """
        if self._modes == "list":
            return listed(samples)
        if self._modes == "one":
            return _untupled(samples[0])
        first = shape_of(samples[0])
        columns: list[list[Any]] = [[] for _ in leaves_of(first)]
        for place, sample in enumerate(samples):
            try:
                _spread(first, sample, iter(columns))
            except MismatchError as error:
                error.object = f"row {place} of the batch"
                raise
        modes = iter(_mode_of_each(first, self._modes))
        made = iter([_collated(leaf, next(modes), column, room) for leaf, column in zip(leaves_of(first), columns)])
        return rebuilt(first, lambda _: next(made))


def listed(samples: list[Any]) -> Any:
    """Give samples side by side: of tuples a tuple of lists, as detection models take them; of others a list."""
    if isinstance(samples[0], tuple):
        return tuple(list(column) for column in zip(*samples))
    return samples


def _untupled(value: Any) -> Any:
    """Give a sample alone as torch's default_convert does: tuples as lists."""
    if isinstance(value, Mapping):
        return {key: _untupled(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (tuple, list)):
        items = [_untupled(item) for item in cast("list[Any]", value)]
        kind = cast("Any", type(cast("object", value)))
        return kind(*items) if hasattr(kind, "_fields") else items
    return value


def _mode_of_each(node: Node, modes: Modes) -> list[str]:
    if isinstance(modes, str):
        return [modes] * sum(1 for _ in leaves_of(node))
    if not isinstance(node, Branch) or (node.kind == "dict") != isinstance(modes, Mapping):
        raise InvalidError(f"collate_fn={modes!r} is not nested as the samples are", causes=[f"there is a {node}"])
    if isinstance(modes, Mapping):
        unknown = [key for key in modes if key not in node.keys]
        if unknown:
            raise InvalidError(f"collate_fn names {unknown[0]!r}, which samples do not have", causes=[str(node)])
        each = [modes.get(key, "stack") for key in node.keys]
    else:
        each = list(modes)
        if len(each) != len(node.items):
            raise InvalidError(f"collate_fn has {len(each)} modes for a {node}")
    nested = (_mode_of_each(item, mode) for item, mode in zip(node.items, each))
    return [mode for modes in nested for mode in modes]


def _spread(node: Node, value: Any, columns: Any) -> None:
    if isinstance(node, Leaf):
        next(columns).append(value)
        return
    fits = isinstance(value, Mapping) if node.kind == "dict" else isinstance(value, (tuple, list))
    if not fits or len(value) != len(node.items):
        raise MismatchError(f"sample{node.path} is a {type(value).__name__}, where the first sample's was a {node}")
    for key, item in zip(node.keys or range(len(node.items)), node.items):
        try:
            inner = value[key]
        except KeyError:
            raise MismatchError(f"sample{node.path} has no {key!r}, which the first sample's had") from None
        _spread(cast("Node", item), inner, columns)


def _collated(leaf: Leaf, mode: str, column: list[Any], room: Room) -> Any:
    if mode == "list" or leaf.kind == "object":
        return column
    arrays = [_array_of(leaf, value) for value in column]
    if mode == "ragged" and leaf.dims:
        return _ragged(leaf, arrays, room)
    if mode == "pad" and leaf.dims:
        return _padded(leaf, arrays, room)
    for place, array in enumerate(arrays):
        if array.shape != leaf.dims:
            raise MismatchError(
                f"sample{leaf.path} is {array.dtype}{list(array.shape)} in row {place} of the batch, "
                f"where the first was {leaf}",
                hint='this field needs another mode: "pad", "ragged" or "list"',
            )
    made = room.array((len(arrays), *leaf.dims), np.dtype(leaf.stored))
    for place, array in enumerate(arrays):
        made[place] = array
    return made


def _array_of(leaf: Leaf, value: Any) -> Array:
    if is_tensor(value):
        if leaf.kind == "tensor" and leaf.stored != leaf.dtype:
            raise InvalidError(
                f"sample{leaf.path} is {leaf.dtype}, which only stack and list keep", hint="give float16 or float32"
            )
        return numpy_of(value)
    array: Array = np.asarray(value)
    if array.dtype.kind not in "biufc":
        raise MismatchError(f"sample{leaf.path} is a {type(value).__name__}, where the first sample's was {leaf}")
    return array


def _ragged(leaf: Leaf, arrays: list[Array], room: Room) -> Ragged:
    rest = leaf.dims[1:]
    _check_same(leaf, arrays, lambda array: array.ndim == len(leaf.dims) and array.shape[1:] == rest)
    offsets = np.zeros(len(arrays) + 1, np.int64)
    np.cumsum([len(array) for array in arrays], out=offsets[1:])
    values = room.array((int(offsets[-1]), *rest), np.dtype(leaf.stored))
    np.concatenate(arrays, out=values)
    return Ragged(values, offsets)


def _padded(leaf: Leaf, arrays: list[Array], room: Room) -> Padded:
    _check_same(leaf, arrays, lambda array: array.ndim == len(leaf.dims))
    lengths = np.array([array.shape for array in arrays], np.int64)
    values = room.array((len(arrays), *map(int, lengths.max(axis=0))), np.dtype(leaf.stored))
    values.fill(0)
    for row, array in zip(values, arrays):
        row[tuple(map(slice, array.shape))] = array
    return Padded(values, np.ascontiguousarray(lengths[:, 0]) if lengths.shape[1] == 1 else lengths)


def _check_same(leaf: Leaf, arrays: list[Array], fits: Callable[[Array], bool]) -> None:
    dtype = np.dtype(leaf.stored)
    for place, array in enumerate(arrays):
        if array.dtype != dtype or not fits(array):
            raise MismatchError(
                f"sample{leaf.path} is {array.dtype}{list(array.shape)} in row {place} of the batch, "
                f"which does not go with the first one's {leaf}",
                hint='collate_fn="list" takes samples of any shape',
            )
