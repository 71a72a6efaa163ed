"""Which share of each batch is this process's: (data-parallel rank, size), and where that is known from.

Slurm's variables are never read: `salloc` shells and sweeps set them too, and 7/8 of the data would be gone
without a word.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ._record import record
from .errors import InvalidError

_DATA_PREFIXES = ("dp", "data", "ddp", "fsdp", "hsdp", "batch", "replicate", "shard")


@record
class Partition:
    """Rank `rank` of `size` takes the contiguous rows `position + rank * rows ..` of each step.

    `replica` tells consumers of the same rows apart (tensor-parallel peers); `origin` says who said so.
    """

    rank: int
    size: int
    replica: str
    origin: str

    def to_wire(self) -> dict[str, Any]:
        """Give the `forebay.v1.Partition`."""
        return {"rank": self.rank, "size": self.size, "replica": self.replica}

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.size} ({self.origin})"


def resolve(
    rank: int | None = None,
    world_size: int | None = None,
    device_mesh: Any = None,
    environment: Mapping[str, str] = os.environ,
) -> Partition:
    """Find the partition: explicit, a device mesh, torch.distributed, torchrun, else all rows."""
    if rank is not None or world_size is not None:
        if rank is None or world_size is None:
            raise InvalidError("rank= and world_size= go together")
        return _checked(rank, world_size, "", "rank= and world_size=")
    if device_mesh is not None:
        return _from_mesh(device_mesh)
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return _checked(distributed.get_rank(), distributed.get_world_size(), "", "torch.distributed")
    if all(environment.get(name) for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR")):
        return _from_torchrun(environment["RANK"], environment["WORLD_SIZE"])
    return Partition(0, 1, "", "one process: no rank=, device_mesh=, torch.distributed or torchrun")


def _from_torchrun(rank: str, size: str) -> Partition:
    try:
        return _checked(int(rank), int(size), "", "torchrun's RANK and WORLD_SIZE")
    except ValueError as error:
        raise InvalidError(
            f"RANK={rank} WORLD_SIZE={size} is no rank", hint="unset both, or pass rank= and world_size="
        ) from error


def _from_mesh(mesh: Any) -> Partition:
    """Take the data-parallel dims of a torch DeviceMesh; the others only name the replica."""
    coordinate: Sequence[int] | None = mesh.get_coordinate()
    if coordinate is None:
        raise InvalidError("this process is not part of device_mesh")
    sizes = [int(size) for size in mesh.shape]
    names = list(mesh.mesh_dim_names or [""] * len(sizes))
    chosen = [index for index, name in enumerate(names) if name.startswith(_DATA_PREFIXES)]
    if len(sizes) == 1:
        chosen = [0]
    if not chosen:
        raise InvalidError(
            f"device_mesh has the dims {names}, none of them named as data-parallel",
            hint='pass the part that shares the data, as in device_mesh=mesh["dp"]',
        )
    rank, size = 0, 1
    for index in chosen:
        rank, size = rank * sizes[index] + int(coordinate[index]), size * sizes[index]
    others = [f"{names[i]}{coordinate[i]}" for i in range(len(sizes)) if i not in chosen]
    return _checked(rank, size, "-".join(others), "device_mesh=")


def _checked(rank: int, size: int, replica: str, origin: str) -> Partition:
    if not 0 <= rank < size:
        raise InvalidError(f"rank {rank} of {size}, from {origin}", hint="ranks go from 0 to world_size - 1")
    return Partition(rank, size, replica, origin)
