"""What differs between the parts of a saved order or content and those of a job, in words.

The same words as `forebay state diff` has for two saved states (`loader/plan/src/parts.rs`).
"""

from __future__ import annotations

from collections.abc import Mapping

_DIGITS = 8
_OTHERS = "others"  # stands for parts that found no room


def differences(saved: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Give the name of each part that is not the same, and what it was and is now.

    A part's value is 8 digits that name it, and as much of a text as there was room for.
    """
    found: dict[str, str] = {}
    for name in sorted({*saved, *now}):
        if name in saved and name in now:
            if saved[name][:_DIGITS] != now[name][:_DIGITS]:
                found[name] = _changed(saved[name][_DIGITS + 1 :], now[name][_DIGITS + 1 :])
        elif name != _OTHERS and _OTHERS not in (now if name in saved else saved):
            found[name] = "was there and is not now" if name in saved else "is new"
    return found


def _changed(saved: str, now: str) -> str:
    """Tell two texts apart by their pieces, without those that both begin or end with."""
    if not saved or not now:
        return "is not what it was; the state has no room for how"
    was, is_now = saved.split("; "), now.split("; ")
    while was and is_now and was[0] == is_now[0]:
        was, is_now = was[1:], is_now[1:]
    while was and is_now and was[-1] == is_now[-1]:
        was, is_now = was[:-1], is_now[:-1]
    saved, now = "; ".join(was), "; ".join(is_now)
    if saved and now:
        return f"{saved} is now {now}"
    if saved or now:
        return f"{saved} was dropped" if saved else f"{now} was added"
    return "differs in a detail that the state does not keep"
