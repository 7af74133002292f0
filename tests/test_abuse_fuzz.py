"""No input makes it raise, hang or grow: random frames, and mutations of what an honest peer said.

Behind the connection stands an application that does ordinary things.  Whatever arrives, nothing
raises, what we send is always whole frames, every bound holds, and once the session is over and the
application is done with its streams nothing is left.
"""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from muxado_py import Config, MuxadoError, Priority
from muxado_py.errors import ErrorCode
from muxado_py.protocol.connection import CLOSED_HERE, Connection

from .frames.test_any_bytes import FRAMES, streams
from .helpers.pair import HELLO, Pair, held, read_all, split_frames

CONFIG = Config(
    initial_window=2000,
    stream_window=2000,
    session_window=65_536,
    max_streams=6,
    accept_backlog=3,
    max_control_frames=16,
    control_budget=16,
)
TYPED = Config(
    typed_streams=True,
    initial_window=2000,
    stream_window=2000,
    session_window=65_536,
    max_streams=6,
    accept_backlog=3,
    max_control_frames=16,
    control_budget=16,
)


class Application:
    """Accepts, echoes, and is done with a stream at its end or after a few looks at it."""

    def __init__(self, connection: Connection, config: Config, patience: int = 8) -> None:
        self.connection = connection
        self._config = config
        self._patience = patience
        self._streams = {connection.open(Priority(1), self._type()): 0 for _ in range(2)}
        self.sent = bytearray()

    def _type(self) -> int | None:
        return 7 if self._config.typed_streams else None

    def look(self) -> None:
        connection = self.connection
        while (stream := connection.accept()) is not None:
            self._streams[stream] = 0
        for stream in [*connection.events.heartbeats]:
            self._streams[stream] = 0
        connection.events.heartbeats.clear()
        for stream in list(self._streams):
            self._streams[stream] += 1
            data = connection.read(stream, 700)
            if stream.failure is not None or stream.fin_received:
                connection.close(stream)
                del self._streams[stream]
            elif self._streams[stream] > self._patience:
                connection.reset(stream, ErrorCode.STREAM_CANCELLED)
                del self._streams[stream]
            elif data and not stream.finishing:
                connection.write(stream, data)
                if len(data) == 700:
                    connection.finish(stream)

    def flush(self) -> None:
        while out := self.connection.data_to_send(3000):
            self.sent += b"".join(out)

    def check(self) -> None:
        connection = self.connection
        assert 0 <= connection.unread <= 65_536
        assert connection.live_streams <= 6 + 2
        assert connection.peer_streams <= 6
        assert connection.backlog <= 3
        assert connection.inspect().control.replies <= 16 + 6 + 2
        events = connection.events
        assert len(events.readable) == len(set(events.readable))
        assert len(events.writable) == len(set(events.writable))
        for stream in (*events.readable, *events.writable):
            stream.in_readable = stream.in_writable = False
        events.readable.clear()
        events.writable.clear()
        events.pongs.clear()

    def end(self) -> None:
        connection = self.connection
        connection.receive_eof()
        assert connection.events.failure is not None
        self.flush()
        connection.terminate(CLOSED_HERE)
        for stream in self._streams:
            read_all(connection, stream)
            connection.close(stream)
        while (late := connection.accept()) is not None:
            assert connection.events.failure.remote, "handed off after an end of ours"
            read_all(connection, late)
            connection.close(late)
        for stream in connection.events.heartbeats:
            connection.close(stream)
        assert connection.live_streams == connection.peer_streams == connection.unread == 0
        assert not connection.inspect().known
        split_frames(bytes(self.sent), self._config.wire)


def run(
    data: bytes,
    cuts: list[int],
    *,
    client: bool,
    typed: bool,
    flush_every: int,
    wire: str = "muxado",
) -> Application:
    config = TYPED if typed else CONFIG
    if wire != config.wire:
        # The others fix the window.
        config = replace(config, wire=wire, initial_window=2**18, stream_window=2**18)
    now = 0.0
    connection = Connection(config, client=client, clock=lambda: now)
    application = Application(connection, config)
    application.flush()
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    for number, (start, end) in enumerate(pairwise(edges)):
        connection.receive_data(data[start:end])
        application.look()
        application.check()
        if number % flush_every == 0:
            application.flush()
        now += 0.001
    application.end()
    return application


@pytest.mark.slow
@pytest.mark.parametrize("wire", FRAMES)
@settings(max_examples=300)
@given(
    drawn=st.data(),
    cuts=st.lists(st.integers(0, 3000), max_size=20),
    client=st.booleans(),
    typed=st.booleans(),
    flush_every=st.integers(1, 4),
)
def test_random_frames(
    wire: str, drawn: st.DataObject, cuts: list[int], client: bool, typed: bool, flush_every: int
) -> None:
    data = drawn.draw(streams(wire))
    run(data, cuts, client=client, typed=typed, flush_every=flush_every, wire=wire)


def honest_exchange(*, typed: bool, hello: bool = True) -> bytes:
    """What an honest client says to a server, from its hello to its goodbye."""
    pair = Pair(TYPED if typed else CONFIG, foreign=not hello)
    client, server = pair.client, pair.server
    kind = 9 if typed else None
    for number in range(4):
        near, far = pair.open(
            b"call %d" % number,
            priority=Priority(number),
            stream_type=kind,
            metadata={"caller": b"192.0.2.7:%d" % number} if hello and number % 2 else None,
        )
        client.write(near, bytes(1500))
        client.set_priority(near, Priority(7 - number))
        server.write(far, bytes(3000))
        if hello:
            client.ping(bytes(8))
        pair.run_until_idle()
        read_all(client, near)
        read_all(server, far)
        pair.run_until_idle()
        if number % 2:
            client.finish(near)
            server.finish(far)
        elif number:
            client.reset(near, ErrorCode.STREAM_CANCELLED)
        pair.run_until_idle()
        server.close(far)
    client.go_away(ErrorCode.NO_ERROR, b"done")
    pair.run_until_idle()
    return bytes(pair.sent[client])


EXCHANGES = {
    (typed, hello): honest_exchange(typed=typed, hello=hello)
    for typed in (False, True)
    for hello in (False, True)
}

mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "delete", "insert", "repeat", "swap"]),
        st.floats(0, 0.9999),
        st.floats(0, 0.9999),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=5,
)


def mutate(data: bytes, steps: list[tuple[str, float, float, int]]) -> bytes:
    """Change bytes, or move, drop and repeat whole frames."""
    frames = split_frames(data)
    for step, where, other, value in steps:
        index = int(where * len(frames)) if frames else 0
        if not frames:
            break
        if step == "delete":
            del frames[index]
        elif step == "repeat":
            frames[index:index] = frames[index : index + 1] * (1 + value % 40)
        elif step == "swap":
            second = int(other * len(frames))
            frames[index], frames[second] = frames[second], frames[index]
        else:
            body = bytearray(frames[index])
            # Headers are where it hurts.
            place = int(other * min(len(body), 20))
            if step == "flip":
                body[place] ^= 1 << value % 8
            elif step == "set":
                body[place] = value
            else:
                body.insert(place, value)
            frames[index] = bytes(body)
            data = b"".join(frames)
            try:
                frames = split_frames(data)
            except AssertionError:
                return data
    return b"".join(frames)


@pytest.mark.slow
@settings(max_examples=400)
@given(
    exchange=st.sampled_from(sorted(EXCHANGES)),
    steps=mutations,
    cuts=st.lists(st.integers(0, 12_000), max_size=20),
    flush_every=st.integers(1, 4),
)
@example(exchange=(False, True), steps=[("delete", 0.0, 0.0, 0)], cuts=[], flush_every=1)
def test_mutations_of_an_honest_exchange(
    exchange: tuple[bool, bool],
    steps: list[tuple[str, float, float, int]],
    cuts: list[int],
    flush_every: int,
) -> None:
    data = mutate(EXCHANGES[exchange], steps)
    run(data, cuts, client=False, typed=exchange[0], flush_every=flush_every)


def outcome(connection: Connection) -> tuple[object, ...]:
    """What a connection made of its input, whole."""
    accepted = []
    while (stream := connection.accept()) is not None:
        accepted.append(
            (
                stream.id,
                stream.stream_type,
                read_all(connection, stream),
                stream.fin_received,
                stream.priority,
                stream.failure,
            )
        )
    replies = b"".join(connection.data_to_send(2**20))
    return accepted, replies, connection.events.failure, connection.events.go_away


def test_every_split_of_an_honest_exchange_says_the_same() -> None:
    frames = (
        HELLO
        + bytes.fromhex("000002 12 00000003 6869 000002 40 00000003 0005")
        + bytes.fromhex("000003 13 00000005 616263 000008 50 00000000 0102030405060708")
        + bytes.fromhex("000004 20 00000003 00000400 000001 10 00000063 78")
        + bytes.fromhex("000000 12 00000007 000004 00 00000007 00000006")
        + bytes.fromhex("000001 11 00000003 21 000003 90 00000000 010203")
        + bytes.fromhex("00000b 30 00000000 00000000 00000000 627965 000000 f0 00000000")
    )
    whole = Connection(CONFIG, client=False)
    whole.receive_data(frames)
    expected = outcome(whole)
    for first in range(len(frames) + 1):
        for second in {first, (first + len(frames)) // 2, len(frames)}:
            split = Connection(CONFIG, client=False)
            for piece in (frames[:first], frames[first:second], frames[second:]):
                split.receive_data(piece)
            assert outcome(split) == expected, (first, second)


def test_every_cut_of_an_honest_exchange_ends_in_an_error_and_nothing_else() -> None:
    data = EXCHANGES[(False, True)]
    for end in {*range(400), *range(400, len(data), 97)}:
        connection = Connection(CONFIG, client=False)
        stream = connection.open(None, None)
        application = Application(connection, CONFIG)
        connection.receive_data(data[:end])
        application.look()
        application.end()
        error = stream.error()
        assert isinstance(error, MuxadoError)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.booleans())
def test_a_long_stream_of_garbage_holds_nothing(seed: int, hello: bool) -> None:
    source = random.Random(seed)
    connection = Connection(CONFIG, client=False)
    if hello:
        connection.receive_data(HELLO)
    before = held(connection)
    for _ in range(50):
        connection.receive_data(source.randbytes(4096))
        connection.data_to_send(2**20)
    assert held(connection) - before < 150_000
