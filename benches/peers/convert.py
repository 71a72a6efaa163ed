"""Conversions into a peer's own format: made once for a data set, kept, and their cost told."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .settings import Peer

MARKER = "conversion.json"


@dataclass(frozen=True)
class Photos:
    """The data set that is measured: a folder of class folders of JPEGs."""

    folder: Path
    files: int
    bytes: int
    fingerprint: str

    @classmethod
    def read(cls, folder: Path) -> Photos:
        """List it; its fingerprint is that of its names and sizes."""
        found = sorted((str(path.relative_to(folder)), path.stat().st_size) for path in folder.glob("*/*"))
        fingerprint = hashlib.sha256(repr(found).encode()).hexdigest()[:12]
        return cls(folder, len(found), sum(size for _, size in found), fingerprint)


def place(folder: Path, peer: Peer, photos: Photos) -> Path:
    """Name where a peer's conversion of a data set is kept."""
    return folder / f"{peer.name}-{photos.fingerprint}"


def converted(peer: Peer, photos: Photos, folder: Path, run: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Give what is known of the conversion, and make it where it is not there.

    run: writes it into the folder it is given, and tells `seconds`, `cpu_seconds` and `bytes`.
    """
    target = place(folder, peer, photos)
    marker = target / MARKER
    if not marker.exists():
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        try:
            told = run(target)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            raise
        # Last of all: what has a marker is whole.
        marker.write_text(json.dumps({**told, "share": told["bytes"] / photos.bytes}) + "\n")
    return json.loads(marker.read_text())
