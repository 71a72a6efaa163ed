"""What a training and its workers say to each other, where one of them goes away."""

from __future__ import annotations

import pytest

from forebay._python.channel import Channel, pair


def test_what_a_worker_said_before_it_went_is_heard_behind_a_message_that_came_too_late() -> None:
    ours, theirs = (Channel(end) for end in pair())
    theirs.send("done")
    theirs.close()
    with pytest.raises(BrokenPipeError):
        ours.send("one task more")
    assert [message.body for message in ours.receive()] == ["done"]


def test_what_was_to_go_beside_a_message_to_nobody_is_let_go() -> None:
    ours, gone = pair()
    gone.close()
    channel = Channel(ours)
    kept, sent = pair()
    with kept, sent:
        with pytest.raises(BrokenPipeError):
            channel.send("start a worker with this", [sent.fileno()])
        sent.close()
        kept.settimeout(10)
        assert kept.recv(1) == b"", "the channel still holds the other end"
    channel.close()
