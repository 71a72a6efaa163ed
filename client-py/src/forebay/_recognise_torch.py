"""Loaders of torchvision's `ImageFolder` that read it in the daemon: all of its transforms, or the leading ones."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch.utils.data

from . import torch as _torch
from ._daemon import Daemon
from ._job import Job
from ._notice import say
from ._order import Order
from ._python import data_of
from ._python.collate import modes_of
from ._python.iterator import Rows
from ._python.rest import Rest, RowKeys
from ._python.torch import OwnTorchLoader
from ._recognise import NotNativeError, Plan, plan_of, words_of
from ._resolve import Resolved
from ._session import Batch
from ._spec import Folder
from .errors import InvalidError

__all__ = ["NativeLoader", "SplitLoader", "named_arguments", "recognised", "unmade"]

_ROW_MAJOR, _CHANNELS_LAST = "MEMORY_ORDER_ROW_MAJOR", "MEMORY_ORDER_CHANNELS_LAST"
# What a loader whose samples pass through Python has beside the arguments of all.
_OF_PYTHON = ("data_name",)
# Orders whose epochs have a row a sample.
_OF_ALL = ("SAMPLER_SEQUENTIAL", "SAMPLER_SHUFFLED")
# What only makes sense where forebay's own transforms are named.
_OF_FIELDS = ("transform", "fields", "dtype", "views", "apply_exif_orientation", "decode_scale")


def recognised(dataset: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Give a loader whose `__init__` is still to run: of the native kind, as far as that goes; else one of Python's."""
    try:
        plan = plan_of(dataset)
    except NotNativeError as error:
        say(f"{_words(dataset)}: {error}, so Python workers read and decode it")
        return object.__new__(OwnTorchLoader)
    return unmade(plan, arguments, named)


def unmade(plan: Plan, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Give a loader for the plan whose `__init__` is still to run."""
    # Of `__init__`: up to Python 3.11.2 the signature of a class is that of `__new__`, where that is in Python too.
    takes = inspect.signature(cast("Any", OwnTorchLoader).__init__)
    given = takes.bind_partial(None, *arguments, **_with_dataset(named)).arguments
    collate, size = given.get("collate_fn"), given.get("batch_size", 1)
    alone = size is None and given.get("batch_sampler") is None and "global_batch_size" not in named
    if alone:
        return object.__new__(OwnTorchLoader)
    has_rest = bool(plan.rest) or modes_of(collate) != "stack" or any(name in named for name in _OF_PYTHON)
    loader: Any = object.__new__(SplitLoader if has_rest else NativeLoader)
    vars(loader)["_plan"] = plan
    return loader


def _with_dataset(named: Mapping[str, Any]) -> dict[str, Any]:
    return {"dataset" if name == "data" else name: value for name, value in named.items()}


def _words(dataset: Any) -> str:
    return f"{type(dataset).__qualname__} {dataset.root}"


class _OfFolder:
    """What loaders of a recognised `ImageFolder` have in common."""

    _plan: Plan
    _dataset: Any
    _is_told: bool
    _daemon: Daemon
    _order: Order
    # Whose folder was found to be the data set's.
    _checked: Job | None = None

    def _planned(self, dataset: Any) -> Plan:
        """Give the plan; some trainers make loaders anew by their type, which then have none yet."""
        if "_plan" not in vars(self):
            vars(self)["_plan"] = plan_of(dataset)
        return self._plan

    def _check_unchanged(self) -> None:
        """Make sure that the data set is still what the daemon was asked for."""
        try:
            plan = plan_of(self._dataset, look_at_samples=False)
        except NotNativeError as error:
            raise _changed(self._dataset, str(error)) from None
        if not plan.is_as(self._plan):
            raise _changed(self._dataset, "its transforms are others")

    def _check_folder(self, resolved: Resolved) -> Resolved:
        """Make sure that the daemon has found the samples that torchvision has."""
        job, dataset = resolved.job, self._dataset
        if job is self._checked:
            return resolved
        rows = job.rows if self._order.spec["sampler"] in _OF_ALL else self._samples_of(resolved)
        if rows != len(dataset) or list(job.classes) != list(dataset.classes):
            raise InvalidError(
                f"{_words(dataset)} has {len(dataset)} samples of {len(dataset.classes)} classes, and its folder now "
                f"has {rows} of {len(job.classes)}",
                hint="make the data set anew, or pass recognise=False to have Python read the files that it lists",
            )
        self._checked = job
        return resolved

    def _samples_of(self, resolved: Resolved) -> int:
        """Ask how many samples there are, where an order of some of them does not say."""
        spec = {**resolved.asked["spec"], "order": {"sampler": "SAMPLER_SEQUENTIAL", "seed": "0"}}
        return Job.from_wire(self._daemon.request("resolve", {"spec": spec})).rows

    def __getstate__(self) -> dict[str, Any]:
        state = cast("dict[str, Any]", cast("Any", super()).__getstate__())
        state.pop("_checked", None)
        return state

    def parts_words(self) -> str:
        """Say which part is native, and where the rest runs."""
        return f"{_words(self._dataset)}: native, in the daemon's order: {self._plan.native_words}"

    def _say_parts(self) -> None:
        if not self._is_told:
            self._is_told = True
            say(self.parts_words())


def _changed(dataset: Any, how: str) -> InvalidError:
    return InvalidError(
        f"{_words(dataset)} was changed after its loader was made: {how}",
        hint="make a new loader, or pass recognise=False",
    )


def _check_options(options: Mapping[str, Any]) -> None:
    wrong = [name for name in _OF_FIELDS if options.get(name) is not None]
    if wrong:
        raise InvalidError(
            f"{wrong[0]}= beside an ImageFolder, which has its own transform",
            hint="DataLoader(root, transform=[...]) takes forebay's transforms",
        )


class NativeLoader(_OfFolder, _torch.DataLoader):
    """`forebay.torch.DataLoader` over an `ImageFolder` whose transforms are all the daemon's: no Python worker.

    Batches are `[images, labels]`, images of shape `(rows, 3, height, width)` in torch's default memory order.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if vars(self).pop("_is_made", False):
            return
        given = named_arguments(arguments, named)
        dataset = given.pop("dataset")
        given.pop("recognise", None)
        _check_options(given)
        plan = self._planned(dataset)
        vars(self).update(_dataset=dataset, _is_told=False, _memory_order=_ROW_MAJOR)
        unused = {name: given.pop(name) for name in _torch.UNUSED if name in given}
        given.pop("collate_fn", None)
        super().__init__(Folder(plan.root), transform=plan.steps, dtype=plan.dtype, **given)
        vars(self).update(unused)  # for those who read them; without effect

    def __repr__(self) -> str:
        inner = super().__repr__().partition("(")[2][:-1]
        return f"forebay.torch.DataLoader({inner}, dataset={_words(self._dataset)}, native)"

    @property
    def dataset(self) -> Any:
        """The user's data set."""
        return self._dataset

    def _live(self) -> None:
        super()._live()
        vars(self)["dataset"] = self._dataset

    def _iterate(self, convert: Any) -> Any:
        self._check_unchanged()
        made = super()._iterate(convert)
        self._say_parts()
        return made

    def _enter(self, epoch: int) -> Resolved:
        return self._check_folder(super()._enter(epoch))

    def _convert(self, batch: Batch) -> tuple[Any, Any]:
        made, valid = super()._convert(batch)
        return list(made), valid


class SplitLoader(_OfFolder, OwnTorchLoader):
    """`forebay.torch.DataLoader` over an `ImageFolder` whose leading transforms are the daemon's.

    The rest of them, and `collate_fn`, run in Python workers on the rows of the daemon's arena.
    """

    _lends = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if vars(self).pop("_is_made", False):
            return
        _check_options(named)
        plan = self._planned(data_of(arguments, named))
        vars(self)["_memory_order"] = _ROW_MAJOR if plan.form.is_contiguous else _CHANNELS_LAST
        super().__init__(*arguments, **_with_dataset(named))

    def _indexed(self) -> Any:
        return Rest(self._plan.rest, self._plan.form, self._length)

    def _source(self) -> tuple[Any, dict[str, Any]]:
        # Each batch under way holds a slot of the daemon's, one is being taken, and one is the trainer's.
        asked = {"transform": self._plan.steps, "dtype": self._plan.dtype, "max_leases": self._ahead + 2}
        return Folder(self._plan.root), asked

    def _rows_of(self, batch: Batch) -> tuple[Any, Any]:
        """Have the rows of a batch be its samples."""
        # In the places where a range has its indices and what of them counts; the label behind fills up.
        standing: list[Any] = [np.arange(len(batch.arrays[0])), *batch.arrays[2:], batch.arrays[1]]
        rows, valid = super()._rows_of(batch._replace(arrays=standing))
        return Rows(rows.ready, RowKeys(*rows.keys), valid, batch), valid

    def _iterate(self, convert: Any) -> Any:
        self._check_unchanged()
        return super()._iterate(convert)

    def _enter(self, epoch: int) -> Resolved:
        return self._check_folder(super()._enter(epoch))

    def _say_once(self) -> None:
        self._say_parts()

    def parts_words(self) -> str:
        """Say which part is native, and where the rest runs."""
        return f"{super().parts_words()}; in {self._where()}: {self._samples_words()}"

    def _samples_words(self) -> str:
        rest = [words_of(transform) for transform in self._plan.rest]
        if self._own.collate is not None or self._modes != "stack":
            rest.append("collate_fn")
        return ", ".join(rest) or "collate"


def named_arguments(arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """Name the arguments as torch's loader does."""
    signature = inspect.signature(cast("Any", torch.utils.data.DataLoader).__init__)
    names = [name for name in signature.parameters if name != "self"]
    return {**dict(zip(names, arguments)), **_with_dataset(named)}
