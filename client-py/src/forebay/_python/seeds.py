"""Each row's random draws: `random`, numpy and torch are seeded from (seed, epoch, position) before its sample is made.

Seeding three generators takes ten times as long as a row of a table. So rows of many are first made without it; where
no generator has moved since, nobody drew and nothing was missed, else the rows are made again, seeded one by one.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from typing import Any, NamedTuple

import numpy as np

_ROW = struct.Struct("<QQQQ")
_PARTS = struct.Struct("<QIIQ")


class Place(NamedTuple):
    """A row of an epoch; `part`: which sample of a row that is a batch."""

    epoch: int
    position: int
    part: int = 0


class Seeds(NamedTuple):
    """What the generators of one row start from."""

    python: int
    numpy: tuple[int, int]
    torch: int


def seeds_of(seed: int, place: Place, purpose: bytes = b"row") -> Seeds:
    """Give the seeds of a row: a keyed hash, so that neighbours have nothing in common."""
    key = _ROW.pack(seed, *place)
    python, first, second, torch = _PARTS.unpack(
        hashlib.blake2b(key, digest_size=_PARTS.size, person=b"forebay " + purpose).digest()
    )
    return Seeds(python, (first, second), torch)


class Draws:
    """The global generators of this process. `needed`: whether the user's code is known to draw from them."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.needed = False

    def start(self, place: Place) -> None:
        """Seed all generators for a row."""
        plant(seeds_of(self._seed, place))

    def mark(self) -> list[Any]:
        """Give the generators' states, for `moved`."""
        return states()

    def moved(self, mark: list[Any]) -> bool:
        """Whether anybody has drawn since, or loaded torch, whose generator then had no seed of ours."""
        now = states()
        if len(now) != len(mark) or now[0] != mark[0]:
            return True
        pairs = zip(now[1:], mark[1:])
        return not all(np.array_equal(is_now, was) for is_now, was in pairs)


def plant(seeds: Seeds) -> None:
    """Seed the generators of `random`, of numpy, and of torch where it is loaded."""
    random.seed(seeds.python)
    np.random.seed(seeds.numpy)
    torch = _torch()
    if torch is not None:
        torch.default_generator.manual_seed(seeds.torch & ((1 << 63) - 1))


def states() -> list[Any]:
    """Give the states of the generators: of `random` as a tuple, of the others as arrays."""
    kind, keys, place, has_gauss, gauss = np.random.get_state()
    made: list[Any] = [(random.getstate(), kind, place, has_gauss, gauss), keys]
    torch = _torch()
    if torch is not None:
        made.append(torch.default_generator.get_state().numpy())
    return made


def restore(states: list[Any]) -> None:
    """Put the generators back to where `states()` found them."""
    (python, kind, place, has_gauss, gauss), keys = states[:2]
    random.setstate(python)
    np.random.set_state((kind, keys, place, has_gauss, gauss))
    torch = _torch()
    if torch is not None and len(states) > 2:
        torch.default_generator.set_state(torch.from_numpy(states[2]))


def _torch() -> Any:
    """Give torch where somebody has loaded it, and all of it."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "default_generator") else None
