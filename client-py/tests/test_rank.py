"""The order in which a process learns its share of each batch."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from forebay import _daemon
from forebay._rank import resolve
from forebay.errors import InvalidError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost"}


def mesh(names: list[str] | None, shape: list[int], coordinate: list[int] | None) -> Any:
    return SimpleNamespace(mesh_dim_names=names, shape=shape, get_coordinate=lambda: coordinate)


def with_torch(monkeypatch: pytest.MonkeyPatch, initialized: bool) -> None:
    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: initialized,
        get_rank=lambda: 1,
        get_world_size=lambda: 2,
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(distributed=distributed))  # type: ignore[arg-type]


def share(*arguments: Any, **keywords: Any) -> tuple[int, int]:
    partition = resolve(*arguments, **keywords)
    return partition.rank, partition.size


def test_explicit_comes_before_a_mesh_before_distributed_before_torchrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = mesh(None, [5], [2])
    with_torch(monkeypatch, initialized=True)
    assert share(6, 7, line, TORCHRUN) == (6, 7)
    assert share(None, None, line, TORCHRUN) == (2, 5)
    assert share(None, None, None, TORCHRUN) == (1, 2)
    with_torch(monkeypatch, initialized=False)
    assert share(None, None, None, TORCHRUN) == (3, 4)
    assert share(None, None, None, {}) == (0, 1)


@pytest.mark.parametrize("missing", TORCHRUN)
def test_torchrun_needs_all_of_its_variables(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    assert share(environment={name: value for name, value in TORCHRUN.items() if name != missing}) == (0, 1)


def test_slurm_shards_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # type: ignore[arg-type]
    slurm = {"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_LOCALID": "3"}
    assert share(environment=slurm) == (0, 1)


def test_a_mesh_gives_its_data_dims_and_names_the_replica() -> None:
    partition = resolve(device_mesh=mesh(["dp_replicate", "dp_shard", "tp"], [2, 3, 4], [1, 2, 3]))
    assert (partition.rank, partition.size, partition.replica) == (5, 6, "tp3")
    with pytest.raises(InvalidError, match=r'mesh\["dp"\]'):
        resolve(device_mesh=mesh(["pp", "tp"], [2, 2], [0, 0]))
    with pytest.raises(InvalidError, match="not part of device_mesh"):
        resolve(device_mesh=mesh(["dp"], [2], None))


def test_a_wrong_rank_is_refused() -> None:
    for arguments in ((2, 2), (-1, 2), (0, 0), (1, None), (None, 2)):
        with pytest.raises(InvalidError):
            resolve(*arguments)
    with pytest.raises(InvalidError, match="RANK=x"):
        resolve(environment={**TORCHRUN, "RANK": "x"})


def test_the_daemon_of_one_of_many_local_processes_is_told_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert _daemon.share() == []
    for given, told in (("8", ["--share-of", "8"]), ("1", []), ("0", []), ("x", []), ("", [])):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", given)
        assert _daemon.share() == told
