"""`benches/gpu.py` where there is no GPU: it says so, and its rehearsal goes through all of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REAL

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision", reason="torchvision is not installed")

SCRIPT = Path(__file__).resolve().parents[2] / "benches" / "gpu.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FOREBAY_BINARY": REAL}
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, env=environment)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_it_says_what_is_missing() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("error: device='cuda': ")
    assert "hint: " in done.stderr
    assert not done.stdout


@pytest.mark.skipif(not REAL, reason="no binary: FOREBAY_BINARY names none, nor is one on PATH")
def test_its_rehearsal_answers_each_question(tmp_path: Path) -> None:
    done = run("--rehearse", "--out", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    assert "nothing below is a measurement" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["rehearsal"] is True
    assert set(found["transfer"]["gigabytes_per_second"]) == {"slot", "pinned", "pageable"}
    assert set(found["decode"]["images_per_second"]) == {"torchvision", "forebay", "forebay, resized"}
    assert found["decode"]["files"] == found["sizes"]["batch"]
    assert set(found["train"]["gpu_waits_percent"]) == {"forebay", "torch"}
    assert len(found["train"]["step_seconds"]["resident"]) == found["sizes"]["turns"]
    assert {"processor", "cores", "kernel", "torch"} <= set(found["machine"])
