"""The package's version, read from its metadata when somebody asks (that import costs 15 ms)."""

from __future__ import annotations

from functools import lru_cache


@lru_cache(maxsize=1)
def version() -> str:
    """Give the installed version, or `0+source` where the package runs from a source tree."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("forebay")
    except PackageNotFoundError:
        return "0+source"
