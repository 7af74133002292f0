"""A path between two connections: a delay, a rate, and a clock that nobody waits for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from muxado_py import Config
from muxado_py.frames.muxado import Muxado
from muxado_py.protocol.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

    from muxado_py.protocol.stream_state import StreamState

__all__ = ("Path",)

TICK = 0.0005


class Path:
    """A client that sends, a server that reads, and what is on its way between them.

    :param rate: bytes per second, each way.
    :param round_trip: seconds, both ways together.
    :param foreign: whether the two do not know each other as muxado_py.
    :param clocks: whether the two are given the time.
    """

    def __init__(
        self,
        rate: float,
        round_trip: float,
        config: Config | None = None,
        *,
        foreign: bool = False,
        clocks: bool = True,
    ) -> None:
        config = config or Config()
        self.now = 100.0
        self.rate = rate
        self.delay = round_trip / 2
        self.product = rate * round_trip
        clock = {"clock": lambda: self.now} if clocks else {}
        self.client = Connection(config, client=True, **clock)
        self.server = Connection(config, client=False, **clock)
        self.read = 0
        """Bytes that the server's application has read."""
        self._ways = {
            self.client: (self.server, deque[tuple[float, bytes]]()),
            self.server: (self.client, deque[tuple[float, bytes]]()),
        }
        self._debt = dict.fromkeys(self._ways, 0.0)
        if foreign:
            for side in self._ways:
                assert b"".join(side.data_to_send(0)) == Muxado(client=True).hello()

    def open(self) -> tuple[StreamState, StreamState]:
        """A stream of the client: both ends of it."""
        near = self.client.open(None, None)
        self.client.write(near, b"x")
        far = None
        while far is None:
            self.run(TICK)
            far = self.server.accept()
        self.server.read(far, 1)
        return near, far

    def run(self, seconds: float, act: Callable[[], object] = lambda: None) -> None:
        """Let time pass; ``act`` is what the applications do in every moment of it."""
        until = self.now + seconds
        while self.now < until:
            self.now += TICK
            for other, way in self._ways.values():
                while way and way[0][0] <= self.now:
                    other.receive_data(way.popleft()[1])
            act()
            for side, (_, way) in self._ways.items():
                self._debt[side] = max(0.0, self._debt[side] - self.rate * TICK)
                budget = self.rate * TICK - self._debt[side]
                data = b"".join(side.data_to_send(max(0, int(budget))))
                self._debt[side] += len(data)
                if data:
                    way.append((self.now + self.delay, data))

    def fill(self, near: StreamState) -> None:
        """An application that always has something to send."""
        if near.unsent < self.rate * TICK + 2**16:
            self.client.write(near, bytes(int(self.rate * TICK) + 2**16))

    def drain(self, far: StreamState, nbytes: int = 2**20) -> None:
        """An application that reads what is there."""
        self.read += len(self.server.read(far, nbytes))

    def bulk(self, near: StreamState, far: StreamState, seconds: float) -> float:
        """Send as fast as the path takes it and read as it comes; bytes per second."""

        def act() -> None:
            self.fill(near)
            self.drain(far)

        before = self.read
        self.run(seconds, act)
        return (self.read - before) / seconds
