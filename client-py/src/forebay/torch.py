"""Batches as torch tensors over the daemon's shared memory, without a copy, from a loader that is torch's own."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.data import DataLoader as TorchDataLoader
from torch.utils.data import IterableDataset

from ._accelerate import Accelerated, Watched
from ._agreement import AgreeingResolver
from ._batch import Array
from ._gpu_decode import DeviceDecode
from ._gpu_loader import Sending, Target
from ._gpu_pin import can_fence
from ._job import TensorSpec
from ._mixture import Mixture
from ._python import is_read_here
from ._spec import Data
from ._torch_arguments import UNUSED, ByRows, can_pin, default_collate, pin, say_unused, seed_of
from ._torch_views import BatchSampler, Dataset, Sampler
from .errors import InvalidError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import Options

__all__ = ["DataLoader"]

# torch's stub leaves the argument of from_numpy untyped.
_from_numpy = cast("Callable[[Array], torch.Tensor]", torch.from_numpy)  # pyright: ignore

# What torch's loader keeps as attributes, and ours tells when it is asked.
_SHOWN = ("batch_sampler", "batch_size", "dataset", "drop_last", "sampler")
# What its constructor is passed on; it sets the attributes of these names.
_TORCHS_OWN = (*UNUSED, "collate_fn", "generator", "pin_memory", "pin_memory_device")
_torchs: Any = TorchDataLoader
_TORCH_TAKES = inspect.signature(_torchs.__init__).parameters


# Torch's attributes are properties here: the batch size, for one, is known once the ranks are.
class DataLoader(Accelerated, Sending, TorchDataLoader[Any]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """Torch batches; all arguments of `forebay._loader.Loader`, and those of torch's own loader, which it is one of.

    A folder gives `(images, labels)`: images of shape `(rows, 3, height, width)` in channels_last memory,
    uint8, float32, float16 or bfloat16; labels `(rows,)` int64.
    With `views=2` the images are `(rows, 2, 3, height, width)`:
    `a, b = images.unbind(1)` takes them apart and `images.flatten(0, 1)` is all of them as one batch in channels_last
    memory, both without a copy. Anything else gives a dict in declared order. In-place changes
    are harmless, and the memory is the batch's as long as a tensor or a view of it lives.

    In a process group of several ranks without a state root, all take the data that the first of them found.

    Args:
        data: what is read, as `dataset` too, the name that torch has for it; or the `dataset` of another such loader,
            which gives a copy of that loader. Of torchvision's `ImageFolder` the leading transforms run in the daemon,
            the others and any `collate_fn` in Python workers; other data sets run in those whole.
        sampler: also a `DistributedSampler`, whose rank, world size, shuffle and seed hold, in forebay's own order.
            Its `set_epoch` is heeded; without it each `iter()` is the next epoch all the same.
        collate_fn: called in this process with a list of samples, which are views of the batch. `batch_transform`
            gets the batch itself, which saves putting it together again.
        generator: its initial seed is the seed.
        device: a CUDA device (`"cuda"`, `"cuda:1"`, a `torch.device`): batches arrive there, copied on a stream of
            their own while the trainer works; texts stay on the host. Raises `DeviceError` where there is none.
        ahead: how many batches are copied ahead of the one that `next()` gives (default 2).
        cast: where images become floats that go to a device: `"device"` (the default), so that bytes cross the bus, or
            `"daemon"`. The results are equal; the contents that the digests name are bytes or floats.
        device_decode: the share of rows, above 0 and up to 1, whose JPEGs the device decodes (default: the CPU decodes
            all). The order decides which, so pixels do not depend on load; the share is part of the contents.
        device_decode_max_bytes: JPEGs that are longer stay with the CPU (default: as many bytes as a result has).
        pin_memory: batches are copied to pinned memory where there is a CUDA device, as torch does; none is copied that
            lies in the arena where `pinned=True` has that pinned.
        num_workers, timeout, worker_init_fn, multiprocessing_context, prefetch_factor, persistent_workers, in_order:
            without effect, since no worker process makes batches; kept for those who read them.

    """

    _resolver_type = AgreeingResolver

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a loader of the kind that the data needs: a data set of the user's own is read by Python workers."""
        if cls is DataLoader and is_read_here(args, kwargs):
            from ._python.torch import made

            return made(args, kwargs)
        return object.__new__(cls)

    def __init__(
        self,
        data: Data | Mixture | None = None,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        sampler: str | Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: torch.Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        device: Any = None,
        ahead: int = 2,
        cast: str = "device",
        device_decode: float | None = None,
        device_decode_max_bytes: int | None = None,
        dataset: Any = None,
        seed: int = 0,
        **options: Unpack[Options],
    ) -> None:
        given = locals()
        source = _one_of(data, dataset)
        self._be_one_of_torchs({name: given[name] for name in _TORCHS_OWN})
        if isinstance(source, Dataset):
            self._copy(source, given, options)
            return
        say_unused(given)
        decode = DeviceDecode.of(device_decode, device_decode_max_bytes)
        vars(self)["_target"] = Target.of(device, ahead, cast, decode)
        seed = seed_of(generator, seed)
        super().__init__(source, batch_size, shuffle, sampler, batch_sampler, drop_last=drop_last, seed=seed, **options)
        self._call(collate_fn, pin_memory)

    def __iter__(self) -> Any:
        """Begin the next epoch, on a session of its own."""
        batches = self._next_epoch()
        return Watched(self, batches) if self._is_prepared else batches

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "batch_size":
            return  # some trainers set it
        if "_order" not in vars(self) and _is_read_only(type(self), name):
            return  # torch's constructor sets what is a property here
        super().__setattr__(name, value)  # pyright: ignore[reportUnknownMemberType]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in _SHOWN}

    @property
    def dataset(self) -> Dataset:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What is read, as one of torch's iterable data sets: this rank's rows."""
        return Dataset(self)

    @property
    def sampler(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The DistributedSampler that the loader was given, else one with `set_epoch`, for trainers."""
        share = self._order.share
        return Sampler(self) if share is None else share.sampler

    @property
    def batch_sampler(self) -> BatchSampler:
        """One with `set_epoch` and `sampler`, for trainers."""
        return BatchSampler(self)

    def check_worker_number_rationality(self) -> None:
        """Do nothing: there are no workers that could be too many."""

    def _live(self) -> None:
        super()._live()
        # For wrappers that take over our `__dict__` and not our properties (Fabric's do); no cycle may keep us alive.
        me = cast("DataLoader", weakref.proxy(self))
        views = {"dataset": Dataset(me), "batch_sampler": BatchSampler(me), "drop_last": self.drop_last}
        sampler = Sampler(me) if self._order.share is None else self._order.share.sampler
        size = {} if self._global_batch_size else {"batch_size": self._batch_size}
        vars(self).update(**views, **size, sampler=sampler)

    def _be_one_of_torchs(self, given: dict[str, Any]) -> None:
        """Have torch's constructor check its arguments and set its attributes, as over batches that come whole."""
        given["collate_fn"] = given["collate_fn"] or default_collate
        known = {name: given.pop(name) for name in _TORCHS_OWN if name in _TORCH_TAKES}
        vars(self).update(given)  # those that this torch is too old for
        _torchs.__init__(self, _Nothing(), None, **known)

    def _call(self, collate_fn: Callable[[Any], Any] | None, pin_memory: bool) -> None:
        """Have each batch go through what torch's would: its samples are collated, and the result is pinned."""
        calls = [call for call in self._calls if call[0] != "pin_memory"]
        if collate_fn is not None:
            calls = [call for call in calls if call[0] != "collate_fn"]
            calls[:0] = [("collate_fn", collate) for collate in (ByRows.of(collate_fn),) if collate]
        # Not where the arena itself is: but what calls make lies elsewhere, and an older driver can't guard its slots.
        is_pinned = self._pinned and self._gives_arena and not calls and can_fence()
        if pin_memory and self._target is None and can_pin() and not is_pinned:
            calls.append(("pin_memory", pin))
        self._calls = tuple(calls)

    def _copy(self, view: Dataset, given: dict[str, Any], options: Options) -> None:
        """Be a copy of the loader that `view` belongs to; some trainers make loaders anew over a loader's data set."""
        refused = [name for name in ("shuffle", "sampler", "batch_sampler") if given[name] is not None]
        refused += [*options, *(name for name in ("seed", "device", "device_decode") if given[name])]
        if refused:
            raise InvalidError(
                f"{refused[0]}= over the `dataset` of another loader", hint="it is read as that loader reads it"
            )
        self.__setstate__({**view.loader.__getstate__(), **vars(self)})
        self._call(given["collate_fn"], given["pin_memory"])
        if given["drop_last"] and not self.drop_last:
            raise InvalidError("drop_last= over the `dataset` of another loader, which keeps them")
        if given["batch_size"] is not None and self._order.batch_rows is None:
            self._batch_size, self._global_batch_size = int(given["batch_size"]), 0

    def _tensor(self, array: Array, spec: TensorSpec) -> torch.Tensor:
        tensor = _from_numpy(array)
        if spec.dtype == "bfloat16":  # numpy has only its bits
            tensor = tensor.view(torch.bfloat16)
        return tensor.movedim(-1, -3) if spec.channels_last and array.ndim > 3 else tensor

    def _mask(self, valid: Array) -> torch.Tensor:
        return _from_numpy(valid)


class _Nothing(IterableDataset[Any]):
    """What torch's constructor is given to look at; ours is not read by it."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())


def _is_read_only(kind: type[object], name: str) -> bool:
    known = getattr(kind, name, None)
    return isinstance(known, property) and known.fset is None


def _one_of(data: Any, dataset: Any) -> Any:
    if (data is None) == (dataset is None):
        raise InvalidError(
            "no data set" if data is None else "the data set is given twice, as data and as dataset=",
            hint='pass it first, as in DataLoader("/data/train", batch_size=256)',
        )
    return dataset if data is None else data
