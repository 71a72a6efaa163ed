"""`python -m forebay state ...` on torch checkpoints: what `forebay state` has to see of them, as JSON.

Only torch reads torch's files, and only with `weights_only`, so that no code of a checkpoint runs. The loader states
found go to the binary in an anonymous file each; every other argument stays as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, cast

from .errors import InvalidError, StateError

_TORCH = (b"PK\x03\x04", b"\x80")
_DEPTH_MAX = 16
_WRITES = ("-o", "--output")  # the file behind them is not read


def with_states(arguments: Sequence[str]) -> list[str]:
    """Give the arguments of `forebay state` with each torch checkpoint replaced by a file of its loader states."""
    made: list[str] = []
    names: list[str] = []
    for before, argument in zip(("", *arguments), arguments):
        if before not in _WRITES and _is_torch(argument):
            made.append(_states_file(argument))
            names.append(f"--shown-as={made[-1]}={argument}")
        else:
            made.append(argument)
    return made + names


def _is_torch(argument: str) -> bool:
    try:
        with open(argument, "rb") as file:
            return file.read(4).startswith(_TORCH)
    except (OSError, ValueError):
        return False  # an option, or the binary says what is wrong with it


def _states_file(path: str) -> str:
    states = _pruned(_load(path), 0)
    if not states:
        raise StateError(
            f"{path}: no loader state is in it",
            hint='save it with the checkpoint: torch.save({"model": ..., "loader": loader.state_dict()}, path)',
        )
    descriptor = os.memfd_create("forebay-state", 0)  # without CLOEXEC: the binary reads it
    os.write(descriptor, json.dumps(states).encode())
    return f"/proc/self/fd/{descriptor}"


def _load(path: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise InvalidError(
            f"{path}: a torch checkpoint, and torch is not installed here", hint="ask a Python that has torch"
        ) from error
    load = cast("Any", torch.load)
    try:
        try:
            return load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # saved before torch 1.6, or piped: not mappable
            return load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InvalidError(
            f"{path}: torch cannot read it without running code of it",
            causes=[str(error).splitlines()[0]],
            hint="where you trust it, write the state alone: json.dump(torch.load(path, weights_only=False)"
            "['loader'], file)",
        ) from error


def _pruned(value: Any, depth: int) -> Any:
    """Give the loader states of a checkpoint at their places, and nothing else; None where there is none."""
    if isinstance(value, (list, tuple)):
        value = dict(enumerate(cast("Sequence[Any]", value)))
    if not isinstance(value, Mapping) or depth > _DEPTH_MAX:
        return None
    items = cast("Mapping[Any, Any]", value)
    if "order_digest" in items:
        return {str(key): _plain(item) for key, item in items.items()}
    kept = {str(key): _pruned(item, depth + 1) for key, item in items.items()}
    return {key: item for key, item in kept.items() if item} or None


def _plain(value: Any) -> Any:
    """Give what JSON knows: numbers of numpy and torch as ints."""
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    return int(value) if hasattr(value, "__index__") else repr(value)
