"""The Python path: a user's own data set, transform and collate, in processes that the client starts.

Which sample stands in which row, resume, epochs, ranks and tails come from the daemon, as a job over a range of
indices. The rest is here: `loader` takes the arguments, `iterator` keeps batches in order, `crew` has the worker
processes, `zygote` and `start` make them, `worker` runs in them, and `slots` is the memory that they write to. `rest`
is the data set of a job whose leading transforms are the daemon's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .._views import DatasetView

__all__ = ["data_of", "is_read_here", "is_stream"]


def data_of(arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Give the data set of a loader's arguments."""
    return arguments[0] if arguments else named.get("dataset", named.get("data"))


def is_read_here(arguments: Sequence[Any], named: Mapping[str, Any], *, streams: bool = True) -> bool:
    """Whether a loader's data is read by Python: `__getitem__` and `__len__`, and nothing that the daemon reads.

    `streams`: or a data set that can only be iterated.
    """
    data = data_of(arguments, named)
    if data is None or isinstance(data, (str, bytes, os.PathLike, Mapping, DatasetView)):
        return False
    if isinstance(data, (list, tuple)):  # of dicts, or of names of files: those go to the daemon
        rows = cast("list[object]", data)
        return not all(isinstance(row, (Mapping, str, os.PathLike)) for row in rows)
    if is_stream(data):
        return streams
    kind = cast("type[object]", type(data))
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")


def is_stream(data: Any) -> bool:
    """Whether a data set can only be iterated, as torch's IterableDataset."""
    kinds = cast("type[object]", type(data)).__mro__
    return any(kind.__name__ == "IterableDataset" for kind in kinds) and not hasattr(data, "__getitems__")
