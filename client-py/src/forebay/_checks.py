"""What users pass, checked where it comes in."""

from __future__ import annotations

from typing import Any

from .errors import InvalidError

# Types of a tensor's elements.
ELEMENTS = (
    "uint8", "uint16", "uint32", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64", "bool",
    "utf8",
)  # fmt: skip
_TAILS = ("drop", "partial", "pad")


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Give a whole number from `least` to `most`, where there is one."""
    is_whole = not isinstance(value, bool) and hasattr(value, "__index__")
    if not is_whole or value < least or (most is not None and value > most):
        wanted = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InvalidError(f"{name}={value!r}: a whole number {wanted} is needed")
    return int(value)


def dtype_name(dtype: Any, known: tuple[str, ...]) -> str:
    """Give the name of a dtype of numpy, of torch or by name, where it is among those."""
    name = str(getattr(dtype, "__name__", dtype)).replace("torch.", "")
    if name not in known:
        raise InvalidError(f"dtype {dtype!r} is not one of {', '.join(known)}")
    return name


def whole_or_least(name: str, value: Any, least: int) -> int:
    """Give a whole number of at least `least`, which is what None means."""
    return least if value is None else whole(name, value, least)


def share_of(weight: int | None, priority: int) -> tuple[int, int]:
    """Give a loader's weight and priority on a daemon that it shares."""
    weight = 1 if weight is None else whole("weight", weight, 1, 1000)
    return weight, whole("priority", priority, -100, 100)


def tail_of(tail: str | None, drop_last: bool) -> str:
    """Give what becomes of the rows that fill no whole batch."""
    if tail is not None and tail not in _TAILS:
        raise InvalidError(f"tail={tail!r} is not one of {', '.join(_TAILS)}")
    if drop_last and tail not in (None, "drop"):
        raise InvalidError(f"drop_last=True and tail={tail!r} contradict each other")
    return "drop" if drop_last else tail or "partial"
