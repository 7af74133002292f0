"""The exception tree, the verdicts, and what an error tells the person who meets it."""

from __future__ import annotations

import copy
import pickle

import anyio
import pytest

import muxado_py as muxado
from muxado_py import errors
from muxado_py.errors import ErrorCode, Failure, MuxadoError, Retry, code_name

BROKEN, CLOSED = anyio.BrokenResourceError, anyio.ClosedResourceError

# What a user may catch each of them as, beside MuxadoError.
TREE: list[tuple[type[MuxadoError], tuple[type[Exception], ...]]] = [
    (muxado.StreamError, (BROKEN,)),
    (muxado.StreamResetError, (muxado.StreamError, BROKEN, ConnectionResetError, OSError)),
    (muxado.StreamRefusedError, (muxado.StreamError, BROKEN, ConnectionRefusedError, OSError)),
    (muxado.StreamClosedError, (CLOSED,)),
    (muxado.SessionError, (BROKEN, ConnectionError, OSError)),
    (muxado.SessionClosedError, (muxado.SessionError, BROKEN, OSError)),
    (muxado.GoneAwayError, (muxado.SessionError, BROKEN, ConnectionRefusedError)),
    (muxado.StreamLimitError, (muxado.SessionError, BROKEN, ConnectionRefusedError)),
    (muxado.PoolError, (BROKEN, ConnectionError, OSError)),
    (muxado.PoolTimeoutError, (muxado.PoolError, BROKEN, TimeoutError)),
    (muxado.TransportError, (muxado.SessionError, BROKEN, ConnectionResetError)),
    (muxado.PeerTimeoutError, (muxado.SessionError, BROKEN, TimeoutError)),
    (muxado.UndeliveredError, (muxado.SessionError, BROKEN, ConnectionError)),
    (muxado.ProtocolError, (muxado.SessionError, BROKEN, ConnectionError)),
]


def every_error() -> set[type[MuxadoError]]:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type)}
    return {kind for kind in kinds if issubclass(kind, MuxadoError)}


@pytest.mark.parametrize(("kind", "also"), TREE)
def test_it_can_be_caught_as(kind: type[MuxadoError], also: tuple[type[Exception], ...]) -> None:
    bases: tuple[type[Exception], ...] = (MuxadoError, *also)
    for base in bases:
        with pytest.raises(base, match="why"):
            raise kind("why")


def test_the_table_above_is_whole() -> None:
    assert {kind for kind, _ in TREE} == every_error() - {MuxadoError}


def test_only_what_the_application_did_itself_is_a_closed_resource() -> None:
    for kind, _ in TREE:
        assert issubclass(kind, CLOSED) is (kind is muxado.StreamClosedError)
        assert issubclass(kind, BROKEN) is (kind is not muxado.StreamClosedError)


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    lines = (errors.__doc__ or "").split("MuxadoError\n")[1].splitlines()
    drawn = {line.strip("│├└─ ").split()[0] for line in lines if "──" in line}
    assert drawn == {kind.__name__ for kind, _ in TREE}


def test_what_an_error_carries() -> None:
    error = muxado.StreamResetError(
        "the peer reset stream 3", code=7, retry=Retry.PROCESSED, remote=True
    )
    assert (error.code, error.retry, error.remote) == (7, Retry.PROCESSED, True)
    assert str(error) == "the peer reset stream 3"


def test_without_a_word_the_verdict_is_unknown() -> None:
    assert MuxadoError("why").retry is Retry.UNKNOWN


def test_an_os_error_among_them_still_says_what_it_was_told() -> None:
    """OSError has a constructor of its own, which must not eat the message."""
    assert str(muxado.GoneAwayError("the peer is going away")) == "the peer is going away"


@pytest.mark.parametrize(
    ("retry", "safe"),
    [
        (Retry.NEVER_SENT, True),
        (Retry.REFUSED, True),
        (Retry.UNKNOWN, False),
        (Retry.PROCESSED, False),
    ],
)
def test_which_verdicts_are_safe(retry: Retry, safe: bool) -> None:
    assert retry.safe is safe


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, "NO_ERROR(0)"),
        (ErrorCode.STREAM_REFUSED, "STREAM_REFUSED(5)"),
        (15, "PEER_EOF(15)"),
        (77, "unknown(77)"),
        (0xFFFFFFFF, "unknown(4294967295)"),
    ],
)
def test_the_name_of_a_code(code: int, name: str) -> None:
    assert code_name(code) == name


def test_codes_are_the_numbers_of_the_wire() -> None:
    assert [int(code) for code in ErrorCode] == list(range(16))


def test_a_failure_makes_a_new_exception_each_time() -> None:
    failure = Failure(muxado.TransportError, "the transport ended", ErrorCode.PEER_EOF, True)
    one, two = failure.error(Retry.UNKNOWN), failure.error(Retry.NEVER_SENT)
    assert type(one) is type(two) is muxado.TransportError
    assert one is not two
    assert (one.retry, two.retry) == (Retry.UNKNOWN, Retry.NEVER_SENT)
    assert (one.code, one.remote, str(one)) == (15, True, "the transport ended")


@pytest.mark.parametrize("again", [copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_it_survives_a_copy(again: object) -> None:
    """Pools of processes hand exceptions on by pickle."""
    assert callable(again)
    error = muxado.StreamRefusedError("no", code=5, retry=Retry.REFUSED, remote=True)
    twin = again(error)
    assert type(twin) is muxado.StreamRefusedError
    assert (str(twin), twin.code, twin.retry, twin.remote) == ("no", 5, Retry.REFUSED, True)
