"""What a loader and its workers tell each other."""

from __future__ import annotations

from typing import Any, NamedTuple

from .clock import Spent
from .collate import Modes
from .seeds import Place
from .shape import Node
from .whole import Packed

# The first bytes of the control page: one a stream of batches; not zero: its tasks are void.
STREAMS = 256
# Behind them a number a worker: which of its task's rows it works on.
WORKERS_MAX = 4096
CONTROL_BYTES = STREAMS + 8 * WORKERS_MAX


class Hello(NamedTuple):
    """What a worker is; the control page comes beside, and the packed user's part, unless it was inherited."""

    number: int
    workers: int
    seed: int
    packed: Packed | None
    modes: Modes | None


class Own(NamedTuple):
    """The user's part of a loader."""

    dataset: Any
    collate: Any
    worker_init: Any


class Keys(NamedTuple):
    """Samples of one batch: their numbers, and which rows of which epoch they stand in.

    `wraps`: rows of the epoch, after which the first come again; 0 where all samples are of the one row `first`, which
    is a batch.
    """

    epoch: int
    first: int
    wraps: int
    indices: tuple[int, ...]
    begin: int = 0

    def part(self, begin: int, end: int) -> Keys:
        """Give those from `begin` to `end`."""
        return self._replace(indices=self.indices[begin:end], begin=self.begin + begin)

    def place(self, number: int) -> Place:
        """Give what draws of the sample number `number` are keyed by."""
        if self.wraps:
            return Place(self.epoch, (self.first + self.begin + number) % self.wraps)
        return Place(self.epoch, self.first, self.begin + number)

    def words(self, number: int) -> str:
        """Name a sample for a person; or the whole, where that is what was worked on."""
        if number >= len(self.indices):
            place = self.place(0)
            return f"the {len(self.indices)} samples from row {place.position} of epoch {place.epoch} on"
        place = self.place(number)
        return f"sample {self.indices[number]} (row {place.position} of epoch {place.epoch})"


class Decoded(NamedTuple):
    """Where the daemon's arrays of a batch lie: in a slot of what `Share` told of, of these dims and types."""

    slots: int
    slot: int
    places: tuple[tuple[tuple[int, ...], str, int], ...]


class Share(NamedTuple):
    """Slots, whose descriptor comes beside."""

    slots: int
    slot_bytes: int
    slots_count: int


class Forget(NamedTuple):
    """Slots that are used no more."""

    slots: int


class Shape(NamedTuple):
    """What samples look like."""

    node: Node


class Task(NamedTuple):
    """Make samples. `kind`: `probe` (one, to see its shape), `rows` (into their places), `whole` (a whole batch)."""

    number: int
    kind: str
    stream: int
    keys: Keys
    slots: int = 0
    slot: int = 0
    # Rows that the slot's layout has.
    rows: int = 0
    # The generators that samples are known to draw from, as `Draws.needed`.
    draws: int = 0
    # What the daemon has made of the samples, for a data set that takes it.
    decoded: Decoded | None = None


class Ready(NamedTuple):
    """The worker has the user's part and takes tasks."""


class Done(NamedTuple):
    """A task is done. `beside`: a list a value that is no array, pickled; `node`: of a probe; `packed`: of a whole."""

    number: int
    spent: Spent
    draws: int
    beside: bytes = b""
    node: Node | None = None
    packed: Packed | None = None


class Void(NamedTuple):
    """A task was left out: nobody waits for its stream."""

    number: int


class Failed(NamedTuple):
    """The user's code raised. `error`: the pickled exception, or empty; `place`: which sample of the task."""

    number: int
    place: int
    error: bytes
    words: str
    trace: str
