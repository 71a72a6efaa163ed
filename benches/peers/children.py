"""Worker processes: started, listened to, and ended with all they have started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import tree
from .envs import REPO, last_line
from .rounds import PeerFailedError

_END_SECONDS = 60.0


def environment(binary: Path | None) -> dict[str, str]:
    """Let workers find this package, the client of this tree and its binary; no daemon of the node, no tuning."""
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join([str(REPO / "benches"), str(REPO / "client-py" / "src")])
    if binary:
        env["FOREBAY_BINARY"] = str(binary.resolve())
    for name in ("FOREBAY_SOCKET", "FOREBAY_CPU_THREADS", "FOREBAY_READ_THREADS", "PYTHONHOME"):
        env.pop(name, None)
    return env


def ask_worker(
    python: Path, arguments: Sequence[str], env: dict[str, str], log: Path, limit_seconds: float
) -> dict[str, Any]:
    """Run a worker to its end and give what it tells.

    log: gets what it says on standard error.
    Raises PeerFailedError with its last line, when it fails or is not done within the limit.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        child = subprocess.Popen(
            [str(python), "-m", f"{__package__}.worker", *arguments],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = child.communicate(timeout=limit_seconds)
        except subprocess.TimeoutExpired:
            raise PeerFailedError(f"not done after {limit_seconds:.0f} s (log: {log.name})") from None
        finally:
            _end(child)
    if child.returncode != 0 or not said.strip():
        reason = last_line(log.read_text(errors="replace")).replace(f"{REPO}/", "")
        raise PeerFailedError(f"ended with {child.returncode}: {reason} (log: {log.name})")
    return json.loads(said.splitlines()[-1])


class StoppedError(BaseException):
    """A request to end, which is no error and not to be taken for one: it ends the workers on its way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def stop_on_signals() -> None:
    """Make a request to end reach every `finally`."""

    def stop(number: int, _: object) -> None:
        raise StoppedError(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def _end(child: subprocess.Popen[str]) -> None:
    # A framework's processes may have sessions of their own: they are found as descendants while their parent lives.
    descendants = tree.members(child.pid) if child.poll() is None else []
    for pid in reversed(descendants):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    # Those that are still giving back their memory would disturb whoever is measured next.
    until = time.monotonic() + _END_SECONDS
    while any(map(tree.is_alive, descendants)) and time.monotonic() < until:
        time.sleep(0.01)
