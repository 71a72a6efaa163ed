"""The loader without a framework: epochs, states, sessions. `forebay.numpy` and `.torch` give it tensors.

Each `iter()` starts the next epoch, on a session of its own. A session whose iterator is exhausted or gone is
kept for the next `iter()`, so an epoch boundary makes no new arena and finds its first batches ready.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ._checks import share_of, tail_of, whole, whole_or_least
from ._convert import Converting
from ._copy import Copied
from ._daemon import get_daemon
from ._digest import Digested, Digests
from ._distributed import Epochs
from ._fork import forget_in_child
from ._gpu_pin import Pinning, leases_of
from ._iterator import BatchIterator, Progress, SessionPool
from ._job import Cursor, Job
from ._mixture import Mixture, origins_of
from ._notice import say
from ._order import Asked, order_of
from ._pack import Buckets, Packed, TokenBudget, grouped, grouping_of
from ._rank import resolve
from ._report import Delivered, Reporting, Run
from ._resolve import Resolved, Resolver, StateRoot
from ._session import Batch, Consumer
from ._show import Look, Sheet, ask
from ._spec import Data, Field, StrPath, build
from ._state import State
from ._stats import LoaderStats
from ._steps import Stepping
from ._tokens import trims_of
from ._told import Told
from ._views import Viewed
from .errors import InvalidError

B = TypeVar("B")

_announced: set[str] = set()


class Loader(Converting, Copied, Digested, Reporting, Stepping, Told, Viewed, Generic[B]):
    """Batches of a data set, epoch by epoch. Subclasses say what a tensor is.

    Args:
        data: a folder of class folders, a `.csv`, `.jsonl` or `.parquet` list, a list of dicts, shards as in
            `"x-{000..127}.tar"`, a `forebay.Dataset(...)`, `List(...)`, `Shards(...)`, or several in a `Mixture(...)`.
        batch_size: rows of one rank's batch (default 1).
        shuffle: a new order each epoch, by `seed`; else the data set's own.
        sampler: instead, `"sequential"`, `"shuffled"`, `"balanced"`, `"weighted"`, or any iterable of indices, as
            torch's samplers are. An iterable is drawn here, once, and gives every epoch the same list, which all ranks
            must have; torch's plain `RandomSampler` and `WeightedRandomSampler` become forebay's own orders.
        batch_sampler: instead, any iterable of lists of indices, which excludes batch_size, shuffle, sampler and
            drop_last. Where sizes differ each rank takes one of its batches a step.
        balanced_by: the column of the classes, whole numbers, for `"balanced"` (default: a folder's classes). Each
            class has its equal share in every 1024 rows.
        weights: a column, or one number a sample, for `"weighted"`: drawn with replacement.
        epoch_rows: rows of an epoch, where the order alone does not say: weighted, balanced or with repeats.
        sampler_epochs: how many epochs to draw the sampler for; then they come again. Each follows a `set_epoch`.
        repeats: how often each row comes, each time with other random transforms.
        repeat_window: how many rows come once before they come again (default 1: side by side).
        packed: tokens of a row, or a `forebay.Packed`: documents end to end in each row.
        bucket_by, token_budget: a column of lengths or a `forebay.Buckets`; a `forebay.TokenBudget`: batches of
            similar length, of so many rows or of so many tokens.
        transform: what happens to the images of a folder, data set or shards (`forebay.transforms`).
        batch_transform: called in this process with what `next()` would give; `next()` gives what it returns. Its
            time is `python_seconds` of the stats. What it raises comes out of `next()`, and the next call asks for
            the same batch again.
        fields: name -> `forebay.Image`, `Value`, `Raw`, `Array`, `Tokens` or another field; batches are then dicts.
        dtype: of a folder's images, `uint8`, `float32`, `float16` or `bfloat16` (default: float32 behind Normalize).
        apply_exif_orientation, decode_scale: of a folder's images, as of `Image`.
        views: of each of a folder's images, 1 to 16 (default 1): as many random crops of it, from one decode.
        global_batch_size: the alternative to batch_size: rows of all ranks together.
        drop_last: leave out the rows that fill no whole batch; the same as `tail="drop"`.
        tail: `drop`, `partial` (the default) or `pad`; repeated rows have `valid` 0.
        seed: of the order and of every random transform.
        on_bad_sample: `fail`, `substitute` or `mask`.
        bad_sample_budget: fail after more than so many of them in an epoch (0: no limit).
        prefetch: batches in flight (default: the daemon's).
        max_leases: batches that can be held before further ones are copied (default: the daemon's).
        pinned: have CUDA pin the arena that batches lie in, so that copies to a device are asynchronous; a slot is used
            again once the devices have done what they had to do when its batch was dropped. Without CUDA: a line, and
            unpinned memory.
        weight: this loader's share of the daemon beside others of its priority, 1 to 1000 (default 1), in bytes read.
        priority: -100 to 100; nothing is read for it while a loader of a higher one has something to read (default 0).
        rank, world_size: this process's share; default from device_mesh, torch.distributed, torchrun.
        device_mesh: a torch DeviceMesh with the data-parallel dims.
        with_valid: add `valid` to tuple batches as the third element.
        rolling: prepare the next epoch's first batches while the last ones are in use.
        digest: have the daemon add up what this loader delivers, for `digest()`.
        start_epoch, start_step: where the first `iter()` begins, in this loader's batches, if no state was saved.
        daemon: the socket of the node's daemon (default: FOREBAY_SOCKET, else a private one).
        job_id: unique a run; kept in the state.
        state_root: a folder that all nodes of the run share, or `s3://bucket/prefix`, where its processes agree on the
            data (default: FOREBAY_STATE_ROOT, for loaders with a job_id). Never inside of a folder of classes.
        follow: `run`: the data as the run found it, at every epoch and after every restart; `epoch`: the newest data as
            each epoch begins, the same for all ranks.

    """

    _memory_order = "MEMORY_ORDER_CHANNELS_LAST"
    _resolver_type = Resolver
    # Whether the trainer's batches lie in the daemon's arena.
    _gives_arena = True
    # Whether processes of the loader's own map what the daemon makes.
    _lends = False
    # Whether nobody is told which rank it is.
    _is_quiet = False

    def __init__(
        self,
        data: Data | Mixture,
        batch_size: int | None = None,
        shuffle: bool | None = None,
        sampler: str | Iterable[Any] | None = None,
        batch_sampler: Iterable[Any] | None = None,
        *,
        balanced_by: str | None = None,
        weights: str | Iterable[Any] | None = None,
        epoch_rows: int | None = None,
        sampler_epochs: int | None = None,
        repeats: int = 1,
        repeat_window: int | None = None,
        packed: int | Packed | None = None,
        bucket_by: str | Buckets | None = None,
        token_budget: TokenBudget | None = None,
        transform: Sequence[Any] | None = None,
        batch_transform: Callable[[Any], Any] | None = None,
        fields: Mapping[str, Field] | None = None,
        dtype: str | None = None,
        views: int | None = None,
        apply_exif_orientation: bool = False,
        decode_scale: str = "full",
        global_batch_size: int | None = None,
        drop_last: bool = False,
        tail: str | None = None,
        seed: int = 0,
        on_bad_sample: str = "fail",
        bad_sample_budget: int = 0,
        prefetch: int | None = None,
        max_leases: int | None = None,
        pinned: bool = False,
        weight: int | None = None,
        priority: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        device_mesh: Any = None,
        with_valid: bool = False,
        rolling: bool = True,
        digest: bool = False,
        start_epoch: int = 0,
        start_step: int = 0,
        daemon: str | None = None,
        job_id: str = "",
        state_root: StrPath | None = None,
        follow: str = "run",
    ) -> None:
        if batch_size is not None and global_batch_size is not None:
            raise InvalidError("batch_size= (of one rank) and global_batch_size= (of all) exclude each other")
        has_batch_size = batch_size not in (None, 1) or global_batch_size is not None or drop_last
        origins = origins_of(data)
        picks = order_of(
            data,
            Asked(
                seed,
                shuffle,
                sampler,
                batch_sampler,
                has_batch_size,
                balanced_by,
                weights,
                epoch_rows,
                sampler_epochs,
                repeats,
                repeat_window,
            ),
        )
        share = picks.share
        if share is not None:
            rank, world_size = share.partition(rank, world_size, device_mesh)
        self._trims = trims_of(fields)
        self._order = grouped(
            picks,
            grouping_of(packed, bucket_by, token_budget),
            fields,
            has_batch_size=has_batch_size,
            bucket_rows=lambda: global_batch_size or (batch_size or 1) * resolve(rank, world_size, device_mesh).size,
        )
        self._batch_size = self._order.batch_rows or whole_or_least("batch_size", batch_size, 1)
        self._global_batch_size = whole_or_least("global_batch_size", global_batch_size, 0)
        self._depth = whole_or_least("prefetch", prefetch, 0)
        self._max_leases = whole_or_least("max_leases", max_leases, 0)
        self._pinned = pinned
        self._share = share_of(weight, priority)
        self._tail = tail_of(tail, drop_last or self._order.drops_last)
        if share is not None:
            share.check_tail(self._tail)
        self._sampler_epochs = None if share is None else Epochs(share.sampler)
        self._sources = [str(spec.get("name", 0)) for _, spec in origins]
        self._spec, self._is_tuple = build(
            origins,
            fields=fields,
            transform=transform,
            dtype=dtype,
            views=views,
            apply_exif_orientation=apply_exif_orientation,
            decode_scale=decode_scale,
            memory_order=self._memory_order,
            order=self._order.spec,
            on_bad_sample=on_bad_sample,
            bad_sample_budget=bad_sample_budget,
            job_id=job_id,
        )
        self._ask_partition = (rank, world_size, device_mesh)
        if batch_transform is not None and not callable(batch_transform):
            raise InvalidError(f"batch_transform={batch_transform!r} is not callable")
        self._batch_transform = batch_transform
        self._calls = (("batch_transform", batch_transform),) if batch_transform is not None else ()
        self._with_valid, self._rolling, self._digest = with_valid, rolling, digest
        self._job_id = job_id
        self._loaded: State | None = None
        self._resumed = False
        self._epoch = whole("start_epoch", start_epoch, 0)
        # Batches of that epoch that the next `iter()` leaves out; rows once the partition is known.
        self._step = whole("start_step", start_step, 0)
        self._address = daemon
        self._root = StateRoot.of(state_root, follow, job_id)
        if rank is not None or world_size is not None:
            resolve(rank, world_size)
        self._live()

    def _live(self) -> None:
        self._consumer: Consumer | None = None
        self._progress: Progress | None = None
        self._digests = Digests()
        self._stats = LoaderStats()
        self._pinning = self._pinning_of()
        self._daemon = get_daemon(self._address)
        self._resolver = self._resolver_type(self._daemon, self._spec, self._order, self._root)
        self._pool = SessionPool(self._daemon, self._stats)
        self._lock = threading.RLock()
        forget_in_child(self)

    def __iter__(self) -> BatchIterator[B]:
        return self._next_epoch()

    def _next_epoch(self) -> Any:
        """Begin the next epoch: what `iter()` gives, but for what a framework wraps around it."""
        return self._iterate(self._made)

    def _iterate(self, convert: Callable[[Batch], tuple[Any, Any]]) -> BatchIterator[Any]:
        """Begin the next epoch; `convert` gives a batch as the iterator's user sees it, and its `valid`."""
        with self._lock:
            self._check_open()
            self._heed_sampler()
            consumer, start = self._begin()
            if self._steps(consumer.job.rows_of(start.epoch), consumer.partition):
                session = self._pool.take(consumer, start)
                start = session.cursor
            else:
                session = None
                self._say_empty(consumer)
            progress = Progress(start if session else Cursor(start.epoch + 1, 0))
            self._epoch, self._step = start.epoch + 1, 0
            self._resumed = self._resumed or self._loaded is not None
            self._loaded = None
            self._progress = progress
            return BatchIterator(self._pool, session, convert, progress, self._digests)

    def __len__(self) -> int:
        """Count each rank's batches of a whole epoch: of the next one, where a sampler's lists differ in length."""
        return self._steps(self.job.rows_of(self._epoch), self._partition())

    def __enter__(self) -> Loader[B]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        size = f"batch_size={None if self._order.whole_batches else self._batch_size}"
        if self._global_batch_size:
            size = f"global_batch_size={self._global_batch_size}"
        rows = f", rows={self._resolver.current.job.rows}" if self._resolver.current else ""
        pinned = f", pinned={self._pinning.is_pinned()}" if self._pinning else ""
        return f"{type(self).__module__}.{type(self).__name__}({size}, tail={self._tail!r}{rows}{pinned})"

    @property
    def job(self) -> Job:
        """The data set as the daemon found it; asking for it starts the daemon."""
        with self._lock:
            return (self._resolver.current or self._enter(self._epoch)).job

    @property
    def batch_size(self) -> int | None:
        """Rows of one rank's batch; None where a batch sampler's differ in size."""
        return None if self._order.whole_batches else self._rows(self._partition())

    @property
    def drop_last(self) -> bool:
        """Whether rows that fill no whole batch are left out."""
        return self._tail == "drop"

    @property
    def valid(self) -> Any:
        """Which rows of the newest batch count: a bool a row, False for one repeated or masked. A copy."""
        return None if self._progress is None else self._all(self._progress.valid)

    @property
    def sources(self) -> list[str]:
        """The names of the sources of a mixture; the index is what a `forebay.Source` field holds."""
        return list(self._sources)

    def set_epoch(self, epoch: int) -> None:
        """Have the next `iter()` start `epoch`; a state or a step of that very epoch, still ahead, is kept."""
        epoch = whole("epoch", epoch, 0)
        with self._lock:
            if self._epoch != epoch:
                self._epoch, self._step = epoch, 0
            if self._loaded is not None and self._loaded.epoch != epoch:
                self._loaded = None

    def hear_epoch(self, epoch: int) -> None:
        """Take the epoch that a sampler was told by whoever counts them, as `set_epoch` does.

        In a run that was resumed, one below what it has reached is a count that began anew with the process (Fabric's
        does): the run goes on where it stands.
        """
        with self._lock:
            reached = 0
            if self._loaded is not None:
                reached = self._loaded.epoch
            elif self._resumed and self._progress is not None:
                reached = self._progress.cursor.epoch
            if whole("epoch", epoch, 0) >= reached:
                self.set_epoch(epoch)
            elif "hear_epoch" not in _announced:
                _announced.add("hear_epoch")
                say(f"sampler.set_epoch({epoch}) in a run that was resumed in epoch {reached}: it goes on from there")

    def seek(self, epoch: int, step: int = 0) -> None:
        """Have the next `iter()`, and only that one, start behind `step` batches of `epoch`, at today's batch size.

        Raises `InvalidError` with the number of steps where the epoch has fewer.
        """
        epoch, step = whole("epoch", epoch, 0), whole("step", step, 0)
        with self._lock:
            self._check_open()
            if step:
                self._enter(epoch)
            self._cursor_of_step(epoch, step)
            self._epoch, self._step = epoch, step
            self._loaded = self._progress = None

    def state_dict(self) -> dict[str, Any]:
        """Give the record of where the newest iterator's last delivered batch ended, or where it starts."""
        with self._lock:
            if self._loaded is not None:
                return self._loaded.to_dict()
            if self._progress is None:
                self._enter(self._epoch)
            cursor = self._progress.cursor if self._progress else self._cursor_of_step(self._epoch, self._step)
            return State.at(self.job, cursor, self._job_id).to_dict()

    def load_state_dict(self, state: Mapping[str, Any], *, allow_changed: str | Iterable[str] = ()) -> None:
        """Have the next `iter()`, and only that one, go on where `state` was saved.

        Batch size, ranks, devices and depth may be others. `allow_changed` accepts other contents by name: parts as
        the error lists them, such as `"field image"`, or `"content"`. Raises `StateError` with the difference.
        A catalogued data set is taken at the commit that the state was saved over, unless the loader names one.
        """
        loaded = State.from_dict(state)
        with self._lock:
            saved = self._resolver.of_state(loaded) or self._resolver.current or self._enter(self._epoch)
            loaded.check(saved.job, allow_changed, self._job_id)
            self._resolver.current = saved
            self._job_id = loaded.job_id
            self._loaded, self._step = State.at(self.job, loaded.cursor, loaded.job_id), 0

    def show(
        self,
        rows: int = 8,
        *,
        epoch: int | None = None,
        step: int | None = None,
        rank: int | None = None,
        original: bool = False,
        field: str = "",
        tile: int = 0,
    ) -> Sheet:
        """Give the first `rows` samples of a batch as people look at them: a picture in a notebook, a table in print.

        By default of the newest batch that was delivered, or of the next one where none was; else of `step` (from 0)
        of `epoch`, as `rank` gets it. `original` puts the stored image beside each sample, with the crop drawn in;
        `field` names the image, `tile` the longest side in pixels (at most 512). No iterator, order or state is
        disturbed. Raises `InvalidError` for a step that there is not.
        """
        with self._lock:
            self._check_open()
            partition, progress, loaded = self._partition(), self._progress, self._loaded
            if loaded is not None:
                cursor = loaded.cursor
            elif progress is not None:
                cursor = Cursor(*progress.delivered[:2]) if progress.delivered else progress.cursor
            else:
                cursor = self._cursor_of_step(self._epoch, self._step)
            shown = self._resolver.shown(cursor.epoch if epoch is None else whole("epoch", epoch, 0), self.job)
            look = Look(shown.asked, shown.job, partition, self._rows(partition), self._tail)
        key = look.key(cursor, rows, epoch, step, rank)
        return ask(self._daemon, look, {"key": key, "original": original, "field": field, "tile_px": tile})

    def close(self) -> None:
        """End all sessions. Batches handed out stay valid; live iterators raise."""
        if self._reporter is not None:
            self._reporter.flush(save=True)
        self._pool.close()

    def forget(self) -> None:
        """Work in a forked child with a daemon of its own."""
        self._lock = threading.RLock()

    def _delivered(self) -> Delivered | None:
        return None if self._progress is None else self._progress.delivered

    def _run(self) -> Run:
        return Run(self.job, self._job_id or self.job.job_id, self._partition().rank)

    def _heed_sampler(self) -> None:
        epoch = self._sampler_epochs.news() if self._sampler_epochs is not None else None
        if epoch is not None:
            self.hear_epoch(epoch)

    def _check_open(self) -> None:
        if self._pool.closed:
            raise InvalidError("this loader was closed", hint="make a new one")

    def _begin(self) -> tuple[Consumer, Cursor]:
        """Give whom the next iterator's session serves, and where it starts."""
        self._enter(self._loaded.epoch if self._loaded is not None else self._epoch)
        self._resolver.check_same_order(self._loaded)
        start = self._start_cursor(self._resolved_consumer())
        self._enter(start.epoch)  # a state at the end of its epoch goes on with the next
        return self._resolved_consumer(), start

    def _pinning_of(self) -> Pinning | None:
        """Give who pins the memory of batches, where that is asked for."""
        return Pinning(lambda: None, fenced=True) if self._pinned else None

    def _leases(self) -> int:
        """Say how many leases to ask for; 0: the daemon's default."""
        return leases_of(self._max_leases, self._pinning)

    def _enter(self, epoch: int) -> Resolved:
        """Stand on the data of `epoch`: decide it where nobody has, and each epoch has its own."""
        if self._resolver.current is None:
            self._check_open()
        return self._resolver.enter(epoch, lambda: self._partition().rank)

    def _resolved_consumer(self) -> Consumer:
        resolved = self._resolver.current or self._enter(self._epoch)
        if self._consumer is None or self._consumer.job is not resolved.job:
            partition = self._partition()
            consumer = Consumer(
                asked=resolved.asked,
                job=resolved.job,
                partition=partition,
                rows=self._rows(partition),
                tail=self._tail,
                depth=self._depth,
                max_leases=self._leases(),
                # Nobody has decided on the epoch that comes.
                rolling=self._rolling and not self._resolver.by_epoch,
                digest=self._digest,
                share=self._share,
                lends=self._lends,
                pinning=self._pinning if self._gives_arena else None,
            )
            if str(partition) not in _announced and not self._is_quiet:
                _announced.add(str(partition))
                say(str(partition))
            self._consumer = consumer
        return self._consumer
