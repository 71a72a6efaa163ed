"""`forebay run --auto`: torch's own `DataLoader(...)` gives a loader of ours where that gives the same images.

The class stays what it is: only what it makes of a recognised data set is an instance of a subclass. Subclasses of
torch's loader, its pickles, and data sets that are not recognised never come here.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, cast

from . import _recognise
from ._notice import say
from ._recognise import NotNativeError
from .errors import ForebayError

__all__ = ["install"]

_said: set[str] = set()
# Whether a loader is being made, whose parts may make others.
_is_busy = False


def install() -> None:
    """Have torch's DataLoader look at its data set first. `torch.utils.data` must have been imported."""
    torchs: Any = cast("Any", sys.modules["torch.utils.data"]).DataLoader
    if "__new__" in vars(torchs):
        return

    def new(cls: Any, *arguments: Any, **named: Any) -> Any:
        if cls is torchs and (arguments or named):
            made = _native(arguments, named)
            if made is not None:
                return made
        following = cast("Any", super(torchs, cls)).__new__
        if following is object.__new__:
            return following(cls)
        return following(cls, *arguments, **named)

    torchs.__new__ = new


def _native(arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """Give a loader in the place of torch's, or None, and say why."""
    global _is_busy
    dataset = arguments[0] if arguments else named.get("dataset")
    if dataset is None or _is_busy or _in_worker():
        return None
    if not _recognise.is_image_folder(dataset):
        _say_torchs(_kind(dataset), "only torchvision's ImageFolder is recognised")
        return None
    _is_busy = True
    name = f"{_kind(dataset)} {dataset.root}"
    try:
        return _checked(dataset, arguments, named)
    except NotNativeError as error:
        _say_torchs(name, str(error))
    except ForebayError as error:
        _say_torchs(name, ", ".join((error.message, *error.causes)))
    except Exception as error:  # whatever is wrong here must not be the end of a training
        _say_torchs(name, f"{type(error).__name__}: {error}")
    finally:
        _is_busy = False
    return None


def _kind(dataset: Any) -> str:
    return cast("type[object]", type(dataset)).__qualname__


def _say_torchs(what: str, why: str) -> None:
    line = f"auto: torch's own DataLoader reads {what}: {why}"
    if line not in _said:
        _said.add(line)
        say(line)


def _in_worker() -> bool:
    """Whether this is a process that makes samples for another one."""
    ours: Any = sys.modules.get("forebay._python.worker")
    torchs: Any = sys.modules["torch.utils.data"]
    return torchs.get_worker_info() is not None or bool(ours and ours.in_worker)


def _checked(dataset: Any, arguments: Sequence[Any], named: Mapping[str, Any]) -> Any:
    from . import _auto_check
    from ._recognise_torch import named_arguments, unmade

    given = named_arguments(arguments, named)
    plan = _recognise.plan_of(dataset)
    asked = _asked(given)
    rows = given.get("batch_size") or getattr(given.get("batch_sampler"), "batch_size", 1)
    shuffle = bool(given.get("shuffle")) or _sampler_of(given) is not None
    agreed = _auto_check.check(dataset, plan, rows=int(rows), shuffle=shuffle, seed=int(asked.get("seed", 0)))
    loader: Any = unmade(plan, (), given)
    state = cast("dict[str, Any]", vars(loader))
    state["_is_quiet"] = "rank" in asked
    loader.__init__(**{**given, **asked, **_workers(given)})
    state.update(_is_made=True, _is_told=True)
    say(f"auto: {loader.parts_words()} ({agreed})")
    return loader


def _asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the seed and the part of the data that the script's own order means.

    Raises `NotNativeError` for an order that forebay would not give anew each epoch, and where nothing says how
    several processes share the data.
    """
    import torch

    from ._distributed import share_of

    batches, sampler = given.get("batch_sampler"), _sampler_of(given)
    if batches is not None and _torch_kind(batches) != "BatchSampler":
        raise NotNativeError(f"batch_sampler={type(batches).__name__} has an order of its own")
    if given.get("batch_size", 1) is None and batches is None:
        raise NotNativeError("batch_size=None gives samples one by one")
    kind = _torch_kind(sampler)
    share = share_of("sampler", sampler) if kind == "DistributedSampler" else None
    if sampler is not None and share is None and not _is_plain(kind, sampler):
        raise NotNativeError(f"sampler={type(sampler).__name__} has an order of its own")
    if share is not None:
        return {"seed": int(share.sampler.seed)}
    size = _processes()
    if size > 1:
        raise NotNativeError(f"there is no DistributedSampler in a job of {size} processes")
    drawn = {} if given.get("generator") is not None else {"seed": torch.initial_seed() & ((1 << 63) - 1)}
    return {**drawn, "rank": 0, "world_size": 1}


def _sampler_of(given: Mapping[str, Any]) -> Any:
    return getattr(given.get("batch_sampler"), "sampler", None) or given.get("sampler")


def _torch_kind(sampler: Any) -> str:
    kind = cast("type[object]", type(sampler))
    return kind.__name__ if kind.__module__.startswith("torch.utils.data.") else ""


def _is_plain(kind: str, sampler: Any) -> bool:
    if kind == "RandomSampler":  # over all samples, once each
        return not sampler.replacement and sampler.generator is None and sampler.num_samples == len(sampler.data_source)
    return kind == "SequentialSampler"


def _processes() -> int:
    import torch

    distributed: Any = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    told = os.environ.get("WORLD_SIZE", "")
    return int(told) if told.isdigit() else 1


def _workers(given: Mapping[str, Any]) -> dict[str, Any]:
    """Have as many workers as torch would, started as torch would start them."""
    chosen: dict[str, Any] = {"num_workers": given.get("num_workers", 0)}
    if given.get("multiprocessing_context") is None and multiprocessing.get_start_method() == "fork":
        chosen["multiprocessing_context"] = "fork"
    return chosen
