"""`forebay run`: the processes of a job train on one daemon that is theirs, and read what their user may."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import REAL

from .support import TESTS, client, wait_until

PATHS = os.pathsep.join(filter(None, (str(TESTS), str(TESTS.parent / "src"), os.environ.get("PYTHONPATH", ""))))


def start(*command: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [REAL, "run", "--", *map(str, command)],
        env={**os.environ, "PYTHONPATH": PATHS},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_job_gets_what_it_would_get_of_a_daemon_of_its_own(folder: Path) -> None:
    with client("epoch", folder) as alone:
        wanted: dict[str, Any] = alone.result()
    job = start(sys.executable, "-m", "system.programs", "epoch", folder)
    out, _ = job.communicate(timeout=60)
    told = json.loads(out.splitlines()[-1])
    assert job.returncode == 0
    assert told["daemon"] == 0, "it has started a private daemon"
    assert told["digests"] == wanted["digests"]


def test_a_job_that_trains_for_ever_ends_by_a_signal_and_its_daemon_with_it(folder: Path) -> None:
    script = 'echo "$FOREBAY_SOCKET"; exec "$@"'
    job = start("sh", "-c", script, "-", sys.executable, "-m", "system.programs", "train", folder)
    assert job.stdout is not None
    socket = Path(job.stdout.readline().strip())
    assert json.loads(job.stdout.readline()) == {"daemon": 0}
    assert socket.is_socket()
    job.send_signal(signal.SIGTERM)
    assert job.wait(30) == 128 + signal.SIGTERM
    job.stdout.close()
    wait_until(lambda: not socket.parent.exists(), "its folder is gone")
