"""One figure and its interval from a few rounds."""

from __future__ import annotations

from math import exp, inf, log

import pytest

from peers.intervals import interval, paired_ratio


def test_the_middle_is_the_geometric_mean_and_the_interval_is_students():
    # logs 0, 1, 2: mean 1, standard deviation 1, t(2) = 4.303.
    found = interval([exp(0), exp(1), exp(2)])
    assert log(found.middle) == pytest.approx(1)
    assert log(found.high) == pytest.approx(1 + 4.303 / 3**0.5)
    assert log(found.low) == pytest.approx(1 - 4.303 / 3**0.5)
    assert found.known


def test_equal_rounds_leave_no_doubt():
    found = interval([7.0] * 5)
    assert (found.low, found.middle, found.high) == pytest.approx((7, 7, 7))


def test_one_round_says_nothing_about_its_error():
    found = interval([7.0])
    assert (found.middle, found.low, found.high, found.known) == (7.0, 0.0, inf, False)


def test_more_rounds_of_the_same_spread_narrow_the_interval():
    few, many = interval([90.0, 110.0] * 2), interval([90.0, 110.0] * 40)
    assert few.high - few.low > 4 * (many.high - many.low)


def test_what_is_not_positive_is_refused():
    for values in ([], [1.0, 0.0], [-1.0]):
        with pytest.raises(ValueError, match="positive"):
            interval(values)


def test_a_ratio_pairs_rounds_so_that_a_slow_round_slows_both_sides():
    ours, theirs = {1: 200.0, 2: 100.0, 3: 20.0}, {1: 100.0, 2: 50.0, 3: 10.0}
    found = paired_ratio(ours, theirs)
    assert found is not None
    assert (found.low, found.middle, found.high) == pytest.approx((2, 2, 2))


def test_a_ratio_takes_only_the_rounds_that_both_have():
    found = paired_ratio({1: 200.0, 3: 900.0}, {1: 100.0, 2: 1.0})
    assert found is not None
    assert (found.middle, found.rounds) == (2.0, 1)
    assert paired_ratio({1: 1.0}, {2: 1.0}) is None
