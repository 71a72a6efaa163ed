"""What of a torchvision `ImageFolder` and its transforms the daemon can do in its place, read from the objects.

Nothing is imported here: whoever has such objects has torchvision. What is not exactly one of the daemon's operations
ends the native part, and the rest runs in Python on what the native part has made.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from . import transforms as native
from ._record import record
from .errors import InvalidError

_VERSION_1 = "torchvision.transforms.transforms"
_VERSION_2 = "torchvision.transforms.v2._"
_FOLDER = "torchvision.datasets.folder"
_SUFFIXES = (".jpg", ".jpeg", ".png")
# What a test or a user may put on one object to change what its class does.
_PATCHED = ("forward", "transform", "get_params", "make_params", "_get_params", "_call_kernel", "__call__")
_HOOKS = ("_forward_hooks", "_forward_pre_hooks")


class NotNativeError(Exception):
    """Why the daemon cannot read a data set in torchvision's place."""


@record
class Form:
    """What a transform is given: `pil`, `image` (torchvision's Image), `tensor`.

    `is_float`: float32 and no longer uint8. `is_contiguous`: its planes lie one after the other, as behind ToTensor.
    """

    kind: str = "pil"
    is_float: bool = False
    is_normalized: bool = False
    is_contiguous: bool = False


@record
class Plan:
    """Which part of a data set's transforms is native: `steps` of the daemon, whose results have `form`.

    `rest`: the transforms behind it, as the user made them. `leading`: those in front, as the user made them.
    """

    root: str
    steps: tuple[Any, ...]
    form: Form
    leading: tuple[Any, ...]
    rest: tuple[Any, ...]

    @property
    def dtype(self) -> str:
        """The type of what the daemon makes."""
        return "float32" if self.form.is_float else "uint8"

    @property
    def native_words(self) -> str:
        """Name what the daemon does."""
        return ", ".join(("decoding", *map(words_of, self.leading)))

    def is_as(self, other: Plan) -> bool:
        """Whether the data set is still what it was; the rest is looked at by those who pickle it."""
        return (self.root, self.steps, self.form) == (other.root, other.steps, other.form) and (
            [id(step) for step in self.rest] == [id(step) for step in other.rest]
        )


def words_of(transform: Any) -> str:
    """Name a transform, or a function that serves as one."""
    return str(getattr(transform, "__name__", "")) or type(transform).__name__


def is_image_folder(dataset: Any) -> bool:
    """Whether a data set is torchvision's `ImageFolder` or a subclass."""
    kinds = cast("type[object]", type(dataset)).__mro__
    return any(kind.__name__ == "ImageFolder" and kind.__module__ == _FOLDER for kind in kinds)


def plan_of(dataset: Any, *, look_at_samples: bool = True) -> Plan:
    """Give what of an `ImageFolder` can be native.

    `look_at_samples`: a second for a million of them. Raises `NotNativeError` where nothing can: what stands in the
    way, in a few words.
    """
    _check_class(dataset)
    steps = list(_flat(dataset.transform))
    plan = _leading(os.path.abspath(root_of(dataset)), steps)
    if look_at_samples:
        _check_samples(dataset)
    return plan


def root_of(dataset: Any) -> str:
    """Give the folder as torchvision spells it in the paths of its samples."""
    return os.path.expanduser(os.fspath(cast("str", dataset.root)))


def _check_class(dataset: Any) -> None:
    kind = cast("Any", type(dataset))
    if kind.__name__ != "ImageFolder" or kind.__module__ != _FOLDER:
        raise NotNativeError(f"{kind.__qualname__} is a class of its own")
    module = sys.modules[_FOLDER]
    changed = [name for name in ("__getitem__", "find_classes", "make_dataset", "loader") if name in vars(kind)]
    changed += [name for name in ("__getitem__", "find_classes", "make_dataset") if name in vars(dataset)]
    if changed:
        raise NotNativeError(f"its {changed[0]} was replaced")
    if dataset.loader is not module.pil_loader and (dataset.loader is not module.default_loader or not _is_pillow()):
        raise NotNativeError(f"it has a loader of its own, {words_of(dataset.loader)}")
    if dataset.target_transform is not None:
        raise NotNativeError("it has a target_transform")
    if dataset.extensions != module.IMG_EXTENSIONS:
        raise NotNativeError("it has an is_valid_file of its own")
    if getattr(sys.modules.get("PIL.ImageFile"), "LOAD_TRUNCATED_IMAGES", False):
        raise NotNativeError("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, and the daemon refuses truncated images")


def _is_pillow() -> bool:
    torchvision: Any = sys.modules["torchvision"]
    return torchvision.get_image_backend() == "PIL"


def _check_samples(dataset: Any) -> None:
    """Make sure that the samples are those of the folder, in its order, with its labels.

    Together with their number this says that none was left out or put elsewhere since the folder was listed.
    """
    numbers: Mapping[str, int] = dataset.class_to_idx
    if list(numbers) != list(dataset.classes) or list(numbers.values()) != list(range(len(numbers))):
        raise NotNativeError("its class_to_idx was changed")
    prefixes = [os.path.join(root_of(dataset), name) for name in dataset.classes]
    before = (-1, "", "")
    for path, label in dataset.samples:
        folder, _, name = path.rpartition(os.sep)
        if (label, folder) != before[:2] and not _is_inside(folder, prefixes, label):
            raise NotNativeError(f"its samples were changed: {path} has the label {label}")
        if not path.lower().endswith(_SUFFIXES):
            raise NotNativeError(f"{path} is neither JPEG nor PNG")
        here = (label, folder, name)
        if here <= before:
            raise NotNativeError("its samples were put in another order")
        before = here
    if not dataset.samples:
        raise NotNativeError("it has no samples")


def _is_inside(folder: str, prefixes: list[str], label: int) -> bool:
    return 0 <= label < len(prefixes) and (folder + os.sep).startswith(prefixes[label] + os.sep)


def _flat(transform: Any) -> Iterator[Any]:
    """Give the steps of a transform, one by one, as far as they are known to run one after the other."""
    if transform is None:
        return
    if _name_of(transform) in ("Compose", "Sequential"):
        for step in transform if _name_of(transform) == "Sequential" else transform.transforms:
            yield from _flat(step)
    else:
        yield transform


def _name_of(transform: Any) -> str:
    """Give the class's name where it is torchvision's (or torch's) own, and does what the class does."""
    kind = cast("type[object]", type(transform))
    known = kind.__module__ == _VERSION_1 or kind.__module__.startswith(_VERSION_2)
    known = known or (kind.__module__ == "torch.nn.modules.container" and kind.__name__ == "Sequential")
    state = cast("dict[str, Any]", getattr(transform, "__dict__", {}))
    if not known or any(name in state for name in _PATCHED) or any(state.get(name) for name in _HOOKS):
        return ""
    return kind.__name__


class _Steps(NamedTuple):
    """The daemon's operations, each at its stage."""

    sampling: Any = None
    crop: Any = None
    flip: Any = None
    normalize: Any = None

    @property
    def is_fixed(self) -> bool:
        """Whether all results have one size."""
        return self.crop is not None or (self.sampling is not None and len(self.sampling.size) == 2)

    def listed(self) -> tuple[Any, ...]:
        """Give them in the order in which the daemon wants them."""
        return tuple(step for step in self if step is not None)


def _leading(root: str, transforms: list[Any]) -> Plan:
    """Give the longest native part whose results have one size."""
    steps, form, found = _Steps(), Form(), None
    blocker = "it has no transform"
    for place, transform in enumerate(transforms):
        step = _STEPS.get(_name_of(transform))
        try:
            after = None if step is None else step(transform, steps, form)
        except (InvalidError, AttributeError, TypeError, ValueError):  # a parameter that the daemon does not know
            after = None
        if after is None:
            blocker = f"its transforms fix no size before {words_of(transform)}, which the daemon does not do as asked"
            break
        steps, form = after
        if steps.is_fixed:
            found = Plan(root, steps.listed(), form, tuple(transforms[: place + 1]), tuple(transforms[place + 1 :]))
        blocker = "its transforms do not bring the images to one size"
    if found is None:
        raise NotNativeError(blocker)
    return found


_After = Any  # (_Steps, Form), or None where the step is not the daemon's


def _random_resized_crop(transform: Any, steps: _Steps, form: Form) -> _After:
    if steps.listed() or form.is_float:
        return None
    made = native.RandomResizedCrop(
        _size(transform.size), tuple(transform.scale), tuple(transform.ratio), *_filter(transform, form)
    )
    return steps._replace(sampling=made), form


def _resize(transform: Any, steps: _Steps, form: Form) -> _After:
    if steps.listed() or form.is_float or transform.max_size is not None or transform.size is None:
        return None
    return steps._replace(sampling=native.Resize(_size(transform.size), *_filter(transform, form))), form


def _center_crop(transform: Any, steps: _Steps, form: Form) -> _After:
    # Behind Normalize what it pads with is no black; behind a flip the middle may be another one by a pixel.
    if steps.crop is not None or steps.flip is not None or form.is_normalized:
        return None
    return steps._replace(crop=native.CenterCrop(_size(transform.size))), form


def _flip(transform: Any, steps: _Steps, form: Form) -> _After:
    if steps.flip is not None:
        return None
    return steps._replace(flip=native.RandomHorizontalFlip(transform.p)), form


def _normalize(transform: Any, steps: _Steps, form: Form) -> _After:
    if not form.is_float or form.is_normalized:
        return None
    made = native.Normalize(_numbers(transform.mean), _numbers(transform.std))
    return steps._replace(normalize=made), Form(form.kind, True, True, form.is_contiguous)


def _to_tensor(_: Any, steps: _Steps, form: Form) -> _After:
    return (steps, Form("tensor", is_float=True, is_contiguous=True)) if form.kind == "pil" else None


def _pil_to_tensor(_: Any, steps: _Steps, form: Form) -> _After:
    return (steps, Form("tensor")) if form.kind == "pil" else None


def _to_image(_: Any, steps: _Steps, form: Form) -> _After:
    if form.kind == "pil":
        return steps, Form("image")
    return steps, Form("image", form.is_float, form.is_normalized, form.is_contiguous)


def _to_pure_tensor(_: Any, steps: _Steps, form: Form) -> _After:
    if form.kind == "pil":
        return steps, form  # it leaves those as they are
    return steps, Form("tensor", form.is_float, form.is_normalized, form.is_contiguous)


def _to_dtype(transform: Any, steps: _Steps, form: Form) -> _After:
    """Convert to float32 from 0 to 1, once. Anything else (another float, a table, no scale) is torch's."""
    scales = getattr(transform, "scale", True)  # ConvertImageDtype always does
    if form.kind == "pil" or form.is_float or str(transform.dtype) != "torch.float32" or scales is not True:
        return None
    return steps, Form(form.kind, is_float=True)


_STEPS: Mapping[str, Callable[[Any, _Steps, Form], _After]] = {
    "RandomResizedCrop": _random_resized_crop,
    "Resize": _resize,
    "CenterCrop": _center_crop,
    "RandomHorizontalFlip": _flip,
    "Normalize": _normalize,
    "ToTensor": _to_tensor,
    "PILToTensor": _pil_to_tensor,
    "ToImage": _to_image,
    "ToPureTensor": _to_pure_tensor,
    "ConvertImageDtype": _to_dtype,
    "ToDtype": _to_dtype,
}


def _size(size: Any) -> tuple[int, ...]:
    if isinstance(size, int):
        return (size,)
    return tuple(int(side) for side in size)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in (values.tolist() if hasattr(values, "tolist") else values))


def _filter(transform: Any, form: Form) -> tuple[str, bool]:
    """Give the filter that torchvision takes, which of a Pillow image is Pillow's."""
    given: Any = getattr(transform.interpolation, "value", transform.interpolation)
    if form.kind == "pil":
        # Pillow always has antialias, and adds up where its nearest pixels are, so that halves fall to either side.
        if str(given).startswith("nearest"):
            raise InvalidError(f"interpolation={given!r} of a Pillow image")
        return given, True
    if not isinstance(transform.antialias, bool):
        raise InvalidError(f"antialias={transform.antialias!r} is neither True nor False")
    return given, transform.antialias
