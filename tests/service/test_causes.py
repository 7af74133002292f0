"""Why no session came about, in words and in kinds; the rest is tested where it is told, in ``cli/serving/test_dialing.py``."""

from __future__ import annotations

import ssl

import pytest

from muxado_py.service.causes import distrust, has_no_tls, nobody_listens, reason


def test_a_reason_is_one_line_of_what_happened() -> None:
    refused = OSError("All connection attempts failed")
    refused.__cause__ = ExceptionGroup("", [ConnectionRefusedError(111, "Connection refused")])
    assert reason(refused) == "Connection refused"
    assert reason(ValueError()) == "ValueError"
    missing = FileNotFoundError(2, "No such file or directory", "/x")
    assert reason(missing) == "[Errno 2] No such file or directory: '/x'"


def wrapped(*causes: Exception) -> OSError:
    """As anyio says it of several addresses."""
    error = OSError("All connection attempts failed")
    error.__cause__ = ExceptionGroup("", causes)
    return error


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (ConnectionRefusedError(), True),
        (FileNotFoundError(), True),
        (wrapped(ConnectionRefusedError(), ConnectionRefusedError()), True),
        (wrapped(ConnectionRefusedError(), TimeoutError()), False),
        (TimeoutError(), False),
        (ConnectionResetError(), False),
        (None, False),
    ],
)
def test_nobody_listens_if_the_system_refused_at_every_address(
    exc: Exception | None, expected: bool
) -> None:
    assert nobody_listens(exc) is expected


@pytest.mark.parametrize("exc", [None, OSError("certificate"), ssl.SSLError(1, "a reason")])
def test_what_patience_may_mend_is_no_distrust(exc: Exception | None) -> None:
    assert distrust(exc) is None
    assert not has_no_tls(exc)
