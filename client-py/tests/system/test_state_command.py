"""`forebay state` on what loaders really saved: as JSON, as Python prints it, and inside torch checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REAL

import forebay
from forebay.numpy import DataLoader
from forebay.transforms import RandomHorizontalFlip, RandomResizedCrop

from .batches import batch_digest
from .support import TESTS


def make_loader(folder: Path, crop: int = 8, **arguments: Any) -> DataLoader:
    fields = {
        "image": forebay.Image(transform=[RandomResizedCrop(crop), RandomHorizontalFlip()]),
        "label": forebay.Value(),
    }
    return DataLoader(folder, shuffle=True, fields=fields, **arguments)


def saved(folder: Path, path: Path, **arguments: Any) -> Path:
    with make_loader(folder, **arguments) as loader:
        next(iter(loader))
        path.write_text(json.dumps(loader.state_dict()))
    return path


def run(*words: str | Path, python: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "forebay"] if python else [REAL]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src")}
    return subprocess.run(
        [*command, "state", *map(str, words)], capture_output=True, text=True, env=environment, timeout=50, check=False
    )


def test_show_says_where_a_state_stands_and_what_it_is_made_of(folder: Path, tmp_path: Path) -> None:
    state = saved(folder, tmp_path / "a.json", batch_size=6, job_id="run-7")
    shown = run("show", state).stdout
    assert "job              run-7\nstands at        epoch 0, row 6 of 40\nseed             0\n" in shown
    assert "  field image    RandomResizedCrop(8); RandomHorizontalFlip; uint8; channels last\n" in shown
    assert "  sampler        shuffled; order version 1\n" in shown
    assert json.loads(run("show", state, "--json").stdout) == json.loads(state.read_text())


def test_a_state_that_was_printed_is_read_too(folder: Path, tmp_path: Path) -> None:
    state = saved(folder, tmp_path / "a.json", batch_size=6)
    (tmp_path / "printed.txt").write_text(f"{json.loads(state.read_text())}\n")
    assert json.loads(run("show", tmp_path / "printed.txt", "--json").stdout) == json.loads(state.read_text())


def test_diff_agrees_with_load_state_dict(folder: Path, tmp_path: Path) -> None:
    one = saved(folder, tmp_path / "one.json", batch_size=6)
    same = saved(folder, tmp_path / "same.json", batch_size=9, rank=1, world_size=2)
    other = saved(folder, tmp_path / "other.json", batch_size=6, crop=6)
    seed = saved(folder, tmp_path / "seed.json", batch_size=6, seed=1, crop=6)
    assert run("diff", one, same).returncode == 0
    waived = run("diff", one, other)
    assert waived.returncode == 3
    assert "field image: RandomResizedCrop(8) is now RandomResizedCrop(6)\n" in waived.stdout
    refused = run("diff", one, seed)
    assert refused.returncode == 1
    assert "seed 0 is now 1\n" in refused.stdout
    assert run("diff", one, tmp_path / "none.json").returncode == 1
    assert run("diff", one).returncode == 2
    with make_loader(folder, crop=6) as loader, pytest.raises(forebay.ForebayError) as info:
        loader.load_state_dict(json.loads(one.read_text()))
    assert "field image: RandomResizedCrop(8) is now RandomResizedCrop(6)\n" in str(info.value)
    with make_loader(folder, crop=6) as loader:
        loader.load_state_dict(json.loads(one.read_text()), allow_changed="field image")


def test_seek_writes_a_state_that_a_loader_goes_on_from(folder: Path, tmp_path: Path) -> None:
    state, there = saved(folder, tmp_path / "a.json", batch_size=6), tmp_path / "there.json"
    with make_loader(folder, batch_size=6) as loader:
        epochs = [[batch_digest(batch) for batch in loader] for _ in range(3)]
    for row in range(0, 40, 6):
        done = run("seek", state, "--epoch", "2", "--row", str(row), "-o", there, "--force")
        assert done.stdout == f"{there}: epoch 2, row {row} of 40, where {state} stands at epoch 0, row 6 of 40\n"
        with make_loader(folder, batch_size=6) as loader:
            loader.load_state_dict(json.loads(there.read_text()))
            assert [batch_digest(batch) for batch in loader] == epochs[2][row // 6 :]
    by_step = json.loads(run("seek", state, "--epoch", "2", "--step", "6", "--global-batch-size", "6").stdout)
    assert by_step == json.loads(there.read_text())
    late = run("seek", state, "--step", "9", "--global-batch-size", "6")
    assert late.returncode == 1
    assert "an epoch has 7 steps of 6 rows" in late.stderr


def test_python_looks_into_torch_checkpoints(folder: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = json.loads(saved(folder, tmp_path / "a.json", batch_size=6).read_text())
    model = {"weight": torch.ones(1000), "epoch": torch.tensor(3)}
    torch.save({"model": model, "loader": state, "lrs": [0.1, 0.2]}, tmp_path / "model.pt")
    torch.save({"loaders": [state, {"val": {**state, "position": 30}}]}, tmp_path / "two.pt")
    torch.save({"model": model}, tmp_path / "none.pt")
    torch.save({"loader": state, "other": Path("x")}, tmp_path / "code.pt")

    def look(*words: str | Path) -> subprocess.CompletedProcess[str]:
        return run(*words, python=True)

    assert json.loads(look("show", tmp_path / "model.pt", "--json").stdout) == state
    two = look("show", tmp_path / "two.pt")
    assert two.returncode == 1
    assert f"{tmp_path}/two.pt: 2 loader states are in it: loaders.0, loaders.1.val\n" in two.stderr
    assert "row 30 of 40" in look("show", tmp_path / "two.pt", "--key", "loaders.1.val").stdout
    assert look("diff", tmp_path / "model.pt", tmp_path / "a.json").returncode == 0
    assert "no loader state is in it\nhint: save it with" in look("show", tmp_path / "none.pt").stderr
    assert "without running code of it" in look("show", tmp_path / "code.pt").stderr
    written = look("seek", tmp_path / "model.pt", "--row", "12", "-o", tmp_path / "none.pt", "--force")
    assert written.returncode == 0
    assert json.loads((tmp_path / "none.pt").read_text()) == {**state, "position": 12}
    direct = run("show", tmp_path / "model.pt")
    assert direct.returncode == 1
    assert "`python -m forebay state ...`, with the same options, looks into it" in direct.stderr
