"""Batches that are made in the training's own process: `num_workers=0`."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._batch import Array
from .clock import Spent
from .collate import Collated, Modes, is_rows
from .explain import Waits
from .fetch import Fetcher
from .iterator import Coming, Frame, Rows, stacked
from .seeds import plant, restore, seeds_of, states
from .shape import Layout, MismatchError, Node, Writer, shape_of
from .tasks import Keys, Own
from .whole import Room


class Inline:
    """Makes batches in this process: `num_workers=0`. The training's own generators are left as they were."""

    def __init__(self, rows: Coming, own: Own, seed: int, modes: Modes | None, frame: Frame, max_leases: int) -> None:
        self.waits, self.max_leases = Waits(), max_leases
        self._rows, self._own, self._seed, self._frame = rows, own, seed, frame
        self._collate = Collated(modes) if modes is not None else None
        self._is_rows = is_rows(modes)
        self._place = 0
        self._fetcher = Fetcher(own.dataset, seed, self._note)
        self._node: Node | None = None
        self._next: Rows | None = None
        self._head: tuple[Rows, Any] | None = None

    def head(self) -> tuple[Rows, Any]:
        """Make the next batch; after an error the same one is made again."""
        if self._head is None:
            if self._next is None:
                with self.waits.counting("daemon"):
                    self._next = next(self._rows)
            rows = self._next
            if rows.decoded is not None:
                self._own.dataset.arrays = rows.decoded.arrays
            with self.waits.counting("made"):
                self._head = (rows, self._named(rows.keys))
        return self._head

    def has_head(self) -> bool:
        """Whether it was made: none is before it is asked for, since the trainer would wait for that too."""
        return self._head is not None

    def worked(self) -> tuple[Spent, int]:
        """Give nothing: there are none."""
        return Spent(), 0

    def advance(self) -> None:
        """Forget the batch."""
        self._head = self._next = None

    def end(self) -> None:
        """Forget the rows."""
        self._head = self._next = None

    def _named(self, keys: Keys) -> Any:
        """Make a batch; an exception says of which sample it is."""
        before = states()
        try:
            return self._made(keys)
        except Exception as error:
            where = keys.words(self._place)
            if isinstance(error, MismatchError):
                error.object = ", of ".join(filter(None, (error.object, where)))
            elif hasattr(error, "add_note"):
                error.add_note(where)  # pyright: ignore - the types are those of 3.9
            if isinstance(error, StopIteration):
                raise RuntimeError(f"StopIteration at {where}") from error
            raise
        finally:
            restore(before)

    def _note(self, place: int) -> None:
        self._place = place

    def _made(self, keys: Keys) -> Any:
        if self._is_rows:
            return self._stacked(keys)
        samples: list[Any] = [None] * len(keys.indices)
        self._fetcher.each(keys, samples.__setitem__)
        self._note(len(samples))
        if self._collate is not None:
            return self._frame.whole(self._collate(samples, Room(None)))
        plant(seeds_of(self._seed, keys.place(0), b"collate"))
        return self._own.collate(samples)

    def _stacked(self, keys: Keys) -> Any:
        if self._node is None:
            self._node = shape_of(self._fetcher.one(keys))
        layout = Layout(self._node, len(keys.indices))
        arrays: list[Array | None] = [
            np.empty((layout.rows, *leaf.dims), leaf.stored) if leaf.stored else None for leaf in layout.leaves
        ]
        writer = Writer(layout, arrays)
        writer.begin(0, layout.rows)
        self._fetcher.each(keys, writer.put)
        return stacked(self._node, arrays, writer.beside, self._frame)
