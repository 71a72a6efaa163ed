"""A node's daemon for a bench: started with its settings, asked for its sums and its histograms, ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from peers.envs import REPO

_START_SECONDS = 60.0


class Node:
    """`forebay serve` on sockets in `folder`; `settings` are keys of its configuration."""

    def __init__(self, folder: Path, root: Path, binary: Path, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.binary, self.socket, self._metrics = binary, str(folder / "node.sock"), str(folder / "metrics.sock")
        keys = {"socket": self.socket, "metrics_listen": f"unix:{self._metrics}", **settings}
        lines = [f"{name} = {json.dumps(value)}" for name, value in keys.items()]
        (folder / "node.toml").write_text("\n".join([*lines, "[[root]]", f"path = {json.dumps(str(root))}", ""]))
        command = [str(binary), "--log", "warn", "serve", "--config", str(folder / "node.toml")]
        self._child = subprocess.Popen(command)
        deadline = time.monotonic() + _START_SECONDS
        while not os.path.exists(self.socket):
            if self._child.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("error: the daemon did not start\nhint: it says why above")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._child.pid

    def peak_bytes(self) -> int:
        """Give its peak of resident memory, shared pages included."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

    def descriptors(self) -> int:
        """Count its open descriptors."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def sessions(self) -> list[dict[str, Any]]:
        """Give its sessions as `forebay stats --json` has them."""
        command = [str(self.binary), "stats", "--socket", self.socket, "--json"]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout).get("sessions", [])

    def histogram(self, name: str) -> dict[float, float]:
        """Give a histogram's counts by upper bound, cumulative."""
        found: dict[float, float] = {}
        for line in self._scraped().splitlines():
            if line.startswith(f"{name}_bucket{{"):
                bound = line.split('le="')[1].split('"')[0]
                found[float(bound)] = found.get(float(bound), 0.0) + float(line.rsplit(" ", 1)[1])
        return found

    def _scraped(self) -> str:
        with socket.socket(socket.AF_UNIX) as to:
            to.connect(self._metrics)
            to.sendall(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: to.recv(1 << 16), b""))
        return answer.decode()

    def close(self) -> None:
        """End it."""
        self._child.terminate()
        self._child.wait()

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def quantile(before: dict[float, float], after: dict[float, float], share: float) -> tuple[float, float]:
    """Give the bounds between which a quantile of what was counted in between lies, in the histogram's unit."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted, below = share * max(counts.values(), default=0.0), 0.0
    for bound, count in counts.items():
        if count >= wanted and count > 0:
            return below, bound
        below = bound
    return below, float("inf")


def built() -> Path:
    """Name the command of this tree."""
    return REPO / "target" / "release" / "forebay"
