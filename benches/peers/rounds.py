"""The order of the measurements: every peer once, then every peer again. Pure but for what `measure` does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Run = dict[str, Any]


class PeerFailedError(Exception):
    """A peer that could not be installed, converted for or measured; the text is for the table, one line."""


@dataclass
class Outcome:
    """What came of it: runs in the order they were made, and why a peer has fewer than the others.

    failures: (peer, case) -> the reason. After its first failure a peer is not asked for that case again.
    """

    runs: list[Run] = field(default_factory=list)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)


def in_turns(
    peers: Sequence[str],
    cases: Sequence[str],
    rounds: int,
    measure: Callable[[str, str, int], Run],
    outcome: Outcome | None = None,
) -> Outcome:
    """Measure A B C, A B C, ...: what the machine does meanwhile meets all of them alike.

    measure: takes (peer, case, round), and raises PeerFailedError. Other exceptions are ours, and end it all.
    outcome: where failures of before (an installation) are, so that those peers are left out.
    """
    outcome = outcome or Outcome()
    for round_ in range(1, rounds + 1):
        for case in cases:
            for peer in peers:
                if (peer, case) in outcome.failures:
                    continue
                try:
                    figures = measure(peer, case, round_)
                except PeerFailedError as failed:
                    outcome.failures[peer, case] = f"round {round_}: {failed}"
                    continue
                outcome.runs.append({"peer": peer, "case": case, "round": round_, **figures})
    return outcome
