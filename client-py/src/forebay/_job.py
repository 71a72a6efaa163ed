"""What a spec means over the data as it is now: the daemon's `Job`, and cursors and steps in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

from ._record import record
from .errors import ChangedError, InvalidError, NotFoundError, ProtocolError

# Calls a daemon.
Request = Callable[[str, Mapping[str, Any]], dict[str, Any]]
# Name -> 8 digits that name the part's value, and its text or the beginning.
Parts = dict[str, str]


class Cursor(NamedTuple):
    """A place in the order: `position` global rows of `epoch` are consumed."""

    epoch: int
    position: int


@record
class TensorSpec:
    """One tensor of a batch without its batch dimension, as the daemon declares it."""

    name: str
    dtype: str
    dims: tuple[int, ...]
    channels_last: bool

    @staticmethod
    def from_wire(spec: Mapping[str, Any]) -> TensorSpec:
        """Read a `forebay.v1.TensorSpec`."""
        dtype = str(spec.get("dtype", "")).replace("DTYPE_", "").lower()
        dims = tuple(int(dim) for dim in spec.get("dims", ()))
        order = str(spec.get("memory_order", ""))
        return TensorSpec(str(spec.get("name", "")), dtype, dims, order == "MEMORY_ORDER_CHANNELS_LAST")


@record
class Job:
    """A resolved job: which rows there are and what names them.

    `rows`: of the first epoch; where epochs differ, `lists`: of each, after which they come again, or `ask`: what
    gives those of an epoch. `epoch`: the only one that it is the job of, where each epoch takes the newest data.
    `commits`: of each source, the commit of its data set, 0 where it is none; empty where no source is one, or where
    the processes of a run have agreed on the data.
    """

    job_id: str
    snapshot: str
    order_digest: str
    content_digest: str
    rows: int
    seed: int
    tensors: tuple[TensorSpec, ...]
    classes: tuple[str, ...]
    order_parts: Parts
    content_parts: Parts
    lists: tuple[int, ...] = ()
    pinned: bool = False
    epoch: int | None = None
    commits: tuple[int, ...] = ()
    ask: Callable[[Job, int], int] | None = None

    def rows_of(self, epoch: int) -> int:
        """Count the rows of an epoch."""
        if self.ask is not None and epoch:
            return self.ask(self, epoch)
        return self.lists[epoch % len(self.lists)] if self.lists else self.rows

    @staticmethod
    def from_wire(
        reply: Mapping[str, Any], lists: tuple[int, ...] = (), ask: Callable[[Job, int], int] | None = None
    ) -> Job:
        """Read a `forebay.v1.ResolveReply`; only the client knows the lists that it sent, and whom to `ask`."""
        job = cast("Mapping[str, Any]", reply.get("job", {}))
        if not job.get("order_digest") or not job.get("content_digest"):
            raise ProtocolError("the daemon resolved a job without digests")
        return Job(
            job_id=str(job.get("job_id", "")),
            snapshot=str(job.get("snapshot", "")),
            order_digest=str(job["order_digest"]),
            content_digest=str(job["content_digest"]),
            rows=int(job.get("rows", 0)),
            seed=int(job.get("seed", 0)),
            tensors=tuple(TensorSpec.from_wire(spec) for spec in job.get("tensors", ())),
            classes=tuple(str(name) for name in job.get("classes", ())),
            order_parts=_parts(job.get("order_parts", ())),
            content_parts=_parts(job.get("content_parts", ())),
            lists=lists,
            pinned=bool(job.get("pinned", False)),
            epoch=int(job.get("epoch", 0)) if job.get("epoch_pinned", False) else None,
            commits=commits_of(reply),
            ask=ask if job.get("epochs_differ") else None,
        )


def commits_of(reply: Mapping[str, Any]) -> tuple[int, ...]:
    """Give the commits that a `forebay.v1.ResolveReply` tells."""
    return tuple(int(commit) for commit in reply.get("job", {}).get("commits", ()))


def _parts(parts: Iterable[Mapping[str, Any]]) -> Parts:
    return {str(part.get("name", "")): str(part.get("value", "")) for part in parts}


class EpochRows:
    """Asks the daemon for the rows of epochs, once each. `asked`: the `forebay.v1.ResolveRequest` of the job."""

    def __init__(self, request: Request, asked: Mapping[str, Any]) -> None:
        self._request, self._asked = request, asked
        self._known: dict[int, int] = {}

    def __call__(self, job: Job, epoch: int) -> int:
        """Give the rows of an epoch of the job."""
        if epoch not in self._known:
            known = {"order_digest": job.order_digest, "content_digest": job.content_digest}
            ask = {"job": known, "epoch": str(epoch), "to_row": "1"}
            try:
                reply = self._request("digest", ask)
            except NotFoundError:
                resolve_again(self._request, self._asked, job)
                reply = self._request("digest", ask)
            self._known[epoch] = int(reply.get("epoch_rows", 0))
        return self._known[epoch]


def resolve_again(request: Request, asked: Mapping[str, Any], was: Job) -> None:
    """Have a daemon that does not know the job look at the data, and make sure that it is the same.

    `asked`: the `forebay.v1.ResolveRequest` that it came from.
    """
    now = Job.from_wire(request("resolve", asked))
    if (now.order_digest, now.content_digest) != (was.order_digest, was.content_digest):
        raise ChangedError(
            "the data changed while the daemon was away",
            causes=[
                f"snapshot {was.snapshot[:12]} with {was.rows} rows",
                f"is now {now.snapshot[:12]} with {now.rows}",
            ],
            hint="make a new loader to go on over the data as it is now",
        )


def steps_left(rows: int, position: int, global_rows: int, tail: str) -> int:
    """Count the batches from `position` to the end of an epoch of `rows`; a step takes `global_rows`."""
    left = max(0, rows - position)
    return left // global_rows if tail == "drop" else -(-left // global_rows)


def cursor_of_step(epoch: int, step: int, rows: int, global_rows: int, tail: str) -> Cursor:
    """Give the place behind `step` batches of an epoch of `rows`; behind the last one it is the next epoch."""
    steps = steps_left(rows, 0, global_rows, tail)
    if step < steps:
        return Cursor(epoch, step * global_rows)
    if step == steps:
        return Cursor(epoch + 1, 0)
    over = f"; counted over all epochs it is epoch {step // steps}, step {step % steps}" if steps else ""
    raise InvalidError(
        f"step {step} of epoch {epoch}: an epoch has {steps} steps of {global_rows} rows",
        hint=f"a step counts this loader's batches from the start of its epoch{over}",
    )
