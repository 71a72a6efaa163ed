"""What the demo's two training scripts print: a progress bar, and where the time went."""

from __future__ import annotations

import sys
from typing import Any

BAR_CHARS = 30


def bar(title: str, step: int, steps: int, note: str) -> None:
    """Show the progress of one epoch: redrawn on a terminal, one line an epoch elsewhere."""
    last = step == steps
    if not sys.stdout.isatty() and not last:
        return
    filled = BAR_CHARS * step // max(steps, step)
    line = f"{title} [{'#' * filled}{'.' * (BAR_CHARS - filled)}] {step}/{steps} {note}"
    print(f"\r{line}\033[K" if sys.stdout.isatty() else line, end="\n" if last else "", flush=True)


def print_stats(loader: Any) -> None:
    """Print what the loader counted, where it counts at all."""
    if not hasattr(loader, "stats"):
        return
    print("where the loader's time went:")
    print("\n".join(f"  {line}" for line in str(loader.stats()).splitlines()))
