"""What a sample looks like, read off the first one: the structure and types that every later one must have."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple, Union, cast

import numpy as np

from .._batch import Array
from ..errors import InvalidError

_NUMBERS = "biufc"
_NUMBER_DTYPES = {"bool": "bool", "int": "int64", "float": "float64"}
_ALIGN = 64
# What the bits of a dtype without a counterpart in numpy are kept as.
_BITS = {1: "uint8", 2: "int16"}


class Leaf(NamedTuple):
    """One value of a sample: an `array` of numpy, a `tensor` of torch, an `int`, `float`, `bool`, or another `object`.

    `dtype`: its name, torch's for a tensor; `stored`: numpy's name of what is kept; both empty for an object.
    """

    path: str
    kind: str
    dtype: str = ""
    stored: str = ""
    dims: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.stored).itemsize * prod(self.dims) if self.stored else 0

    def __str__(self) -> str:
        if self.kind in ("array", "tensor"):
            return f"{self.dtype}{list(self.dims)}"
        return self.kind


class Branch(NamedTuple):
    """A `tuple`, `list`, `namedtuple` or `dict` of further values. `cls`: its class; `keys`: a dict's."""

    path: str
    kind: str
    cls: Any
    keys: tuple[Any, ...]
    items: tuple[Any, ...]

    def __str__(self) -> str:
        if self.kind == "dict":
            return f"dict with the keys {', '.join(map(repr, self.keys))}"
        return f"{self.kind} of {len(self.items)}"


Node = Union[Leaf, Branch]


class MismatchError(InvalidError):
    """A value that is not as the first sample's was."""


def shape_of(sample: Any, path: str = "") -> Node:
    """Describe a sample. Raises `InvalidError` for an image that no batch can be made of."""
    kind = branch_kind(sample)
    if kind == "dict":
        keys = tuple(sample)
        items = tuple(shape_of(sample[key], f"{path}[{key!r}]") for key in keys)
        return Branch(path, kind, type(sample), keys, items)
    if kind:
        items = tuple(shape_of(value, f"{path}[{place}]") for place, value in enumerate(sample))
        return Branch(path, kind, cast("type[object]", type(sample)), (), items)
    return _leaf_of(sample, path)


def branch_kind(value: Any) -> str:
    """Name the kind of a structure, or nothing where it is a value."""
    if isinstance(value, Mapping):
        return "dict"
    if isinstance(value, tuple):
        return "namedtuple" if hasattr(cast("object", value), "_fields") else "tuple"
    return "list" if isinstance(value, list) else ""


def _leaf_of(value: Any, path: str) -> Leaf:
    if isinstance(value, (np.ndarray, np.generic)):
        array = cast("Array", value)
        if array.dtype.kind in _NUMBERS:
            name = str(cast("Any", _native(array.dtype)).name)
            return Leaf(path, "array", name, name, array.shape)
        return Leaf(path, "object")
    for kind in (bool, int, float):  # in this order: a bool is an int
        if type(value) is kind:
            name = _NUMBER_DTYPES[kind.__name__]
            return Leaf(path, kind.__name__, name, name)
    if is_tensor(value):
        return _tensor_leaf(value, path)
    if any(base.__module__.startswith("PIL.") for base in type(value).__mro__):
        raise InvalidError(
            f"{_named(path)} is an image of Pillow, of which no batch can be made",
            hint="end the transform with torchvision's ToTensor() or PILToTensor(), or give numpy.asarray(image); "
            'collate_fn="list" keeps images apart',
        )
    return Leaf(path, "object")


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return cast("Any", dtype).newbyteorder("=")


def _tensor_leaf(value: Any, path: str) -> Leaf:
    if value.layout is not sys.modules["torch"].strided:
        return Leaf(path, "object")
    name = str(value.dtype).replace("torch.", "")
    try:
        stored = str(cast("Any", np.dtype(name)).name)
    except TypeError:
        stored = _BITS.get(value.element_size(), "")
    return Leaf(path, "tensor", name, stored, tuple(value.shape)) if stored else Leaf(path, "object")


def is_tensor(value: Any) -> bool:
    """Whether a value is torch's, without loading torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _named(path: str) -> str:
    return f"sample{path}" if path else "the sample"


def leaves_of(node: Node) -> Iterator[Leaf]:
    """Go through the values of a sample, in order."""
    if isinstance(node, Leaf):
        yield node
    else:
        for item in node.items:
            yield from leaves_of(cast("Node", item))


def rebuilt(node: Node, leaf: Callable[[Leaf], Any]) -> Any:
    """Make a batch of a sample's structure, as torch's default collate does: a tuple comes as a list."""
    if isinstance(node, Leaf):
        return leaf(node)
    items = [rebuilt(cast("Node", item), leaf) for item in node.items]
    if node.kind == "dict":
        made = dict(zip(node.keys, items))
        try:
            return made if node.cls is dict else node.cls(made)
        except Exception:  # as torch does: a mapping that is made in another way comes as a dict
            return made
    return node.cls(*items) if node.kind == "namedtuple" else items


class Layout:
    """Where the values of up to `rows` samples lie in a slot: one array a value, each aligned."""

    def __init__(self, node: Node, rows: int) -> None:
        self.node, self.rows = node, rows
        self.leaves = tuple(leaves_of(node))
        self.offsets: list[int] = []
        end = 0
        for leaf in self.leaves:
            self.offsets.append(end)
            end += -(-leaf.row_bytes * rows // _ALIGN) * _ALIGN
        self.bytes = end

    def arrays(self, buffer: Any, rows: int, start: int = 0) -> list[Array | None]:
        """Give one array a value over `buffer`, of `rows` rows; None for objects, which lie elsewhere."""
        made: list[Array | None] = []
        for leaf, offset in zip(self.leaves, self.offsets):
            dims = (rows, *leaf.dims)
            made.append(np.ndarray(dims, leaf.stored, buffer, start + offset) if leaf.stored else None)
        return made


Put = Callable[[int, Any], None]


class Writer:
    """Puts samples into their rows of a batch's arrays, checking each value against the first sample's."""

    def __init__(self, layout: Layout, arrays: Sequence[Array | None]) -> None:
        self._objects = sum(array is None for array in arrays)
        self._first = 0
        self.beside: list[list[Any]] = []
        self.put = self._compiled(layout.node, iter(arrays), iter(range(self._objects)))

    def begin(self, first: int, rows: int) -> None:
        """Get ready for the samples of rows `first ..`; objects are kept in `beside`, one list a value."""
        self._first = first
        self.beside = [[None] * rows for _ in range(self._objects)]

    def _compiled(self, node: Node, arrays: Iterator[Array | None], objects: Iterator[int]) -> Put:
        if isinstance(node, Branch):
            puts = [self._compiled(cast("Node", item), arrays, objects) for item in node.items]
            return _put_dict(node, puts) if node.kind == "dict" else _put_sequence(node, puts)
        array = next(arrays)
        if array is None:
            return self._put_object(next(objects))
        if node.kind == "array":
            return _put_array(node, array)
        return _put_tensor(node, array) if node.kind == "tensor" else _put_number(node, array)

    def _put_object(self, place: int) -> Put:
        def put(row: int, value: Any) -> None:
            self.beside[place][row - self._first] = value

        return put


def _put_dict(node: Branch, puts: list[Put]) -> Put:
    pairs = list(zip(node.keys, puts))
    cls, count = node.cls, len(puts)

    def put(row: int, value: Any) -> None:
        if (type(value) is not cls and branch_kind(value) != "dict") or len(value) != count:
            raise _mismatch(node, value)
        for key, into in pairs:
            if key not in value:
                raise _mismatch(node, value)
            into(row, value[key])

    return put


def _put_sequence(node: Branch, puts: list[Put]) -> Put:
    cls, count = node.cls, len(puts)

    def put(row: int, value: Any) -> None:
        if (type(value) is not cls and branch_kind(value) != node.kind) or len(value) != count:
            raise _mismatch(node, value)
        for into, item in zip(puts, value):
            into(row, item)

    return put


def _put_array(leaf: Leaf, array: Array) -> Put:
    dtype, dims = array.dtype, leaf.dims

    def put(row: int, value: Any) -> None:
        if not isinstance(value, (np.ndarray, np.generic)):
            raise _mismatch(leaf, value)
        given = cast("Array", value)
        if given.shape != dims or (given.dtype != dtype and _native(given.dtype) != dtype):
            raise _mismatch(leaf, given)
        array[row] = given

    return put


def _put_tensor(leaf: Leaf, array: Array) -> Put:
    torch: Any = importlib.import_module("torch")  # another worker has seen the first sample
    dtype, dims = getattr(torch, leaf.dtype), leaf.dims
    bits = getattr(torch, leaf.stored) if leaf.stored != leaf.dtype else None

    def put(row: int, value: Any) -> None:
        if not isinstance(value, torch.Tensor) or value.dtype is not dtype or value.shape != dims:
            raise _mismatch(leaf, value)
        try:
            array[row] = value.numpy() if bits is None else numpy_of(value, bits)
        except (RuntimeError, TypeError):  # it needs gradients, is conjugated, or lies on a device
            array[row] = numpy_of(value, bits)

    return put


def numpy_of(tensor: Any, bits: Any = None) -> Array:
    """Give a tensor's memory as an array; `bits`: torch's type to read it as, where numpy has none of its own."""
    tensor = tensor.detach()
    if tensor.device.type != "cpu":
        tensor = tensor.cpu()
    if bits is not None:
        tensor = tensor.contiguous().view(bits)
    return tensor.numpy(force=True) if tensor.is_conj() or tensor.is_neg() else tensor.numpy()


def _put_number(leaf: Leaf, array: Array) -> Put:
    kinds = {"bool": (bool,), "int": (int, bool), "float": (float, int, bool)}[leaf.kind]
    first = kinds[0]

    def put(row: int, value: Any) -> None:
        if type(value) is not first and type(value) not in kinds:
            raise _mismatch(leaf, value)
        try:
            array[row] = value
        except OverflowError:
            raise _mismatch(leaf, value) from None

    return put


def _mismatch(wanted: Node, value: Any) -> MismatchError:
    try:
        found = str(shape_of(value, wanted.path))
    except InvalidError:
        found = type(value).__name__
    if found == str(wanted):
        found = f"{found} {value!r}" if wanted.kind == "int" else f"another {found}"
    if found == "object":
        found = type(value).__name__
    return MismatchError(
        f"{_named(wanted.path)} is {found}, where the first sample's was {wanted}",
        hint='samples of several shapes: collate_fn="pad", "ragged" or "list", or a function of your own',
    )
