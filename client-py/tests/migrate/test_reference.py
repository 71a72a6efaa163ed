"""The reference script trains with one import changed, and with none; and the tests of its losses can tell."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL

from .pages import PROJECT

pytest.importorskip("torch")
pytest.importorskip("torchvision")

FULL = os.environ.get("FOREBAY_FULL", "") not in ("", "0")
SHORT = ("--epochs=2", "--lr=0.05")
STEPS = 6  # of an epoch: 200 images in whole batches of 32
# What is said under --auto of the two folders: what the daemon does, and what Python.
SAID = {
    "train": "decoding, RandomResizedCrop, RandomHorizontalFlip; in 2 Python workers: TrivialAugmentWide, PILToTensor, "
    "ToDtype, Normalize, RandomErasing, collate_fn",
    "val": "decoding, Resize, CenterCrop, PILToTensor, ToDtype, Normalize",
}
SLOW = pytest.mark.skipif(not FULL, reason="beside its like on one process; FOREBAY_FULL runs both")

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")


def _losses() -> Any:
    spec = importlib.util.spec_from_file_location("losses", PROJECT / "benches" / "losses.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


losses = _losses()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of the ten shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    script = PROJECT / "examples" / "reference" / "shapes.py"
    subprocess.run([sys.executable, str(script), str(folder), "--train=200", "--val=40"], check=True)
    return folder


def trained(arm: str, shapes: Path, folder: Path, *options: str, ranks: int = 1) -> list[dict[str, Any]]:
    """Run the script as it is or with the import changed, and give what it wrote of each epoch."""
    return run([], losses.variant(folder, arm), shapes, folder, *options, ranks=ranks)[0]


def run(
    before: list[str], script: Path, shapes: Path, folder: Path, *options: str, ranks: int = 1
) -> tuple[list[dict[str, Any]], str]:
    """Run a script to its end, and give what it wrote of each epoch, and what was said on stderr."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks > 1 else []
    output = folder / "told.json"
    output.unlink(missing_ok=True)
    command = [*before, sys.executable, *launcher, str(script), str(shapes), f"--output={output}", *SHORT, *options]
    environment = {**os.environ, "FOREBAY_BINARY": REAL, "PYTHONPATH": str(PROJECT / "client-py" / "src")}
    if ranks == 1:
        environment["PYTHONWARNINGS"] = "error"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text()), done.stderr


@pytest.fixture(scope="module")
def ours(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What it writes with the import changed."""
    return trained("forebay", shapes, tmp_path_factory.mktemp("ours"))


def test_it_trains_the_same_network_again_and_one_like_torchs(
    ours: list[dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    theirs = trained("torch", shapes, tmp_path)
    for told in (theirs, ours):
        assert [len(epoch["losses"]) for epoch in told] == [STEPS, STEPS]
    area = [statistics.fmean(loss for epoch in told for loss in epoch["losses"]) for told in (theirs, ours)]
    assert area[1] == pytest.approx(area[0], rel=0.1)
    assert ours != theirs  # an order and augmentations of its own
    assert trained("forebay", shapes, tmp_path, "--workers=1") == ours  # to the last bit, whoever makes the batches
    assert trained("forebay", shapes, tmp_path, "--seed=1") != ours


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=SLOW)])
def test_it_trains_under_auto_with_nothing_changed_as_with_the_import_changed(
    ranks: int, ours: list[dict[str, Any]], shapes: Path, tmp_path: Path
) -> None:
    auto, said = run([REAL, "run", "--auto", "--"], losses.REFERENCE / "train.py", shapes, tmp_path, ranks=ranks)
    lines = [line for line in said.splitlines() if line.startswith("forebay: auto: ")]
    for part, words in SAID.items():
        start = f"forebay: auto: ImageFolder {shapes / part}: native, in the daemon's order: {words} (16 images agree: "
        assert sum(line.startswith(start) for line in lines) == ranks, said
    assert len(lines) == len(SAID) * ranks, said
    assert [len(epoch["losses"]) for epoch in auto] == [STEPS if ranks == 1 else 4] * 2
    # To the last bit: the same rows, the same draws.
    assert auto == (ours if ranks == 1 else trained("forebay", shapes, tmp_path, ranks=ranks))


@SLOW
def test_it_trains_on_two_ranks(shapes: Path, tmp_path: Path) -> None:
    theirs, ours = (trained(arm, shapes, tmp_path, ranks=2) for arm in ("torch", "forebay"))
    assert [len(epoch["losses"]) for epoch in ours] == [len(epoch["losses"]) for epoch in theirs]
    assert ours[0]["losses"][0] == pytest.approx(theirs[0]["losses"][0], rel=0.1)


def test_the_permutation_test_gives_the_share_of_all_ways_to_deal_the_runs_out() -> None:
    assert losses.difference_p([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == 2 / 252
    assert losses.difference_p([1, 2], [1, 2]) == 1
    # The means are 2 and 5.5; of the 6 ways to deal them out, those with 1 and 9 together lie closer.
    assert losses.difference_p([1, 3], [2, 9]) == 4 / 6
    assert losses.difference_p([0.3, 0.1, 0.2], [0.2, 0.3, 0.1]) == 1  # whatever the sums are rounded to


def test_runs_are_equivalent_where_they_lie_within_the_margin_and_not_elsewhere() -> None:
    runs = [2.00, 2.01, 1.99, 2.02, 1.98]
    near, far = ([run + by for run in runs] for by in (0.02, 0.2))
    assert losses.equivalence_p(runs, near, margin=0.1) == 1 / 252
    assert losses.equivalence_p(near, runs, margin=0.1) == 1 / 252
    assert losses.equivalence_p(runs, far, margin=0.1) > 0.9
    assert losses.equivalence_p(far, runs, margin=0.1) > 0.9
    wide = [2.0, 2.5, 1.5, 2.9, 1.1]
    assert losses.equivalence_p(wide, list(reversed(wide)), margin=0.1) > 0.05  # too few runs to tell


def test_an_arm_is_as_wanted_where_both_measures_are() -> None:
    equal = {"difference_p": 0.6, "equivalence_p": 0.01}
    other = {"difference_p": 0.01, "equivalence_p": 0.9}
    unknown = {"difference_p": 0.6, "equivalence_p": 0.2}
    assert losses.is_as_wanted("forebay", {"a": equal, "b": equal})
    assert not losses.is_as_wanted("forebay", {"a": equal, "b": other})
    assert not losses.is_as_wanted("forebay", {"a": equal, "b": unknown})
    assert losses.is_as_wanted("control", {"a": other, "b": other})
    assert not losses.is_as_wanted("control", {"a": other, "b": equal})
