"""How a stream ends, and whether its caller may send again."""

from __future__ import annotations

from itertools import product

import pytest

from muxado_py import Retry, StreamClosedError, StreamResetError
from muxado_py.errors import Failure
from muxado_py.protocol.stream_state import Owner

from ..helpers.streams import stream

FAILURE = Failure(StreamResetError, "the peer reset stream 3", 7, True)


@pytest.mark.parametrize(
    ("local", "has_id", "answered", "heard", "refused"), list(product([False, True], repeat=5))
)
def test_every_verdict(
    local: bool, has_id: bool, answered: bool, heard: bool, refused: bool
) -> None:
    state = stream(3 if has_id or not local else None, local=local)
    state.peer_sent_data, state.peer_spoke = answered, heard
    verdict = state.verdict(refused=refused)
    if verdict is Retry.NEVER_SENT:
        assert local
        assert not has_id
    elif verdict is Retry.REFUSED:
        assert local
        assert refused
        assert not answered
        assert not heard
    elif verdict is Retry.PROCESSED:
        assert local
        assert answered
    else:
        assert not local or not refused or heard
    assert (verdict is Retry.NEVER_SENT) is (local and not has_id)


def test_the_first_failure_stands() -> None:
    state = stream(local=True)
    state.fail(FAILURE, refused=True)
    assert (state.failure, state.retry) == (FAILURE, Retry.REFUSED)
    state.fail(Failure(StreamClosedError, "later", 0, False))
    assert (state.failure, state.retry) == (FAILURE, Retry.REFUSED)


def test_each_error_is_a_new_one() -> None:
    state = stream(local=True)
    state.fail(FAILURE)
    one, two = state.error(), state.error()
    assert isinstance(one, StreamResetError)
    assert one is not two
    assert str(one) == str(two) == "the peer reset stream 3"


def test_who_opened_it_has_it() -> None:
    assert stream(local=True).owner is Owner.APPLICATION
    assert stream(local=False).owner is Owner.NOBODY
