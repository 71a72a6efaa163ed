"""How a batch becomes what the user sees: the framework's tensors, by name or in a tuple, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._batch import Array, texts
from ._job import TensorSpec
from ._resolve import Resolver
from ._session import Batch
from ._tokens import trim
from ._wire import Ready


class Converting:
    """What a loader does with each batch. Its subclasses say what a tensor is."""

    _resolver: Resolver
    _trims: Mapping[str, str]
    _is_tuple: bool
    _with_valid: bool
    # What sees each batch before the user does, by the name of the argument that it came from.
    _calls: tuple[tuple[str, Callable[[Any], Any]], ...]

    def _tensor(self, array: Array, spec: TensorSpec) -> Any:
        """Make the framework's tensor of an array as it lies in memory, without a copy."""
        raise NotImplementedError

    def _mask(self, valid: Array) -> Any:
        """Make the framework's bool tensor of an array of our own."""
        raise NotImplementedError

    def _made(self, batch: Batch) -> tuple[Any, Any]:
        """Give the batch as the user sees it, and its `valid`."""
        made, valid = self._convert(batch)
        return self._called(made, batch.ready), valid

    def _called(self, made: Any, ready: Ready) -> Any:
        """Have a batch go through what its user has named."""
        for name, call in self._calls:
            try:
                made = call(made)
            except Exception as error:
                note = f"in {name} of the batch at epoch {ready.epoch}, row {ready.position}"
                if hasattr(error, "add_note"):  # Python 3.11
                    error.add_note(note)  # pyright: ignore - the types are those of 3.9
                raise
        return made

    def _convert(self, batch: Batch) -> tuple[Any, Any]:
        """Give the batch in the framework's tensors, and its `valid`."""
        declared = len(self._resolver.current.job.tensors) if self._resolver.current else 0
        named: dict[str, Any] = {}
        for spec, array in zip(batch.specs[:declared], batch.arrays):
            named[spec.name] = texts(array) if spec.dtype == "utf8" else self._tensor(array, spec)
        trim(named, self._trims)
        has_valid = len(batch.arrays) > declared
        # Where every row counts, the mask is made when somebody asks for it.
        valid = self._mask(batch.arrays[declared].astype(np.bool_)) if has_valid else batch.ready.rows
        if self._is_tuple:
            return (*named.values(), self._all(valid)) if self._with_valid else tuple(named.values()), valid
        if has_valid or self._with_valid:
            named["valid"] = self._all(valid)
        return named, valid

    def _all(self, valid: Any) -> Any:
        """Give a mask, made of the number of rows where all of them count."""
        return self._mask(np.ones(valid, np.bool_)) if isinstance(valid, int) else valid
