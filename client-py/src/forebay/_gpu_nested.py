"""The tensors in a batch of any structure: tuples, lists, dicts and named tuples of one another.

Other objects are left as they are, tensors in them too; so are named tuples that have a `to` of their own, as torch's
`PackedSequence`, of which a part belongs on the host.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, cast

import torch


def changed(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Give the same structure with each tensor changed; mappings keep their type where it can be made again."""
    if isinstance(value, torch.Tensor):
        return change(value) if value.layout is torch.strided else value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return _mapping(items, {key: changed(item, change) for key, item in items.items()})
    if not _is_sequence(value):
        return value
    made = [changed(item, change) for item in value]
    kind = cast("Any", type(value))
    return kind(*made) if hasattr(kind, "_fields") else tuple(made) if isinstance(value, tuple) else made


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Go through those that `changed` changes."""
    if isinstance(value, torch.Tensor):
        if value.layout is torch.strided:
            yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[Any, Any]", value).values():
            yield from tensors(item)
    elif _is_sequence(value):
        for item in value:
            yield from tensors(item)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, tuple) and not hasattr(cast("object", value), "to"))


def _mapping(like: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """Give a mapping as `like`, with what else that knows: a tokenizer's `BatchEncoding` has its encodings."""
    if type(like) is dict:
        return items
    try:
        if isinstance(like, MutableMapping):
            made = copy.copy(like)
            made.update(items)
            return made
        return cast("Any", type(like))(items)
    except Exception:  # one that is made in another way comes as a dict, as from torch's loader
        return items
