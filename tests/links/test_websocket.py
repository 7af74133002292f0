"""The codec of a websocket: towards the library's own protocol, towards itself, and towards peers that mean no good."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group, fail_after
from websockets.client import ClientProtocol
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side
from websockets.uri import parse_uri

import muxado_py as muxado
from muxado_py.links.codec_stream import CodecStream
from muxado_py.links.codec_transport import CodecTransport
from muxado_py.links.tls import MAX_RECORD, TLSCodec
from muxado_py.links.upgrade import UpgradeRefusedError, WebSocketAttribute, WebSocketRequest
from muxado_py.links.websocket import FREE_FRAMES, MAX_HEAD, MAX_MESSAGE
from muxado_py.links.websocket_handshakes import WebSocketClient, WebSocketServer

from ..transports import Cut, Recorder, memory_transports, tls_contexts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from muxado_py.links.websocket import WebSocketCodec


def client(**more: object) -> WebSocketClient:
    return WebSocketClient("example.org", 80, "/tunnel?x=1", secure=False, **more)  # type: ignore[arg-type]


def server(**more: object) -> WebSocketServer:
    return WebSocketServer(lambda request: None, **more)  # type: ignore[arg-type]


def agree(near: WebSocketClient, far: WebSocketServer) -> None:
    assert not near.handshake()
    far.feed(near.output())
    assert far.handshake()
    near.feed(far.output())
    assert near.handshake()


def codecs() -> tuple[WebSocketClient, WebSocketServer]:
    """Two that have agreed."""
    near, far = client(), server()
    agree(near, far)
    return near, far


def received(codec: WebSocketCodec, room: int = 1000) -> bytes:
    """All that has come."""
    found, memory = b"", memoryview(bytearray(room))
    while count := codec.receive_into(memory):
        found += memory[:count]
    return found


def open_server() -> tuple[WebSocketServer, Callable[[Opcode, bytes, bool], bytes]]:
    """One that was dialed, and what makes masked frames for it."""
    _, far = codecs()
    return far, lambda kind, data, fin: Frame(kind, data, fin).serialize(mask=True)


def said_close(codec: WebSocketCodec) -> Close:
    """The close frame that it says, and nothing behind it."""
    peer = Protocol(Side.CLIENT if codec.server_side else Side.SERVER)
    peer.receive_data(codec.output())
    assert peer.close_rcvd is not None
    return peer.close_rcvd


# Bytes.


@pytest.mark.parametrize("room", [1, 777, 100_000])
@pytest.mark.parametrize("size", [1, 125, 126, MAX_MESSAGE, 200_000])
def test_what_is_sent_is_received(size: int, room: int) -> None:
    data = bytes(index % 251 for index in range(size))
    for sender, receiver in (codecs(), codecs()[::-1]):
        sender.send(data)
        frames = sender.output()
        middle = len(frames) // 2
        receiver.feed(frames[:middle])
        first = received(receiver, room)
        receiver.feed(frames[middle:])
        assert first + received(receiver, room) == data
        assert not receiver.ended


def test_it_may_come_byte_by_byte() -> None:
    near, far = client(), server()
    near.handshake()
    for byte in near.output():
        assert not far.handshake()
        far.feed(bytes((byte,)))
    assert far.handshake()
    far.send(b"first words")  # which may come in the same bytes as the head before them
    for byte in far.output():
        near.feed(bytes((byte,)))
        near.handshake()
    assert received(near) == b"first words"


def test_the_first_bytes_may_come_with_the_handshake() -> None:
    near, far = client(), server()
    near.handshake()
    far.feed(near.output())
    assert far.handshake()
    far.send(b"first")
    far.end()
    near.feed(far.output())
    assert near.handshake()
    assert received(near) == b"first"
    assert near.ended


def test_messages_are_no_longer_than_others_take() -> None:
    near, _ = codecs()
    near.send(bytes(3 * MAX_MESSAGE + 1))
    peer = Protocol(Side.SERVER, max_size=MAX_MESSAGE)
    peer.receive_data(near.output())
    assert [frame.fin for frame in peer.events_received()] == [True] * 4  # type: ignore[union-attr]


def test_a_long_frame_fills_records_of_tls() -> None:
    for sender in codecs():
        sender.send(bytes(3 * MAX_MESSAGE + 1))
        *long, short = sender.output_pieces()
        assert len(long) == 3
        assert {-(-len(frame) // MAX_RECORD) for frame in long} == {2}
        assert max(map(len, long)) > 2 * MAX_RECORD - 8
        assert len(short) < 8


def test_a_peer_may_cut_messages_anywhere_and_ping_between() -> None:
    far, frame = open_server()
    data = bytes(range(256)) * 300
    frames = [
        frame(Opcode.BINARY, data[:0], False),
        frame(Opcode.PING, b"one", True),
        frame(Opcode.CONT, data[:1], False),
        frame(Opcode.CONT, data[1:70_000], False),
        frame(Opcode.PONG, b"nobody asked", True),
        frame(Opcode.CONT, b"", True),
        frame(Opcode.BINARY, data[70_000:], True),
    ]
    far.feed(b"".join(frames))
    assert received(far) == data
    pong = Protocol(Side.CLIENT)
    pong.receive_data(far.output())
    assert [(one.opcode, bytes(one.data)) for one in pong.events_received()] == [  # type: ignore[union-attr]
        (Opcode.PONG, b"one")
    ]


def test_a_message_that_never_ends_is_a_session_all_the_same() -> None:
    far, frame = open_server()
    far.feed(frame(Opcode.BINARY, b"begin", False))
    for _ in range(2000):
        far.feed(frame(Opcode.CONT, bytes(1000), False))
        assert received(far)
    assert far.fault is None


# The end.


def test_a_close_is_the_end_behind_what_came() -> None:
    for one, other in (codecs(), codecs()[::-1]):
        one.send(b"last words")
        one.end()
        other.feed(one.output())
        assert not other.ended
        assert received(other) == b"last words"
        assert other.ended
        assert other.fault is None
        with pytest.raises(BrokenPipeError):
            other.send(b"x")
        other.end()
        one.feed(other.output())
        assert received(one) == b""
        assert one.ended


def test_who_has_said_the_end_reads_on() -> None:
    near, far = codecs()
    near.end()
    far.send(b"was on its way")
    near.feed(far.output())
    assert received(near) == b"was on its way"
    far.feed(near.output())
    near.feed(far.output())
    assert received(near) == b""
    assert near.ended


@pytest.mark.parametrize("code", [1000, 1001, None])
def test_an_orderly_close_is_no_fault(code: int | None) -> None:
    far, frame = open_server()
    far.feed(frame(Opcode.CLOSE, b"" if code is None else Close(code, "").serialize(), True))
    assert received(far) == b""
    assert far.ended
    assert said_close(far).code == (code or 1005)


@pytest.mark.parametrize("code", [1002, 1008, 1011, 1012, 1013, 4000])
def test_any_other_is_one_behind_what_came_and_says_why(code: int) -> None:
    far, frame = open_server()
    far.feed(frame(Opcode.BINARY, b"whole", True))
    far.feed(frame(Opcode.CLOSE, Close(code, "so \x1b[31mit is").serialize(), True))
    room = memoryview(bytearray(3))
    assert far.receive_into(room) == 3
    assert far.fault is None
    assert received(far) == b"le"
    assert not far.ended
    assert str(far.fault) == f"it closed the websocket with code {code}: so \\x1b[31mit is"


def test_a_cut_at_each_byte_is_an_end_behind_what_was_whole() -> None:
    near, _ = codecs()
    for size in (3, 70_000, 5):
        near.send(bytes(size))
    frames = near.output()
    ends = [*range(300), *range(300, len(frames) - 60, 997), *range(len(frames) - 60, len(frames))]
    for end in ends:
        far, _ = open_server()
        far.feed(frames[:end])
        far.feed_end()
        found = received(far, 100_000)
        assert found == bytes(len(found))
        assert far.ended
        assert far.fault is None


@pytest.mark.anyio
async def test_a_connection_cut_at_each_byte_of_its_handshake_fails() -> None:
    near, far = client(), server()
    near.handshake()
    asked = near.output()
    far.feed(asked)
    far.handshake()
    answer = far.output()
    for end in range(0, len(asked), 7):
        near_raw, far_raw = memory_transports()
        await near_raw.send(asked[:end]) if end else None
        await near_raw.aclose()
        with pytest.raises(ConnectionResetError, match="ended during the websocket handshake"):
            await CodecStream(far_raw, server()).handshake()
        await far_raw.aclose()
    for end in range(0, len(answer), 7):
        near_raw, far_raw = memory_transports()
        async with create_task_group() as tasks:
            tasks.start_soon(_answer, Cut(far_raw, sends=end), answer)
            with pytest.raises(ConnectionResetError, match="ended during the websocket handshake"):
                await CodecStream(near_raw, client()).handshake()
        await near_raw.aclose()
        await far_raw.aclose()


async def _answer(transport: anyio.abc.ByteStream, answer: bytes) -> None:
    await transport.receive()
    with suppress(anyio.BrokenResourceError):
        await transport.send(answer)


# Peers that mean no good.


@pytest.mark.parametrize(
    ("kind", "data", "mask", "code"),
    [
        (Opcode.TEXT, b"text", True, 1003),
        (Opcode.BINARY, b"not masked", False, 1002),
        (Opcode.CONT, b"of nothing", True, 1002),
    ],
)
def test_what_breaks_the_rules_is_told(kind: Opcode, data: bytes, mask: bool, code: int) -> None:
    far, frame = open_server()
    far.feed(frame(Opcode.BINARY, b"whole", True))
    far.feed(Frame(kind, data, True).serialize(mask=mask))
    far.feed(frame(Opcode.BINARY, b"nobody reads this", True))
    assert received(far) == b"whole"
    assert f"({code})" in str(far.fault)
    assert said_close(far).code == code


def test_a_server_must_not_mask() -> None:
    near, _ = codecs()
    near.feed(Frame(Opcode.BINARY, b"masked", True).serialize(mask=True))
    assert received(near) == b""
    assert "incorrect masking (1002)" in str(near.fault)
    assert said_close(near).code == 1002


@pytest.mark.parametrize(
    "data",
    [
        bytes((0x82, 0xFF)) + (2**63).to_bytes(8, "big") + bytes(4),
        bytes((0x89, 0xFE, 0, 200)) + bytes(4),
        bytes((0xC2, 0x80)) + bytes(4),  # as if compression had been agreed on
        bytes((0x83, 0x80)) + bytes(4),
        bytes((0x09, 0x80)) + bytes(4),
    ],
)
def test_frames_that_cannot_be(data: bytes) -> None:
    far, _ = open_server()
    far.feed(data)
    assert received(far) == b""
    assert far.fault is not None
    assert said_close(far).code == 1002


def test_a_frame_without_end_is_received_as_it_comes() -> None:
    far, _ = open_server()
    far.feed(bytes((0x82, 0xFF)) + (2**62).to_bytes(8, "big") + bytes(4))
    tracemalloc.start()
    total = 0
    for _ in range(300):
        far.feed(bytes(100_000))
        total += len(received(far, 100_000))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 29_900_000
    assert kept < 300_000


@pytest.mark.parametrize("kind", [Opcode.PING, Opcode.PONG, Opcode.BINARY])
def test_a_flood_of_frames_that_cost_nothing_ends_it(kind: Opcode) -> None:
    far, frame = open_server()
    for _ in range(2):
        far.feed(frame(kind, b"", True) * FREE_FRAMES)
    assert far.pending_output < 1000
    assert received(far) == b""
    assert "too many frames without data (1008)" in str(far.fault)
    assert said_close(far).code == 1008


def test_only_the_last_ping_is_answered_where_answers_are_left_lying() -> None:
    far, frame = open_server()
    for number in range(500):
        far.feed(frame(Opcode.PING, b"%d" % number, True))
    peer = Protocol(Side.CLIENT)
    peer.receive_data(far.output())
    assert [bytes(one.data) for one in peer.events_received()] == [b"499"]  # type: ignore[union-attr]


def test_a_ping_that_came_with_the_request_is_answered_behind_the_handshake() -> None:
    near, far = client(), server()
    near.handshake()
    pings = [Frame(Opcode.PING, b"%d" % number).serialize(mask=True) for number in range(3)]
    far.feed(near.output() + b"".join(pings))
    assert far.handshake()
    far.send(b"first")
    far.end()
    head, _, frames = far.output().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    peer = Protocol(Side.CLIENT)
    peer.receive_data(frames)
    assert [(one.opcode, bytes(one.data)) for one in peer.events_received()] == [  # type: ignore[union-attr]
        (Opcode.PONG, b"2"),
        (Opcode.BINARY, b"first"),
        (Opcode.CLOSE, b"\x03\xe8"),
    ]


def test_frames_of_one_byte_cost_memory_for_a_moment() -> None:
    far, frame = open_server()
    flood = frame(Opcode.BINARY, b"x", True) * 30_000
    tracemalloc.start()
    far.feed(flood)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert received(far, 100_000) == b"x" * 30_000
    assert peak < 20_000_000


# The handshake.


def answered(request: bytes) -> bytes:
    """What a server answers that refuses it."""
    far = server()
    far.feed(request)
    with pytest.raises(OSError, match=r"no websocket|head of the request"):
        far.handshake()
    return far.output()


GOOD = (
    b"GET /tunnel HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GOOD.replace(b"Upgrade: websocket\r\n", b""), b"HTTP/1.1 426 "),
        (GOOD.replace(b"Version: 13", b"Version: 8"), b"HTTP/1.1 4"),
        (GOOD.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"short"), b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000, b"HTTP/1.1 431 "),
        (b"x" * (MAX_HEAD + 1), b"HTTP/1.1 431 "),
    ],
)
def test_a_request_for_no_websocket_is_answered(request_: bytes, status: bytes) -> None:
    assert answered(request_).startswith(status)


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00\xff\r\n\r\n", GOOD.replace(b"GET", b"POST")]
)
def test_what_is_no_request_is_refused(garbage: bytes) -> None:
    answered(garbage)


def test_a_head_is_bounded_while_it_comes() -> None:
    far = server()
    for _ in range(MAX_HEAD // 100 + 1):
        assert not far.handshake()
        far.feed(b"x" * 100)
    with pytest.raises(OSError, match="head of the request"):
        far.handshake()
    near = client()
    near.handshake()
    near.feed(b"x" * (MAX_HEAD + 1))
    with pytest.raises(OSError, match="head of the answer"):
        near.handshake()


def test_who_judges_sees_the_request() -> None:
    asked: list[WebSocketRequest] = []

    def judge(request: WebSocketRequest) -> int | None:
        asked.append(request)
        return None if request.bearer_token == "secret" else 401

    near = client(headers=[("Authorization", "Bearer secret"), ("Host", "other")])
    far = WebSocketServer(judge)
    agree(near, far)
    assert asked[0].path == "/tunnel?x=1"
    assert asked[0].header("host") == "other"
    assert far.attributes()[WebSocketAttribute.request]() is asked[0]

    near, far = client(headers=[("Authorization", "bearer wrong")]), WebSocketServer(judge)
    near.handshake()
    far.feed(near.output())
    with pytest.raises(UpgradeRefusedError, match=r"'/tunnel' was refused \(401\)"):
        far.handshake()
    near.feed(far.output())
    with pytest.raises(UpgradeRefusedError, match="answered 401 Unauthorized") as caught:
        near.handshake()
    assert caught.value.status == 401


def test_a_request_shows_no_secret() -> None:
    headers = (("Authorization", "Bearer secret"),)
    for path in ("/tunnel?token=secret", "/tunnel\x1b\n?token=secret"):
        shown = repr(WebSocketRequest(path, headers))
        assert "secret" not in shown
        assert shown.startswith("<WebSocketRequest '/tunnel")
        assert shown.isprintable()


def test_a_judge_that_fails_refuses() -> None:
    def judge(request: WebSocketRequest) -> int | None:
        raise LookupError(request.path)

    near, far = client(), WebSocketServer(judge)
    near.handshake()
    far.feed(near.output())
    with pytest.raises(UpgradeRefusedError, match="LookupError"):
        far.handshake()
    assert far.output().startswith(b"HTTP/1.1 500 ")


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ((), None),
        ((("authorization", "Bearer abc"),), "abc"),
        ((("Authorization", "BEARER  abc "),), "abc"),
        ((("Authorization", "Basic abc"),), None),
        ((("Authorization", "Bearer"),), None),
        ((("Authorization", "Bearer a"), ("Authorization", "Bearer b")), None),
    ],
)
def test_the_token_of_a_request(headers: tuple[tuple[str, str], ...], token: str | None) -> None:
    assert WebSocketRequest("/", headers).bearer_token == token


def test_a_subprotocol_is_agreed_on() -> None:
    near, far = client(subprotocol="muxado"), server(subprotocol="muxado")
    agree(near, far)
    for one in (near, far):
        assert one.attributes()[WebSocketAttribute.subprotocol]() == "muxado"
    near, far = client(), server(subprotocol="muxado")
    near.handshake()
    far.feed(near.output())
    with pytest.raises(OSError, match="subprotocol"):
        far.handshake()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope", r"answered 404 Not Found$"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://x/\x7f\r\n\r\n", r"answered 302|no websocket"),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n",
            "to https://x/",
        ),
        (b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "no websocket"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "no websocket: .*HTTP.*SSH-2.0"),
    ],
)
def test_an_answer_that_is_no_websocket_says_so(answer: bytes, why: str) -> None:
    near = client()
    near.handshake()
    near.feed(answer)
    with pytest.raises(OSError, match=why):
        near.handshake()


def test_an_answer_whose_body_ends_with_the_connection_is_told_too() -> None:
    near = client()
    near.handshake()
    near.feed(b"HTTP/1.1 503 Busy\r\n\r\ncome back")
    assert not near.handshake()
    near.feed_end()
    with pytest.raises(UpgradeRefusedError, match="answered 503 Busy"):
        near.handshake()


def test_compression_is_not_agreed_on() -> None:
    library = ClientProtocol(parse_uri("ws://example.org/"))
    request = library.connect()
    request.headers["Sec-WebSocket-Extensions"] = "permessage-deflate; client_max_window_bits"
    far = server()
    far.feed(request.serialize())
    assert far.handshake()
    assert b"extensions" not in far.output().lower()


# Sessions over it.


@pytest.mark.anyio
@pytest.mark.parametrize("wire", ["muxado", "yamux", "smux2", "smux1", "muxado1"])
async def test_every_wire_runs_over_it(wire: str) -> None:
    near_raw, far_raw = memory_transports()
    near, far = CodecStream(near_raw, client()), CodecStream(far_raw, server())
    config = muxado.Config(wire=wire)
    question = bytes(range(256)) * 1000

    async def serve() -> None:
        await far.handshake()
        async with muxado.server(far, muxado.Config(wire="auto")) as session:
            stream = await session.accept_stream()
            asked = b""
            while len(asked) < len(question):
                asked += await stream.receive()
            await stream.send(asked[::-1])
            await stream.aclose()
            await session.wait()

    with fail_after(20):
        async with create_task_group() as tasks:
            tasks.start_soon(serve)
            await near.handshake()
            async with muxado.client(near, config) as session:
                stream = await session.open_stream()
                await stream.send(question)
                assert b"".join([piece async for piece in stream]) == question[::-1]


@pytest.mark.anyio
async def test_a_ping_is_answered_by_a_session_that_has_nothing_to_say() -> None:
    near_raw, far_raw = memory_transports()
    far = CodecStream(far_raw, server())
    peer = ClientProtocol(parse_uri("ws://example.org/"))
    peer.send_request(peer.connect())
    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(far.handshake)
            for one in peer.data_to_send():
                await near_raw.send(one)
            peer.receive_data(await near_raw.receive())
        assert peer.state.name == "OPEN"
        config = muxado.Config(wire="smux2", heartbeat_interval=None)
        async with muxado.server(far, config):
            peer.events_received()
            peer.send_ping(b"alive?")
            for one in peer.data_to_send():
                await near_raw.send(one)
            answers: list[bytes] = []
            while b"alive?" not in answers:
                peer.receive_data(await near_raw.receive())
                answers += [bytes(one.data) for one in peer.events_received()]  # type: ignore[union-attr]
            await near_raw.aclose()


@pytest.mark.anyio
async def test_what_both_layers_add_is_counted() -> None:
    """How much of what was said the kernel has is reckoned by it."""
    near_ssl, far_ssl = tls_contexts()
    near_raw, far_raw = memory_transports(100)
    recorder = Recorder(near_raw)
    near_tls = CodecStream(recorder, TLSCodec(near_ssl, server_side=False, hostname="localhost"))
    far_tls = CodecStream(far_raw, TLSCodec(far_ssl, server_side=True, hostname=None))
    near, far = CodecStream(near_tls, client()), CodecStream(far_tls, server())
    for one, other in ((near_tls, far_tls), (near, far)):
        async with create_task_group() as tasks:
            tasks.start_soon(one.handshake)
            await other.handshake()
    await near.send(b"hello")
    assert near.given == len(recorder.sent)
    await near_raw.aclose()
    await far_raw.aclose()


@pytest.mark.anyio
async def test_why_a_peer_closed_is_told_to_the_session() -> None:
    near_raw, far_raw = memory_transports()
    near, far = CodecStream(near_raw, client()), CodecStream(far_raw, server())
    with fail_after(10):
        async with create_task_group() as tasks:
            tasks.start_soon(far.handshake)
            await near.handshake()
        async with muxado.client(near) as session:
            await far_raw.send(
                Frame(Opcode.CLOSE, Close(1013, "full").serialize(), True).serialize(mask=False)
            )
            with pytest.raises(muxado.TransportError, match=r"code 1013: full"):
                await session.wait()
            await far_raw.aclose()


# A long flush.


class Below(asyncio.Transport):
    """A transport that takes all that it is given, and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(1)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.pieces.append(len(list(list_of_data)))

    def is_closing(self) -> bool:
        return False


ON_ASYNCIO = [("asyncio", {"use_uvloop": it}) for it in (False, True)]
LONG_FLUSH = bytes(100 * MAX_MESSAGE)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ON_ASYNCIO, ids=["asyncio", "uvloop"])
async def test_frames_are_joined_only_where_the_loop_would_do_it(
    anyio_backend: tuple[str, dict[str, bool]],
) -> None:
    below = Below()
    CodecTransport(below, asyncio.Protocol(), codecs()[0]).write(LONG_FLUSH)
    assert below.pieces == [100 if anyio_backend[1]["use_uvloop"] else 1]


class Counting(CodecTransport):
    """A layer that counts what it is given at once."""

    pieces = 0

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        given = list(list_of_data)
        self.pieces = len(given)
        super().writelines(given)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ON_ASYNCIO, ids=["asyncio", "uvloop"])
async def test_frames_are_not_joined_for_tls(anyio_backend: object) -> None:
    near_ssl, far_ssl = tls_contexts()
    near = TLSCodec(near_ssl, server_side=False, hostname="localhost")
    far = TLSCodec(far_ssl, server_side=True, hostname=None)
    while not near.handshake():
        far.feed(near.output())
        far.handshake()
        near.feed(far.output())
    tls = Counting(Below(), asyncio.Protocol(), near)
    CodecTransport(tls, asyncio.Protocol(), codecs()[0]).write(LONG_FLUSH)
    assert tls.pieces == 100
