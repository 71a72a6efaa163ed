"""Each row's random draws: `random`, numpy and torch are seeded from (seed, epoch, position) before its sample is made.

Seeding them takes longer than a row of a table. So rows are first made with seeds for those generators alone that are
known to be drawn from; where another one has moved, the rows are made again, with seeds for that one too.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_ROW = struct.Struct("<QQQQ")
_PARTS = struct.Struct("<QIQ")


class Place(NamedTuple):
    """A row of an epoch; `part`: which sample of a row that is a batch."""

    epoch: int
    position: int
    part: int = 0


class Seeds(NamedTuple):
    """What the generators of one row start from, 32 bits for numpy's."""

    python: int
    numpy: int
    torch: int


def seeds_of(seed: int, place: Place, purpose: bytes = b"row") -> Seeds:
    """Give the seeds of a row: a keyed hash, so that neighbours have nothing in common."""
    key = _ROW.pack(seed, *place)
    digest = hashlib.blake2b(key, digest_size=_PARTS.size, person=b"forebay " + purpose).digest()
    python, numpy, torch = _PARTS.unpack(digest)
    return Seeds(python, numpy, torch >> 1)  # torch takes 63 bits


class _Generator(NamedTuple):
    """One of the global generators. `bit`: its place in `Draws.needed`; `draw`: gives its next number."""

    bit: int
    seed: Callable[[int], object]
    draw: Callable[[], Any]


def _torch_draw(torch: Any) -> Callable[[], Any]:
    number = torch.empty(1, dtype=torch.int64)
    return lambda: number.random_().item()


class Draws:
    """The global generators of this process. `needed`: the bits of those that the data set is known to draw from."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.needed = 0
        self._generators = [_Generator(1, random.seed, _python_draw), _Generator(2, np.random.seed, np.random.random)]
        # What each draws first behind a seed that is nobody's row.
        self._base = seeds_of(seed, Place(0, 0), b"still")
        self._first: dict[int, Any] = {}

    def start(self, place: Place) -> None:
        """Seed for a row those generators that are drawn from."""
        seeds = seeds_of(self._seed, place)
        for (bit, seed, _), value in zip(self._generators, seeds):
            if self.needed & bit:
                seed(value)

    def start_all(self, place: Place) -> None:
        """Seed all generators for a row."""
        self._find_torch()
        for (_, seed, _), value in zip(self._generators, seeds_of(self._seed, place)):
            seed(value)

    def watch(self) -> None:
        """Put the others into a state of which `moved` knows what comes next."""
        self._find_torch()
        for (bit, seed, draw), value in zip(self._generators, self._base):
            if not self.needed & bit:
                seed(value)
                if bit not in self._first:
                    self._first[bit] = draw()
                    seed(value)

    def moved(self) -> bool:
        """Whether any of the others was drawn from since `watch`, or is new (torch was loaded); it is needed then."""
        found = 0
        for bit, _, draw in self._generators:
            if not self.needed & bit and draw() != self._first[bit]:
                found |= bit
        found |= self._find_torch()
        self.needed |= found
        return found != 0

    def _find_torch(self) -> int:
        """Take note of torch once somebody has loaded it; give its bit then."""
        torch = _torch() if len(self._generators) == 2 else None
        if torch is None:
            return 0
        self._generators.append(_Generator(4, torch.default_generator.manual_seed, _torch_draw(torch)))
        return 4


def _python_draw() -> int:
    return random.getrandbits(64)


def plant(seeds: Seeds) -> None:
    """Seed the generators of `random`, of numpy, and of torch where it is loaded."""
    random.seed(seeds.python)
    np.random.seed(seeds.numpy)
    torch = _torch()
    if torch is not None:
        torch.default_generator.manual_seed(seeds.torch)


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
