"""From `shuffle=`, `sampler=` and their kin to the `Order` that a daemon resolves.

What torch's samplers mean is read from them; torch itself is not imported. Any other iterable is drawn here, once, and
goes to the daemon as a list.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np

from ._batch import Array
from ._checks import whole
from ._distributed import Share, share_of
from ._indices import base64_of, batches_of, indices_of, to_wire, weights_of
from ._mixture import Mixture, whole_blocks
from ._notice import say
from ._record import record
from .errors import InvalidError

_NAMED = ("sequential", "shuffled", "balanced", "weighted")
_U32_MAX = (1 << 32) - 1
_ROWS_MAX = (1 << 63) - 1


@record
class Order:
    """What a loader's order is: the `forebay.v1.Order`, and what a sampler settles beside it.

    `batch_rows`: rows of a batch, where a batch sampler says so; `whole_batches`: its batches differ in size, so that
    a row of the job is a batch. `samples`: how many the sampler is over, where it says so. `lists`: rows of each epoch
    in turn, where a sampler's lists differ in length. `share`: the rank that a DistributedSampler is for.
    """

    spec: dict[str, Any]
    batch_rows: int | None = None
    whole_batches: bool = False
    drops_last: bool = False
    samples: int | None = None
    lists: tuple[int, ...] = ()
    share: Share | None = None

    def check(self, rows: int) -> None:
        """Make sure that a sampler that stands for all samples is over the `rows` that there are."""
        if self.samples is not None and self.samples != rows:
            raise InvalidError(
                f"the sampler is over {self.samples} samples and the data set has {rows}",
                hint="make the sampler over this data set, or give its indices as a list: sampler=list(sampler)",
            )


@record
class Asked:
    """What a loader was asked for."""

    seed: int
    shuffle: bool | None
    sampler: Any
    batch_sampler: Any
    has_batch_size: bool
    balanced_by: str | None
    weights: Any
    epoch_rows: int | None
    sampler_epochs: int | None
    repeats: int
    repeat_window: int | None


def order_of(data: Any, asked: Asked) -> Order:
    """Give the order of a loader over `data`.

    Raises `InvalidError` for what contradicts itself, naming the argument and the cure.
    """
    _check_together(asked)
    seed = whole("seed", asked.seed, 0, (1 << 64) - 1)
    order = _chosen(data, asked)
    _check_unused(asked, order)
    if order.share is not None:
        seed = order.share.seed_beside(seed)
    # The seed has 64 bits, which JSON numbers do not hold.
    spec = {**order.spec, "seed": str(seed), **_repeat(asked)}
    samples = order.samples if asked.repeats == 1 else None
    lists = _epochs_repeated(order.lists, asked)
    return Order(spec, order.batch_rows, order.whole_batches, order.drops_last, samples, lists, order.share)


def _chosen(data: Any, asked: Asked) -> Order:
    if isinstance(data, Mixture):
        return _mixture(data, asked)
    if asked.batch_sampler is not None:
        return _batched(asked)
    if asked.sampler is None:
        return Order(_all_samples(bool(asked.shuffle)))
    if isinstance(asked.sampler, str):
        return Order(_by_name(asked.sampler, asked))
    return _sampled("sampler", asked.sampler, asked)


def _check_together(asked: Asked) -> None:
    if not isinstance(cast("object", asked.shuffle), (bool, np.bool_, type(None))):
        raise InvalidError(
            f"shuffle={asked.shuffle!r} is neither True nor False", hint="an order of your own is sampler="
        )
    if asked.shuffle and asked.sampler is not None:
        raise InvalidError("shuffle= and sampler= exclude each other", hint="sampler='shuffled' is shuffle=True")
    if asked.batch_sampler is not None and (asked.shuffle or asked.sampler is not None or asked.has_batch_size):
        raise InvalidError(
            "batch_sampler= excludes batch_size=, global_batch_size=, shuffle=, sampler= and drop_last=",
            hint="a batch sampler says all of it",
        )


def _check_unused(asked: Asked, order: Order) -> None:
    """Refuse what the order that was chosen has no use for, rather than leave it without effect."""
    sampler = asked.sampler if isinstance(asked.sampler, str) else None
    if asked.balanced_by is not None and sampler != "balanced":
        raise InvalidError("balanced_by= without sampler='balanced'", hint="pass both")
    if asked.weights is not None and sampler != "weighted":
        raise InvalidError("weights= without sampler='weighted'", hint="pass both")
    if asked.sampler_epochs is not None and "lists" not in order.spec:
        raise InvalidError(
            "sampler_epochs= is for a sampler that is drawn ahead", hint="leave it out: every epoch is new by itself"
        )
    if asked.epoch_rows is not None and asked.repeats == 1:
        if order.spec["sampler"] == "SAMPLER_MIXTURE":
            raise InvalidError("epoch_rows= of a mixture belongs to it", hint="Mixture(..., epoch_rows=...)")
        if sampler not in ("balanced", "weighted"):
            raise InvalidError(
                "epoch_rows= is for sampler='balanced' and 'weighted', and for repeats=", hint="leave it out"
            )


def _mixture(data: Mixture, asked: Asked) -> Order:
    if asked.sampler is not None or asked.batch_sampler is not None:
        raise InvalidError(
            "a mixture is an order itself and takes no sampler", hint="shares=, schedule= and sequential= say it"
        )
    if asked.shuffle is not None and not asked.shuffle:
        raise InvalidError(
            "shuffle=False: the sources of a mixture are mixed by chance in every block",
            hint="leave shuffle= out; Mixture(..., sequential=['name']) goes through a source in its own order",
        )
    return Order(data.to_order())


def _all_samples(shuffled: bool) -> dict[str, Any]:
    return {"sampler": "SAMPLER_SHUFFLED" if shuffled else "SAMPLER_SEQUENTIAL"}


def _by_name(name: str, asked: Asked) -> dict[str, Any]:
    if name not in _NAMED:
        raise InvalidError(f"sampler={name!r} is none of {', '.join(_NAMED)}", hint="or any iterable of indices")
    rows = asked.epoch_rows if asked.repeats == 1 else None
    if name == "balanced":
        spec: dict[str, Any] = {"sampler": "SAMPLER_BALANCED", "column": asked.balanced_by or ""}
        return spec if rows is None else {**spec, "epoch_rows": str(whole_blocks("epoch_rows", rows))}
    if name == "weighted":
        return _weighted(asked.weights, rows)
    return _all_samples(name == "shuffled")


def _weighted(weights: Any, rows: int | None) -> dict[str, Any]:
    spec: dict[str, Any] = {"sampler": "SAMPLER_WEIGHTED"}
    if weights is None:
        raise InvalidError("sampler='weighted' without weights=", hint="a column's name, or one number a sample")
    if isinstance(weights, str):
        spec["column"] = weights
    else:
        spec["weights"] = base64_of(weights_of(weights))
    return spec if rows is None else {**spec, "epoch_rows": str(whole("epoch_rows", rows, 1, _ROWS_MAX))}


def _sampled(name: str, sampler: Any, asked: Asked) -> Order:
    """Give the order that a sampler object means, where it is torch's own, or the lists that it gives."""
    share = share_of(name, sampler)
    if share is not None:
        if share.seed is not None:
            say(f"{name}=DistributedSampler: forebay shuffles in its place, by seed={share.seed}, anew each epoch")
        return Order(_all_samples(share.seed is not None), samples=share.samples, share=share)
    _check_undistributed(name, getattr(sampler, "sampler", None))
    kind = _torch_kind(sampler)
    if kind == "SequentialSampler":
        return Order(_all_samples(False), samples=len(sampler.data_source))
    if kind == "RandomSampler" and _is_plain_shuffle(sampler):
        say(f"{name}=RandomSampler: forebay shuffles in its place, by seed={asked.seed}, anew each epoch")
        return Order(_all_samples(True), samples=len(sampler.data_source))
    if kind == "WeightedRandomSampler" and sampler.replacement:
        say(f"{name}=WeightedRandomSampler: forebay draws in its place, by seed={asked.seed}, anew each epoch")
        return Order(_weighted(sampler.weights, sampler.num_samples))
    lists = [indices_of(name, drawn) for drawn in _epochs(name, sampler, asked)]
    _say_drawn(name, sampler, lists)
    return _explicit(name, lists)


def _batched(asked: Asked) -> Order:
    """Give the order of a batch sampler: batches of one size are an order and a batch size, others are rows."""
    given = asked.batch_sampler
    if _torch_kind(given) == "BatchSampler":
        inner = _sampled("batch_sampler", given.sampler, asked)
        of_all = (inner.samples, inner.lists, inner.share)
        return Order(inner.spec, int(given.batch_size), False, bool(given.drop_last), *of_all)
    for sampler in (given, getattr(given, "sampler", None)):
        _check_undistributed("batch_sampler", sampler)
    drawn = [batches_of("batch_sampler", batches) for batches in _epochs("batch_sampler", given, asked)]
    lists = [batches.indices for batches in drawn]
    _say_drawn("batch_sampler", given, lists)
    rows = {batches.rows for batches in drawn}
    if len(rows) == 1 and None not in rows:
        order = _explicit("batch_sampler", lists)
        return Order(order.spec, rows.pop(), lists=order.lists)
    if asked.repeats != 1:
        raise InvalidError("repeats= beside batches of several sizes", hint="have them hold each index several times")
    order = _explicit("batch_sampler", lists, [batches.sizes for batches in drawn])
    return Order(order.spec, 1, whole_batches=True, lists=order.lists)


def _explicit(name: str, lists: Sequence[Array], sizes: Sequence[Sequence[int]] | None = None) -> Order:
    """Give the order of lists; with the sizes of each one's batches a row is a batch."""
    made = to_wire(name, zip(lists, sizes or [()] * len(lists)))
    rows = tuple(len(each) for each in sizes or lists)
    return Order({"sampler": "SAMPLER_EXPLICIT", "lists": made}, lists=rows if len(set(rows)) > 1 else ())


def _epochs_repeated(lists: tuple[int, ...], asked: Asked) -> tuple[int, ...]:
    most = asked.epoch_rows if asked.repeats > 1 and asked.epoch_rows else _ROWS_MAX
    return tuple(min(rows * asked.repeats, most) for rows in lists)


def _epochs(name: str, sampler: Any, asked: Asked) -> Iterator[Any]:
    """Give what to draw each epoch's list from, and tell a sampler with `set_epoch` which epoch it is."""
    if asked.sampler_epochs is None:
        yield sampler
        return
    for epoch in range(whole("sampler_epochs", asked.sampler_epochs, 1, _U32_MAX)):
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(epoch)
        yield sampler


def _repeat(asked: Asked) -> dict[str, Any]:
    times = whole("repeats", asked.repeats, 1, _U32_MAX)
    if times == 1:
        if asked.repeat_window is not None:
            raise InvalidError("repeat_window= without repeats=", hint="repeats=3 has every sample come three times")
        return {}
    repeat: dict[str, Any] = {"times": times}
    if asked.repeat_window is not None:
        repeat["window_rows"] = whole("repeat_window", asked.repeat_window, 1, _U32_MAX)
    if asked.epoch_rows is not None:
        repeat["epoch_rows"] = str(whole("epoch_rows", asked.epoch_rows, 1, _ROWS_MAX))
    return {"repeat": repeat}


def _torch_kind(sampler: Any) -> str:
    """Give the name of a sampler that is torch's own and no subclass, whose order may be any."""
    kind = cast("type[object]", type(sampler))
    return kind.__name__ if kind.__module__ == "torch.utils.data.sampler" else ""


def _is_plain_shuffle(sampler: Any) -> bool:
    """Tell whether a RandomSampler is over all samples, once each, by a seed that torch draws as it likes."""
    return not sampler.replacement and sampler.generator is None and sampler.num_samples == len(sampler.data_source)


def _check_undistributed(name: str, sampler: Any) -> None:
    """Refuse an order of the user's own over one rank's part."""
    if share_of(name, sampler) is not None:
        raise InvalidError(
            f"{name}= over a DistributedSampler gives one rank's part, and forebay cuts the order into ranks itself",
            hint="pass sampler=DistributedSampler(...) and batch_size=, or what all ranks have together",
        )


def _say_drawn(name: str, given: Any, lists: Sequence[Array]) -> None:
    """Tell that an iterable was drawn once, and name what came, since all ranks must have drawn the same."""
    if isinstance(given, (list, tuple, range)) or hasattr(given, "__array__"):
        return
    digest = 0
    for drawn in lists:
        digest = zlib.crc32(drawn.astype("<u8").data, digest)
    epochs = "for every epoch (sampler_epochs=N draws N)" if len(lists) == 1 else f"for {len(lists)} epochs"
    count = sum(drawn.size for drawn in lists)
    say(f"{name}={type(given).__name__}: drew {count} indices {epochs}; every rank must draw these, {digest:08x}")
