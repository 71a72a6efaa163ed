"""Rounds -> one figure with its 95 % interval. Pure.

Rates and seconds are positive and vary in proportion, so all of this works on logarithms: the middle is the geometric
mean of the rounds, the interval Student's t over them. A ratio of two peers pairs what they did in the same round,
minutes apart, so that a machine that slows down for a while slows both sides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from statistics import fmean, stdev

# Student's t, 97.5 % quantile, by degrees of freedom from 1 on (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
_T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Interval:
    """A middle with its 95 % bounds; of one round alone the bounds are zero and infinity: nothing is known."""

    middle: float
    low: float
    high: float
    rounds: int

    @property
    def known(self) -> bool:
        """Whether there were rounds enough to say how far off the middle may be."""
        return self.rounds > 1

    def times(self, factor: float) -> Interval:
        """Give it in another unit."""
        return Interval(self.middle * factor, self.low * factor, self.high * factor, self.rounds)


def interval(values: Sequence[float]) -> Interval:
    """Give the geometric mean of positive values and its interval.

    Raises ValueError for none, or for one that is not positive.
    """
    if not values or min(values) <= 0:
        raise ValueError(f"an interval needs positive values, got {list(values)}")
    logs = [log(value) for value in values]
    middle = fmean(logs)
    if len(logs) == 1:
        return Interval(values[0], 0.0, inf, 1)
    half = _t_975(len(logs) - 1) * stdev(logs) / sqrt(len(logs))
    return Interval(exp(middle), exp(middle - half), exp(middle + half), len(logs))


def paired_ratio(above: Mapping[int, float], below: Mapping[int, float]) -> Interval | None:
    """Give `above / below` over the rounds that both have, by round number; None where they share none."""
    shared = sorted(above.keys() & below.keys())
    if not shared:
        return None
    return interval([above[round_] / below[round_] for round_ in shared])


def _t_975(degrees: int) -> float:
    # The last entry is 4 % over the normal's 1.96: beyond the table intervals are too wide, never too narrow.
    return _T_975[min(degrees, len(_T_975)) - 1]
