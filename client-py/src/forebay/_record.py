"""Frozen, slotted dataclasses on every Python from 3.9: `@record` where 3.10 says `slots=True`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Any, Callable, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: Any) -> Callable[[Any], Any]:
        """Do nothing: only type checkers read it."""
        return lambda decorated: decorated


T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass, with slots where Python can add them beside defaults (3.10)."""
    if sys.version_info >= (3, 10):
        return dataclasses.dataclass(frozen=True, slots=True)(cls)
    return dataclasses.dataclass(frozen=True)(cls)
