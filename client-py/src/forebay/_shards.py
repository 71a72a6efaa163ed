"""Files that hold many samples each: tar archives as WebDataset writes them, TFRecord files, images in Parquet."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Union, cast

from ._record import record
from .errors import InvalidError

StrPath = Union[str, "os.PathLike[str]"]

_ENDINGS = (".tar", ".tfrecord", ".tfrecords")
# Of archives that cannot be read by place: the daemon says what to do about them.
_COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
# One alone is a list of samples; several, or named as shards, are rows with their bytes in them.
_PARQUET = ".parquet"
_WILD = frozenset("*?[{")
_FORMATS = ("tar", "tfrecord", "parquet")


@record
class Shards:
    """Tar archives of samples, TFRecord files of `tf.train.Example`, or Parquet files, read as they lie, in any order.

        Shards("/data/train-{000..127}.tar")
        Shards(["/data/a/*.tar", "/data/b/*.tar"])
        Shards("/data/train-*-of-01024", format="tfrecord")
        Shards("/data/train-*.parquet")

    `paths`: one or several. `{000..127}` and `{a,b}` name files that must be there; `*`, `?` and `[a-z]` find those
    that are. `format`: `"tar"`, `"tfrecord"` or `"parquet"` (default: by the ending).

    Members of a tar archive with one name up to the first dot are a sample, and what is behind that dot names the
    column: `seg.png`, `json`. An image, whatever its format, is the column `image` too, and the class in `.cls` the
    column `label`. Of TFRecord files each feature is a column; `image/encoded` is `image` too, `image/class/label` is
    `label`. Of Parquet files binary columns, and structs of `bytes` and `path` as Hugging Face writes them, are read
    where they lie, as an `Image`, `Raw` or `Array`; all others are columns.
    """

    paths: StrPath | Sequence[StrPath]
    format: str | None = None

    def __post_init__(self) -> None:
        paths = _paths(self.paths)
        if not paths:
            raise InvalidError(
                "shards are named by one path or a list of paths", hint='Shards("/data/x-{000..127}.tar")'
            )
        if self.format is not None and self.format not in _FORMATS:
            raise InvalidError(f"format={self.format!r} is not one of {', '.join(_FORMATS)}")
        object.__setattr__(self, "paths", paths)

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        origin: dict[str, Any] = {"paths": [_absolute(path) for path in cast("Sequence[StrPath]", self.paths)]}
        if self.format is not None:
            origin["format"] = f"SHARD_FORMAT_{self.format.upper()}"
        elif any(path.lower().endswith(_COMPRESSED) for path in origin["paths"]):
            origin["format"] = "SHARD_FORMAT_TAR"
        return {"shards": origin}


def is_shard(path: StrPath) -> bool:
    """Whether a path names shards by its ending."""
    name = os.fspath(path).lower()
    is_pattern = name.endswith(_PARQUET) and not _WILD.isdisjoint(name)
    return (is_pattern or name.endswith((*_ENDINGS, *_COMPRESSED))) and not Path(path).is_dir()


def are_shards(data: Any) -> bool:
    """Whether it is a list of paths that all name shards by their endings."""
    paths = _paths(data) if isinstance(data, (list, tuple)) else ()
    return bool(paths) and all(map(_in_list, paths))


def _in_list(path: StrPath) -> bool:
    return is_shard(path) or os.fspath(path).lower().endswith(_PARQUET)


def _paths(given: Any) -> tuple[StrPath, ...]:
    """Give one path, or several, as several; none where something else is among them."""
    one = isinstance(given, (str, os.PathLike))
    paths = cast("tuple[Any, ...]", (given,) if one else tuple(given))
    return paths if all(isinstance(path, (str, os.PathLike)) for path in paths) else ()


def _absolute(path: StrPath) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))
