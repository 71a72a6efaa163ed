"""A batch as people look at it: what `loader.show()` gives."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ._checks import whole
from ._daemon import Connection, Daemon
from ._job import Cursor, Job, resolve_again, steps_left
from ._rank import Partition
from ._record import record
from .errors import InvalidError, NotFoundError, UnimplementedError

_ROWS_MAX = 256
_TILE_PX_MAX = 512


@record
class Rect:
    """In pixels from the upper left corner."""

    left: int
    top: int
    width: int
    height: int


@record
class ImageCut:
    """What a view of an image field drew for one row.

    `view`: which one, from 0. `size`: width and height of the stored image, or of that turned upright. `crop`: the part
    of it that the view shows, rounded outward. Exactly: `taken` was resized to `resized` (width, height), and the view
    begins in it at `start` (left, top; negative: so many zeros); `flip`: left and right exchanged last.
    """

    field: str
    size: tuple[int, int]
    crop: Rect
    flip: bool
    taken: Rect
    resized: tuple[int, int]
    start: tuple[int, int]
    view: int = 0


@record
class BadSample:
    """A corrupt sample that a row met; attempt 0 is the row's own, 1 to 8 are substitutes."""

    attempt: int
    key: str
    reason: str


@record
class Part:
    """A document of a packed row, or a piece of one: `count` tokens of `key`, from its token `start` on."""

    key: str
    start: int
    count: int


@record
class ShownRow:
    """What became of one row of a batch.

    `state`: `ok`, `substituted`, `masked`, `repeated` (it only fills the batch up) or `failed` (a session ends
    here). `key`: the sample that stands in it. `values`: the other fields, as text. `images`: one a view. `tile`:
    where the sample is on the sheet, its views in a grid; None without one. `parts`: what a packed row holds, end to
    end; `key` is then the first document.
    """

    epoch: int
    position: int
    state: str
    valid: bool
    key: str
    attempt: int
    class_name: str
    values: Mapping[str, str]
    images: tuple[ImageCut, ...]
    bad: tuple[BadSample, ...]
    tile: Rect | None
    parts: tuple[Part, ...] = ()

    @property
    def label(self) -> int | str | None:
        """The value of the field `label`: a number where it is one, None where there is no such field."""
        text = self.values.get("label")
        return int(text) if text is not None and text.removeprefix("-").isdigit() else text

    @property
    def crop(self) -> Rect | None:
        """The crop of the first image's first view."""
        return self.images[0].crop if self.images else None

    @property
    def flip(self) -> bool:
        """Whether the first image's first view is flipped."""
        return bool(self.images) and self.images[0].flip


class Sheet:
    """Some samples of a batch: a picture in a notebook, a table when printed.

    `png`: the contact sheet, empty where the job has no image. `rows`: what became of each row.
    """

    def __init__(self, png: bytes, rows: tuple[ShownRow, ...], text: str) -> None:
        self.png = png
        self.rows = rows
        self._text = text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the picture as a PNG file."""
        if not self.png:
            raise InvalidError(
                "there is no picture to save: no field of this job is an image",
                hint="print the sheet to see its rows",
            )
        Path(path).write_bytes(self.png)

    def _repr_png_(self) -> bytes | None:
        """Show it in a notebook."""
        return self.png or None

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return self._text.rstrip("\n")


@record
class Look:
    """The job that is looked at, and how its epochs are cut."""

    asked: Mapping[str, Any]  # what the job was resolved from
    job: Job
    partition: Partition
    rows: int
    tail: str

    def key(self, cursor: Cursor, rows: int, epoch: int | None, step: int | None, rank: int | None) -> dict[str, Any]:
        """Give the `forebay.v1.BatchKey` of the first `rows` rows of the step at `cursor`, or of `step`."""
        rows = whole("rows", rows, 1, _ROWS_MAX)
        size, job, step_rows = self.partition.size, self.job, self.rows * self.partition.size
        rank = self.partition.rank if rank is None else whole("rank", rank, 0, size - 1)
        if epoch is not None or step is not None:
            number = cursor.epoch if epoch is None else whole("epoch", epoch, 0)
            cursor = Cursor(number, whole("step", step or 0, 0) * step_rows)
        elif cursor.position and not steps_left(job.rows_of(cursor.epoch), cursor.position, step_rows, self.tail):
            cursor = Cursor(cursor.epoch + 1, 0)
        epoch_rows = job.rows_of(cursor.epoch)
        if not steps_left(epoch_rows, cursor.position, step_rows, self.tail):
            count = steps_left(epoch_rows, 0, step_rows, self.tail)
            raise InvalidError(
                f"there is no step {cursor.position // step_rows}: an epoch of {epoch_rows} rows has {count}, "
                f"of {step_rows} rows each",
                hint=f"steps go from 0 to {count - 1}" if count else "the tail is dropped: use a smaller batch",
            )
        left = epoch_rows - cursor.position
        mine = self.rows if self.tail == "pad" else min(self.rows, -(-left // size))
        return {
            "order_digest": job.order_digest,
            "content_digest": job.content_digest,
            "epoch": cursor.epoch,
            "first_row": cursor.position + rank * mine,
            "rows": min(rows, mine),
        }


def ask(daemon: Daemon, look: Look, request: dict[str, Any]) -> Sheet:
    """Have the daemon make the batch and draw it."""
    whole("tile", request["tile_px"], 0, _TILE_PX_MAX)

    def ask_one(connection: Connection) -> dict[str, Any]:
        if "show" not in connection.features:
            raise UnimplementedError("this daemon cannot show batches", hint="upgrade it; the client knows how")
        try:
            return connection.request("show", request)
        except NotFoundError:
            resolve_again(connection.request, look.asked, look.job)
            return connection.request("show", request)

    reply = daemon.run(ask_one)
    png = base64.b64decode(str(reply.get("png", "")))
    return Sheet(png, tuple(_row(row) for row in reply.get("rows", ())), str(reply.get("text", "")))


Wire = Mapping[str, Any]


def _row(row: Wire) -> ShownRow:
    return ShownRow(
        epoch=int(row.get("epoch", 0)),
        position=int(row.get("position", 0)),
        state=str(row.get("state", "")).replace("ROW_STATE_", "").lower(),
        valid=bool(row.get("valid", False)),
        key=str(row.get("key", "")),
        attempt=int(row.get("attempt", 0)),
        class_name=str(row.get("class_name", "")),
        values={str(value.get("name", "")): str(value.get("text", "")) for value in row.get("values", ())},
        images=tuple(_image(image) for image in row.get("images", ())),
        bad=tuple(
            BadSample(int(bad.get("attempt", 0)), str(bad.get("key", "")), str(bad.get("reason", "")))
            for bad in row.get("bad", ())
        ),
        tile=_rect(cast("Wire", row["tile"])) if "tile" in row else None,
        parts=tuple(
            Part(str(part.get("key", "")), int(part.get("start", 0)), int(part.get("count", 0)))
            for part in row.get("parts", ())
        ),
    )


def _image(image: Wire) -> ImageCut:
    def pair(first: str, second: str) -> tuple[int, int]:
        return int(image.get(first, 0)), int(image.get(second, 0))

    return ImageCut(
        field=str(image.get("field", "")),
        size=pair("width", "height"),
        crop=_rect(image.get("crop", {})),
        flip=bool(image.get("flip", False)),
        taken=_rect(image.get("taken", {})),
        resized=pair("resized_width", "resized_height"),
        start=pair("left", "top"),
        view=int(image.get("view", 0)),
    )


def _rect(rect: Wire) -> Rect:
    return Rect(*(int(rect.get(name, 0)) for name in ("left", "top", "width", "height")))
