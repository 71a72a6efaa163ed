"""Which data a loader stands on: as it is now, or as all processes of its run have agreed.

With a state root the daemon agrees with others on a snapshot (docs/state-root.md): one for the run, or one an epoch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._daemon import Daemon
from ._dataset import at_commits
from ._gpu_decode import FEATURE, is_asked
from ._job import EpochRows, Job, commits_of
from ._notice import say
from ._order import Order
from ._record import record
from ._spec import StrPath
from ._state import State
from .errors import InvalidError, NotFoundError, StateError, UnimplementedError

_FOLLOWS = ("run", "epoch")
# So long other ranks leave it to rank 0 to look at the data: a thousand processes that list one folder hurt.
_WAIT_MS = 15_000


class Resolved(NamedTuple):
    """A job, and what a daemon that does not know it is asked: for this very data, whatever was committed since."""

    job: Job
    asked: dict[str, Any]


@record
class StateRoot:
    """Where a run keeps its records, and how long a snapshot holds: for the `run`, or for an `epoch`."""

    place: str
    follow: str

    @staticmethod
    def of(
        place: StrPath | None, follow: str, job_id: str, environment: Mapping[str, str] = os.environ
    ) -> StateRoot | None:
        """Check what a loader was given. FOREBAY_STATE_ROOT serves the loaders that have a job id."""
        if follow not in _FOLLOWS:
            raise InvalidError(f"follow={follow!r} is neither 'run' nor 'epoch'")
        given = os.fspath(place) if place is not None else ""
        if given and not job_id:
            raise InvalidError(
                "state_root= without job_id=", hint='give the run a name that no other one has, as in job_id="run-7"'
            )
        chosen = given or (environment.get("FOREBAY_STATE_ROOT", "") if job_id else "")
        if not chosen:
            if follow == "run":
                return None
            raise InvalidError(
                'follow="epoch" without a place where the processes of the run agree on each epoch\'s data',
                hint="give job_id= and state_root=, a folder that all nodes share or s3://bucket/prefix",
            )
        if not chosen.startswith("s3://"):
            chosen = os.path.abspath(os.path.expanduser(chosen))
        return StateRoot(chosen, follow)


class Resolver:
    """Asks the daemon for a spec's job, at each epoch where the data may have grown.

    `current`: the job that the loader stands on, once it was asked for.
    """

    def __init__(self, daemon: Daemon, spec: dict[str, Any], order: Order, root: StateRoot | None) -> None:
        self._daemon = daemon
        self._spec = spec
        self._order = order
        self._root = root
        self.current: Resolved | None = None
        self.by_epoch = root is not None and root.follow == "epoch"

    def enter(self, epoch: int, rank: Callable[[], int]) -> Resolved:
        """Stand on the job that `epoch` has in this run; the first to ask decides what data that is."""
        if self.current is None or not self._serves(self.current.job, epoch):
            self.current = self._resolve(epoch, rank() if self._root is not None else 0)
        return self.current

    def shown(self, epoch: int, job: Job) -> Resolved:
        """Give the job of an epoch that is only looked at; `job` is the one that the loader stands on."""
        if self.current is not None and self._serves(job, epoch):
            return self.current
        found = self._known(epoch)
        if found is None:
            raise InvalidError(f"nobody has begun epoch {epoch}, so its data is not decided")
        return found

    def of_state(self, state: State) -> Resolved | None:
        """Give the job that a state was saved in, or the one nearest to it; None: no other than without a state."""
        if self.by_epoch:
            return self._of_epoch(state)
        spec = at_commits(self._spec, state.commits)
        if self._root is not None or spec == self._spec:
            return None
        if self.current is not None and self.current.job.order_digest == state.order_digest:
            return None
        try:
            return self._ask({"spec": spec})
        except NotFoundError as error:
            say(f"the data as it was when the state was saved is not there ({error.message}); looking at the newest")
            return None

    def _of_epoch(self, state: State) -> Resolved:
        """Give the job of a state's epoch; between two epochs, of the one that has ended or of the one that begins."""
        nearest: Resolved | None = None
        for epoch in (state.epoch,) if state.position else (state.epoch, state.epoch - 1):
            found = self._known(epoch) if epoch >= 0 else None
            if found is not None and found.job.order_digest == state.order_digest:
                return found
            nearest = nearest or found
        # Saved without a state root: the data as it is now may still be the same.
        return nearest or self._ask({"spec": self._spec})

    def check_same_order(self, state: State | None) -> None:
        """Make sure that an epoch goes on in the order in which it was left."""
        job = self.current.job if self.current is not None else None
        if state is not None and job is not None and state.position and state.order_digest != job.order_digest:
            raise StateError(
                f"epoch {state.epoch} was pinned to other data than the state was saved in",
                causes=[f"snapshot {state.snapshot[:12]}, pinned is {job.snapshot[:12]} with {job.rows} rows"],
                hint="use the state_root and the job_id that the run began with",
            )

    def _serves(self, job: Job, epoch: int) -> bool:
        return not self.by_epoch or job.epoch == epoch

    def _resolve(self, epoch: int, rank: int) -> Resolved:
        if self._root is None:
            return self._ask({"spec": self._spec})
        return self._ask({"spec": self._spec, "pin": self._pin(epoch, wait_ms=_WAIT_MS if rank else 0)})

    def _known(self, epoch: int) -> Resolved | None:
        """Give the job of an epoch that somebody has begun, and decide nothing."""
        try:
            found = self._ask({"spec": self._spec, "pin": self._pin(epoch, find_only=True)})
        except NotFoundError:
            return None
        return Resolved(found.job, {"spec": self._spec, "pin": self._pin(epoch)})

    def _snapshots(self, job: Job) -> list[str]:
        """Give the snapshots of a job for another process to resolve with; none where they are too large."""
        known = {"order_digest": job.order_digest, "content_digest": job.content_digest}
        try:
            reply = self._daemon.request("resolve", {"job": known, "want_snapshots": True})
        except NotFoundError:
            return []  # the daemon has another life behind it
        return [str(text) for text in reply.get("snapshots", ())]

    def _pin(self, epoch: int, *, wait_ms: int = 0, find_only: bool = False) -> dict[str, Any]:
        assert self._root is not None
        pin: dict[str, Any] = {"state_root": self._root.place, "follow": f"FOLLOW_{self._root.follow.upper()}"}
        if self.by_epoch:
            pin["epoch"] = epoch
        if wait_ms:
            pin["wait_ms"] = wait_ms
        if find_only:
            pin["find_only"] = True
        return pin

    def _ask(self, asked: dict[str, Any]) -> Resolved:
        if "pin" in asked and "pins" not in self._daemon.connection().features:
            raise UnimplementedError("this daemon knows no state root", hint="upgrade it; the client knows how")
        if is_asked(asked["spec"]) and FEATURE not in self._daemon.connection().features:
            raise UnimplementedError(
                "this daemon sends no JPEGs for a device to decode", hint="upgrade it, or leave device_decode= out"
            )
        return self._read(self._daemon.request("resolve", asked), asked)

    def _read(self, reply: Mapping[str, Any], asked: dict[str, Any]) -> Resolved:
        again = {**asked, "spec": at_commits(asked["spec"], commits_of(reply))}
        job = Job.from_wire(reply, self._order.lists, EpochRows(self._daemon.request, again))
        self._order.check(job.rows)
        return Resolved(job, again)
