"""The state record: all that a run needs to go on at the same row, under 1 kB, and equal on every rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._job import Cursor, Job
from ._record import record
from .errors import StateError

VERSION = 1
_TEXTS = ("job_id", "snapshot", "order_digest", "content_digest")
_NUMBERS = ("version", "seed", "epoch", "position")
_KEYS: frozenset[str] = frozenset((*_TEXTS, *_NUMBERS))


@record
class State:
    """A cursor, and what it is a cursor in."""

    job_id: str
    snapshot: str
    order_digest: str
    content_digest: str
    seed: int
    epoch: int
    position: int

    @property
    def cursor(self) -> Cursor:
        """Where the run goes on."""
        return Cursor(self.epoch, self.position)

    def to_dict(self) -> dict[str, Any]:
        """Give plain texts and numbers, for torch.save, JSON or a trainer's checkpoint."""
        return {"version": VERSION, **{name: getattr(self, name) for name in (*_TEXTS, *_NUMBERS[1:])}}

    @staticmethod
    def at(job: Job, cursor: Cursor, job_id: str = "") -> State:
        """Make the record of `cursor` in `job`."""
        digests = (job.snapshot, job.order_digest, job.content_digest)
        return State(job_id or job.job_id, *digests, job.seed, *cursor)

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> State:
        """Read a record strictly: exactly its keys, of its types, in its version."""
        version = state.get("version")
        if version != VERSION:
            raise StateError(
                f"a loader state of version {version!r}, where this forebay reads version {VERSION}",
                hint="pass what state_dict() gave; a state of a newer forebay needs that forebay",
            )
        missing, unknown = sorted(_KEYS.difference(state)), sorted(set(state).difference(_KEYS))
        if missing or unknown:
            raise StateError(
                f"a loader state with missing keys {missing} and unknown keys {unknown}",
                hint="pass exactly what state_dict() gave (checkpoint['loader'], not the whole checkpoint)",
            )
        for name, value in state.items():
            is_number = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            if not (is_number if name in _NUMBERS else isinstance(value, str)):
                raise StateError(f"a loader state with {name}={value!r}")
        return State(**{name: state[name] for name in (*_TEXTS, *_NUMBERS[1:])})

    def check(self, job: Job, *, allow_content_change: bool) -> None:
        """Make sure that this is a place in `job`: the same order, and the same content or a waiver."""
        if self.order_digest != job.order_digest:
            raise StateError(
                "the saved state is of another order of samples, so its position means nothing here",
                causes=[self._difference(job, "order_digest")],
                hint="use the data, shuffle= and seed= that it was saved with, or start without it",
            )
        if self.content_digest != job.content_digest and not allow_content_change:
            raise StateError(
                "the saved state is of other contents: the same samples, made in another way",
                causes=[self._difference(job, "content_digest")],
                hint="use the fields and transforms that it was saved with, or waive it: "
                "load_state_dict(state, allow_content_change=True)",
            )
        if self.position > job.rows:
            raise StateError(f"the saved state stands at row {self.position} of an epoch of {job.rows}")

    def _difference(self, job: Job, digest: str) -> str:
        pairs = [(name, getattr(self, name), getattr(job, name)) for name in (digest, "snapshot", "seed")]
        return ", ".join(
            f"{name} {_short(was)} was saved, {_short(now)} is here" for name, was, now in pairs if was != now
        )


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)
