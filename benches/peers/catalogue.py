"""Which peers there are: a family is one file `peer_NAME.py`, one installation, and one or more set-ups of it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from .settings import PHOTOS, Install, Peer, Task

FAMILIES = (
    "forebay",
    "floor",
    "torchvision",
    "dali",
    "tfdata",
    "spdl",
    "ffcv",
    "webdataset",
    "litdata",
    "mosaic",
    "grain",
)


@dataclass(frozen=True)
class Entry:
    """One row of the table to be: a peer, and the family whose installation it shares."""

    family: str
    peer: Peer
    install: Install

    @property
    def module(self) -> str:
        """The file that has it."""
        return module_of(self.family)


class UnknownPeerError(ValueError):
    """A name on the command line that is neither a family nor a peer."""


def module_of(family: str) -> str:
    """Name a family's file."""
    return f"peer_{family}"


def entries(families: tuple[str, ...] = FAMILIES, task: Task = PHOTOS) -> list[Entry]:
    """Import what describes each peer; its framework is imported only in its own process."""
    found: list[Entry] = []
    for family in families:
        module = importlib.import_module(f".{module_of(family)}", __package__)
        found += [Entry(family, peer, module.INSTALL) for peer in peers_of(module, task)]
    return found


def peers_of(module: Any, task: Task) -> tuple[Peer, ...]:
    """Give a family's set-ups for a task; a family may have none."""
    return module.PEERS if task is PHOTOS else getattr(module, "RAW_PEERS", ())


def chosen(names: str, among: list[Entry]) -> list[Entry]:
    """Pick by a comma-separated list of families and peers, in the order of the table; all for an empty one.

    Raises UnknownPeerError for a name that is neither.
    """
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    known = {entry.family for entry in among} | {entry.peer.name for entry in among}
    if unknown := sorted(wanted - known):
        raise UnknownPeerError(f"unknown peer {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [entry for entry in among if not wanted or {entry.family, entry.peer.name} & wanted]
