"""A user's own data set as batches of torch tensors, and data sets that can only be iterated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
import torch.utils.data

from .. import torch as _torch
from .._batch import Array
from .._digest import Digests
from .._notice import say
from .._recognise import is_image_folder
from .._session import Batch
from ..errors import InvalidError
from . import data_of, is_stream
from .iterator import Frame
from .loader import OwnLoader, as_it_is
from .numpy import mapped_values
from .shape import Leaf

__all__ = ["OwnTorchLoader", "made"]

# torch's stub leaves the argument of from_numpy untyped.
_from_numpy = cast("Callable[[Array], torch.Tensor]", torch.from_numpy)  # pyright: ignore


def made(arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Give what `forebay.torch.DataLoader(...)` is for data that the daemon does not read.

    An object whose `__init__` is still to run, or for a data set that can only be iterated a loader of torch's own.
    """
    data = data_of(arguments, named)
    if is_stream(data):
        return _stream_loader(data, arguments, named)
    if is_image_folder(data) and named.get("recognise", True):
        from .._recognise_torch import recognised

        return recognised(data, arguments, named)
    return object.__new__(OwnTorchLoader)


def _stream_loader(data: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    name = type(data).__qualname__
    try:
        made = cast("Any", torch.utils.data.DataLoader)(*arguments, **named)
    except TypeError as error:
        raise InvalidError(
            f"{name} can only be iterated, and what torch's own DataLoader does not know needs __getitem__ and __len__",
            causes=[str(error)],
        ) from error
    say(f"{name} can only be iterated: torch's own DataLoader runs it, without forebay's order and resume")
    return made


class TorchFrame:
    """Torch's tensors."""

    def leaf(self, array: Array, leaf: Leaf) -> torch.Tensor:
        """Make a tensor over the array; of a type that numpy lacks the array has the bits."""
        tensor = _from_numpy(array)
        if leaf.kind == "tensor" and leaf.stored != leaf.dtype:
            return tensor.view(getattr(torch, leaf.dtype))
        return tensor

    def whole(self, batch: Any) -> Any:
        """Make tensors of the arrays in a batch, as torch's default_convert does."""
        return mapped_values(batch, _converted)


def _converted(value: Any) -> Any:
    if not isinstance(value, (np.ndarray, np.generic)) or cast("Array", value).dtype.kind not in "biufc":
        return cast("Any", value)
    given = cast("Array", value)
    return _from_numpy(given) if isinstance(value, np.ndarray) else torch.as_tensor(given)


class OwnTorchLoader(OwnLoader, _torch.DataLoader):
    """`forebay.torch.DataLoader` over a data set that is read here."""

    _shown = "forebay.torch.DataLoader"
    # `cast` has nothing to do: what workers make is what their user's code made.
    _also = frozenset(("device", "ahead", "cast"))

    def _frame(self) -> Frame:
        return TorchFrame()

    def _pin(self, pin_memory: bool) -> None:
        self._call(None, pin_memory)

    def _iterate(self, convert: Callable[[Batch], tuple[Any, Any]]) -> Any:
        if self._target is None:
            return super()._iterate(convert)
        with self._lock:
            engine = self._started_engine(self._target)  # where it fails no epoch was begun
            is_whole = convert == self._made
            batches = self._own_epoch(self._completed if is_whole else as_it_is)
            made = self._sent(batches, engine, self._counted, is_whole=is_whole)
            batches.hold(Digests())
            return made

    def _host_leases(self) -> int:
        if self._target is None:
            return super()._host_leases()
        # Those that are ahead, one whose copy ends while the trainer has it, and one that is being taken.
        return max(self._own_leases, self._target.ahead + 2)
