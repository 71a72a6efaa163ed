"""What a DistributedSampler says: which rank of how many, shuffled or not, by which seed.

torch itself is not imported. Forebay's order takes the place of torch's, and each rank its part of every step.
"""

from __future__ import annotations

from typing import Any, cast

from ._record import record
from .errors import InvalidError


@record
class Share:
    """One rank's share of the order, as a DistributedSampler names it.

    `seed`: None where it does not shuffle. `left_out`: samples that its `drop_last` leaves out, for equal shares.
    """

    sampler: Any
    rank: int
    size: int
    samples: int
    seed: int | None
    left_out: int

    def seed_beside(self, asked: int) -> int:
        """Give the seed of the order, where a loader was asked for one too; 0 is none."""
        if asked and self.seed is not None and asked != self.seed:
            raise InvalidError(
                f"seed={asked} of the loader and seed={self.seed} of its DistributedSampler contradict each other",
                hint="give it to one of them",
            )
        return asked or self.seed or 0

    def partition(self, rank: int | None, world_size: int | None, device_mesh: Any) -> tuple[int, int]:
        """Give the rank and the world size, where a loader was told too."""
        if device_mesh is not None:
            raise InvalidError("device_mesh= and a DistributedSampler both choose the part", hint="pass one of them")
        if (rank, world_size) not in ((None, None), (self.rank, self.size)):
            raise InvalidError(
                f"rank={rank} and world_size={world_size} contradict the DistributedSampler's "
                f"rank {self.rank} of {self.size}",
                hint="pass one of them",
            )
        return self.rank, self.size

    def check_tail(self, tail: str) -> None:
        """Refuse to leave samples out that the tail would bring: forebay's ranks fill up their last step."""
        if self.left_out and tail != "drop":
            raise InvalidError(
                f"DistributedSampler(drop_last=True) leaves {self.left_out} of {self.samples} samples out",
                hint="drop_last=True of the loader leaves out what fills no step of all ranks; without either, all "
                "samples come, and rows that only fill up have `valid` False",
            )


def share_of(name: str, sampler: Any) -> Share | None:
    """Read torch's DistributedSampler; None for a sampler of all ranks.

    Raises `InvalidError` for others of one rank's part: nothing tells what the other ranks have.
    """
    if not (hasattr(sampler, "num_replicas") and hasattr(sampler, "rank")):
        return None
    kind = cast("type[object]", type(sampler))
    if (kind.__module__, kind.__name__) != ("torch.utils.data.distributed", "DistributedSampler"):
        raise InvalidError(
            f"{name}={kind.__name__} gives one rank's part, and forebay cuts the order into ranks itself",
            hint="pass shuffle=, or the sampler of all ranks together; rank= and world_size= choose the part",
        )
    samples = len(sampler.dataset)
    left_out = max(0, samples - int(sampler.total_size)) if sampler.drop_last else 0
    seed = int(sampler.seed) if sampler.shuffle else None
    return Share(sampler, int(sampler.rank), int(sampler.num_replicas), samples, seed, left_out)


class Epochs:
    """Notices what `set_epoch` told a DistributedSampler since it was looked at last."""

    __slots__ = ("_sampler", "_seen")

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self._seen = sampler.epoch

    def news(self) -> int | None:
        """Give the epoch that it was told meanwhile; None where it stands as before."""
        epoch = self._sampler.epoch
        if epoch == self._seen:
            return None
        self._seen = epoch
        return int(epoch)
