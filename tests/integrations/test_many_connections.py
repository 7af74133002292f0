"""What is held of one request and one answer where there are many connections."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest

from muxado_py.integrations import serve_asgi
from muxado_py.integrations.pieces import InPieces
from muxado_py.session.copy_budget import MAX_PIECE, MIN_PIECE, copying_both_ways, piece_size

from .apps import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..conftest import SessionPair

pytestmark = pytest.mark.anyio

BODY = bytes(range(256)) * 800
HEAD = b"POST / HTTP/1.1\r\nHost: app\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(
    BODY
)


@pytest.fixture
def many() -> Iterator[None]:
    """A thousand connections more, as far as anybody can tell."""
    with ExitStack() as stack:
        for _ in range(1_000):
            stack.enter_context(copying_both_ways())
        yield


def test_few_take_much_at_once_and_many_little(many: None) -> None:
    assert piece_size() == MIN_PIECE


def test_it_is_much_again_when_they_are_gone() -> None:
    with copying_both_ways():
        assert piece_size() == MAX_PIECE


@pytest.mark.parametrize("server", ["auto", "anycorn"])
async def test_a_server_holds_a_piece_of_a_body_that_is_not_asked_for(
    session_pair: SessionPair, many: None, server: str
) -> None:
    sizes: list[int] = []
    read = bytearray()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        more = True
        while more:
            for _ in range(20):  # turns of the loop in which it could take more
                await anyio.lowlevel.checkpoint()
            message = await receive()
            sizes.append(len(message["body"]))
            read.extend(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with (
        serving(session_pair, serve_asgi, app, server=server) as (session, _),
        await session.open_stream() as stream,
    ):
        await stream.send(HEAD + BODY)
        assert (await stream.receive()).startswith(b"HTTP/1.1 204 ")
    assert read == BODY
    assert max(sizes) < 2 * MIN_PIECE


@pytest.mark.parametrize("server", ["auto", "anycorn"])
@pytest.mark.parametrize("headers", [[], [(b"content-length", b"%d" % len(BODY))]])
async def test_a_long_answer_arrives_whole(
    session_pair: SessionPair, many: None, server: str, headers: list[tuple[bytes, bytes]]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    async with (
        serving(session_pair, serve_asgi, app, server=server) as (session, _),
        await session.open_stream() as stream,
    ):
        await stream.send(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        answer = b"".join([chunk async for chunk in stream])
    body = answer.partition(b"\r\n\r\n")[2]
    assert (body if headers else unchunked(body)) == BODY


def unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        whole, body = whole + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return whole


@pytest.mark.parametrize("size", [0, 1, MIN_PIECE, MIN_PIECE + 1, 3 * MIN_PIECE])
@pytest.mark.parametrize("more", [True, False])
async def test_pieces_are_short_and_make_up_the_message(many: None, size: int, more: bool) -> None:
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.body", "body": BODY[:size], "more_body": more})

    async def send(message: Any) -> None:
        sent.append(message)

    await InPieces(app)({"type": "http"}, None, send)
    assert b"".join(message["body"] for message in sent) == BODY[:size]
    assert len(sent) == max(1, -(-size // MIN_PIECE))
    assert all(len(message["body"]) <= MIN_PIECE for message in sent)
    assert [message["more_body"] for message in sent] == [True] * (len(sent) - 1) + [more]
