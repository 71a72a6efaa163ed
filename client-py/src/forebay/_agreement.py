"""One snapshot for all ranks of a process group that has no state root: the first rank's, in the group's own store.

No collective call: those hang where one rank does not take part, and a loader may well be used by one rank alone. The
store that the group was made with has `compare_set`, which is create-if-absent, for as long as the group lives.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from dataclasses import replace
from typing import Any, Protocol, cast

from ._dataset import at_commits
from ._notice import say
from ._resolve import Resolved, Resolver
from .errors import ChangedError

_PIECE_BYTES = 4 << 20  # torch's TCPStore takes values of up to 8 MiB
_resolved: Counter[str] = Counter()


class Store(Protocol):
    """What is used of a `torch.distributed.Store`."""

    def compare_set(self, key: str, expected: str, desired: str, /) -> bytes:
        """Set the key where it is absent and nothing is expected; give what is there."""
        ...

    def set(self, key: str, value: str, /) -> None:
        """Set the key."""
        ...

    def get(self, key: str, /) -> bytes:
        """Wait for the key."""
        ...


class AgreeingResolver(Resolver):
    """Resolves as the first rank of the process group did, where there is one of several processes."""

    def _resolve(self, epoch: int, rank: int) -> Resolved:
        found = super()._resolve(epoch, rank)
        store = None if found.job.pinned else _store()
        if store is None:
            return found
        name = hashlib.sha256(json.dumps(self._spec, sort_keys=True).encode()).hexdigest()[:24]
        _resolved[name] += 1
        return self._agreed(store, f"forebay/{name}/{_resolved[name]}", found)

    def _agreed(self, store: Store, key: str, found: Resolved) -> Resolved:
        mine = f"{found.job.snapshot} {uuid.uuid4().hex} {','.join(map(str, found.job.commits))}"
        first = store.compare_set(key, "", mine).decode()
        if first == mine:
            _tell(store, key, self._snapshots(found.job))
        theirs, _, text = first.split(" ")
        commits = tuple(int(commit) for commit in text.split(",") if commit)
        if theirs == found.job.snapshot:
            return _at(found, commits)
        if commits and all(commits):
            return self._ask({"spec": at_commits(self._spec, commits)})
        snapshots = _told(store, key)
        if not snapshots:
            raise ChangedError(
                "the data grew while the ranks looked at it, and its list is too large to tell one another",
                causes=[f"this rank found snapshot {found.job.snapshot[:12]}, the first one {theirs[:12]}"],
                hint="give job_id= and state_root=, a folder that all nodes share or s3://bucket/prefix",
            )
        say(f"the data grew while the ranks looked at it: this one takes what the first one found, {theirs[:12]}")
        return _at(self._ask({"spec": at_commits(self._spec, commits), "snapshots": snapshots}), commits)


def _at(found: Resolved, commits: tuple[int, ...]) -> Resolved:
    """Give the job with the commits that the first rank found it at: the states of all ranks are equal."""
    asked = {**found.asked, "spec": at_commits(found.asked["spec"], commits)}
    return Resolved(replace(found.job, commits=commits), asked)


def _store() -> Store | None:
    """Give the store of the default process group, where it has several processes and its backend has a store."""
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return None
    # Not documented, and what torch's own elastic training uses; a backend without a store (MPI) has none here.
    get = getattr(distributed.distributed_c10d, "_get_default_store", None)
    return cast("Store | None", get() if get is not None else None)


def _tell(store: Store, key: str, snapshots: list[str]) -> None:
    text = json.dumps(snapshots)
    pieces = [text[start : start + _PIECE_BYTES] for start in range(0, len(text), _PIECE_BYTES)]
    for number, piece in enumerate(pieces):
        store.set(f"{key}/{number}", piece)
    store.set(f"{key}/pieces", str(len(pieces)))


def _told(store: Store, key: str) -> list[str]:
    count = int(store.get(f"{key}/pieces"))
    text = "".join(store.get(f"{key}/{number}").decode() for number in range(count))
    return [str(snapshot) for snapshot in cast("list[Any]", json.loads(text))]
