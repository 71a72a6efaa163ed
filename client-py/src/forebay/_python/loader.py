"""The loader of a user's own data set: order, epochs, ranks and states as of any loader, samples by Python workers."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np

from .._batch import Array
from .._checks import whole, whole_or_least
from .._digest import Digests, EpochDigest
from .._explain import Explanation
from .._gpu_pin import leases_of
from .._iterator import Progress
from .._loader import Loader
from .._notice import say
from .._session import Batch
from .._spec import Range
from .._stats import LoaderStats
from ..errors import InvalidError
from .collate import modes_of
from .crew import Crew, Plan
from .explain import Facts, Steps
from .fetch import has_getitems
from .inline import Inline
from .iterator import Ahead, Coming, Counts, Frame, Maker, OwnIterator, Rows
from .slots import Slots
from .start import begin
from .tasks import Keys, Own

# What of a loader's arguments makes sense for samples that the daemon does not read.
_NATIVE = frozenset(
    (
        *("weights", "epoch_rows", "sampler_epochs", "repeats", "repeat_window", "batch_transform", "seed", "tail"),
        *(
            "global_batch_size",
            "rank",
            "world_size",
            "device_mesh",
            "with_valid",
            "digest",
            "start_epoch",
            "start_step",
        ),
        *("daemon", "job_id", "state_root", "follow", "layout", "pinned"),
    )
)
# What lives in one process and one loader.
_LIVE = frozenset(("_crew", "_idle", "_counted", "_counts", "_newest_steps"))
_MAX_LEASES = 4
_PREFETCH_FACTOR = 2


class OwnLoader(Loader[Any]):
    """Batches of any object with `__getitem__` and `__len__`. Subclasses say what a tensor is.

    The order, epochs, ranks, tails and states are those of every loader; samples are made by Python processes, which
    write them straight into the memory that the batch is. Before each `__getitem__` the generators of `random`, numpy
    and torch are seeded from (seed, epoch, row), so that contents are the same with any number of workers, and after a
    resume; of a data set with `__getitems__`, before each batch. Its exceptions come out of `next()` in their own type.

    Args:
        dataset: the data set. It is pickled once for all workers, which share the memory of its arrays; at each
            `iter()` it is pickled again, without them, and new workers are started where it has changed.
        batch_size: rows of one rank's batch; None: samples as they are, one by one.
        shuffle, sampler, batch_sampler, drop_last: as of every loader.
        num_workers: processes (default: processors / LOCAL_WORLD_SIZE); 0: this process makes the samples.
        collate_fn: `"stack"` (the default: structures as of torch's default collate, over shared memory), `"list"`,
            `"ragged"`, `"pad"`, one of these a field (`{"image": "stack", "boxes": "ragged"}`, nested as samples are),
            or a function of a list of samples, which then runs in a worker.
        pin_memory: copy batches to pinned memory, as torch does.
        timeout: seconds to wait for a batch (default 0: no limit).
        worker_init_fn: called in each worker with its number.
        multiprocessing_context: `"spawn"`, `"forkserver"`, `"fork"` or a context, to start workers by; by default one
            clean process imports the program and forks them.
        generator: where no `seed=` is given, its seed is.
        prefetch_factor: batches under way for each worker (default 2); `prefetch`: for all of them.
        persistent_workers: do not look at each `iter()` whether the data set has changed.
        in_order: batches always are.
        recognise: whether the daemon reads what it knows of torchvision's (default True; forebay.torch only).
        data_name: what the data set is called in states, which fit data of equal name and length (default: its class).
        max_leases: batches that can be held before further ones are copied (default 4).
        pinned: as of every loader, of the memory that workers write to.
        native: further arguments of every loader that do not ask the daemon for contents.

    """

    # The name that people know it by.
    _shown = ""
    # What its framework has besides.
    _also: frozenset[str] = frozenset()
    _gives_arena = False

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: str | Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        num_workers: int | None = None,
        collate_fn: Any = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        prefetch: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
        recognise: bool = True,
        data_name: str | None = None,
        on_bad_sample: str = "fail",
        max_leases: int | None = None,
        **native: Any,
    ) -> None:
        _check(native, _NATIVE | self._also, on_bad_sample)
        self._dataset = dataset
        self._length = len(dataset)
        self._name = data_name or type(dataset).__qualname__
        if self._length == 0:
            raise InvalidError(f"the data set {self._name} is empty: its len() is 0")
        self._modes = modes_of(collate_fn)
        alone = batch_size is None and batch_sampler is None and native.get("global_batch_size") is None
        if alone:
            self._modes = "one" if collate_fn is None else None
        self._own = Own(self._indexed(), _Alone(collate_fn) if alone else collate_fn, worker_init_fn)
        self._own = self._own._replace(collate=self._own.collate if self._modes is None else None)
        self._workers = _workers_of(num_workers)
        self._context = multiprocessing_context
        self._timeout, self._persistent = float(timeout), persistent_workers
        self._ahead = whole_or_least("prefetch", prefetch, 0) or max(1, self._workers) * (
            _PREFETCH_FACTOR if prefetch_factor is None else whole("prefetch_factor", prefetch_factor, 1)
        )
        self._own_leases = whole_or_least("max_leases", max_leases, 0) or _MAX_LEASES
        if generator is not None and "seed" not in native:
            native["seed"] = int(generator.initial_seed())
        source, asked = self._source()
        super().__init__(
            source,
            None if native.get("global_batch_size") is not None or batch_sampler is not None else batch_size or 1,
            shuffle,
            sampler,
            batch_sampler,
            drop_last=drop_last,
            **native,
            **asked,
        )
        self._seed = int(self._order.spec["seed"])
        self._is_told = False
        if self._workers:
            begin(multiprocessing_context, self._own)
        # As attributes that others read and a wrapper may take over.
        vars(self).update(
            num_workers=self._workers,
            collate_fn=collate_fn if callable(collate_fn) else vars(self).get("collate_fn"),
            worker_init_fn=worker_init_fn,
            timeout=timeout,
            prefetch_factor=prefetch_factor,
            persistent_workers=persistent_workers,
            pin_memory=pin_memory,
        )
        self._pin(pin_memory)

    def _live(self) -> None:
        super()._live()
        self._crew: Crew | None = None
        self._idle: deque[Slots] = deque()
        self._counted = Digests()
        self._counts = Counts()
        self._newest_steps = Steps()
        # What is delivered is counted here; the pool has the sums of what is fetched ahead.
        self._stats = LoaderStats()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name not in _LIVE}

    def _iterate(self, convert: Callable[[Batch], tuple[Any, Any]]) -> Any:
        # Without what is called on a batch, where rows are asked for one at a time.
        return self._own_epoch(self._finished if convert == self._made else as_it_is)

    def _own_epoch(self, finished: Callable[[Any, Rows], Any]) -> OwnIterator:
        """Begin the next epoch; `finished`: what is done to a batch in this process."""
        with self._lock:
            self._check_length()
            # The daemon's sums are of what was fetched ahead; those of what was delivered are added up by the iterator.
            self._digests = Digests()
            rows = super()._iterate(self._rows_of)
            self._say_once()
            progress = Progress(rows.cursor)
            self._progress = progress
            return OwnIterator(
                rows, self._maker(rows), progress, self._counted, self._stats, self._newest_steps, finished
            )

    def __repr__(self) -> str:
        collate = self._modes if self._modes is not None else _words_of(self._own.collate)
        where = f"{self._workers} workers" if self._workers else "this process"
        inner = super().__repr__().partition("(")[2][:-1]
        return f"{self._shown}({inner}, dataset={self._name} of {self._length} in {where}, collate={collate})"

    @property
    def dataset(self) -> Any:
        """The user's data set."""
        return self._dataset

    @property
    def classes(self) -> list[str]:
        """The data set's own, where it has some."""
        return list(getattr(self._dataset, "classes", ()))

    @property
    def class_to_idx(self) -> dict[str, int]:
        """The data set's own, where it has one."""
        return dict(getattr(self._dataset, "class_to_idx", {}))

    def worker_pids(self) -> list[int]:
        """Give the worker processes that there are now."""
        return self._crew.pids() if self._crew is not None else []

    def _counters(self) -> dict[str, Any]:
        # The wait is for the workers, and the bytes are theirs.
        return {**super()._counters(), "bytes": self._counts.bytes, "copies": self._counts.copies}

    def digest(self) -> dict[int, EpochDigest]:
        """Give what this rank was delivered of each epoch, as of every loader: of indices, not of contents."""
        super().digest()
        return self._counted.by_epoch()

    def explain(self) -> Explanation:
        """Judge where the newest steps' time went and what to change first; `print` it, or ask its `cause`.

        Of what Python workers do, beside the daemon's part; `forebay explain` on a shell knows of the latter alone.
        """
        # What the daemon does for indices alone is hand-over.
        daemons = super().explain() if self._lends else Explanation({})
        return self._newest_steps.explained(self._facts(), daemons, self._copies_words())

    def _facts(self) -> Facts:
        counts = self._counts
        return Facts(
            title=f"{self._name} of {self._length} samples, batches of {self.batch_size}, in {self._where()}",
            workers=self._workers,
            processors=processors(),
            ahead=self._ahead,
            max_leases=self._host_leases(),
            samples=self._samples_words(),
            beside_bytes=counts.beside_bytes / max(1, self._stats.rows),
        )

    def _samples_words(self) -> str:
        """Say what workers do for a sample."""
        return f"{self._name}.{'__getitems__' if has_getitems(self._dataset) else '__getitem__'}"

    def close(self) -> None:
        """End all sessions and workers. Batches handed out stay valid; live iterators raise."""
        super().close()
        self._idle.clear()
        if self._crew is not None:
            self._crew.close()

    def _indexed(self) -> Any:
        """Give what is asked for samples, in the workers."""
        return self._dataset

    def _source(self) -> tuple[Any, dict[str, Any]]:
        """Give what the daemon reads, and what else it is asked for."""
        return Range(self._length, self._name), {}

    def _pin(self, pin_memory: bool) -> None:
        """Have batches copied to pinned memory, where the framework can."""

    def _frame(self) -> Frame:
        """Give the tensors of the framework."""
        raise NotImplementedError

    def _maker(self, rows: Coming) -> Maker:
        if not self._workers:
            self._say_unpinned()
            return Inline(rows, self._own, self._seed, self._modes, self._frame(), self._host_leases())
        return Ahead(
            rows,
            self._living_crew(),
            self._modes,
            self._frame(),
            depth=self._ahead,
            max_leases=self._host_leases(),
            timeout_seconds=self._timeout,
            counts=self._counts,
            idle=self._idle,
            pinning=self._pinning,
        )

    def _leases(self) -> int:
        # Of the daemon, which has no batches that a device could copy from.
        return self._max_leases

    def _host_leases(self) -> int:
        """Say how many batches the trainer, and devices, may hold before further ones are copied."""
        return leases_of(self._own_leases, self._pinning)

    def _say_unpinned(self) -> None:
        if self._pinning is not None:
            self._pinning.leave_out(
                "with num_workers=0 batches lie in the ordinary memory of this process", "pass num_workers= to pin them"
            )

    def _living_crew(self) -> Crew:
        """Give the workers; new ones where the data set is no longer what they have."""
        crew = self._crew
        if crew is not None and crew.is_alive and (self._persistent or crew.is_current()):
            return crew
        self._idle.clear()
        # Iterators before this one keep theirs as long as they live.
        self._crew = crew = Crew(Plan(self._own, self._workers, self._context, self._seed, self._modes))
        return crew

    def _rows_of(self, batch: Batch) -> tuple[Any, Any]:
        """Read which samples a batch of indices asks for."""
        ready, arrays = batch.ready, batch.arrays
        job = self.job
        valid: Any = self._mask(arrays[1].astype(np.bool_)) if len(arrays) > len(job.tensors) else ready.rows
        wraps = 0 if self._order.whole_batches else job.rows_of(ready.epoch)
        indices: Array = arrays[0]
        if isinstance(valid, int):
            valid = len(indices)
        return Rows(ready, Keys(ready.epoch, ready.first_row, wraps, tuple(indices.tolist())), valid), valid

    def _finished(self, made: Any, rows: Rows) -> Any:
        """Do to a batch what is done in this process."""
        return self._called(self._completed(made, rows), rows.ready)

    def _completed(self, made: Any, rows: Rows) -> Any:
        """Put the mask of rows that count beside a batch, where that is asked for."""
        return _with_valid(made, self._all(rows.valid)) if self._with_valid else made

    def _check_length(self) -> None:
        now = len(self._dataset)
        if now != self._length:
            raise InvalidError(
                f"the data set {self._name} had {self._length} samples when its loader was made, and has {now} now",
                hint="make a new loader",
            )

    def _say_once(self) -> None:
        if not self._is_told:
            self._is_told = True
            say(f"{self._name}: order, resume and hand-over are native; samples and collate run in {self._where()}")

    def _where(self) -> str:
        count = self._workers
        return f"{count} Python worker{'s' * (count > 1)}" if count else "this process"


def as_it_is(made: Any, _: Rows) -> Any:
    """Do nothing to a batch."""
    return made


class _Alone:
    """Applies a collate function to one sample, as torch does without batches."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, samples: list[Any]) -> Any:
        return self.function(samples[0])


def _check(native: Mapping[str, Any], known: frozenset[str], on_bad_sample: str) -> None:
    unknown = sorted(set(native) - known)
    if unknown:
        raise InvalidError(
            f"{unknown[0]}= is for data that the daemon reads",
            hint="this data set runs in Python, where its own code makes the samples",
        )
    if on_bad_sample != "fail":
        raise InvalidError(
            f"on_bad_sample={on_bad_sample!r}: a data set that runs in Python has only 'fail' so far",
            hint="catch what is wrong with a sample in __getitem__",
        )


def _workers_of(num_workers: int | None) -> int:
    if num_workers is not None:
        return whole("num_workers", num_workers, 0)
    local = os.environ.get("LOCAL_WORLD_SIZE", "")
    ranks = int(local) if local.isdigit() and int(local) > 0 else 1
    return max(1, processors() // ranks)


def processors() -> int:
    """Count the processors that this program may run on."""
    return len(os.sched_getaffinity(0))


def _with_valid(made: Any, valid: Any) -> Any:
    if isinstance(made, dict):
        return {**cast("dict[Any, Any]", made), "valid": valid}
    if type(made) in (list, tuple):
        return type(made)([*made, valid])
    return [made, valid]


def _words_of(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
