"""The example that walks through the life of a data set, on made data: it checks what must hold at every step."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]


def test_a_data_set_is_taken_in_cleaned_split_grown_and_judged(tmp_path: Path) -> None:
    script = PROJECT / "examples" / "life" / "whole_life.py"
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "client-py" / "src")}
    words = [sys.executable, str(script), "--work", str(tmp_path), "--images", "200"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stdout.endswith("all of it holds\n")
    assert done.stdout.count("  checked: ") == 12
