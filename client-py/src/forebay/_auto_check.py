"""Holds what the daemon makes of a data set against torchvision's own code, image by image, with the same draws."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np

from . import numpy as _numpy
from ._batch import Array
from ._python import seeds
from ._recognise import NotNativeError, Plan, root_of, words_of
from ._show import ImageCut, ShownRow
from ._spec import Folder
from .transforms import Normalize

# Images of the first batch that are looked at.
ROWS_MAX = 16
# The largest and the mean difference of an image, in levels of 255; docs/auto.md states them. The mean is mostly below
# 0.01. Where a crop is resized by 2 or 1/2 exactly, a quarter of all sums lies in the middle between two levels, and
# Pillow's order of additions rounds those another way.
_TOLERANCES = {"bilinear": (1.0, 0.3), "bicubic": (2.0, 0.3)}
_EXACT = (0.0, 0.0)
# Floats are rounded once more or less often.
_ROUNDING = 0.01


class _Probe(_numpy.DataLoader):
    _is_quiet = True


class Agreement(NamedTuple):
    """How far `rows` images lay apart, in levels of 255: `largest` of all values, `mean` of the worst image."""

    rows: int
    largest: float
    mean: float

    def __str__(self) -> str:
        return f"{self.rows} images agree: at most {self.largest:.2g}, mean {self.mean:.2g} of 255 levels"


def check(dataset: Any, plan: Plan, *, rows: int, shuffle: bool, seed: int) -> Agreement:
    """Decode the first rows both ways.

    Raises `NotNativeError` that names the image and the difference where they do not agree.
    """
    rows = min(rows, ROWS_MAX, len(dataset))
    # As one rank sees it: nothing is agreed on with others, who may not be here.
    with _Probe(
        Folder(plan.root), rows, shuffle, seed=seed, rank=0, world_size=1, transform=plan.steps, dtype=plan.dtype
    ) as probe:
        _check_folder(dataset, probe.job.rows, probe.classes)
        shown = probe.show(rows=rows).rows
        images, labels = next(iter(probe))
        before = seeds.states()
        try:
            return _compared(dataset, plan, shown, images, labels)
        finally:
            seeds.restore(before)


def _check_folder(dataset: Any, rows: int, classes: list[str]) -> None:
    if rows != len(dataset) or classes != list(dataset.classes):
        raise NotNativeError(
            f"the daemon finds {rows} samples of {len(classes)} classes, where it has {len(dataset)} "
            f"of {len(dataset.classes)}"
        )


def _compared(dataset: Any, plan: Plan, shown: tuple[ShownRow, ...], images: Array, labels: Array) -> Agreement:
    root = root_of(dataset)
    wanted = {os.path.join(root, row.key) for row in shown}
    found = {path: label for path, label in dataset.samples if path in wanted}
    limits, largest, mean = _limits(plan), 0.0, 0.0
    for row, got, label in zip(shown, images, labels.tolist()):
        path = os.path.join(root, row.key)
        if found.get(path) != label:
            raise NotNativeError(f"{row.key} has the label {found.get(path)}, and {label} in the daemon")
        gap = _gap(_torchvisions(dataset.loader(path), plan, row.images[0]), got, plan, row.key)
        largest, mean = max(largest, float(gap.max())), max(mean, float(gap.mean()))
        if float(gap.max()) > limits[0] + _ROUNDING or float(gap.mean()) > limits[1] + _ROUNDING:
            raise NotNativeError(
                f"{row.key} differs by {gap.max():.3g} levels of 255 at most and {gap.mean():.3g} in the mean, "
                f"where {limits[0]:g} and {limits[1]:g} are allowed"
            )
    return Agreement(len(shown), largest, mean)


def _limits(plan: Plan) -> tuple[float, float]:
    filters = [step.interpolation for step in plan.steps if hasattr(step, "interpolation")]
    return _TOLERANCES.get(filters[0], _EXACT) if filters else _EXACT


def _torchvisions(image: Any, plan: Plan, cut: ImageCut) -> Array:
    """Run the user's own transforms with the daemon's draws; `(height, width, 3)`."""
    for transform in plan.leading:
        image = _with_draws(transform, cut)(image)
    if hasattr(image, "permute"):
        return image.permute(1, 2, 0).numpy()
    return np.asarray(image)


def _with_draws(transform: Any, cut: ImageCut) -> Callable[[Any], Any]:
    """Give a transform that draws what the daemon has drawn."""
    name = words_of(transform)
    if name == "RandomHorizontalFlip":
        fixed = copy.copy(transform)
        fixed.p = 1.0 if cut.flip else 0.0
        return fixed
    if name == "RandomResizedCrop":
        fixed, box = copy.copy(transform), cut.taken
        drawn = {"top": box.top, "left": box.left, "height": box.height, "width": box.width}
        fixed.get_params = _gives(tuple(drawn.values()))
        fixed.make_params = fixed._get_params = _gives(drawn)  # the names of v2, newer and older
        return fixed
    return cast("Callable[[Any], Any]", transform)


def _gives(value: Any) -> Callable[..., Any]:
    def give(*_: Any) -> Any:
        return value

    return give


def _gap(want: Array, got: Array, plan: Plan, key: str) -> Array:
    """Give the difference of two images, in levels of 255."""
    if want.shape != got.shape or want.dtype != got.dtype:
        raise NotNativeError(f"{key} is {want.dtype}{list(want.shape)}, and {got.dtype}{list(got.shape)} in the daemon")
    gap = np.abs(want.astype(np.float64) - got.astype(np.float64))
    gap[np.isnan(gap)] = np.inf
    if not plan.form.is_float:
        return gap
    normalized = [step for step in plan.steps if isinstance(step, Normalize)]
    return gap * 255.0 * (np.asarray(normalized[0].std) if normalized else 1.0)
