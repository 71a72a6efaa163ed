"""What the constructor arguments of torch's own loader mean for batches that the daemon makes."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch.utils import data

from ._notice import say
from ._views import rows_of
from .errors import InvalidError

# Without effect: there are no worker processes, and batches always come in order.
UNUSED: Mapping[str, Any] = {
    "num_workers": 0,
    "timeout": 0,
    "worker_init_fn": None,
    "multiprocessing_context": None,
    "prefetch_factor": None,
    "persistent_workers": False,
    "in_order": True,
}

# Without their types, which torch's stubs leave open.
default_collate, _default_convert = (vars(data)[name] for name in ("default_collate", "default_convert"))

_said: set[str] = set()


def say_unused(given: Mapping[str, Any]) -> None:
    """Name, once and in one line, what was asked for and has no effect."""
    names = [f"{name}={_shown(given[name])}" for name, default in UNUSED.items() if given[name] != default]
    line = f"{', '.join(names)}: without effect, the daemon's threads read and decode (prefetch= says how far ahead)"
    if names and line not in _said:
        _said.add(line)
        say(line)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, (int, float, str, type(None))) else getattr(value, "__name__", "...")


def seed_of(generator: torch.Generator | None, seed: int) -> int:
    """Give the seed of the order and the transforms: a generator's own, where there is one."""
    if generator is None:
        return seed
    if seed:
        raise InvalidError("generator= and seed= both say how to shuffle", hint="pass seed= alone")
    found = generator.initial_seed()
    say(f"generator=: its initial seed is taken as seed={found}; forebay draws in its place")
    return found


class ByRows:
    """Calls a `collate_fn` as torch does: with a list of samples, here views of the batch."""

    __slots__ = ("_collate",)

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self._collate = collate

    def __call__(self, batch: Any) -> Any:
        """Give what the user's function makes of the batch's rows."""
        return self._collate(rows_of(batch))

    @staticmethod
    def of(collate: Any) -> ByRows | None:
        """Give what a loader has to call; None where batches are collated as torch would."""
        if collate is None or collate is default_collate or collate is _default_convert:
            return None
        if not callable(collate):
            raise InvalidError(f"collate_fn={collate!r} is not callable")
        return ByRows(cast("Callable[[Any], Any]", collate))


def pin(batch: Any) -> Any:
    """Copy a batch's tensors to pinned memory, as torch's loader does."""
    return cast("Any", importlib.import_module("torch.utils.data._utils.pin_memory")).pin_memory(batch)


def can_pin() -> bool:
    """Tell whether there is a device to pin memory for; a Python warning where there is none, as torch has it."""
    if torch.cuda.is_available():
        return True
    warnings.warn("pin_memory=True without an accelerator: batches are not pinned", stacklevel=3)
    return False
