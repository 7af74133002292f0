"""Doors with TLS: who agrees on it is a caller as every other, and who does not costs little."""

from __future__ import annotations

import asyncio
import errno
import http.client
import logging
import signal
import socket
import ssl
from contextlib import asynccontextmanager
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import pytest
import trustme
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSAttribute

from muxado_py.cli.gateway import gateway
from muxado_py.cli.http_door.limits import Limits
from muxado_py.cli.options import Address, HttpDoor, Published
from muxado_py.cli.reloading import Reloading
from muxado_py.cli.tls import DoorContexts
from muxado_py.cli.trust.certs import Wanted, make_certificates
from muxado_py.links.codec_stream import CodecStream
from muxado_py.links.tls import TLSCodec
from muxado_py.links.tls_socket import TLSSocket

from ..helpers.blocked import until
from ..helpers.wss_echo import echoed
from .http_door.door import Replying, heard, request
from .http_door.test_websockets import HANDSHAKE, SWITCHING, echo
from .processes import running
from .test_gateway import agent, everything, saying

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import ByteStream

    import muxado_py as muxado

pytestmark = pytest.mark.anyio


class Authority:
    """Signs certificates for ``app``."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.client = ssl.create_default_context()
        self._authority.configure_trust(self.client)
        self.client.set_alpn_protocols(["h2", "http/1.1"])

    def contexts(self) -> DoorContexts:
        made = DoorContexts(
            *(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) for _ in range(3))
        )
        for context in made:
            self._authority.issue_cert("app").configure_cert(context)
        made.http.set_alpn_protocols(["http/1.1"])
        return made


AUTHORITY = Authority()


class InPieces(StapledByteStream):
    """A stream on which what is sent goes in little pieces."""

    def __init__(self, inner: ByteStream) -> None:
        super().__init__(inner, inner)

    async def send(self, item: bytes) -> None:
        for at in range(0, len(item), 50):
            await super().send(item[at : at + 50])
            await anyio.sleep(0.001)


class Doors(NamedTuple):
    url: str
    """For agents."""
    bytes_port: int
    http_port: int
    stop: anyio.Event
    reloading: Reloading

    async def connect(
        self, port: int | None = None, authority: Authority = AUTHORITY
    ) -> CodecStream:
        raw = await anyio.connect_tcp("127.0.0.1", port or self.bytes_port)
        stream = CodecStream(raw, TLSCodec(authority.client, server_side=False, hostname="app"))
        try:
            await stream.handshake()
        except BaseException:
            await anyio.aclose_forcefully(raw)
            raise
        return stream


@asynccontextmanager
async def doors(
    limit: int = 100, head_timeout: float = 60.0, renewed: list[DoorContexts] | None = None
) -> AsyncIterator[Doors]:
    """A gateway with a door for agents without a name and one for ``*.test``, both with TLS."""
    stop, reloading = anyio.Event(), Reloading()
    here = Address("127.0.0.1", 0, tls=True)
    async with anyio.create_task_group() as tasks:
        url, ports = await tasks.start(
            partial(
                gateway,
                "tcp://127.0.0.1:0",
                [Published(here)],
                stop,
                ssl_context=None,
                limit=limit,
                graceful_timeout=5.0,
                head_timeout=head_timeout,
                http=HttpDoor(here, "test", Limits()),
                reloading=reloading,
                door_contexts=AUTHORITY.contexts(),
                renew_door_contexts=None if renewed is None else renewed.pop,
            )
        )
        with anyio.fail_after(30):
            yield Doors(url, ports[0], ports[1], stop, reloading)
            stop.set()


async def test_bytes_and_half_closes_pass_both_ways() -> None:
    async with (
        doors() as gate,
        agent(gate.url, saying(b"welcome ")),
        await gate.connect() as caller,
    ):
        await caller.send(b"one " + bytes(300_000))
        await caller.send_eof()
        assert await everything(caller) == b"welcome one " + bytes(300_000)


async def test_requests_come_as_https_and_agree_on_http_1() -> None:
    app = Replying()
    async with (
        doors() as gate,
        agent(gate.url, app, names=("app",)),
        await gate.connect(gate.http_port) as caller,
    ):
        assert caller.extra(TLSAttribute.alpn_protocol) == "http/1.1"
        for _ in range(2):
            await caller.send(request(b"X-Forwarded-Proto: http"))
            assert (await heard(caller, b"ok")).startswith(b"HTTP/1.1 200")
        await caller.send(request(b"Connection: close"))
        assert (await everything(caller)).endswith(b"ok")
    for raw in app.heard:
        assert raw.count(b"X-Forwarded-Proto: ") == raw.count(b"X-Forwarded-Proto: https\r\n") == 1


def read_late(port: int, question: bytes, told: Event) -> bytes:
    """What a caller reads that begins when it is told to; an end without a goodbye is an error."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        AUTHORITY.client.wrap_socket(
            raw, server_hostname="app", suppress_ragged_eofs=False
        ) as caller,
    ):
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        caller.sendall(question)
        assert told.wait(20)
        got = b""
        while data := caller.recv(65536):
            got += data
    return got


@pytest.mark.slow
@pytest.mark.parametrize("over", ["bytes", "http"])
async def test_a_long_answer_is_whole_and_so_is_its_end_though_nobody_has_room_for_it(
    over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The goodbye of TLS is a record more, which the kernel has to take."""
    told = Event()

    class Narrow(TLSSocket):
        """It has little room, none for its goodbye at first, and tells when it had none for the answer."""

        has_no_room = True

        def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]
            self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32 * 1024)
            try:
                return super().send(data, flags)
            except BlockingIOError:
                told.set()
                raise

        def shutdown(self, how: int) -> None:
            if self.has_no_room:
                self.has_no_room = False
                raise BlockingIOError
            super().shutdown(how)

    monkeypatch.setattr("muxado_py.cli.handshakes.TLSSocket", Narrow)
    body = bytes(range(256)) * 12_000
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + body
    question = request(start=b"GET / HTTP/1.0")
    app = Replying(answer)
    names = ("app",) if over == "http" else ()
    async with doors() as gate, agent(gate.url, app, names=names):
        port = gate.http_port if over == "http" else gate.bytes_port
        got = await anyio.to_thread.run_sync(read_late, port, question, told)
        assert got.partition(b"\r\n\r\n")[2] == body


async def test_websockets_pass() -> None:
    async with (
        doors() as gate,
        agent(gate.url, Replying(SWITCHING + b"welcome", echo), names=("app",)),
        await gate.connect(gate.http_port) as caller,
    ):
        await caller.send(HANDSHAKE + b"early")
        assert (await heard(caller, b"EARLY")).endswith(b"\r\n\r\nwelcomeEARLY")
        await caller.send(b"b" * 100_000)
        assert await heard(caller, b"B" * 100_000)
        await caller.send_eof()
        await everything(caller)


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01"], ids=["nothing", "a part"])
async def test_who_does_not_agree_in_time_is_closed(said: bytes) -> None:
    async with doors(head_timeout=0.1) as gate:
        for port in (gate.bytes_port, gate.http_port):
            async with await anyio.connect_tcp("127.0.0.1", port) as caller:
                if said:
                    await caller.send(said)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await caller.receive()


async def test_who_speaks_http_is_told_that_this_is_https() -> None:
    async with doors() as gate:
        for port in (gate.bytes_port, gate.http_port):
            async with await anyio.connect_tcp("127.0.0.1", port) as caller:
                await caller.send(request())
                answer = await everything(caller)
                assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
                assert answer.endswith(b"This door speaks HTTPS.\n")


@pytest.mark.parametrize("said", [bytes(100), b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", None])
async def test_a_handshake_that_fails_is_a_line_of_debug_and_others_are_served(
    said: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "muxado.cli")
    async with doors() as gate, agent(gate.url, saying(b"hello")):
        if said is None:
            with pytest.raises(ssl.SSLCertVerificationError):
                await gate.connect(authority=Authority())
        else:
            async with await anyio.connect_tcp("127.0.0.1", gate.bytes_port) as caller:
                await caller.send(said)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    while True:
                        await caller.receive()
        await until(lambda: "did not agree" in caplog.text)
        async with await gate.connect() as caller:
            assert await caller.receive() == b"hello"
    for record in caplog.records:
        assert not record.exc_info
        if "did not agree" in record.getMessage():
            assert record.levelno == logging.DEBUG


async def test_who_reads_no_alert_is_closed_all_the_same() -> None:
    async with (
        doors() as gate,
        await anyio.connect_tcp("127.0.0.1", gate.bytes_port) as caller,
    ):
        await caller.send(bytes(100))
        with pytest.raises((anyio.BrokenResourceError, OSError)):
            while True:
                await caller.send(bytes(10))
                await anyio.sleep(0.05)


async def test_a_handshake_that_fails_by_a_mistake_of_ours_hurts_nobody_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Mistaken(TLSSocket):
        def handshake(self) -> bool:
            monkeypatch.undo()
            raise RuntimeError("a mistake")

    async with doors() as gate, agent(gate.url, saying(b"hello")):
        monkeypatch.setattr("muxado_py.cli.handshakes.TLSSocket", Mistaken)
        async with await anyio.connect_tcp("127.0.0.1", gate.bytes_port) as caller:
            with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                await caller.receive()
        async with await gate.connect() as served:
            assert await served.receive() == b"hello"
    assert "serving a caller failed" in caplog.text


async def test_when_there_is_no_room_who_has_waited_longest_makes_some(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxado_py.cli.handshakes.PATIENCE", 3600.0)
    async with doors(limit=2) as gate, agent(gate.url, saying(b"hello")):
        silent = [await anyio.connect_tcp("127.0.0.1", gate.bytes_port) for _ in range(2)]
        while True:  # those two have come a moment ago
            try:
                caller = await gate.connect()
            except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                await anyio.sleep(0.1)
            else:
                break
        async with caller:
            assert await caller.receive() == b"hello"
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await silent[0].receive()
        for one in silent:
            await one.aclose()


async def test_who_comes_later_is_shown_the_new_certificate_and_others_go_on() -> None:
    new = Authority()
    async with (
        doors(renewed=[new.contexts()]) as gate,
        agent(gate.url, saying(b"hello")),
        await gate.connect() as before,
    ):
        assert await before.receive() == b"hello"
        gate.reloading()
        async with await gate.connect(authority=new) as after:
            assert await after.receive() == b"hello"
        async with await gate.connect(gate.http_port, new) as after:
            await after.send(request(b"Connection: close"))
            assert (await everything(after)).startswith(b"HTTP/1.1 503 ")
        with pytest.raises(ssl.SSLCertVerificationError):
            await gate.connect()
        await before.send(b"still here")
        assert await before.receive() == b"still here"


async def test_the_end_of_the_gateway_is_the_end_of_handshakes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxado_py.cli.handshakes.PATIENCE", 3600.0)
    async with doors() as gate, await anyio.connect_tcp("127.0.0.1", gate.bytes_port) as caller:
        await caller.send(b"\x16")
        async with await gate.connect():  # who came first is accepted first
            gate.stop.set()
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await caller.receive()


async def test_an_agent_that_breaks_off_is_no_clean_end() -> None:
    async with doors() as gate:

        async def break_off(stream: muxado.Stream) -> None:
            await stream.send(b"a part")
            await stream.receive()
            stream.reset()

        async with agent(gate.url, break_off), await gate.connect() as caller:
            assert await caller.receive() == b"a part"
            await caller.send(b"go on")
            with pytest.raises(anyio.BrokenResourceError):
                await caller.receive()


@pytest.mark.parametrize("over", ["bytes", "http"])
async def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(
    over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop sees nothing of it."""
    monkeypatch.setattr("muxado_py.session.socket_end.LOOK_AGAIN", 1000)
    names = ("app",) if over == "http" else ()
    async with doors() as gate, agent(gate.url, Replying(), names=names):
        port = gate.http_port if over == "http" else gate.bytes_port
        async with await anyio.connect_tcp("127.0.0.1", port) as raw:
            codec = TLSCodec(AUTHORITY.client, server_side=False, hostname="app")
            while not codec.handshake():
                await raw.send(codec.output())
                codec.feed(await raw.receive())
            codec.send(request(b"Connection: close"))
            await raw.send(codec.output())
            room = memoryview(bytearray(65536))
            while not (count := codec.receive_into(room)):
                codec.feed(await raw.receive())
            assert bytes(room[:count]).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_handshake_in_pieces_is_one() -> None:
    async with doors() as gate, agent(gate.url, saying(b"hello")):
        raw = InPieces(await anyio.connect_tcp("127.0.0.1", gate.bytes_port))
        stream = CodecStream(raw, TLSCodec(AUTHORITY.client, server_side=False, hostname="app"))
        await stream.handshake()
        assert await stream.receive() == b"hello"
        await stream.aclose()


def get(port: int, authority: Path, path: str = "/client") -> str:
    connection = http.client.HTTPSConnection("blog.example.org", port, timeout=20)
    context = ssl.create_default_context(cafile=str(authority))
    raw = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sock = context.wrap_socket(raw, server_hostname="blog.example.org")
    connection.request("GET", path)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    assert response.status == 200, text
    return text


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_wsgi_application_is_behind_https_as_the_how_to_says(tmp_path: Path, loop: str) -> None:
    """With the certificate of the gateway, then with one of the door's own, which is exchanged."""
    keys, own = tmp_path / "keys", tmp_path / "own"
    make_certificates(keys, Wanted(("127.0.0.1", "*.example.org")))
    make_certificates(own, Wanted(("*.example.org",)))
    tls = ("--ssl-certfile", str(keys / "gateway.pem"), "--ssl-keyfile", str(keys / "gateway.key"))
    door = ("--http", "https://127.0.0.1:0", "--domain", "example.org", "--loop", loop)
    serve = ("serve", "--forwarded-allow-ips", "127.0.0.1", "--name", "blog")
    trusting = ("--ssl-ca-certs", str(keys / "ca.pem"))
    with running("gateway", "--listen", "tls://127.0.0.1:0", *tls, *door) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        port = int(gateway.wait_for(r"callers of \S+ connect to tls://\S+:(\d+)"))
        with running(*serve, "tests.cli.apps:flask_app", "--connect", url, *trusting):
            gateway.wait_for(r"agent \S+ (serves) blog")
            assert get(port, keys / "ca.pem") == "https 127.0.0.1"
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "cert.key"
    certfile.write_bytes((own / "gateway.pem").read_bytes())
    keyfile.write_bytes((own / "gateway.key").read_bytes())
    shown = ("--door-certfile", str(certfile), "--door-keyfile", str(keyfile))
    with running("gateway", "--listen", "tcp://127.0.0.1:0", *shown, *door) as gateway:
        url = gateway.wait_for(r"agents connect to (\S+)")
        port = int(gateway.wait_for(r"callers of \S+ connect to tls://\S+:(\d+)"))
        with running(*serve, "tests.cli.apps:starlette_app", "--connect", url):
            gateway.wait_for(r"agent \S+ (serves) blog")
            assert get(port, own / "ca.pem", "/") == "hello , start 1"
            context = ssl.create_default_context(cafile=str(own / "ca.pem"))
            assert echoed("over TLS", "blog.example.org", port, context) == "OVER TLS"
            keyfile.write_bytes((keys / "gateway.key").read_bytes())
            gateway.send(signal.SIGHUP)
            gateway.wait_for("the certificates of the doors (stay as they were: cannot use --door)")
            certfile.write_bytes((keys / "gateway.pem").read_bytes())
            gateway.send(signal.SIGHUP)
            gateway.wait_for("the certificates of the doors (are read again)")
            assert get(port, keys / "ca.pem", "/") == "hello , start 1"


@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
@pytest.mark.usefixtures("way")
async def test_a_caller_that_cannot_be_watched_is_cut_off_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel has bounds of its own for what is watched."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with doors() as gate:
        for port in (gate.bytes_port, gate.http_port):
            with socket.create_connection(("127.0.0.1", port)) as caller:
                caller.settimeout(5)  # a handshake has ten seconds
                monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
                assert await anyio.to_thread.run_sync(caller.recv, 1) == b""
                monkeypatch.undo()


@pytest.mark.parametrize("way", ["callbacks"], indirect=True)
@pytest.mark.usefixtures("way")
async def test_a_caller_without_tls_that_cannot_be_watched_is_told_so_and_cut_off_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    failures: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, failure: failures.append(failure))

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with doors() as gate:
        with socket.create_connection(("127.0.0.1", gate.http_port)) as caller:
            caller.settimeout(5)
            caller.sendall(b"GET / HTTP/1.1\r\n\r\n")
            monkeypatch.setattr(loop, "add_reader", refuse)
            said = await anyio.to_thread.run_sync(caller.recv, 1000)
            assert said.startswith(b"HTTP/1.1 400 ")
            monkeypatch.undo()
        assert failures == []
