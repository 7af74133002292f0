"""Two connections and the wire between them, and one connection against a script of bytes.

The wire is two buffers.  Nothing moves by itself: ``pump`` lets a side put frames on the wire,
``deliver`` hands bytes to the other side, ``run_until_idle`` does both until nothing is left.
"""

from __future__ import annotations

import gc
import sys
from asyncio import AbstractEventLoop, Future
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

from trio.lowlevel import Task

from muxado_py import Config
from muxado_py.frames import WIRES
from muxado_py.frames.muxado import Muxado
from muxado_py.protocol.connection import Connection

from .layouts import spaced, split_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from muxado_py import Priority
    from muxado_py.protocol.stream_state import StreamState

__all__ = ("HELLO", "PAD", "Pair", "Script", "held", "read_all", "spaced", "split_frames")

HELLO = Muxado(client=True).hello()
PAD = bytes.fromhex("000000f000000000")
"""What follows every GOAWAY."""


class Pair:
    """A client, a server, and what is on its way between them.

    :param chunk: hand over at most so many bytes at a time; 0 for all there are.
    :param foreign: take the hello off both directions, so that neither knows a muxado_py.
    """

    def __init__(
        self,
        config: Config | None = None,
        server_config: Config | None = None,
        *,
        chunk: int = 0,
        foreign: bool = False,
    ) -> None:
        config = config or Config()
        self.now = 0.0
        """Seconds; the test moves it."""
        self.client = Connection(config, client=True, clock=lambda: self.now)
        self.server = Connection(server_config or config, client=False, clock=lambda: self.now)
        self.chunk = chunk
        self.wire: dict[Connection, bytearray] = {
            self.client: bytearray(),
            self.server: bytearray(),
        }
        """What each side has sent and the other has not received."""
        self.sent: dict[Connection, bytearray] = {
            self.client: bytearray(),
            self.server: bytearray(),
        }
        """All that each side ever sent."""
        self._cut: dict[Connection, int | None] = {self.client: None, self.server: None}
        if foreign:
            for side in (self.client, self.server):
                assert b"".join(side.data_to_send(0)) == HELLO

    def other(self, side: Connection) -> Connection:
        return self.server if side is self.client else self.client

    def cut_after(self, side: Connection, nbytes: int) -> None:
        """Of what ``side`` sends, only the first ``nbytes`` ever arrive."""
        self._cut[side] = nbytes

    def pump(self, side: Connection, budget: int = 2**20) -> int:
        """Put the next frames of ``side`` on the wire; how many bytes they have."""
        data = b"".join(side.data_to_send(budget))
        allowed = data
        cut = self._cut[side]
        if cut is not None:
            allowed = data[: max(0, cut - len(self.sent[side]))]
        self.sent[side] += data
        self.wire[side] += allowed
        return len(data)

    def deliver(self, side: Connection, nbytes: int | None = None) -> int:
        """Hand over up to ``nbytes`` of what ``side`` sent; how many bytes that were."""
        buffer = self.wire[side]
        receiver = self.other(side)
        todo = len(buffer) if nbytes is None else min(nbytes, len(buffer))
        done = 0
        while done < todo and receiver.may_read():
            step = min(self.chunk or todo, todo - done)
            receiver.receive_data(bytes(buffer[:step]))
            del buffer[:step]
            done += step
        return done

    def run_until_idle(self, limit: int = 10_000) -> None:
        """Move bytes until neither side has anything to say."""
        sides = (self.client, self.server)
        for _ in range(limit):
            if not sum(self.pump(side) for side in sides) + sum(map(self.deliver, sides)):
                return
        raise AssertionError(f"not idle after {limit} steps")

    def open(
        self,
        data: bytes = b"",
        *,
        priority: Priority | None = None,
        stream_type: int | None = None,
        metadata: Mapping[str, bytes] | None = None,
        by: Connection | None = None,
    ) -> tuple[StreamState, StreamState]:
        """Open a stream, let it arrive and accept it: both ends of it."""
        opener = by or self.client
        if metadata:
            self.run_until_idle()  # else they do not know each other yet
        near = opener.open(priority, stream_type, metadata)
        if data:
            opener.write(near, data)
        self.run_until_idle()
        far = self.other(opener).accept()
        assert far is not None
        assert far.id == near.id
        return near, far


class Script:
    """One connection, of any wire, and a peer that says exactly what the test says.

    :param extended: whether the peer begins with the hello of a muxado_py.
    """

    def __init__(
        self, config: Config | None = None, *, client: bool = False, extended: bool = False
    ) -> None:
        config = config or Config()
        self.wire = config.wire
        self.now = 0.0
        """Seconds; the test moves it."""
        self.connection = Connection(config, client=client, clock=lambda: self.now)
        hello = WIRES[self.wire](client=client).hello()
        assert self.sent() == ([spaced(hello, self.wire)] if hello else [])
        if extended:
            self.feed(HELLO)
            self.sent()

    def feed(self, data: str | bytes) -> None:
        """The peer sends this; a string is hexadecimal."""
        self.connection.receive_data(bytes.fromhex(data) if isinstance(data, str) else data)

    def sent(self, budget: int = 2**24) -> list[str]:
        """The frames that the connection has to send now, in hexadecimal."""
        data = b"".join(self.connection.data_to_send(budget))
        return [spaced(frame, self.wire) for frame in split_frames(data, self.wire)]

    def accept(self) -> StreamState:
        """The next stream; there must be one."""
        stream = self.connection.accept()
        assert stream is not None
        return stream

    @property
    def ended(self) -> bool:
        return self.connection.events.failure is not None

    @property
    def ended_code(self) -> int | None:
        ended = self.connection.events.failure
        return None if ended is None else ended.code


def read_all(connection: Connection, stream: StreamState, step: int = 2**20) -> bytes:
    """Everything that arrived on ``stream``."""
    out = bytearray()
    while chunk := connection.read(stream, step):
        out += chunk
    return bytes(out)


def held(root: object) -> int:
    """The size in bytes of everything that only ``root`` and what it refers to can reach.

    Of a session that runs, this is what it holds with its link; from the loop and from tasks all else would be reached.
    """
    skipped = (type, ModuleType, FunctionType, Config, AbstractEventLoop, Future, Task)
    seen: set[int] = set()
    stack = [root]
    total = 0
    while stack:
        one = stack.pop()
        if id(one) in seen or isinstance(one, skipped):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        stack.extend(gc.get_referents(one))
    return total
