"""What a batch holds, in a few bytes: for tests and for clients in processes of their own."""

from __future__ import annotations

import hashlib
from typing import Any


def batch_digest(batch: Any) -> str:
    """Name a batch by all bytes of all its tensors, their shapes and dtypes."""
    hasher = hashlib.sha256()
    for part in batch.values() if isinstance(batch, dict) else batch:
        if hasattr(part, "numpy"):
            part = part.numpy()
        if hasattr(part, "tobytes"):
            hasher.update(f"{part.dtype} {part.shape}".encode())
            hasher.update(part.tobytes())
        else:
            hasher.update(repr(part).encode())
    return hasher.hexdigest()[:16]


def stream(loader: Any, batches: int) -> list[tuple[str, tuple[int, int]]]:
    """Take so many batches, epoch after epoch: each one's digest, and the cursor behind it."""
    taken: list[tuple[str, tuple[int, int]]] = []
    while len(taken) < batches:
        for batch in loader:
            taken.append((batch_digest(batch), cursor_of(loader)))
            if len(taken) == batches:
                break
    return taken


def cursor_of(loader: Any) -> tuple[int, int]:
    """Give where the loader's state stands."""
    state = loader.state_dict()
    return state["epoch"], state["position"]
