"""The order of measurements, and what a failure changes."""

from __future__ import annotations

import pytest

from peers.rounds import Outcome, PeerFailedError, Run, in_turns


def test_peers_take_turns_within_each_round():
    asked: list[tuple[str, str, int]] = []

    def measure(peer: str, case: str, round_: int) -> Run:
        asked.append((peer, case, round_))
        return {"rows_per_second": 1.0}

    outcome = in_turns(["a", "b", "c"], ["uint8", "float32"], 2, measure)
    in_order = [(peer, case, round_) for round_ in (1, 2) for case in ("uint8", "float32") for peer in "abc"]
    assert asked == in_order
    assert [(run["peer"], run["case"], run["round"]) for run in outcome.runs] == in_order
    assert outcome.failures == {}


def test_a_peer_that_fails_is_told_and_the_others_go_on():
    def measure(peer: str, case: str, round_: int) -> Run:
        if (peer, case, round_) == ("b", "uint8", 2):
            raise PeerFailedError("out of cheese")
        return {}

    outcome = in_turns(["a", "b"], ["uint8", "float32"], 3, measure)
    made = [(run["peer"], run["case"], run["round"]) for run in outcome.runs]
    assert outcome.failures == {("b", "uint8"): "round 2: out of cheese"}
    assert [run for run in made if run[:2] == ("b", "uint8")] == [("b", "uint8", 1)]
    assert len(made) == 3 * 4 - 2


def test_a_peer_that_could_not_be_installed_is_never_asked():
    def measure(peer: str, case: str, round_: int) -> Run:
        assert peer == "a"
        return {}

    before = Outcome(failures={("b", "uint8"): "not installed"})
    assert in_turns(["a", "b"], ["uint8"], 2, measure, before) is before
    assert before.failures == {("b", "uint8"): "not installed"}
    assert len(before.runs) == 2


def test_a_fault_of_ours_is_not_taken_for_a_peers():
    def measure(peer: str, case: str, round_: int) -> Run:
        raise KeyError("rows")

    with pytest.raises(KeyError):
        in_turns(["a"], ["uint8"], 1, measure)


def test_what_was_measured_before_an_interruption_is_kept():
    outcome = Outcome()

    def measure(peer: str, case: str, round_: int) -> Run:
        if round_ == 2:
            raise KeyboardInterrupt
        return {}

    with pytest.raises(KeyboardInterrupt):
        in_turns(["a", "b"], ["uint8"], 2, measure, outcome)
    assert [run["peer"] for run in outcome.runs] == ["a", "b"]
