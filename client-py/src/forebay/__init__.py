"""Forebay: shuffled random batches from shared storage, ready above the GPU.

    from forebay.torch import DataLoader
    from forebay.transforms import Normalize, RandomHorizontalFlip, RandomResizedCrop

`forebay.torch` and `forebay.numpy` hold the loaders; importing `forebay` imports neither framework nor numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._dataset import Dataset
from ._digest import combine_digests
from ._frames import Clip, Frames
from ._mixture import Mixture
from ._pack import Buckets, Packed, TokenBudget
from ._shards import Shards
from ._spec import Column, Folder, Image, List, Range, Records, Source, Value
from ._stored import Array, Raw
from ._tokens import Boundaries, Length, PositionIds, SegmentIds, Tokens
from .errors import ForebayError

if TYPE_CHECKING:
    __version__: str

__all__ = [
    "Array",
    "Boundaries",
    "Buckets",
    "Clip",
    "Column",
    "Dataset",
    "Folder",
    "ForebayError",
    "Frames",
    "Image",
    "Length",
    "List",
    "Mixture",
    "Packed",
    "PositionIds",
    "Range",
    "Raw",
    "Records",
    "SegmentIds",
    "Shards",
    "Source",
    "TokenBudget",
    "Tokens",
    "Value",
    "__version__",
    "combine_digests",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ._version import version

        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
