"""Runs -> medians and spreads, and the Markdown table. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

Run = dict[str, Any]
_FIGURES = ("rows_per_second", "cpu_s_per_1000", "pss_mb", "first_batch_seconds")


def summarise(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """One entry a peer and dtype, fastest first within the dtype: figure -> [median, low, high]."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["dtype"], run["peer"]), []).append(run)
    entries: list[dict[str, Any]] = []
    for (dtype, peer), group in groups.items():
        figures = {name: _spread(group, name) for name in _FIGURES}
        entries.append({"peer": peer, "dtype": dtype, "rounds": len(group), **figures})
    entries.sort(key=lambda entry: (entry["dtype"] != "u8", -entry["rows_per_second"][0]))
    return entries


def markdown(entries: list[dict[str, Any]], notes: dict[str, str]) -> str:
    """Draw the table; each rate also as a multiple of forebay's, where forebay ran."""
    lines = [
        "| peer | output | images/s | of forebay | CPU s / 1000 | MB | first batch, s | note |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = {e["dtype"]: e["rows_per_second"][0] for e in entries if e["peer"] == "forebay"}
    for entry in entries:
        rate = entry["rows_per_second"]
        share = f"{rate[0] / ours[entry['dtype']]:.2f}" if entry["dtype"] in ours else ""
        lines.append(
            f"| {entry['peer']} | {entry['dtype']} | {_shown(rate, 0)} | {share} "
            f"| {_shown(entry['cpu_s_per_1000'], 2)} | {entry['pss_mb'][0]:.0f} "
            f"| {entry['first_batch_seconds'][0]:.1f} | {notes.get(entry['peer'], '')} |"
        )
    return "\n".join(lines)


def _spread(group: list[Run], name: str) -> list[float]:
    values = [float(run[name]) for run in group]
    return [median(values), min(values), max(values)]


def _shown(spread: list[float], digits: int) -> str:
    middle, low, high = (f"{value:.{digits}f}" for value in spread)
    return f"{middle} ({low} to {high})"
