"""What the scripts of the suite share: short scenes for two actors, and what each does alone.

``session`` is ours and ``peer`` is the puppet.  A :data:`Pair` is one stream as each of them holds it.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NoReturn

import anyio

if TYPE_CHECKING:
    import muxado_py as muxado

    from .puppet import Puppet

__all__ = (
    "BULK",
    "KIB",
    "MIB",
    "WINDOW",
    "Pair",
    "answer_with_echo",
    "echo",
    "opened_by_peer",
    "opened_by_python",
    "receive_all",
    "receive_exactly",
    "round_trip",
    "send_and_finish",
    "send_without_end",
    "sha256",
)

KIB = 1024
MIB = 1024 * KIB
WINDOW = 256 * KIB
BULK = 4 * MIB

Pair = tuple["muxado.Stream", int]
"""A stream as we hold it, and the puppet's name for it."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def receive_all(stream: muxado.Stream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def receive_exactly(stream: muxado.Stream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        received += await stream.receive(size - len(received))
    return bytes(received)


async def send_and_finish(stream: muxado.Stream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


async def send_without_end(stream: muxado.Stream) -> NoReturn:
    while True:
        await stream.send(bytes(16 * KIB))


async def echo(session: muxado.Session, data: bytes) -> bytes:
    """A call to the peer's ``serve_echo`` over a stream of its own.

    It ends when as much came back as was sent: there are wires without a half close.
    """
    async with await session.open_stream() as stream, anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, data)
        answer = await receive_exactly(stream, len(data))
    return answer


async def answer_with_echo(stream: muxado.Stream) -> None:
    async with stream:
        async for chunk in stream:
            await stream.send(chunk)


async def opened_by_python(
    session: muxado.Session,
    peer: Puppet,
    first: bytes = b"hello",
    stream_type: int | None = None,
) -> Pair:
    """A stream we open, seen from both ends; ``first`` is sent and read, for Go sees no empty SYN."""
    ours = await session.open_stream(stream_type=stream_type)
    await ours.send(first)
    theirs = (await peer.do("accept"))["stream"]
    assert (await peer.do("read", stream=theirs, size=len(first)))["text"] == first.decode()
    return ours, theirs


async def opened_by_peer(
    session: muxado.Session,
    peer: Puppet,
    first: str = "hello",
    stream_type: int | None = None,
) -> Pair:
    """A stream they open, seen from both ends; ``first`` is written, to bring out muxado's SYN."""
    theirs = (await peer.do("open", type=stream_type))["stream"]
    await peer.do("write", stream=theirs, text=first)
    ours = await session.accept_stream()
    assert await receive_exactly(ours, len(first)) == first.encode()
    return ours, theirs


async def round_trip(pair: Pair, peer: Puppet) -> None:
    """One byte there and one back: what was written before it, in either direction, has arrived."""
    ours, theirs = pair
    await ours.send(b"?")
    assert (await peer.do("read", stream=theirs, size=1))["text"] == "?"
    await peer.do("write", stream=theirs, text="!")
    assert await receive_exactly(ours, 1) == b"!"
