"""Where a loader's steps begin and how many there are: this rank's part of each, and cursors of whole ones."""

from __future__ import annotations

from typing import Any

from ._job import Cursor, Job, cursor_of_step, steps_left
from ._notice import say
from ._rank import Partition, resolve
from ._session import Consumer
from ._state import State
from .errors import InvalidError


class Stepping:
    """A loader as it counts steps: `_rows` of each rank and `size` ranks make one."""

    _consumer: Consumer | None
    _ask_partition: tuple[int | None, int | None, Any]
    _batch_size: int
    _global_batch_size: int
    _tail: str
    _loaded: State | None
    _epoch: int
    _step: int

    @property
    def job(self) -> Job:
        """The data set as the daemon found it."""
        raise NotImplementedError

    def rows_a_rank(self) -> int:
        """Count the rows that each rank gets in the next epoch, with those that only fill up."""
        partition = self._partition()
        rows = self.job.rows_of(self._epoch)
        if self._tail == "partial":
            return -(-rows // partition.size)
        return self._steps(rows, partition) * self._rows(partition)

    def global_rows(self) -> int:
        """Count the rows of a step of all ranks."""
        partition = self._partition()
        return self._rows(partition) * partition.size

    def last_rows(self, start: Cursor) -> int:
        """Count the rows that count in the last step of an epoch from `start` on, over all ranks; 0: all of them."""
        rows = max(0, self.job.rows_of(start.epoch) - start.position)
        return 0 if self._tail == "drop" else rows % self.global_rows()

    def _start_cursor(self, consumer: Consumer) -> Cursor:
        if self._loaded is None:
            return self._cursor_of_step(self._epoch, self._step)
        cursor, step = self._loaded.cursor, consumer.rows * consumer.partition.size
        if cursor.position and not steps_left(consumer.job.rows_of(cursor.epoch), cursor.position, step, self._tail):
            return Cursor(cursor.epoch + 1, 0)
        return cursor

    def _cursor_of_step(self, epoch: int, step: int) -> Cursor:
        if not step:
            return Cursor(epoch, 0)
        return cursor_of_step(epoch, step, self.job.rows_of(epoch), self.global_rows(), self._tail)

    def _partition(self) -> Partition:
        return self._consumer.partition if self._consumer else resolve(*self._ask_partition)

    def _rows(self, partition: Partition) -> int:
        if not self._global_batch_size:
            return self._batch_size
        rows, rest = divmod(self._global_batch_size, partition.size)
        if rest:
            raise InvalidError(
                f"global_batch_size={self._global_batch_size} does not divide among {partition.size} ranks",
                hint="choose a multiple of the world size",
            )
        return rows

    def _steps(self, rows: int, partition: Partition) -> int:
        return steps_left(rows, 0, self._rows(partition) * partition.size, self._tail)

    def _say_empty(self, consumer: Consumer) -> None:
        step = consumer.rows * consumer.partition.size
        say(f"an epoch has no batch: {consumer.job.rows} rows, a step takes {step}, and the tail is dropped")
