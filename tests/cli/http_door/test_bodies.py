"""Bodies: however they are cut, they are the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.cli.http_door.bodies import Body, Chunked, Counted, UntilEnd, chunk, last_chunk
from muxado_py.cli.http_door.fields import BadMessage


def fed(body: Body, raw: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    """The content, and what comes behind it."""
    content = rest = b""
    bounds = [0, *sorted(cut % (len(raw) + 1) for cut in cuts), len(raw)]
    for begin, end in pairwise(bounds):
        if body.done:
            rest += raw[begin:end]
        elif begin != end:
            content += body.feed(raw[begin:end])
            if body.done:
                rest = body.rest
    return content, rest


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(st.lists(st.binary(min_size=1, max_size=40)), CUTS)
def test_chunks_are_what_was_put_in(pieces: list[bytes], cuts: list[int]) -> None:
    body = Chunked()
    raw = b"".join(map(chunk, pieces)) + last_chunk([(b"a", b"b", b"A: b")])
    assert fed(body, raw + b"next", cuts) == (b"".join(pieces), b"next")
    assert body.done
    assert body.trailers == [(b"a", b"b", b"A: b")]


@given(st.binary(max_size=60), CUTS)
def test_a_length_is_kept(content: bytes, cuts: list[int]) -> None:
    body = Counted(len(content))
    assert fed(body, content + b"next", cuts) == (content, b"next")
    assert body.done


@pytest.mark.parametrize(
    "raw",
    [
        b"5\nhello\r\n",
        b"5\r\nhello\n",
        b"5\r\nhelloX",
        b"5\r\nhello\rX",
        b"x\r\n",
        b"\r\n",
        b"0" * 400,
        b"5;" + b"a" * 400,
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\nC: d\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 2_000,
    ],
)
@given(cuts=CUTS)
def test_what_breaks_the_form_is_refused_however_it_comes(raw: bytes, cuts: list[int]) -> None:
    with pytest.raises(BadMessage):
        fed(Chunked(), raw, cuts)


def test_what_others_may_have_said_is_not_in_trailers() -> None:
    body = Chunked()
    body.feed(b"0\r\nSet-Cookie: a\r\nContent-Length: 5\r\nDigest: b\r\nX_Y: c\r\n\r\n")
    assert body.trailers == [(b"digest", b"b", b"Digest: b")]


@pytest.mark.parametrize("body", [Counted(3), Chunked()])
def test_an_end_in_the_middle_is_none(body: Body) -> None:
    body.feed(b"1\r")
    with pytest.raises(EOFError):
        body.end()


def test_one_that_ends_with_its_connection_has_no_other_end() -> None:
    body = UntilEnd()
    assert body.feed(b"abc") == b"abc"
    assert not body.done
    body.end()
    assert body.done
