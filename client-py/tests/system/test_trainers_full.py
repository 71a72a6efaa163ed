"""The trainers that people use beside torch's own loop: each stops in the middle of an epoch and goes on exactly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from .support import FULL, write_indexed

pytest.importorskip("torch")

from .test_trainers import check_exact, ran
from .trainers import common

NEEDED = {
    "with_accelerate": "accelerate",
    "with_fabric": "lightning",
    "with_hf": "transformers",
    "with_lightning": "lightning",
}

pytestmark = [
    pytest.mark.deadline(400),
    pytest.mark.skipif(not FULL, reason="the trainers of others: `./dev test --full` installs them"),
]


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("program", NEEDED)
def test_a_run_that_was_stopped_in_mid_epoch_goes_on_exactly(program: str, ranks: int, tmp_path: Path) -> None:
    if importlib.util.find_spec(NEEDED[program]) is None:
        pytest.skip(f"{NEEDED[program]} is not installed: `./dev test --full` does it")
    data = write_indexed(tmp_path / "data", common.ROWS)
    (tmp_path / "out").mkdir()
    check_exact(ran(program, ranks, data, tmp_path / "out"))
