"""What the user is told: one line on stderr, never a Python warning (those become errors under -W error)."""

from __future__ import annotations

import contextlib
import sys


def say(text: str) -> None:
    """Print one line; a closed or missing stderr is no reason to stop a training run."""
    with contextlib.suppress(Exception):
        print(f"forebay: {text}", file=sys.stderr, flush=True)
