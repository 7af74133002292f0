"""What a call may end with beside the errors of its stream."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import muxado_py as muxado
from muxado_py import CallError, CallStatus, Retry

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (muxado.CallTimeoutError, TimeoutError),
        (muxado.AnswerError, muxado.MuxadoError),
        (muxado.RetryBudgetError, ConnectionRefusedError),
    ],
)
def test_it_can_be_caught_as(kind: type[muxado.MuxadoError], also: type[Exception]) -> None:
    for base in (muxado.MuxadoError, also):
        with pytest.raises(base, match="why"):
            raise kind("why", retry=Retry.REFUSED)


def test_a_status_has_the_number_that_it_has_in_grpc() -> None:
    assert [status.value for status in CallStatus] == list(range(17))
    assert CallStatus(14).name == "UNAVAILABLE"


def test_an_error_is_told_in_one_line() -> None:
    assert str(CallError(5, "no\x1b[31m\nsuch")) == r"NOT_FOUND(5): no\x1b[31m\nsuch"
    assert str(CallError(77)) == "status(77): no reason given"
    assert len(CallError(5, "x" * 10_000).text) == 1024


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ValueError),
        ((256,), ValueError),
        (("5",), TypeError),
        ((5, b"x"), TypeError),
        ((5, "x", "y"), TypeError),
    ],
)
def test_what_is_no_error_is_refused(arguments: tuple[Any, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        CallError(*arguments)


@pytest.mark.parametrize("again", [copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_survives_a_copy(again: Callable[[CallError], CallError]) -> None:
    twin = again(CallError(5, "no", b"details", remote=True))
    assert (type(twin), twin.status, twin.text, twin.details) == (CallError, 5, "no", b"details")
    assert (twin.remote, twin.retry, str(twin)) == (True, Retry.PROCESSED, "NOT_FOUND(5): no")
