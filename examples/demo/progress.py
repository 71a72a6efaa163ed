"""What the demo's two training scripts print: a progress bar, and where the time went."""

from __future__ import annotations

import sys
from collections.abc import Mapping
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
    """Print what the loader counted, one line a figure, where it counts at all."""
    if not hasattr(loader, "stats"):
        return
    print("where the loader's time went:")
    _print_figures(loader.stats(), indent=2)


def _print_figures(figures: Mapping[str, Any], indent: int) -> None:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            print(f"{'':{indent}}{name}:")
            _print_figures(value, indent + 2)
        else:
            shown = f"{value:.3f}" if isinstance(value, float) else str(value)
            print(f"{'':{indent}}{name:{34 - indent}}{shown:>14}")
