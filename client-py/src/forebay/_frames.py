"""Videos as folders of frames: where they lie, and which frames of each a row has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Union, cast

from ._checks import whole
from ._record import record
from .errors import InvalidError
from .transforms import image_settings

StrPath = Union[str, "os.PathLike[str]"]

_FRAMES_MAX = 1024
_STRIDE_MAX = 1 << 16
_STARTS = ("random", "center", "first")
_SHORT = ("repeat", "error")


@record
class Frames:
    """A folder of class folders of clips, each a folder of images: `class/clip/000001.jpg`, as videos are extracted.

        Frames("/data/kinetics/train")
        Frames("/data/something/20bn", classes=False)

    `classes`: the first folder of a path is the clip's class, sorted as torchvision's ImageFolder sorts them; without,
    clips lie at any depth and have no labels. `extensions`: of frames, in any case (default: torchvision's image
    extensions). Its columns are `clip`, the folders, `clip.frames`, the names of the frames in each, and `label`.
    Frames stand in natural order: `f2.jpg` before `f10.jpg`.
    """

    path: StrPath
    extensions: Sequence[str] = ()
    classes: bool = True

    def __post_init__(self) -> None:
        given = cast("Sequence[object]", self.extensions)
        if isinstance(given, str) or not all(isinstance(name, str) for name in given):
            raise InvalidError(f"extensions={given!r}: a list of texts is needed, as in ['.jpg']")
        if not isinstance(cast("object", self.classes), bool):
            raise InvalidError(f"classes={self.classes!r}: True or False is needed")

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Source`."""
        origin: dict[str, Any] = {"path": os.path.abspath(os.path.expanduser(os.fspath(self.path)))}
        if self.extensions:
            origin["extensions"] = list(self.extensions)
        if not self.classes:
            origin["no_classes"] = True
        return {"frames": origin}


@record
class Clip:
    """Frames of a clip, as images: `(rows, frames, C, H, W)`, or `(rows, frames, H, W, C)` of a numpy loader.

        fields={"clip": Clip(frames=16, stride=2, transform=[RandomResizedCrop(112)]), "label": Value()}

    Args:
        column: of the clips' folders (default: the field's own name). The texts in `COLUMN.frames` beside it name the
            frames, as `{000001..000120}.jpg`; `forebay.Frames` makes both.
        frames: of a row, 1 to 1024.
        stride: how far apart they are: 1 takes each, 2 every second one.
        start: where they begin in a longer clip: `"random"`, drawn for each row of each epoch; `"center"`, with as many
            frames before as behind; `"first"`.
        on_short: what a clip is that has too few frames: `"repeat"`, its last one comes again; `"error"`, it is
            corrupt, and the loader's `on_bad_sample` says what becomes of it.
        transform, dtype, apply_exif_orientation, decode_scale: as of `forebay.Image`. Each random choice is made once a
            clip, so all frames are cropped and mirrored alike.

    Which frames a row has follows from its place in the epoch and how many the clip has, and from nothing else. A frame
    that cannot be decoded, or is of another size than the first, makes the clip corrupt.

    """

    column: str = ""
    frames: int = 0
    stride: int = 1
    start: str = "random"
    on_short: str = "repeat"
    transform: Sequence[Any] = ()
    dtype: str | None = None
    apply_exif_orientation: bool = False
    decode_scale: str = "full"

    def __post_init__(self) -> None:
        if self.frames == 0:
            raise InvalidError("a clip needs to know how many frames a row has", hint="forebay.Clip(frames=16)")
        whole("frames", self.frames, 1, _FRAMES_MAX)
        whole("stride", self.stride, 1, _STRIDE_MAX)
        for name, given, known in (("start", self.start, _STARTS), ("on_short", self.on_short, _SHORT)):
            if given not in known:
                raise InvalidError(f"{name}={given!r} is not one of {', '.join(known)}")
        if not isinstance(cast("object", self.apply_exif_orientation), bool):
            raise InvalidError(f"apply_exif_orientation={self.apply_exif_orientation!r}: True or False is needed")
        if self.decode_scale not in ("full", "auto"):
            raise InvalidError(f"decode_scale={self.decode_scale!r} is neither 'full' nor 'auto'")

    def to_spec(self, name: str, memory_order: str) -> dict[str, Any]:
        """Give the `forebay.v1.Field`."""
        clip: dict[str, Any] = {"frames": int(self.frames), "stride": int(self.stride)}
        if self.start != "random":
            clip["start"] = f"CLIP_START_{self.start.upper()}"
        if self.on_short != "repeat":
            clip["on_short"] = f"SHORT_CLIP_{self.on_short.upper()}"
        spec: dict[str, Any] = {
            "name": name,
            "column": self.column or name,
            "decode": "DECODE_CLIP",
            "clip": clip,
            "memory_order": memory_order,
            **image_settings(name, self.transform, self.dtype),
        }
        if self.apply_exif_orientation:
            spec["apply_exif_orientation"] = True
        if self.decode_scale == "auto":
            spec["decode_scale"] = "DECODE_SCALE_AUTO"
        return spec
