"""The state record: all that a run needs to go on at the same row, about 1 kB at most, and equal on every rank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import index
from typing import Any, cast

from ._difference import differences
from ._job import Cursor, Job, Parts
from ._notice import say
from ._record import record
from .errors import InvalidError, StateError

# Version 1 has neither `rows` nor parts, version 2 no `commits`; both are read. Version 2 is still written where no
# source is a data set, so that a forebay of before reads it.
VERSION = 3
_DIGESTS = ("snapshot", "order_digest", "content_digest")
_NUMBERS = ("seed", "epoch", "position", "rows")
_PARTS = ("order_parts", "content_parts")
_NEW_IN_2 = frozenset(("rows", *_PARTS))
_NEW_IN_3 = frozenset(("commits",))
_KEYS = frozenset(("version", "job_id", *_DIGESTS, *_NUMBERS, *_PARTS, "commits"))
# Of a mixture of so many data sets that their commits take more, none is kept.
_COMMITS_BYTES_MAX = 200

_DIGEST = re.compile(r"[0-9a-f]{64}")
_JOB_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_COMMIT = re.compile(r"0|[1-9][0-9]{0,19}")
_PART = re.compile(r"[0-9a-f]{8}( [ -~]*)?")
_ALONE = "pass exactly what state_dict() gave (checkpoint['loader'], not the whole checkpoint)"


@record
class State:
    """A cursor, and what it is a cursor in. `rows` is 0 and the parts are empty in a state of version 1.

    `commits`: of each source, the commit of its data set, 0 where it is none; empty where no source is one.
    """

    job_id: str
    snapshot: str
    order_digest: str
    content_digest: str
    seed: int
    epoch: int
    position: int
    rows: int
    order_parts: Parts
    content_parts: Parts
    commits: tuple[int, ...] = ()

    @property
    def cursor(self) -> Cursor:
        """Where the run goes on."""
        return Cursor(self.epoch, self.position)

    def to_dict(self) -> dict[str, Any]:
        """Give plain texts, numbers and dicts of texts, for torch.save, JSON or a trainer's checkpoint."""
        plain = ("job_id", *_DIGESTS, *_NUMBERS)
        parts = {name: dict(getattr(self, name)) for name in _PARTS}
        commits = {"commits": _text(self.commits)} if self.commits else {}
        version = VERSION if commits else VERSION - 1
        return {"version": version, **{name: getattr(self, name) for name in plain}, **parts, **commits}

    @staticmethod
    def at(job: Job, cursor: Cursor, job_id: str = "") -> State:
        """Make the record of `cursor` in `job`."""
        digests = (job.snapshot, job.order_digest, job.content_digest)
        commits = job.commits if len(_text(job.commits)) <= _COMMITS_BYTES_MAX else ()
        if job.commits and not commits:
            say("the state has no room for the commits of so many data sets: name them (at=), or give a state_root=")
        parts = (job.order_parts, job.content_parts, commits)
        return State(job_id or job.job_id, *digests, job.seed, *cursor, job.rows, *parts)

    @staticmethod
    def from_dict(state: Mapping[str, Any]) -> State:
        """Read a record strictly: exactly its keys, of its types, in its version.

        Raises `StateError` with what is wrong and the cure, whatever `state` is.
        """
        _check_keys(state)
        values: dict[str, Any] = {"rows": 0, "order_parts": {}, "content_parts": {}}
        values.update({name: _checked(name, state[name]) for name in state if name != "version"})
        return State(**values)

    def check(self, job: Job, allow_changed: str | Iterable[str], job_id: str) -> None:
        """Make sure that this is a place in `job`: the same order, and the same contents or a waiver by name.

        `job_id`: the one that was asked for, or empty.
        """
        waived = names_of(allow_changed)
        if self.order_digest != job.order_digest:
            raise StateError(
                "the saved state is of another order of samples, so its position means nothing here",
                causes=[", ".join(self._order_differences(job))],
                hint="use the data, shuffle= or sampler=, and seed= that it was saved with, or start without it",
            )
        if self.content_digest != job.content_digest:
            self._check_content(job, waived)
        if self.position > job.rows_of(self.epoch):
            rows = job.rows_of(self.epoch)
            raise StateError(f"the saved state stands at row {self.position} of an epoch of {rows}")
        if job_id and job_id != self.job_id:
            raise StateError(
                f"the saved state is of job {self.job_id}, this loader of job {job_id}",
                hint="pass the same job_id=, or none: it is then taken from the state",
            )

    def _order_differences(self, job: Job) -> list[str]:
        found: list[str] = []
        if self.snapshot != job.snapshot:
            saved_rows = f" with {self.rows} rows" if self.rows else ""
            found.append(f"snapshot {self.snapshot[:12]}{saved_rows} is now {job.snapshot[:12]} with {job.rows} rows")
        if self.commits and job.commits and self.commits != job.commits:
            found.append(f"commit {_text(self.commits)} is now {_text(job.commits)}")
        if self.seed != job.seed:
            found.append(f"seed {self.seed} is now {job.seed}")
        if self.order_parts and job.order_parts:
            found += [f"{name}: {words}" for name, words in differences(self.order_parts, job.order_parts).items()]
        return found or ["shuffle=, or a detail that the state does not keep"]

    def _check_content(self, job: Job, waived: frozenset[str]) -> None:
        found: dict[str, str] = {}
        if self.content_parts and job.content_parts:
            found = differences(self.content_parts, job.content_parts)
        found = found or {"content": "differs in a detail that the state does not keep"}
        words = [f"{name}: {words}" for name, words in found.items()]
        if "content" in waived or waived.issuperset(found):
            say(f"going on with other contents than the saved state's: {', '.join(words)}")
            return
        names = [repr(name).replace("'", '"') for name in found]
        listed = names[0] if len(names) == 1 else f"[{', '.join(names)}]"
        raise StateError(
            "the saved state is of other contents: the same samples, made in another way",
            causes=[", ".join(words)],
            hint="use the fields and transforms that it was saved with, or accept the change by name: "
            f"load_state_dict(state, allow_changed={listed})",
        )


def names_of(allow_changed: object) -> frozenset[str]:
    """Give what may differ: `"content"` for all of it, or names of parts as the error lists them."""
    if isinstance(allow_changed, str):
        return frozenset((allow_changed,))
    names = list(cast("Iterable[object]", allow_changed)) if hasattr(allow_changed, "__iter__") else [None]
    if not all(isinstance(name, str) for name in names):
        raise InvalidError(
            f"allow_changed={_shown(allow_changed)}: a name or several are needed",
            hint='allow_changed="content" accepts all changes of contents, "field image" those of that field',
        )
    return frozenset(str(name) for name in names)


def _check_keys(state: object) -> None:
    if not isinstance(state, Mapping):
        raise StateError(f"a loader state that is a {type(state).__name__} and no dict", hint=_ALONE)
    keys = cast("Mapping[object, object]", state)
    if "version" not in keys:
        raise StateError("a loader state without a version", hint=_ALONE)
    version = keys["version"]
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version <= VERSION:
        raise StateError(
            f"a loader state of version {_shown(version)}, where this forebay reads 1 to {VERSION}",
            hint="pass what state_dict() gave; a state of a newer forebay needs that forebay",
        )
    wanted = _KEYS - (_NEW_IN_3 if version < 3 else frozenset()) - (_NEW_IN_2 if version < 2 else frozenset())
    missing = sorted(wanted.difference(cast("Iterable[str]", keys)))
    unknown = [key for key in keys if key not in wanted]
    if missing or unknown:
        raise StateError(
            f"a loader state with missing keys {missing} and unknown keys {_shown(unknown)}",
            hint=_ALONE,
        )


def _checked(name: str, value: Any) -> Any:
    """Give a value that is of its key's type. Numbers may be numpy's or torch's, as some checkpoints make them."""
    if name in _NUMBERS:
        number = _whole(value)
        if number is not None and 0 <= number < 1 << 64:
            return number
    elif name in _PARTS:
        parts = _parts(value)
        if parts is not None:
            return parts
    elif name == "commits":
        commits = _commits(value)
        if commits:
            return commits
    elif isinstance(value, str) and (_JOB_ID if name == "job_id" else _DIGEST).fullmatch(value):
        return value
    raise StateError(f"a loader state with {name}={_shown(cast('object', value))}", hint=_ALONE)


def _parts(value: Any) -> Parts | None:
    items = cast("Mapping[object, object]", value).items() if isinstance(value, Mapping) else [(None, None)]
    parts = {name: text for name, text in items if isinstance(name, str) and isinstance(text, str)}
    is_whole = len(parts) == len(items) and all(_PART.fullmatch(text) for text in parts.values())
    return parts if is_whole else None


def _text(commits: Iterable[int]) -> str:
    return ",".join(map(str, commits))


def _commits(value: Any) -> tuple[int, ...]:
    """Read numbers with commas between, one of them a commit; nothing where it is no such text."""
    if not isinstance(value, str) or len(value) > _COMMITS_BYTES_MAX:
        return ()
    texts = value.split(",")
    commits = tuple(int(text) for text in texts if _COMMIT.fullmatch(text))
    is_whole = len(commits) == len(texts) and any(commits) and all(commit < 1 << 64 for commit in commits)
    return commits if is_whole else ()


def _whole(value: Any) -> int | None:
    if isinstance(value, (bool, str)):
        return None
    try:
        return index(value)
    except Exception:
        return None


def _shown(value: object) -> str:
    """Give a value in a few words, whatever it is."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."
