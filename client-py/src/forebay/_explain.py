"""What `loader.explain()` gives: the daemon's judgement on one session, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

_NOTHING = "nothing yet: take a few batches, then ask again\n"
_WHOLE = frozenset(
    ("session", "steps_seen", "window_us", "us", "wait_us", "total_us", "bytes", "epoch", "position", "steps")
)


class Explanation:
    """Where the time of a loader's newest steps went, and the first thing to change.

    `print` it for the page; `cause` is one of `trainer`, `storage`, `decode`, `transform`, `throttled`,
    `processors`, `slots`, `python` and `hand_over`, or empty where no batch was taken yet; of a data set that runs in
    Python also `workers`, for what its workers compute, and `storage` is then where they sleep.
    """

    __slots__ = ("_copies", "_findings", "_text")

    def __init__(self, reply: Mapping[str, Any], copies: str = "") -> None:
        # What is to be said of copies to a device, which the daemon knows nothing of.
        self._copies = copies
        sessions = cast("list[dict[str, Any]]", reply.get("sessions", []))
        self._text = str(reply.get("text", _NOTHING))
        self._findings: dict[str, Any] = _plain(sessions[0]) if sessions else {}

    @property
    def cause(self) -> str:
        """What the first thing to change belongs to."""
        return self._findings.get("cause", "")

    @property
    def advice(self) -> str:
        """The first thing to change."""
        return self._findings.get("advice", "take a few batches first: there is nothing yet to judge")

    @property
    def detail(self) -> str:
        """The measurements behind the advice."""
        return self._findings.get("detail", "")

    @property
    def shares(self) -> dict[str, float]:
        """The share of the steps' time by cause, largest first; what is missing has none. They sum up to 1."""
        return {share["cause"]: share.get("share", 0.0) for share in self._findings.get("shares", [])}

    @property
    def slowest_reads(self) -> list[str]:
        """The keys of the samples whose reads took longest, slowest first."""
        return [sample["key"] for sample in self._findings.get("slowest_reads", [])]

    @property
    def slowest_decodes(self) -> list[str]:
        """The keys of the samples that took longest to decode and transform, slowest first."""
        return [sample["key"] for sample in self._findings.get("slowest_decodes", [])]

    def as_dict(self) -> dict[str, Any]:
        """Give all of it: `forebay.v1.SessionFindings` with plain ints and short causes. Empty: nothing yet."""
        return _plain(self._findings)

    def __str__(self) -> str:
        text = self._text.rstrip("\n")
        return f"{text}\n\n{self._copies}" if self._copies else text

    def __repr__(self) -> str:
        return f"<forebay explanation: {self.cause or 'nothing yet'}: {self.advice}>"


def _plain(value: Any) -> Any:
    """Turn what the JSON mapping writes as text into ints, and `CAUSE_STORAGE` into `storage`."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {key: int(item) if key in _WHOLE and isinstance(item, str) else _plain(item) for key, item in items}
    if isinstance(value, list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if isinstance(value, str) and value.startswith("CAUSE_"):
        return "" if value == "CAUSE_UNSPECIFIED" else value[len("CAUSE_") :].lower()
    return value
