"""yamux over a websocket as langsmith's SDK has it for its sandboxes: threads, and ``websockets``' blocking client.

Its tunnel is driven as it drives itself: the same adapter on the same ``connect`` with the same options; only what copies between
a stream and a local socket is left out. A worker is a thread, which does all that it does by blocking calls. There is no
server of theirs in Python: the other end is ours, the one that our own client has.

The trap.  It has no half close: ``close`` throws away what still comes. So that the server can say how much was right, the
frame that its ``close`` sends is sent here without the rest.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, to_thread
from langsmith.sandbox._tunnel import _WSAdapter
from langsmith.sandbox._yamux import _FLAG_FIN, _TYPE_DATA, YamuxSession, YamuxStream
from websockets.sync.client import connect

from .client import MESSAGE, DifferentBytesError
from .ours_url import YAMUX, serve_over
from .payload import BLOCK, BLOCKS, Checker, piece
from .server import ENOUGH
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .client import Action
    from .tally import Tally


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[Any]:
    """A session."""
    session = await to_thread.run_sync(_begin, address)
    yield session
    await to_thread.run_sync(session.close)


def _begin(address: str) -> YamuxSession:
    socket = connect(f"ws://{address}/", open_timeout=30, close_timeout=5, ping_interval=None)
    return YamuxSession(_WSAdapter(socket))


def receive_exactly(stream: YamuxStream, size: int) -> bytes:
    """``size`` bytes, or fewer at the end."""
    data = bytes(stream.read(size))
    while len(data) < size and (more := stream.read(size - len(data))):
        data += more
    return data


def calls(session: YamuxSession, worker: int, deadline: float) -> int:
    """Open, echo, close; how many."""
    done = 0
    while perf_counter() < deadline:
        question = piece(worker * 1000 + done, MESSAGE)
        stream = session.open_stream()
        stream.write(question)
        if receive_exactly(stream, MESSAGE) != question:
            raise DifferentBytesError("a call")
        stream.close()
        done += 1
    return done


def messages(session: YamuxSession, worker: int, deadline: float) -> int:
    """There and back on one open stream; how many."""
    done = 0
    stream = session.open_stream()
    while perf_counter() < deadline:
        question = piece(worker * 1000 + done, MESSAGE)
        stream.write(question)
        if receive_exactly(stream, MESSAGE) != question:
            raise DifferentBytesError("a message")
        done += 1
    stream.close()
    return done


def bulk(session: YamuxSession, worker: int, deadline: float) -> int:
    """Blocks one way; how many bytes."""
    stream = session.open_stream()
    at = worker % len(BLOCKS)
    stream.write(bytes([at]))
    sent = 0
    while perf_counter() < deadline:
        stream.write(BLOCKS[at])
        at = (at + 1) % len(BLOCKS)
        sent += BLOCK
    session._send_frame(_TYPE_DATA, _FLAG_FIN, stream.stream_id, 0)
    right = int.from_bytes(receive_exactly(stream, 8), "big")
    if right != sent:
        raise DifferentBytesError(f"{right} of {sent} bytes were right")
    return sent


def fetch(session: YamuxSession, worker: int, deadline: float) -> int:
    """Blocks the other way; how many bytes."""
    stream = session.open_stream()
    at = bytes([worker % len(BLOCKS)])
    stream.write(at)
    checker = Checker()
    checker.feed(at)
    received, enough = 0, False
    while data := stream.read(BLOCK):
        checker.feed(data)
        received += len(data)
        if not enough and perf_counter() >= deadline:
            enough = True
            stream.write(ENOUGH)
    if checker.right != received:
        raise DifferentBytesError(f"{checker.right} of {received} bytes were right")
    stream.close()
    return received


def in_a_thread(action: Callable[[YamuxSession, int, float], int]) -> Action:
    """What a worker does, which nobody but itself waits for."""

    async def run(tally: Tally, session: YamuxSession, worker: int, deadline: float) -> None:
        its_own = CapacityLimiter(1)
        tally.done += await to_thread.run_sync(action, session, worker, deadline, limiter=its_own)

    return run


ACTIONS = {
    name: in_a_thread(action)
    for name, action in {
        "calls": calls,
        "messages": messages,
        "bulk": bulk,
        "fetch": fetch,
    }.items()
}

if __name__ == "__main__":
    play(dial, partial(serve_over, "ws", YAMUX), ACTIONS)
