"""The bytes of docs/calls.md, and whatever else a peer may send in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py import AnswerError, CallError
from muxado_py.service.call_frames import call_metadata, error_answer, read_answer, read_time_left


def test_the_example_of_the_document() -> None:
    answer = bytes.fromhex("05 00 07") + b"no blogmore"
    assert error_answer(CallError(5, "no blog", b"more")) == answer
    with pytest.raises(CallError) as caught:
        read_answer(answer)
    assert (caught.value.text, caught.value.details) == ("no blog", b"more")
    assert read_answer(b"\0hello") == b"hello"


@given(st.integers(1, 255), st.text(max_size=1024), st.binary(max_size=100))
def test_an_error_comes_as_it_was_raised(status: int, text: str, details: bytes) -> None:
    with pytest.raises(CallError) as caught:
        read_answer(error_answer(CallError(status, text, details)))
    error = caught.value
    assert (error.status, error.details, error.remote) == (status, details, True)
    assert error.text == text.encode("utf-8", "replace").decode()


@given(st.binary(max_size=40))
def test_any_bytes_are_an_answer_an_error_or_neither(answer: bytes) -> None:
    try:
        read = read_answer(answer)
    except (CallError, AnswerError):
        assert not answer.startswith(b"\0")
    else:
        assert answer == b"\0" + read


@given(st.floats(0, 1e8), st.integers(1, 5))
def test_the_time_that_is_left_is_said_to_the_millisecond(left: float, attempt: int) -> None:
    said = call_metadata({"x-a": b"b"}, left, attempt)
    assert said is not None
    read = read_time_left(said)
    assert read is not None
    assert 0 <= read - left < 0.0011
    assert said["x-a"] == b"b"
    assert said.get("attempt") == (None if attempt == 1 else b"%d" % attempt)


@pytest.mark.parametrize(
    "value", [b"", b"-1", b"1.5", b"1" * 13, b"nan", b" 1", b"1\n", "１".encode()]
)
def test_what_is_no_time_counts_for_nothing(value: bytes) -> None:
    assert read_time_left({"time-left": value}) is None


def test_a_call_without_a_deadline_says_nothing() -> None:
    assert call_metadata(None, None, 1) is None
    assert call_metadata(None, float("inf"), 1) is None
    assert call_metadata(None, None, 2) == {"attempt": b"2"}
    assert call_metadata(None, -3.0, 1) == {"time-left": b"0"}
