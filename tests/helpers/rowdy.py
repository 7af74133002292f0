"""An application that does everything an application may, at random, and what must hold meanwhile.

What it is.  :func:`run` gives a connection the bytes of a peer, whatever they are.  Behind the
connection a :class:`Rowdy` accepts, echoes, closes, resets, finishes, never reads, pings, goes away and
lets time pass.  Nothing may raise; every queue keeps its bound; what is sent consists of whole frames
that our own decoder takes; and once the session is over and the application is done nothing is left.

The rule.  It calls what the session above the core would call and in no other state: what raises is
then a fault of the core.

The trap.  Everything is drawn from one seed, so a finding repeats only with the same bytes *and* seed.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from muxado_py import Config, Priority, SessionError, StreamLimitError
from muxado_py.errors import ErrorCode
from muxado_py.frames import WIRES
from muxado_py.protocol.connection import CLOSED_HERE, Connection

from .bounds import check_memory, check_nothing_is_left, check_queues
from .well_formed import check_sent

if TYPE_CHECKING:
    from muxado_py.protocol.stream_state import StreamState

__all__ = ("Rowdy", "configs", "run")

HABITS = ("echo", "echo", "echo", "sink", "never", "close", "reset", "half", "source", "fickle")
PATIENCE = 30  # looks at a stream before its application is done with it
MANY = 300  # streams that it opens at once, now and then: more than yamux lets wait
CHUNK = 20_000  # bytes that it writes at most at once


def configs(wire: str) -> list[Config]:
    """Settings under which bounds are near, and the defaults."""
    fixed = WIRES[wire].traits.initial_window is not None
    windows = {} if fixed else {"initial_window": 2000, "stream_window": 2000}
    bounds = {
        "session_window": 65_536,
        "max_streams": 6,
        "accept_backlog": 3,
        "max_control_frames": 16,
        "control_budget": 16,
        "discard_limit": 3000,
    }
    tight = Config(wire=wire, **windows, **bounds)  # type: ignore[arg-type]
    typed = Config(wire=wire, typed_streams=True, **bounds)  # type: ignore[arg-type]
    large = Config(wire=wire, stream_window=2**20)
    return [tight, typed, large, Config(wire=wire)]


class Rowdy:
    """An application at one connection.

    :param streams: how many streams it opens before the peer has said anything.
    """

    def __init__(self, config: Config, source: Random, *, client: bool, streams: int) -> None:
        self.config = config
        self._now = 0.0
        self.connection = Connection(config, client=client, clock=lambda: self._now)
        self.sent = bytearray()
        self.largest = 0  # bytes received at once
        self._client = client
        self._received = bytearray()
        self._source = source
        self._habits: dict[StreamState, str] = {}
        self._looks: dict[StreamState, int] = {}
        self._lingering: list[StreamState] = []
        self._accepts = source.random() < 0.95
        self._opened = 0
        self._kept_alive = 0
        self._longest = source.choice((0.001, 0.1))  # budgets are not met where time flies
        for _ in range(streams):
            self._open()
        self.flush(2**20)

    # What applications do.

    def _open(self) -> None:
        source, connection = self._source, self.connection
        typed = connection.echoes_heartbeats
        kind = source.choice((7, 7, 0xFFFFFFFF)) if typed and source.random() < 0.9 else None
        if self.config.typed_streams and kind is None:
            kind = 9
        priority = source.choice((None, Priority(source.randrange(8), source.randint(1, 256))))
        try:
            stream = connection.open(priority, kind)
        except (SessionError, StreamLimitError):
            return
        self._opened += 1
        self._take(stream)
        if source.random() < 0.8:
            connection.write(stream, bytes(source.choice((1, 5, 700, CHUNK))))

    def _take(self, stream: StreamState) -> None:
        self._habits[stream], self._looks[stream] = self._source.choice(HABITS), 0

    def look(self) -> None:
        """Look at what is new, and at some of the streams."""
        source, connection, events = self._source, self.connection, self.connection.events
        if self._accepts and source.random() < 0.9:
            while (stream := connection.accept()) is not None:
                self._take(stream)
                if source.random() < 0.1:
                    break
        for stream in events.heartbeats:
            self._take(stream)
        events.heartbeats.clear()
        for stream in list(self._habits):
            if source.random() < 0.8:
                self._look_at(stream)
        if source.random() < 0.1:
            self._open()
        if source.random() < 0.3:
            self._whim()

    def _look_at(self, stream: StreamState) -> None:
        source, connection, habit = self._source, self.connection, self._habits[stream]
        self._looks[stream] += 1
        data = b""
        if habit != "never":
            data = connection.read(stream, source.choice((1, 700, 65_536)))
        if habit == "fickle":
            connection.set_priority(stream, Priority(source.randrange(8), 7))
            connection.unwrite(stream, source.choice((1, 300, 10_000)))
        if habit == "close" or self._looks[stream] > PATIENCE:
            self._leave(stream)
        elif habit == "reset" and source.random() < 0.5:
            self._end(stream, source.choice((ErrorCode.STREAM_CANCELLED, 0, 2**32 - 1)))
            del self._habits[stream], self._looks[stream]
        elif stream.failure is not None or (stream.fin_received and not stream.unread):
            self._leave(stream)
        elif not stream.finishing:
            self._answer(stream, habit, data)

    def _answer(self, stream: StreamState, habit: str, data: bytes) -> None:
        source, connection = self._source, self.connection
        if habit in ("source", "fickle"):
            data = bytes(source.choice((1, 100, 9_000)))
        if data and habit not in ("sink", "half") and stream.unsent < self.config.send_buffer:
            stream.wants_writable = source.random() < 0.3
            connection.write(stream, data)
        if habit == "half" or source.random() < 0.05:
            connection.finish(stream)

    def _end(self, stream: StreamState, code: int | None = None) -> None:
        connection = self.connection
        if stream in connection._table.heartbeats:
            connection.heartbeats.end(stream, code)
        elif code is None:
            connection.close(stream)
        else:
            connection.reset(stream, code)

    def _leave(self, stream: StreamState) -> None:
        self._end(stream)
        self._lingering.append(stream)
        del self._habits[stream], self._looks[stream]

    def _whim(self) -> None:
        """What an application does now and then with the session."""
        connection, source = self.connection, self._source
        whim = source.randrange(40)
        if whim < 8 and connection.answers_pings and connection.events.failure is None:
            payload = source.randbytes(8)
            connection.ping(payload)
            if whim < 4:
                connection.forget_ping(payload)
        elif whim < 12 and self._kept_alive < 5:
            self._kept_alive += 1
            connection.keep_alive()
        elif whim == 37:
            connection.announce_go_away()
        elif whim == 38:
            connection.go_away(source.choice((0, 11, 99)), b"enough")
        elif whim == 39:
            connection.stop_accepting()
        elif self._lingering:
            stream = self._lingering.pop(source.randrange(len(self._lingering)))
            if stream.fin_sent:
                connection.set_priority(stream, Priority(1))
            else:
                connection.reset(stream, ErrorCode.STREAM_CANCELLED)

    def pass_time(self) -> None:
        """What the session's clock would do."""
        timeouts, source = self.connection.timeouts, self._source
        self._now += source.choice((0.0, 0.001, 0.001, self._longest))
        if source.random() < 0.5:
            timeouts.age_delays()
        if source.random() < 0.2:
            happens = source.choice((self.connection.timers.expire, timeouts.look))
            happens(self._now + source.choice((0.0, 3.0, 70.0, 1e6)))

    # The session above.

    def receive(self, data: bytes) -> bool:
        """Receive ``data`` if input is welcome, or can be made so; whether it was."""
        for _ in range(100):
            if self.connection.may_read() or self.connection.events.failure is not None:
                break
            self.flush(2**20)
            for stream in list(self._habits):
                self.connection.read(stream, 65_536)
            self.connection.timeouts.age_delays()
            self.connection.timeouts.age_delays()
            while (waiting := self.connection.accept()) is not None:
                self._take(waiting)
        else:
            return False
        self.largest = max(self.largest, len(data))
        self._received += data
        self.connection.receive_data(data)
        return True

    def flush(self, budget: int) -> None:
        """Send once."""
        for piece in self.connection.data_to_send(budget):
            self.sent += piece

    def take_events(self) -> None:
        """What was noted, each stream once."""
        events = self.connection.events
        assert len(events.readable) == len(set(events.readable))
        assert len(events.writable) == len(set(events.writable))
        for stream in (*events.readable, *events.writable):
            stream.in_readable = stream.in_writable = False
        events.readable.clear()
        events.writable.clear()
        events.pongs.clear()
        events.pings_sent.clear()
        events.pending = events.offered = False

    # What must hold.

    def check(self, *, weigh: bool) -> None:
        """Every queue keeps its bound; with ``weigh``, so does all that is held together."""
        known = self._opened + len(self._lingering)
        check_queues(self.connection, self.config, opened=known, largest=self.largest)
        if weigh:
            check_memory(self.connection, {*self._habits}, largest=self.largest, chunk=CHUNK)

    def _accept_the_rest(self) -> None:
        """What came before an end of the peer's making can still be accepted; behind an end of ours, nothing."""
        ended = self.connection.events.failure
        assert ended is not None
        while (stream := self.connection.accept()) is not None:
            assert ended.remote, "handed off after an end of ours"
            assert stream.failure is not None
            self._take(stream)

    def end(self) -> None:
        """The session ends, the application is done with it, and nothing is left."""
        connection, source = self.connection, self._source
        for ending in source.sample(("eof", "look", "flush", "terminate"), 4):
            if ending == "eof":
                connection.receive_eof(source.choice(("", "reset by peer")))
            elif ending == "look":
                self.look()
            elif ending == "flush":
                self.flush(2**20)
            else:
                connection.terminate(CLOSED_HERE)
        assert connection.events.failure is not None
        self._accept_the_rest()
        for stream in connection.events.heartbeats:
            self._take(stream)
        for stream in list(self._habits):
            while connection.read(stream, 65_536):
                pass
            self._leave(stream)
        connection.timeouts.age_delays()
        connection.timeouts.age_delays()
        for _ in range(3):
            self.flush(2**20)
        self.take_events()
        check_nothing_is_left(connection)
        check_sent(self.config.wire, bytes(self.sent), bytes(self._received), client=self._client)


def run(config: Config, data: bytes, *, client: bool, seed: int, weigh: bool = False) -> Rowdy:
    """Give ``data`` to a connection with an application, in pieces, and end the session.

    :param weigh: whether to look at the memory meanwhile, which takes long.
    """
    source = Random(seed)
    streams = source.choice((0, 1, 3, 8)) if source.random() < 0.95 else MANY
    rowdy = Rowdy(config, source, client=client, streams=streams)
    pace = source.choice((1, 7, 60, 700, 5_000, 65_536))
    if len(data) > 2_000 * pace:
        pace = 65_536
    pos = 0
    while pos < len(data):
        size = source.randint(1, pace)
        if not rowdy.receive(data[pos : pos + size]):
            break
        pos += size
        if source.random() < 0.7:
            rowdy.look()
        rowdy.check(weigh=weigh and source.random() < 0.1)
        rowdy.take_events()
        if source.random() < 0.6:
            rowdy.flush(source.choice((0, 1, 3_000, 2**20)))
        rowdy.pass_time()
    rowdy.check(weigh=weigh)
    rowdy.end()
    return rowdy
