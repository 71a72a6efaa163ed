"""A data set that `forebay index` made, and which of its samples are wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Union

from ._checks import whole
from ._record import record
from .errors import InvalidError

SUFFIX = ".forebay"

StrPath = Union[str, "os.PathLike[str]"]


@record
class Dataset:
    """A catalogued data set: `path` is its place (a folder or `s3://bucket/prefix`), or the data that it lies beside.

    `split`: a side of a committed split or a frozen set, as `"train"`. `where`: a condition on columns, as
    `"width >= 256 and lang = 'en'"`, or the name of a recorded one. `fraction`, `limit`: a nested part of that, so
    that 1 % lies inside 10 %; `balanced`: with as many samples of each class. `at`: the number of a commit; the newest
    by default. `root`: where the data is mounted, if not where it was indexed.
    """

    path: StrPath
    split: str = ""
    where: str = ""
    fraction: float | None = None
    limit: int | None = None
    balanced: bool = False
    at: int | None = None
    root: StrPath | None = None

    def __post_init__(self) -> None:
        if self.fraction is not None and not 0 < self.fraction <= 1:
            raise InvalidError(f"fraction={self.fraction!r} is not above 0 and up to 1")
        if self.limit is not None:
            whole("limit", self.limit, least=1)
        if self.at is not None:
            whole("at", self.at, least=1)

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        place = os.fspath(self.path)
        origin: dict[str, Any] = {"path": place if place.startswith("s3://") else _absolute(place)}
        if self.at is not None:
            origin["snapshot"] = str(self.at)
        if self.root is not None:
            origin["root"] = _absolute(self.root)
        spec: dict[str, Any] = {"dataset": origin}
        if self.split:
            spec["split"] = self.split
        if self.where:
            spec["where"] = self.where
        if self.fraction is not None or self.limit is not None or self.balanced:
            subset = {"fraction": self.fraction, "limit": self.limit and str(self.limit), "balanced": self.balanced}
            spec["subset"] = {name: value for name, value in subset.items() if value}
        return spec


def at_commits(spec: Mapping[str, Any], commits: Sequence[int]) -> dict[str, Any]:
    """Name the commits of a `forebay.v1.JobSpec`'s data sets, one a source, where it names none itself."""
    sources = list(spec.get("sources", ()))
    if len(sources) != len(commits):
        return dict(spec)
    for index, commit in enumerate(commits):
        origin = sources[index].get("dataset")
        if commit and origin and not origin.get("snapshot"):
            sources[index] = {**sources[index], "dataset": {**origin, "snapshot": str(commit)}}
    return {**spec, "sources": sources}


def is_place(text: str) -> bool:
    """Whether a path names a data set by itself."""
    return text.startswith("s3://") or text.rstrip("/").endswith(SUFFIX)


def _absolute(path: StrPath) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))
