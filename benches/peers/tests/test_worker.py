"""A worker process: what it tells, and what becomes of one that fails or hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from peers.children import StoppedError, ask_worker, environment, stop_on_signals
from peers.rounds import PeerFailedError
from peers.tree import is_alive

MODULE = "tests.peer_fake"


def ask(tmp_path: Path, peer: str, *more: str, limit_seconds: float = 120.0) -> dict[str, float]:
    arguments = ["--module", MODULE, "--peer", peer, "--data", str(tmp_path), "--cores", "1", *more]
    return ask_worker(Path(sys.executable), arguments, environment(None), tmp_path / "log", limit_seconds)


def measured(tmp_path: Path, peer: str, case: str = "uint8", limit_seconds: float = 120.0) -> dict[str, float]:
    more = ["--case", case, "--batch", "8", "--warmup", "0", "--seconds", "0.05"]
    return ask(tmp_path, peer, *more, limit_seconds=limit_seconds)


@pytest.mark.parametrize("case", ["uint8", "float32"])
def test_a_run_tells_whole_batches_and_what_they_cost(tmp_path: Path, case: str):
    told = measured(tmp_path, "good", case)
    assert told["rows"] > 0
    assert told["rows"] % 8 == 0
    assert told["seconds"] >= 0.05
    assert told["rows_per_second"] == pytest.approx(told["rows"] / told["seconds"])
    assert 0 < told["pss_file_mb"] < told["pss_mb"]


def test_a_peer_that_gives_less_than_was_asked_for_fails_with_what_it_gave(tmp_path: Path):
    with pytest.raises(PeerFailedError, match=r"gives a batch of .* bytes and 8 labels"):
        measured(tmp_path, "short")


def test_a_peer_that_crashes_fails_with_its_last_line(tmp_path: Path):
    with pytest.raises(PeerFailedError, match=r"ended with 1: RuntimeError: no such \| codec \(log: log\)"):
        measured(tmp_path, "crashes")
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_python_that_cannot_even_start_the_worker_fails_too(tmp_path: Path):
    with pytest.raises(PeerFailedError, match="No module named"):
        ask_worker(Path(sys.executable), [], {"PYTHONPATH": "/nonexistent"}, tmp_path / "log", 60)


def test_a_peer_that_hangs_is_ended_with_all_it_has_started(tmp_path: Path):
    limit_seconds = 5.0
    while True:
        with pytest.raises(PeerFailedError, match="not done after"):
            measured(tmp_path, "hangs", limit_seconds=limit_seconds)
        if (tmp_path / "child").exists():
            break
        limit_seconds *= 2  # A machine so slow that the worker had not begun.
    assert not is_alive(int((tmp_path / "child").read_text()))


def test_a_process_is_alive_until_it_has_ended_even_before_anybody_waits_for_it():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    assert is_alive(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(child.pid)
    child.wait()
    assert not is_alive(child.pid)


def test_a_conversion_tells_its_seconds_and_bytes(tmp_path: Path):
    target = tmp_path / "target"
    target.mkdir()
    for name in ("b/1.jpg", "a/2.jpg", "a/1.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 10)
    arguments = ["--module", MODULE, "--peer", "good", "--data", str(tmp_path / "photos"), "--cores", "1"]
    arguments += ["--convert-to", str(target)]
    told = ask_worker(Path(sys.executable), arguments, environment(None), tmp_path / "log", 120)
    assert told["bytes"] == 3 * 70
    assert told["seconds"] > 0
    assert len(list(target.iterdir())) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_reaches_every_finally_and_is_told_as_the_shell_does(number: signal.Signals):
    before = {known: signal.getsignal(known) for known in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ended = False

    def work() -> None:
        nonlocal ended
        try:
            signal.raise_signal(number)
        except Exception:  # What a peer's failure is caught with must not catch it.
            pytest.fail("taken for an error")
        finally:
            ended = True

    stop_on_signals()
    try:
        with pytest.raises(StoppedError) as stopped:
            work()
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)
    assert ended
    assert stopped.value.status == 128 + number
