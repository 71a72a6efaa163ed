"""What a run will install, make and take, said before it begins. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A worker's start and end beside the seconds it is asked for; compiling FFCV's pipelines takes 20.
START_SECONDS = 8


@dataclass(frozen=True)
class Step:
    """Something that takes room or time."""

    megabytes: int
    minutes: float
    text: str


def measuring(peers: int, cases: int, rounds: int, seconds: float, warmup: float) -> Step:
    """Tell how long the measurements take."""
    runs = peers * cases * rounds
    minutes = runs * (seconds + warmup + START_SECONDS) / 60
    text = f"measure {peers} peers, {cases} cases, {rounds} rounds of {seconds:.0f} s, in turns"
    return Step(0, minutes, text)


def shown(steps: Sequence[Step]) -> str:
    """Lay it out for a person, with the sums."""
    lines = [f"  {step.megabytes / 1000:5.1f} GB  {_minutes(step.minutes):>3} min  {step.text}" for step in steps]
    room, time = sum(step.megabytes for step in steps), sum(step.minutes for step in steps)
    return "\n".join([*lines, f"  {room / 1000:5.1f} GB  {_minutes(time):>3} min  in all"])


def told(steps: Sequence[Step]) -> str:
    """Lay it out for `./dev`, which adds it to its own: megabytes, minutes, text."""
    return "\n".join(f"{step.megabytes} {_minutes(step.minutes)} {step.text}" for step in steps)


def _minutes(minutes: float) -> int:
    return int(-(-minutes // 1))
