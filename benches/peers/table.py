"""Runs -> one summary a peer and case, and the Markdown tables. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .intervals import Interval, interval, paired_ratio
from .rounds import Outcome, Run
from .settings import PHOTOS, Task

OURS = "forebay"
HOW = (
    "Rates and processor time: geometric mean of the rounds, with Student's 95 % interval over them, on logarithms. "
    "forebay / peer: the same of the ratios of the rates, each within one round. CPU seconds and MB are those of the "
    "process and all its descendants, Python and frameworks included. MB is proportional set size at the end, in "
    "brackets the part of it that is pages of files: libraries, and data mapped from the page cache."
)


@dataclass(frozen=True)
class Row:
    """What the rounds of one peer with one case came to.

    ratio: forebay's rate over this peer's, within rounds; None where they share no round.
    from_device: the share of the bytes that were fetched from a device meanwhile; None where nobody counted.
    """

    peer: str
    case: str
    rate: Interval
    cpu: Interval
    ratio: Interval | None
    pss_mb: float
    pss_file_mb: float
    first_batch_seconds: float
    from_device: float | None


def summarise(runs: Sequence[Run]) -> list[Row]:
    """Give a row a peer and case, fastest first within the case."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run["case"], run["peer"]), []).append(run)
    rows = [
        Row(
            peer=peer,
            case=case,
            rate=interval([run["rows_per_second"] for run in group]),
            cpu=interval([run["cpu_s_per_1000"] for run in group]),
            ratio=None if peer == OURS else paired_ratio(_rates(groups.get((case, OURS), [])), _rates(group)),
            pss_mb=median(run["pss_mb"] for run in group),
            pss_file_mb=median(run["pss_file_mb"] for run in group),
            first_batch_seconds=median(run["first_batch_seconds"] for run in group),
            from_device=median(run["from_device"] for run in group) if "from_device" in group[0] else None,
        )
        for (case, peer), group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row.rate.middle)


def markdown(
    rows: Sequence[Row],
    outcome: Outcome,
    cases: Sequence[str],
    notes: Mapping[str, str],
    conversions: Mapping[str, Mapping[str, float]],
    task: Task = PHOTOS,
) -> str:
    """Draw a table a case. A peer that failed stands under those that did not, with its reason.

    conversions: peer -> `seconds` that its conversion took, and `share`: its bytes over the photographs'.
    """
    parts: list[str] = []
    headings = ("peer", f"{task.unit}/s", "forebay / peer", task.cpu[0], "MB (files)", "first batch, s", task.extra)
    for case in cases:
        lines = [
            f"### {case}",
            "",
            f"| {' | '.join(headings)} | set-up |",
            f"|{'---|' * (len(headings) + 1)}",
        ]
        for row in rows:
            if row.case == case:
                lines.append(_line(row, notes.get(row.peer, ""), conversions.get(row.peer), task))
        for (peer, failed_case), reason in outcome.failures.items():
            if failed_case == case:
                lines.append(f"| {peer} | **failed** |{' |' * (len(headings) - 2)} {_cell(reason)} |")
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, HOW])


def record(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Give the summary as it is kept: each interval as [middle, low, high], bounds null where one round knows none."""
    return [
        {
            "peer": row.peer,
            "case": row.case,
            "rounds": row.rate.rounds,
            "rows_per_second": _triple(row.rate),
            "cpu_s_per_1000": _triple(row.cpu),
            "forebay_over_peer": _triple(row.ratio) if row.ratio else None,
            "pss_mb": row.pss_mb,
            "pss_file_mb": row.pss_file_mb,
            "first_batch_seconds": row.first_batch_seconds,
            "from_device": row.from_device,
        }
        for row in rows
    ]


def _rates(group: Sequence[Run]) -> dict[int, float]:
    return {run["round"]: run["rows_per_second"] for run in group}


def _line(row: Row, note: str, conversion: Mapping[str, float] | None, task: Task) -> str:
    _, scale, digits = task.cpu
    extra = f"{conversion['seconds']:.0f} s, {conversion['share']:.1f} x the bytes" if conversion else ""
    if row.from_device is not None:
        extra = f"{100 * row.from_device:.0f} %"
    cells = [
        f"**{row.peer}**" if row.peer == OURS else row.peer,
        _shown(row.rate, 0),
        "" if row.ratio is None else _shown(row.ratio, 2),
        _shown(row.cpu.times(scale), digits),
        f"{row.pss_mb:.0f} ({row.pss_file_mb:.0f})",
        f"{row.first_batch_seconds:.1f}",
        extra,
        _cell(note),
    ]
    return f"| {' | '.join(cells)} |"


def _shown(found: Interval, digits: int) -> str:
    middle = f"{found.middle:.{digits}f}"
    return f"{middle} ({found.low:.{digits}f} to {found.high:.{digits}f})" if found.known else middle


def _triple(found: Interval) -> list[float | None]:
    return [found.middle, found.low, found.high] if found.known else [found.middle, None, None]


def _cell(text: str) -> str:
    # A bar or a new line would end the cell.
    return " ".join(text.split()).replace("|", "\\|")
