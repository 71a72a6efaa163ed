"""The summary as a drawing: a bar a peer, its 95 % interval on it, processor seconds beside it. Pure; plain SVG."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from xml.sax.saxutils import escape

from .intervals import Interval
from .settings import PHOTOS, Task
from .table import OURS, Row

_WIDTH, _LINE, _BAR, _MARGIN, _HEAD = 960, 24, 14, 20, 104
_LABEL_X, _RATE_X, _RATE_WIDTH, _CPU_X, _CPU_WIDTH = 176, 186, 420, 700, 180
_OURS, _PLAIN, _CONVERTED, _INK, _FAINT = "#0b63c4", "#8a94a0", "#d8dde3", "#1f2328", "#59636e"


def svg(
    rows: Sequence[Row],
    cases: Sequence[str],
    converted: Collection[str],
    failures: Mapping[tuple[str, str], str],
    title: str,
    subtitles: Sequence[str],
    task: Task = PHOTOS,
) -> str:
    """Draw a panel a case, fastest peer first.

    converted: peers that read a format of their own, drawn paler.
    failures: (peer, case) -> reason; who failed is named below the bars.
    subtitles: two lines at most.
    """
    body: list[str] = [_text(_MARGIN, 30, title, size=18, weight="600")]
    body += [_text(_MARGIN, 50 + 18 * index, line, colour=_FAINT) for index, line in enumerate(subtitles[:2])]
    body += _legend(_MARGIN, 90, bool(converted))
    y = _HEAD
    for case in cases:
        shown = [row for row in rows if row.case == case]
        missing = [peer for (peer, failed), _ in failures.items() if failed == case]
        drawn, y = _panel(case, shown, missing, converted, y, task)
        body += drawn
    inside = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}" height="{y}" '
        f'font-family="Helvetica, Arial, sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{y}" fill="#ffffff"/>\n{inside}\n</svg>\n'
    )


def _panel(
    case: str, rows: Sequence[Row], missing: Sequence[str], converted: Collection[str], y: int, task: Task
) -> tuple[list[str], int]:
    y += 26
    body = [
        _text(_MARGIN, y, case, size=14, weight="600"),
        _text(_RATE_X, y, f"{task.unit}/s, longer is better", colour=_FAINT),
        _text(_CPU_X, y, f"{task.cpu[0]}, shorter is better", colour=_FAINT),
    ]
    _, scale, digits = task.cpu
    rate_top = max((_end(row.rate) for row in rows), default=1.0)
    cpu_top = max((_end(row.cpu) for row in rows), default=1.0) * scale
    y += 8
    for row in rows:
        colour = _OURS if row.peer == OURS else _CONVERTED if row.peer in converted else _PLAIN
        weight = "600" if row.peer == OURS else "400"
        body.append(_text(_LABEL_X, y + 16, row.peer, anchor="end", weight=weight))
        body += _bar(_RATE_X, y, _RATE_WIDTH / rate_top, row.rate, 0, colour)
        body += _bar(_CPU_X, y, _CPU_WIDTH / cpu_top, row.cpu.times(scale), digits, colour)
        y += _LINE
    if missing:
        body.append(_text(_RATE_X, y + 16, f"failed: {', '.join(missing)}", colour="#b42318"))
        y += _LINE
    return body, y + 14


def _bar(x: int, y: int, scale: float, found: Interval, digits: int, colour: str) -> list[str]:
    middle = y + _LINE / 2
    top, width = middle - _BAR / 2, found.middle * scale
    parts = [f'<rect x="{x}" y="{top:.1f}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>']
    if found.known:
        low, high = x + found.low * scale, x + found.high * scale
        parts.append(
            f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8" '
            f'stroke="{_INK}" stroke-width="1" fill="none"/>'
        )
    end = x + _end(found) * scale + 6
    parts.append(_text(end, middle + 4, f"{found.middle:.{digits}f}"))
    return parts


def _legend(x: int, y: int, converts: bool) -> list[str]:
    body: list[str] = []
    for colour, label, width in (
        (_OURS, "forebay", 90),
        (_PLAIN, "reads the files as they are", 200),
        *([(_CONVERTED, "reads a conversion of them made before, not counted here", 0)] if converts else []),
    ):
        body.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colour}"/>')
        body.append(_text(x + 18, y, label))
        x += width
    return body


def _end(found: Interval) -> float:
    return found.high if found.known else found.middle


def _text(
    x: float, y: float, text: str, size: int = 12, weight: str = "400", anchor: str = "start", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
