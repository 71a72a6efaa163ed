"""Each peer's Python: a venv of its own, which sees the one torch that all of them share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from .catalogue import Entry
from .rounds import PeerFailedError
from .settings import Install

REPO = Path(__file__).resolve().parent.parent.parent
WORK = REPO / "target" / "peers"
TORCH = Install(("torch==2.15.0", "torchvision==0.29.2"), megabytes=5600, minutes=5)


@dataclass
class Pythons:
    """Where the venvs are, and which Python has torch.

    folder: one venv a family in it, kept between runs.
    torch: a Python with torch and torchvision: one that was named, this one, that of `./dev test`, or one to be made.
    """

    folder: Path
    logs: Path
    torch: Path

    @classmethod
    def find(cls, folder: Path, logs: Path, named: Path | None) -> Pythons:
        """Look for a torch that is there before 5 GB of it are installed."""
        own = folder / "torch" / "bin" / "python"
        if named and not _has_torch(named):
            raise SystemExit(f"error: {named} has no torch and torchvision\nhint: leave --torch-python out")
        # Our own first: once peers are installed beside it, another torch would install them all again.
        there = [named] if named else [own, Path(sys.executable), REPO / ".venv" / "bin" / "python"]
        return cls(folder, logs, next((python for python in there if _has_torch(python)), own))

    def missing(self, entry: Entry) -> list[tuple[str, Install]]:
        """Tell what `python_for` would install, by the names of the venvs."""
        needed: list[tuple[str, Install]] = []
        if entry.install.torch and self._is_own(self.torch) and not self._installed("torch", TORCH):
            needed.append(("torch", TORCH))
        if entry.install.packages and not self._installed(entry.family, entry.install):
            needed.append((entry.family, entry.install))
        return needed

    def python_for(self, entry: Entry) -> Path:
        """Give the Python that runs a peer, installed where it is not.

        Raises PeerFailedError with the reason and the place of the log.
        """
        for name, install in self.missing(entry):
            self._make(name, install)
        if entry.install.packages:
            return self._python(entry.family)
        return self.torch

    def with_torch(self) -> Path:
        """Give the Python that has torch, torchvision and Pillow, installed where it is not."""
        if self._is_own(self.torch) and not self._installed("torch", TORCH):
            self._make("torch", TORCH)
        return self.torch

    def _make(self, name: str, install: Install) -> None:
        if lacking := missing_debian(install):
            raise PeerFailedError(f"not installed: it is built from source and needs {' '.join(lacking)}")
        log, venv = self.logs / f"install-{name}.log", self.folder / name
        say(f"installing {' '.join(install.packages)} into {venv}")
        shutil.rmtree(venv, ignore_errors=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        pip = ["-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        if name == "torch" and (index := os.environ.get("FOREBAY_TORCH_INDEX")):
            pip += ["--index-url", index]
        with log.open("w") as to:
            shares_torch = install.torch and name != "torch"
            _run([str(self.torch if shares_torch else sys.executable), "-m", "venv", str(venv)], to)
            if shares_torch:
                self._see_torch(venv)
            _run([str(self._python(name)), *pip, *install.packages], to)
        (venv / "installed").write_text(self._stamp(install))

    def _see_torch(self, venv: Path) -> None:
        # What the other venv has is seen, not copied.
        code = "import os, torch; print(os.path.dirname(os.path.dirname(torch.__file__)))"
        seen = subprocess.run([str(self.torch), "-c", code], check=True, capture_output=True, text=True).stdout
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        asked = [str(venv / "bin" / "python"), "-c", code]
        site = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        (Path(site) / "_torch.pth").write_text(seen)

    def _python(self, name: str) -> Path:
        return self.folder / name / "bin" / "python"

    def _is_own(self, python: Path) -> bool:
        return python == self._python("torch")

    def _installed(self, name: str, install: Install) -> bool:
        marker = self.folder / name / "installed"
        return marker.exists() and marker.read_text() == self._stamp(install)

    def _stamp(self, install: Install) -> str:
        return " ".join([*install.packages, f"torch of {self.torch}" if install.torch else "no torch", sys.version])


def missing_debian(install: Install) -> list[str]:
    """Tell which of the distribution's packages a build would miss."""
    return [package for proof, package in install.debian if not _is_there(*proof.split())]


def say(line: str) -> None:
    """Tell a person; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)


def last_line(text: str) -> str:
    """Give the last line that says something: of an error mostly the one with the reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def _run(command: list[str], to: object) -> None:
    # Nothing of the caller's shell may redirect pip, or let the venv see another's packages.
    hidden = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_USER", "PIP_REQUIRE_VIRTUALENV"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    done = subprocess.run(command, stdout=to, stderr=subprocess.STDOUT, env=env, check=False)  # type: ignore[arg-type]
    if done.returncode != 0:
        log = Path(to.name)  # type: ignore[attr-defined]
        reason = next((line for line in log.read_text().splitlines() if line.startswith("ERROR")), None)
        raise PeerFailedError(f"not installed: {last_line(reason or log.read_text())} (log: {log.name})")


def _is_there(kind: str, name: str) -> bool:
    if kind == "program":
        return shutil.which(name) is not None
    if kind == "header":
        return (Path(sysconfig.get_path("include")) / name).exists()
    found = shutil.which("pkg-config") and subprocess.run(["pkg-config", "--exists", name], check=False).returncode == 0
    return bool(found)


def _has_torch(python: Path) -> bool:
    if not python.exists():
        return False
    code = "import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, ('torch', 'torchvision'))))"
    return subprocess.run([str(python), "-c", code], check=False).returncode == 0
