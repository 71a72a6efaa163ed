"""From what a person passes to a loader to the `JobSpec` that a daemon resolves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Union, cast

from ._checks import ELEMENTS, dtype_name, whole
from ._dataset import Dataset, is_place
from ._frames import Clip, Frames
from ._record import record
from ._shards import Shards, are_shards, is_shard
from ._stored import STORED_FIELDS, StoredField
from ._tokens import TOKEN_FIELDS, TokenField
from .errors import InvalidError
from .transforms import as_list, image_settings

_LIST_FORMATS = {".csv": "CSV", ".jsonl": "JSONL", ".ndjson": "JSONL", ".parquet": "PARQUET"}
_COLUMN_KINDS = ("path", "int", "float", "float_vector", "multi_hot", "weight", "text", "tokens")
_POLICIES = ("fail", "substitute", "mask")
_VIEWS_MAX = 16

StrPath = Union[str, "os.PathLike[str]"]


@record
class Column:
    """A list's column: its kind (`path`, `int`, `float`, `float_vector`, `multi_hot`, `weight`, `text`, `tokens`).

    `size`: a `float_vector`'s length (0: inferred), a `multi_hot`'s number of classes.
    """

    kind: str
    size: int = 0

    def __post_init__(self) -> None:
        if self.kind not in _COLUMN_KINDS:
            raise InvalidError(f"column kind {self.kind!r} is not one of {', '.join(_COLUMN_KINDS)}")


Columns = Mapping[str, Union[str, "tuple[str, int]", Column]]


@record
class Folder:
    """A folder of class folders, in the order of torchvision's ImageFolder.

    `extensions`: of its samples, in any case (default: torchvision's image extensions). Its columns are `image`, the
    paths, and `label`; files of other kinds are fields of it, as in `{"x": forebay.Raw("image", capacity=4096)}`.
    """

    path: StrPath
    extensions: Sequence[str] = ()

    def __post_init__(self) -> None:
        given = cast("Sequence[object]", self.extensions)
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            raise InvalidError(f"extensions={given!r}: a list of texts is needed, as in ['.bin']")

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        return {"folder": {"path": _absolute(self.path), "extensions": list(self.extensions)}}


@record
class List:
    """A CSV, JSON Lines or Parquet file with named columns.

    Relative paths in it start from `root`, by default the folder of the list.
    """

    path: StrPath
    root: StrPath | None = None
    columns: Columns | None = None
    format: str | None = None

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        suffix = Path(os.fspath(self.path)).suffix.lower()
        form = self.format.upper() if self.format else _LIST_FORMATS.get(suffix)
        if form not in _LIST_FORMATS.values():
            raise InvalidError(
                f"{os.fspath(self.path)}: a list is CSV, JSON Lines or Parquet",
                hint="give it one of the suffixes .csv, .jsonl, .parquet, or pass format=",
            )
        origin: dict[str, Any] = {"path": _absolute(self.path), "format": f"LIST_FORMAT_{form}"}
        if self.root is not None:
            origin["root"] = _absolute(self.root)
        return {"list": {**origin, "columns": _columns(self.columns)}}


@record
class Records:
    """A list of dicts, sent to the daemon whole; relative paths in it start from `root` (default: here)."""

    rows: Sequence[Mapping[str, Any]]
    root: StrPath | None = None
    columns: Columns | None = None

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        if not self.rows:
            raise InvalidError("the list of records is empty")
        lines = "\n".join(_json_line(index, row) for index, row in enumerate(self.rows))
        root = _absolute(self.root if self.root is not None else os.curdir)
        return {"records": {"root": root, "json_lines": lines, "columns": _columns(self.columns)}}


@record
class Range:
    """`rows` samples that the daemon knows nothing of: a column `index` of their numbers, in a loader's order.

    `identity`: what they are called; states fit ranges of equal rows and identity.
    """

    rows: int
    identity: str = ""

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        return {"range": {"rows": str(whole("rows", self.rows, 1)), "identity": self.identity}}


@record
class Image:
    """A JPEG or PNG, decoded to RGB: uint8 or, behind Normalize or by `dtype`, float32, float16 or bfloat16.

    `column`: the source's column (default: the field's own name). `views`: how often the transforms are run on
    each image, 1 to 16 times, with random draws of their own and one decode; a batch of several has a dimension
    more, `[rows, views, ...]`. `apply_exif_orientation`: images are turned upright first, as their EXIF block says;
    crops are drawn in what is then seen. `decode_scale`: `"auto"` decodes a JPEG to a half, a quarter or an eighth of
    its sides where the crops stay at least as large as their results: faster, and other pixels by about one level.
    """

    column: str = ""
    transform: Sequence[Any] = ()
    dtype: str | None = None
    views: int = 1
    apply_exif_orientation: bool = False
    decode_scale: str = "full"

    def __post_init__(self) -> None:
        whole("views", self.views, 1, _VIEWS_MAX)
        if not isinstance(cast("object", self.apply_exif_orientation), bool):
            raise InvalidError(f"apply_exif_orientation={self.apply_exif_orientation!r}: True or False is needed")
        if self.decode_scale not in ("full", "auto"):
            raise InvalidError(f"decode_scale={self.decode_scale!r} is neither 'full' nor 'auto'")

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec: dict[str, Any] = {
            "name": name,
            "column": self.column or name,
            "decode": "DECODE_IMAGE",
            **image_settings(name, self.transform, self.dtype),
            "memory_order": memory_order,
        }
        if self.views > 1:
            spec["views"] = int(self.views)
        if self.apply_exif_orientation:
            spec["apply_exif_orientation"] = True
        if self.decode_scale == "auto":
            spec["decode_scale"] = "DECODE_SCALE_AUTO"
        return spec


@record
class Value:
    """A column's value itself: a number, a vector or a text. `dtype`: default the column's own."""

    column: str = ""
    dtype: str | None = None

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        spec = {"name": name, "column": self.column or name, "decode": "DECODE_VALUE"}
        dtype = _dtype_name(self.dtype)
        return {**spec, "dtype": f"DTYPE_{dtype.upper()}"} if dtype else spec


@record
class Source:
    """The number of a row's source, an int64: `loader.sources` has its name. 0 where there is no mixture."""

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        return {"name": name, "decode": "DECODE_SOURCE"}


Field = Union[Image, Clip, Value, Source, StoredField, TokenField]
Origin = Union[Folder, Frames, List, Records, Dataset, Shards, Range]
Data = Union[StrPath, Sequence[StrPath], Sequence[Mapping[str, Any]], Origin]
# What has an image and a label where no fields are named.
_LABELLED = (Folder, Dataset, Shards)


def as_source(data: Any) -> Origin:
    """Tell a folder from a data set from shards from a list file from records."""
    if isinstance(data, (Folder, Frames, List, Records, Dataset, Shards, Range)):
        return data
    if isinstance(data, (str, os.PathLike)):
        if is_place(os.fspath(cast("StrPath", data))):
            return Dataset(cast("StrPath", data))
        path = Path(os.fspath(cast("StrPath", data))).expanduser()
        if is_shard(path):
            return Shards(path)
        if path.suffix.lower() in _LIST_FORMATS and not path.is_dir():
            return List(path)
        if path.is_file():
            raise InvalidError(
                f"{path} is a file and not a folder of class folders",
                hint="a list ends in .csv, .jsonl or .parquet, shards in .tar or .tfrecord; or use forebay.List(path, "
                "format=...), forebay.Shards(path, format=...)",
            )
        return Folder(path)
    if are_shards(data):
        return Shards(data)
    if isinstance(data, (list, tuple)):
        rows = cast("Sequence[Any]", data)
        if all(isinstance(row, Mapping) for row in rows):
            return Records(rows)
    if isinstance(data, Mapping):
        raise InvalidError(
            "a data set that is a dict",
            hint="of several data sets: forebay.Mixture({...}, shares={...}); of rows: a list of dicts",
        )
    name = type(cast("object", data)).__name__
    raise InvalidError(
        f"a data set of type {name}",
        hint="pass a folder, a .csv, .jsonl or .parquet file, .tar or .tfrecord shards, a list of dicts, or a "
        "forebay.Folder, Frames, Dataset or Shards",
    )


def build(
    origins: Sequence[tuple[Origin, dict[str, Any]]],
    *,
    fields: Mapping[str, Field] | None,
    transform: Sequence[Any] | None,
    dtype: str | None,
    views: int | None,
    apply_exif_orientation: bool = False,
    decode_scale: str = "full",
    memory_order: str,
    order: Mapping[str, Any],
    on_bad_sample: str,
    bad_sample_budget: int,
    job_id: str,
) -> tuple[dict[str, Any], bool]:
    """Give the `forebay.v1.JobSpec`, and whether its batches are tuples `(images, labels)`.

    `origins`: each source and its `forebay.v1.Source`; `order`: the `forebay.v1.Order`.
    """
    if on_bad_sample not in _POLICIES:
        raise InvalidError(f"on_bad_sample={on_bad_sample!r} is not one of {', '.join(_POLICIES)}")
    is_tuple = fields is None and isinstance(origins[0][0], _LABELLED)
    asked = _ImageAsked(transform, dtype, views, apply_exif_orientation, decode_scale)
    if fields is None:
        if any(isinstance(origin, Frames) for origin, _ in origins):
            raise InvalidError(
                "clips need their fields named",
                hint='fields={"clip": forebay.Clip(frames=16, stride=2, transform=[...]), "label": forebay.Value()}',
            )
        fields = _default_fields([origin for origin, _ in origins], asked)
    elif asked != _NOTHING_ASKED:
        raise InvalidError(
            "transform=, dtype=, views=, apply_exif_orientation= and decode_scale= belong to the fields",
            hint="fields={'image': Image(transform=[...])}",
        )
    spec: dict[str, Any] = {
        "sources": [spec for _, spec in origins],
        "fields": [_field(name, field, memory_order) for name, field in fields.items()],
        "order": order,
        "on_bad_sample": {
            "policy": f"BAD_SAMPLE_POLICY_{on_bad_sample.upper()}",
            "budget_count": str(bad_sample_budget),
        },
    }
    if job_id:
        spec["job_id"] = job_id
    return spec, is_tuple


class _ImageAsked(NamedTuple):
    """What a loader is told of a folder's images; None: nothing."""

    transform: Sequence[Any] | None = None
    dtype: str | None = None
    views: int | None = None
    apply_exif_orientation: bool = False
    decode_scale: str = "full"

    def image(self) -> Image:
        """Give the field."""
        views = 1 if self.views is None else self.views
        turned, scale = self.apply_exif_orientation, self.decode_scale
        return Image("", as_list(self.transform), self.dtype, views, turned, scale)


_NOTHING_ASKED = _ImageAsked()


def _default_fields(origins: Sequence[Origin], asked: _ImageAsked) -> Mapping[str, Field]:
    folders = sum(isinstance(origin, _LABELLED) for origin in origins)
    if 0 < folders < len(origins):
        raise InvalidError(
            "folders and lists in one mixture need their fields named",
            hint="fields={'image': forebay.Image(), 'label': forebay.Value()}",
        )
    if folders:
        return {"image": asked.image(), "label": Value()}
    if asked == _NOTHING_ASKED:
        return {}  # every column, in order
    raise InvalidError(
        "transform=, dtype=, views=, apply_exif_orientation= and decode_scale= need to know their column in a list",
        hint="fields={'image': forebay.Image(column='path', transform=[...]), 'label': forebay.Value()}",
    )


def _field(name: str, field: Any, memory_order: str) -> dict[str, Any]:
    if not isinstance(field, (Image, Clip, Value, Source, *STORED_FIELDS, *TOKEN_FIELDS)):
        raise InvalidError(f"field {name}: {field!r} is no forebay.Image, Clip, Value, Raw, Tokens or other field")
    return field.to_spec(name, memory_order)


def _dtype_name(dtype: Any) -> str | None:
    return None if dtype is None else dtype_name(dtype, ELEMENTS)


def _columns(columns: Columns | None) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    for name, given in (columns or {}).items():
        if isinstance(given, str):
            given = Column(given)
        elif not isinstance(given, Column):
            given = Column(*given)
        made.append({"name": name, "kind": f"COLUMN_KIND_{given.kind.upper()}", "size": given.size})
    return made


def _absolute(path: StrPath) -> str:
    return os.path.abspath(os.path.expanduser(os.fspath(path)))


def _json_line(index: int, row: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(row), ensure_ascii=False, allow_nan=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InvalidError(
            f"record {index} cannot be sent",
            causes=[str(error)],
            hint="values are paths, numbers, texts and lists",
        ) from error


def _plain(value: Any) -> Any:
    """Turn paths, numpy scalars and arrays into what JSON knows."""
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a value of type {type(value).__name__}")
