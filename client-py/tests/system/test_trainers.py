"""Training that stops in the middle of an epoch and goes on exactly, with torch alone, on one process and on two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .support import FULL, TESTS, wait_until, write_indexed

pytest.importorskip("torch")

from .trainers import common

pytestmark = pytest.mark.deadline(180)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 rows: no multiple of any step, so that every epoch ends with rows that only fill up."""
    return write_indexed(tmp_path_factory.mktemp("trainers") / "data", common.ROWS)


def start(program: str, ranks: int, *arguments: Any) -> subprocess.Popen[str]:
    """Start a program of `trainers/`, on several ranks by torchrun."""
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "-m"] if ranks > 1 else []
    paths = [str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, f"system.trainers.{program}", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ran(program: str, ranks: int, data: Path, out: Path, *more: Any) -> list[Any]:
    """Run a program to its end, and give what each rank wrote."""
    process = start(program, ranks, data, out, *more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return told(out, ranks)


def told(out: Path, ranks: int) -> list[Any]:
    return [json.loads((out / f"rank{rank}.json").read_text()) for rank in range(ranks)]


def check_exact(told: list[Any]) -> None:
    """What came before the stop and after it is what comes without one: samples and losses, on every rank."""
    for rank in told:
        assert len(rank["before"]) == -(-common.ROWS // (common.BATCH * len(told))) + common.STEPS_AFTER_AN_EPOCH
        assert rank["before"] + rank["after"] == rank["whole"]
    steps = len(told[0]["whole"]) // common.EPOCHS
    for epoch in range(common.EPOCHS):
        parts = [rank["whole"][epoch * steps : (epoch + 1) * steps] for rank in told]
        assert sorted(index for part in parts for indices, _ in part for index in indices) == list(range(common.ROWS))


# Starting torch takes seconds: what differs little from a test beside it is left to the slow lane.
SLOW = pytest.mark.skipif(not FULL, reason="beside its like with another number of processes; FOREBAY_FULL runs both")


@pytest.mark.parametrize(
    ("program", "ranks"),
    [("plain", 1), ("plain", 2), pytest.param("checkpoint", 1, marks=SLOW), ("checkpoint", 2)],
)
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_exactly(
    program: str, ranks: int, data: Path, tmp_path: Path
) -> None:
    check_exact(ran(program, ranks, data, tmp_path))


def test_a_run_ended_by_sigterm_goes_on_with_fewer_ranks(data: Path, tmp_path: Path) -> None:
    job = start("requeue", 2, data, tmp_path, "started")
    wait_until(lambda: (tmp_path / "started").exists() or job.poll() is not None, "it trains", 120)
    job.send_signal(signal.SIGTERM)
    said, _ = job.communicate()
    assert (tmp_path / "checkpoint").exists(), said
    before = [[*one, *other] for (one, _), (other, _) in zip(*told(tmp_path, 2))]
    (after,) = ran("requeue", 1, data, tmp_path, "")
    seen = before + [indices for indices, _ in after]
    wanted: list[list[int]] = []
    with common.make_loader(str(data), batch_size=8) as loader:
        while len(wanted) < len(seen):
            wanted += [batch["index"][batch["valid"]].tolist() for batch in loader]
    assert seen == wanted


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=SLOW), 2])
def test_a_metric_counts_each_row_once_beside_training_on_the_same_daemon(ranks: int, tmp_path: Path) -> None:
    rows = 51
    data = write_indexed(tmp_path / "odd", rows)
    for rank in ran("validation", ranks, data, tmp_path):
        assert rank == {"sum": rows * (rows - 1) / 2, "rows": rows, "rest": -(-rows // (4 * ranks)) - 1, "daemons": 1}


def test_a_loader_is_resumed_by_whichever_rank_wrote_the_state(data: Path) -> None:
    states = []
    for rank in range(2):
        with common.make_loader(str(data), rank=rank, world_size=2) as loader:
            batches = iter(loader)
            next(batches), next(batches)
            states.append(loader.state_dict())
    assert states[0] == states[1]


def test_training_is_clean_where_warnings_are_errors(data: Path) -> None:
    code = """
import sys, warnings
import torch
warnings.simplefilter("error")
from forebay.torch import DataLoader
import forebay
loader = DataLoader(sys.argv[1], 4, shuffle=True, fields={"index": forebay.Value()}, num_workers=64)
for _ in loader:
    pass
del loader
"""
    paths = os.pathsep.join(filter(None, (str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", ""))))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDEVMODE": "1"}
    done = subprocess.run([sys.executable, "-c", code, str(data)], env=environment, capture_output=True, text=True)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "forebay:" not in line]) == (0, [])
