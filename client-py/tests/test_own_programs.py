"""Whole programs over a user's own data set: how they start, how Ctrl-C and kills end them, and what is left then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REAL
from system.support import is_alive, wait_until

pytestmark = pytest.mark.skipif(not REAL, reason="no binary")

SOURCE = Path(__file__).resolve().parents[1] / "src"

DATA = """
import os, sys, time
from forebay.numpy import DataLoader

print("imported", flush=True)

class Squares:
    def __init__(self, seconds=0.0):
        self.seconds = seconds
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        time.sleep(self.seconds)
        return index * index
"""

TRAIN = """
def train(seconds):
    loader = DataLoader(Squares(seconds), batch_size=10, num_workers=2)
    for step, batch in enumerate(loader):
        if step == 0:
            while len(loader.worker_pids()) < 2:
                pass
            print("pids", *loader.worker_pids(), flush=True)
    print("sum", sum(int(batch.sum()) for batch in loader), flush=True)
"""

GUARDED = """
if __name__ == "__main__":
    train(float(sys.argv[1]))
"""

UNGUARDED = """
train(float(sys.argv[1]))
"""

SUM = f"sum {sum(index * index for index in range(1000))}"


def start(folder: Path, text: str, *arguments: str) -> subprocess.Popen[str]:
    program = folder / "train.py"
    program.write_text(text)
    environment = {**os.environ, "FOREBAY_BINARY": REAL, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, str(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=folder,
    )


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("pids"):
            return [int(word) for word in line.split()[1:]]
    assert process.stderr is not None
    raise AssertionError(process.stderr.read())


def test_a_program_is_imported_once_for_all_workers(tmp_path: Path) -> None:
    output, errors = start(tmp_path, DATA + TRAIN + GUARDED, "0").communicate(timeout=60)
    assert SUM in output
    assert output.count("imported") == 2, (output, errors)
    assert "Warning" not in errors


def test_a_program_without_a_guard_has_its_workers_forked(tmp_path: Path) -> None:
    output, errors = start(tmp_path, DATA + TRAIN + UNGUARDED, "0").communicate(timeout=60)
    assert SUM in output, errors
    assert output.count("imported") == 1
    assert "train.py has no `if __name__ ==" in errors


def test_a_guard_that_does_not_guard_is_named_with_the_cure(tmp_path: Path) -> None:
    text = DATA + TRAIN + "\nprint(__name__)\n" + UNGUARDED
    _, errors = start(tmp_path, text, "0").communicate(timeout=60)
    assert "the workers could not import the program" in errors
    assert 'put what it runs under `if __name__ == "__main__":`' in errors


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_its_program(tmp_path: Path, end: signal.Signals) -> None:
    process = start(tmp_path, DATA + TRAIN + GUARDED, "0.02")
    workers = workers_of(process)
    assert all(map(is_alive, workers))
    if end is signal.SIGINT:
        os.killpg(process.pid, end)  # as a terminal does
    else:
        process.send_signal(end)
    _, errors = process.communicate(timeout=30)
    wait_until(lambda: not any(map(is_alive, workers)), "no worker lives")
    if end is signal.SIGINT:
        assert errors.count("Traceback") == 1, errors
        assert errors.rstrip().endswith("KeyboardInterrupt")


def test_an_interrupt_while_workers_start_says_nothing_of_them(tmp_path: Path) -> None:
    slow = DATA.replace('print("imported", flush=True)', 'print("imported", flush=True)\ntime.sleep(1)')
    process = start(tmp_path, slow + TRAIN + GUARDED, "0")
    assert process.stdout is not None
    wait_until(lambda: process.stdout.readline() == "imported\n", "the program is imported")
    wait_until(lambda: process.stdout.readline() == "imported\n", "the workers import it")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert errors.count("Traceback") == 1, errors


EARLY = """
import pathlib

FOLDER = pathlib.Path(__file__).parent
if __name__ != "__main__":
    (FOLDER / "imported").touch()
    while (FOLDER / "endless").exists():
        time.sleep(0.01)

class Around:
    def __len__(self):
        return 4
    def __getitem__(self, index):
        import late
        return late.NUMBER * index, os.getcwd(), os.environ["LATE"], os.environ.get("EARLY", "gone")

if __name__ == "__main__":
    os.environ["EARLY"] = "there"
    loader = DataLoader(Around(), batch_size=4, num_workers=1)
    from forebay._python import start
    print("clean process", start._process._process.pid, flush=True)
    while not (FOLDER / "imported").exists():
        time.sleep(0.01)
"""


def test_the_program_is_imported_while_it_goes_on_to_its_first_batch_and_what_it_changes_meanwhile_holds(
    tmp_path: Path,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "late.py").write_text("NUMBER = 7")
    changes = """
    sys.path.insert(0, str(FOLDER / "elsewhere"))
    os.chdir(FOLDER / "elsewhere")
    os.environ["LATE"] = "set"
    del os.environ["EARLY"]
    (numbers, folders, late, early), = loader
    print("saw", numbers.tolist(), set(folders) == {os.getcwd()}, set(late), set(early))
"""
    output, errors = start(tmp_path, DATA + EARLY + changes).communicate(timeout=60)
    assert "saw [0, 7, 14, 21] True {'set'} {'gone'}" in output, errors
    assert output.count("imported") == 2, "the clean process is that which was begun early"


def test_a_program_that_never_asks_for_a_batch_does_not_wait_for_its_import(tmp_path: Path) -> None:
    (tmp_path / "endless").touch()
    process = start(tmp_path, DATA + EARLY)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    (line,) = [line for line in output.splitlines() if line.startswith("clean process")]
    wait_until(lambda: not is_alive(int(line.split()[-1])), "the clean process is gone")


def test_a_program_that_could_not_be_imported_early_is_told_so_when_it_asks_for_a_batch(tmp_path: Path) -> None:
    text = EARLY.replace(".touch()", '.touch(); raise ValueError("not here")')
    ended = """
    while not start._process.is_gone:
        start._process.hear()
    next(iter(loader))
"""
    _, errors = start(tmp_path, DATA + text + ended).communicate(timeout=60)
    assert "the workers could not import the program" in errors
    assert "ValueError: not here" in errors
