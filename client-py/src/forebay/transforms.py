"""torchvision.transforms.v2's names for what the daemon does to an image, checked when they are made.

All are frozen values: equal transforms give equal digests. Random ones draw from the row's own seed, never
from Python's or torch's generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union, cast

from ._checks import ELEMENTS, dtype_name
from ._record import record
from .errors import InvalidError

__all__ = [
    "CenterCrop",
    "Normalize",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "ToDtype",
    "ToTensor",
    "Transform",
]

Size = Union[int, Sequence[int]]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_SIDE_MAX = 65_535
_FLOATS = ("float32", "float16", "bfloat16")
_INTERPOLATIONS = ("bilinear", "bicubic", "nearest", "nearest-exact")


@record
class Resize:
    """Resize. One number: the shorter side; two: height and width.

    `interpolation`: `"bilinear"`, `"bicubic"`, `"nearest"`, `"nearest-exact"`, or torchvision's `InterpolationMode`.
    `antialias`: whether a smaller result takes in all pixels of the source; says nothing to the nearest ones.
    """

    size: Size
    interpolation: Any = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        _set(self, "size", _size("Resize", self.size))
        _set_filter("Resize", self)

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Transform`."""
        return {"resize": {"size": _sides(self.size), **_filter_spec(self)}}


@record
class CenterCrop:
    """Cut out the middle. One number: a square; two: height and width."""

    size: Size

    def __post_init__(self) -> None:
        _set(self, "size", _size("CenterCrop", self.size))

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Transform`."""
        return {"center_crop": {"size": _sides(self.size)}}


@record
class RandomResizedCrop:
    """Cut out a random part of the area (`scale`) and aspect (`ratio`), resized to `size` as `Resize` does."""

    size: Size
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Any = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        _set(self, "size", _size("RandomResizedCrop", self.size))
        _set(self, "scale", _range("RandomResizedCrop", "scale", self.scale, 1.0))
        _set(self, "ratio", _range("RandomResizedCrop", "ratio", self.ratio, float("inf")))
        _set_filter("RandomResizedCrop", self)

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Transform`."""
        spec = {"size": _sides(self.size), "scale": list(self.scale), "ratio": list(self.ratio)}
        return {"random_resized_crop": {**spec, **_filter_spec(self)}}


@record
class RandomHorizontalFlip:
    """Mirror left and right with probability `p`."""

    p: float = 0.5

    def __post_init__(self) -> None:
        _set(self, "p", _number("RandomHorizontalFlip", "p", self.p))
        if not 0.0 <= self.p <= 1.0:
            raise InvalidError(f"RandomHorizontalFlip(p={self.p}): p is a probability, from 0 to 1")

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Transform`."""
        return {"random_horizontal_flip": {"p": self.p}}


@record
class Normalize:
    """`(value / 255 - mean) / std` a channel, as float32; ImageNet's numbers by default."""

    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        _set(self, "mean", _channels("mean", self.mean))
        _set(self, "std", _channels("std", self.std))
        if not all(value > 0 for value in self.std):
            raise InvalidError(f"Normalize(std={self.std}): each must be greater than 0")

    def to_spec(self) -> dict[str, Any]:
        """Give the `forebay.v1.Transform`."""
        return {"normalize": {"mean": list(self.mean), "std": list(self.std)}}


@record
class ToDtype:
    """Set an image's output type: `"uint8"`; or, from 0 to 1 (torchvision's `scale=True`), one of three floats.

    `"float32"`, or its results rounded once: `"float16"`, `"bfloat16"`. A torch dtype serves too. It is a property of
    the output and not a step, so its place does not matter.
    """

    dtype: Any = "float32"
    scale: bool = True

    def __post_init__(self) -> None:
        name = str(self.dtype).replace("torch.", "")
        if name not in ("uint8", *_FLOATS):
            raise InvalidError(f"ToDtype({self.dtype}): an image is uint8 or float32, float16, bfloat16")
        if name != "uint8" and not self.scale:
            raise InvalidError(
                f"ToDtype({name}, scale=False) is not served",
                hint="use scale=True (0 to 1), or take uint8 and convert the tensor",
            )
        _set(self, "dtype", name)


def ToTensor() -> ToDtype:  # noqa: N802 - torchvision's name
    """Give float32 from 0 to 1, as torchvision's class of this name."""
    return ToDtype("float32")


Transform = Union[Resize, CenterCrop, RandomResizedCrop, RandomHorizontalFlip, Normalize, ToDtype]


def image_settings(field: str, transform: Any, dtype: Any) -> dict[str, Any]:
    """Give the transforms and the dtype of a `forebay.v1.Field` of pixels."""
    steps, own = split_dtype(as_list(transform))
    chosen = (None if dtype is None else dtype_name(dtype, ELEMENTS)) or own
    normalized = any("normalize" in step for step in steps)
    if chosen not in (None, "uint8", *_FLOATS) or (normalized and chosen == "uint8"):
        raise InvalidError(
            f"field {field}: an image{' behind Normalize' if normalized else ''} cannot be {chosen}",
            hint="leave dtype out (uint8, and float32 behind Normalize), or choose float16 or bfloat16",
        )
    return {
        "transforms": steps,
        "dtype": f"DTYPE_{(chosen or ('float32' if normalized else 'uint8')).upper()}",
    }


def as_list(transform: Any) -> Sequence[Any]:
    """Give one transform, several or none, as several."""
    if transform is None:
        return ()
    return cast("Sequence[Any]", transform) if isinstance(transform, (list, tuple)) else (transform,)


def split_dtype(transforms: Sequence[Any]) -> tuple[list[dict[str, Any]], str | None]:
    """Give the steps as `forebay.v1.Transform`s, and the dtype where one is set."""
    steps: list[dict[str, Any]] = []
    dtype: str | None = None
    for transform in transforms:
        if isinstance(transform, ToDtype):
            dtype = str(transform.dtype)
        elif isinstance(transform, (Resize, CenterCrop, RandomResizedCrop, RandomHorizontalFlip, Normalize)):
            steps.append(transform.to_spec())
            if isinstance(transform, Normalize):
                dtype = dtype if dtype in _FLOATS else None
        else:
            kind = cast("type[object]", type(transform))
            raise InvalidError(
                f"{kind.__module__}.{kind.__qualname__} is not one of forebay's transforms",
                hint="import them from forebay.transforms: " + ", ".join(sorted(set(__all__) - {"Transform"})),
            )
    return steps, dtype


def _set(target: object, name: str, value: object) -> None:
    object.__setattr__(target, name, value)


def _set_filter(owner: str, target: Resize | RandomResizedCrop) -> None:
    """Take torchvision's `InterpolationMode` by its value, and turn away what the daemon does not do."""
    given: Any = getattr(target.interpolation, "value", target.interpolation)
    if given not in _INTERPOLATIONS:
        raise InvalidError(
            f"{owner}(interpolation={given!r}) is not served", hint="choose one of " + ", ".join(_INTERPOLATIONS)
        )
    if target.antialias not in (True, False, None):
        raise InvalidError(f"{owner}(antialias={target.antialias!r}): True or False is needed")
    _set(target, "interpolation", given)
    _set(target, "antialias", bool(target.antialias) or given.startswith("nearest"))


def _filter_spec(transform: Resize | RandomResizedCrop) -> dict[str, Any]:
    """Give what is not the default, so that a spec of before and its digest stay what they were."""
    spec: dict[str, Any] = {}
    if transform.interpolation != "bilinear":
        name = str(transform.interpolation).upper().replace("-", "_")
        spec["interpolation"] = f"INTERPOLATION_{name}"
    if not transform.antialias:
        spec["antialias"] = False
    return spec


def _number(owner: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InvalidError(f"{owner}({name}={value!r}): a number is needed") from None


def _size(owner: str, size: Any) -> tuple[int, ...]:
    sides: tuple[Any, ...] = tuple(cast("Sequence[Any]", size)) if isinstance(size, (list, tuple)) else (size,)
    if len(sides) not in (1, 2) or not all(
        isinstance(side, int) and not isinstance(side, bool) and 0 < side <= _SIDE_MAX for side in sides
    ):
        raise InvalidError(f"{owner}(size={size!r}): one or two whole numbers from 1 to {_SIDE_MAX} are needed")
    return sides


def _sides(size: Size) -> list[int]:
    return [size] if isinstance(size, int) else list(size)


def _range(owner: str, name: str, pair: Any, top: float) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in pair)
    except (TypeError, ValueError):
        raise InvalidError(f"{owner}({name}={pair!r}): two numbers are needed, (low, high)") from None
    if not 0 < low <= high <= top or high == float("inf"):
        raise InvalidError(f"{owner}({name}={pair!r}): 0 < low <= high{f' <= {top:g}' if top == 1 else ''} is needed")
    return low, high


def _channels(name: str, values: Any) -> tuple[float, ...]:
    try:
        channels = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        raise InvalidError(f"Normalize({name}={values!r}): three numbers are needed") from None
    if len(channels) != 3 or any(value != value or abs(value) == float("inf") for value in channels):
        raise InvalidError(f"Normalize({name}={values!r}): three finite numbers are needed, one a channel (RGB)")
    return channels
