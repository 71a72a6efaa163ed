"""Each peer's Python: the one with torch, or a venv of its own that sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from settings import Peer

TORCH = ("torch", "torchvision")


def default_folder() -> Path:
    """Where venvs are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "forebay-peers"


def base_python(folder: Path) -> str:
    """Give the Python that has torch and torchvision: this one, or a venv that gets them (5 GB)."""
    if _has(sys.executable, TORCH):
        return sys.executable
    say("this Python has no torch and torchvision: installing them into a venv, about 5 GB")
    return _venv(folder / "torch", TORCH, None)


def python_for(peer: Peer, base: str, folder: Path) -> str:
    """Give the Python that runs `peer`."""
    if not peer.packages:
        return base
    return _venv(folder / peer.name, peer.packages, base)


def _venv(folder: Path, packages: tuple[str, ...], base: str | None) -> str:
    python = folder / "bin" / "python"
    marker = folder / "installed"
    if marker.exists() and marker.read_text() == " ".join(packages):
        return str(python)
    say(f"installing {' '.join(packages)} into {folder}")
    subprocess.run([base or sys.executable, "-m", "venv", str(folder)], check=True)
    if base:
        # What the base has is seen, not copied: torch alone is 5 GB.
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        seen = subprocess.run([base, "-c", code], check=True, capture_output=True, text=True).stdout
        (folder / sysconfig.get_path("purelib", vars={"base": str(folder)}) / "_base.pth").write_text(seen)
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    marker.write_text(" ".join(packages))
    return str(python)


def _has(python: str, modules: tuple[str, ...]) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules!r})))"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def say(line: str) -> None:
    """Tell a person; standard output is for the table."""
    print(line, file=sys.stderr, flush=True)
