"""Sessions by URL: addresses, sockets, TLS, and the connections that fail."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group, fail_after
from anyio.abc import SocketAttribute

import muxado_py as muxado
from muxado_py.dialing.backend_sockets import sockets_here
from muxado_py.dialing.schemes import parse_url, url_of
from muxado_py.runtime.congestion import is_paced

from ..by_url import SCHEMES, TCP_SCHEMES, contexts_of
from ..check_byte_stream import receive_all
from ..helpers.blocked import all_tasks_blocked
from ..helpers.inside import driver_of
from ..transports import tls_contexts

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def echo(session: muxado.Session) -> None:
    """Serve each stream of a session."""

    async def handle(stream: muxado.Stream) -> None:
        await stream.send(await receive_all(stream))

    await session.net_listener().serve(handle)


async def expect_an_echo(session: muxado.Session) -> None:
    stream = await session.open_stream()
    await stream.send(b"hello")
    await stream.send_eof()
    assert await receive_all(stream) == b"hello"
    await stream.aclose()


# URLs.


@pytest.mark.parametrize(
    ("url", "address", "back"),
    [
        ("tcp://relay.example:7000", ("tcp", "relay.example", 7000), None),
        ("tls://relay.example:7000/", ("tls", "relay.example", 7000), "tls://relay.example:7000"),
        ("tcp://127.0.0.1:0", ("tcp", "127.0.0.1", 0), None),
        ("tcp://[::1]:7000", ("tcp", "::1", 7000), None),
        ("unix:///run/mux.sock", ("unix", "", 0, "/run/mux.sock"), None),
        ("unix://mux.sock", ("unix", "", 0, "mux.sock"), None),
        ("unix:///a#b?c=%20d e", ("unix", "", 0, "/a#b?c=%20d e"), None),
        ("unix:///ä//\t[x]", ("unix", "", 0, "/ä//\t[x]"), None),
        ("tcp://[fe80::1%eth0]:7", ("tcp", "fe80::1%eth0", 7), None),
        ("tcp://[fe80::1%25eth0]:7", ("tcp", "fe80::1%eth0", 7), "tcp://[fe80::1%eth0]:7"),
        ("tcp://[fe80::1%25]:7", ("tcp", "fe80::1%25", 7), "tcp://[fe80::1%2525]:7"),
        ("tcp://[fe80::1%2525]:7", ("tcp", "fe80::1%25", 7), None),
        ("tcp://[fe80::1%2525x]:7", ("tcp", "fe80::1%25x", 7), None),
    ],
)
def test_a_url_is_read(url: str, address: tuple[str | int, ...], back: str | None) -> None:
    assert parse_url(url) == (*address, "")[:4]
    assert url_of(parse_url(url)) == (back or url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example:7000",
        "http://relay.example:7000",
        "tcp://relay.example",
        "tcp://:7000",
        "tcp://relay.example:seven",
        "tcp://relay.example:70000",
        "tcp://[::1:7000",
        "tcp://relay.example:7000/path",
        "tcp://relay.example:7000?query",
        "tcp://relay.example:7000#fragment",
        "tcp://user@relay.example:7000",
        "unix://",
        "unix:/path",
        "unix:///nul\0byte",
    ],
)
async def test_a_wrong_url_is_told_with_what_was_expected(url: str) -> None:
    for open_ in (muxado.connect, muxado.listen):
        with pytest.raises(ValueError, match=r"expected tcp://host:port") as info:
            async with open_(url):
                pytest.fail("opened")
        assert repr(url) in str(info.value)


async def test_a_context_needs_tls_and_a_tls_listener_a_context() -> None:
    near_ssl, far_ssl = tls_contexts()
    with pytest.raises(ValueError, match="needs a tls:// or wss:// URL"):
        async with muxado.connect("tcp://127.0.0.1:1", ssl_context=near_ssl):
            pytest.fail("connected")
    with pytest.raises(ValueError, match="needs a tls:// or wss:// URL"):
        async with muxado.listen("tcp://127.0.0.1:0", ssl_context=far_ssl):
            pytest.fail("listens")
    with pytest.raises(ValueError, match="needs an ssl_context with the server's certificate"):
        async with muxado.listen("tls://127.0.0.1:0"):
            pytest.fail("listens")


# Connections.


@pytest.mark.parametrize("scheme", [*SCHEMES, "tcp6"])
async def test_a_session_by_url(scheme: str, tmp_path: Path) -> None:
    near_ssl, far_ssl = contexts_of(scheme)
    url = {
        "tcp": "tcp://127.0.0.1:0",
        "tls": "tls://localhost:0",
        "ws": "ws://127.0.0.1:0",
        "wss": "wss://localhost:0",
        "unix": f"unix://{tmp_path}/socket",
        "tcp6": "tcp://[::1]:0",
    }[scheme]
    async with (
        muxado.listen(url, ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        assert not listener.url.endswith(":0")
        for _ in range(2):
            async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
                await expect_an_echo(session)
                host, port = session.extra_attributes[SocketAttribute.remote_address]()
                assert isinstance(host, str)
                assert str(port) == (listener.url.rsplit(":", 1)[1] if scheme != "unix" else "0")
        tasks.cancel_scope.cancel()


async def test_a_name_with_two_addresses_listens_on_one_port() -> None:
    async with muxado.listen("tcp://localhost:0") as listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        for host in ("localhost", "127.0.0.1"):
            url = listener.url.replace("localhost", host)
            async with muxado.connect(url) as session:
                await expect_an_echo(session)
        tasks.cancel_scope.cancel()


async def test_the_sockets_are_prepared() -> None:
    config = muxado.Config(notsent_lowat=4711)

    async with (
        muxado.listen("tcp://127.0.0.1:0", config=config) as listener,
        create_task_group() as tasks,
    ):
        sockets: list[socket.socket] = []

        async def handle(session: muxado.Session) -> None:
            sockets.append(_socket_of(session))
            await session.wait()

        tasks.start_soon(listener.serve, handle)
        async with muxado.connect(listener.url, config=config) as session:
            assert await session.ping() >= 0
            sockets.append(_socket_of(session))
            for one in sockets:
                assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert not is_paced(one)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                    assert one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 4711
            assert session.config is config
        tasks.cancel_scope.cancel()


def _socket_of(session: muxado.Session) -> socket.socket:
    raw: socket.socket = driver_of(session).link.extra(SocketAttribute.raw_socket)
    return raw


@pytest.mark.parametrize("notsent_lowat", [4711, None])
async def test_a_connection_that_ended_before_its_session_is_an_os_error(
    notsent_lowat: int | None,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pending = await sockets_here().dial_tcp(*listening.getsockname())
        raw = pending.raw_socket()
        await pending.abort()
        with fail_after(10):
            while raw.fileno() >= 0:
                await anyio.lowlevel.checkpoint()
        with pytest.raises(OSError, match=r"ended|descriptor|socket"):
            pending.set_socket_options(muxado.Config(notsent_lowat=notsent_lowat))


async def test_the_socket_may_be_left_alone() -> None:
    config = muxado.Config(notsent_lowat=None)
    async with (
        muxado.listen("tcp://127.0.0.1:0", config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        async with muxado.connect(listener.url, config=config) as session:
            await expect_an_echo(session)
        tasks.cancel_scope.cancel()


async def test_nobody_listens_there(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        urls = (f"tcp://127.0.0.1:{taken.getsockname()[1]}", f"unix://{tmp_path}/nobody")
        for url in urls:
            with pytest.raises(OSError, match=r".") as info:
                async with muxado.connect(url):
                    pytest.fail("connected")
            assert not isinstance(info.value, TimeoutError)


async def test_an_address_in_use() -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(OSError, match="in use"):
            async with muxado.listen(listener.url):
                pytest.fail("listens")


async def test_a_unix_path_where_somebody_listens_is_in_use(tmp_path: Path) -> None:
    url = f"unix://{tmp_path}/socket"
    async with muxado.listen(url) as listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        with pytest.raises(OSError, match="in use"):
            async with muxado.listen(url):
                pytest.fail("listens")
        async with muxado.connect(url) as session:
            await expect_an_echo(session)
        await listener.aclose()
        assert not (tmp_path / "socket").exists()
        async with muxado.listen(url) as second:
            await listener.aclose()  # and takes nothing from the other
            tasks.start_soon(second.serve, echo)
            async with muxado.connect(url) as session:
                await expect_an_echo(session)
        tasks.cancel_scope.cancel()
    assert os.listdir(tmp_path) == []


async def test_a_unix_path_that_was_left_behind_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "with # and ?"
    code = "import socket, sys; s = socket.socket(1); s.bind(sys.argv[1]); s.listen()"
    await anyio.run_process([sys.executable, "-c", code, str(path)])
    assert path.is_socket()
    async with muxado.listen(f"unix://{path}") as listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        async with muxado.connect(listener.url) as session:
            await expect_an_echo(session)
        tasks.cancel_scope.cancel()
    assert not path.exists()


async def test_a_unix_path_that_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    for name, error, words in (
        ("file", FileExistsError, "no socket"),
        ("folder", IsADirectoryError, "Is a directory"),
    ):
        with pytest.raises(error, match=words):
            async with muxado.listen(f"unix://{tmp_path}/{name}"):
                pytest.fail("listens")
    assert (tmp_path / "file").read_text() == "kept"


async def test_a_link_local_address_needs_its_zone() -> None:
    """Of an interface that has one, if this machine has one; the loopback has none."""
    zones = [one for one in link_local_addresses() if "%" in one]
    for address in zones[:1] or ["::1"]:
        async with (
            muxado.listen(f"tcp://[{address}]:0") as listener,
            create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, echo)
            for url in (listener.url, listener.url.replace("%", "%25")):
                async with muxado.connect(url) as session:
                    await expect_an_echo(session)
            tasks.cancel_scope.cancel()


def link_local_addresses() -> list[str]:
    """By Linux's own table; elsewhere none is known."""
    with suppress(OSError), open("/proc/net/if_inet6") as table:
        lines = [line.split() for line in table]
        found = [(ipaddress.ip_address(bytes.fromhex(one[0])), one[5]) for one in lines]
        return [f"{address}%{zone}" for address, zone in found if address.is_link_local]
    return []


@pytest.mark.parametrize("own", [False, True])
async def test_a_listener_that_was_closed_takes_no_more(own: bool) -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener, create_task_group() as tasks:
        url = listener.url
        tasks.start_soon(listener.serve, echo, None if own else tasks)
        async with muxado.connect(url) as session:
            await expect_an_echo(session)
            await listener.aclose()
            await expect_an_echo(session)  # a session that runs goes on
            with pytest.raises(OSError, match=r"."):
                async with muxado.connect(url):
                    pytest.fail("connected")


async def test_leaving_the_listener_ends_serving() -> None:
    async with create_task_group() as tasks, muxado.listen("tcp://127.0.0.1:0") as listener:
        tasks.start_soon(listener.serve, echo)
        await all_tasks_blocked()


async def test_serving_a_listener_that_is_closed_already() -> None:
    async with muxado.listen("tcp://127.0.0.1:0") as listener:
        await listener.aclose()
        await listener.serve(echo)


async def test_a_task_group_that_has_ended_is_told_and_the_dialer_let_go() -> None:
    async with create_task_group() as ended:
        pass
    errors: list[Exception] = []
    async with muxado.listen("tcp://127.0.0.1:0") as listener, create_task_group() as tasks:

        async def serve() -> None:
            try:
                await listener.serve(echo, ended)
            except Exception as exc:  # noqa: BLE001 - looked at below
                errors.append(exc)

        tasks.start_soon(serve)
        with anyio.fail_after(30):
            async with muxado.connect(listener.url) as session:
                with pytest.raises(muxado.TransportError):
                    await session.wait()
    assert [type(error) for error in errors] == [RuntimeError]  # no group of one


async def test_what_a_handler_raises_ends_its_session_and_no_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handle(session: muxado.Session) -> None:
        async with await session.accept_stream() as stream:
            if await stream.receive() == b"fail":
                raise ValueError("a mistake")
            await stream.send(b"well")

    async with (
        muxado.listen("tcp://127.0.0.1:0") as listener,
        create_task_group() as tasks,
        muxado.connect(listener.url) as first,
        muxado.connect(listener.url) as second,
    ):
        tasks.start_soon(listener.serve, handle)
        with fail_after(10):
            async with await first.open_stream() as stream:
                await stream.send(b"fail")
                await first.wait()
            async with await second.open_stream() as stream:
                await stream.send(b"fine")
                assert await stream.receive() == b"well"
        tasks.cancel_scope.cancel()
    assert "a mistake" in caplog.text


async def test_cancelling_the_serving_gives_the_flush_only_a_moment() -> None:
    """Not ``close_timeout``: the sessions of cancelled handlers are cancelled as well."""

    async def handle(session: muxado.Session) -> None:
        stream = await session.accept_stream()
        await stream.send(bytes(60_000))  # more than its window, less than the buffer
        await anyio.sleep_forever()

    config = muxado.Config(close_timeout=3600, initial_window=1024, stream_window=1024)
    async with (
        muxado.listen("tcp://127.0.0.1:0", config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, handle)
        async with muxado.connect(listener.url) as session:
            stream = await session.open_stream()
            await stream.send(b"x")
            assert await stream.receive()  # and no more
            tasks.cancel_scope.cancel()
            with fail_after(60, shield=True), pytest.raises(muxado.SessionError):
                while True:
                    await session.ping()


# TLS.


async def test_an_untrusted_certificate_is_an_os_error_that_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        with (
            caplog.at_level(logging.WARNING, "muxado"),
            pytest.raises(OSError, match="certificate verify failed") as info,
        ):
            async with muxado.connect(listener.url):
                pytest.fail("connected")
        assert isinstance(info.value, ssl.SSLCertVerificationError)
        # The others are served all the same.
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            await expect_an_echo(session)
        with fail_after(10):  # the peer may read the alert first
            while listener.url not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()


async def test_another_certificate_is_shown_from_the_next_connection_on() -> None:
    make = tls_contexts.__wrapped__  # each time with an authority of its own
    (old_near, old_far), (new_near, new_far) = make(), make()
    new_far.verify_mode = ssl.CERT_REQUIRED  # and nobody has one
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=old_far) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        async with muxado.connect(listener.url, ssl_context=old_near) as session:
            await expect_an_echo(session)
            listener.replace_ssl_context(new_far)
            await expect_an_echo(session)
            with pytest.raises(ssl.SSLCertVerificationError):
                async with muxado.connect(listener.url, ssl_context=old_near):
                    pytest.fail("connected")
            with pytest.raises((OSError, muxado.MuxadoError), match=r"(?i)certificate.required"):
                async with muxado.connect(listener.url, ssl_context=new_near) as judged:
                    await judged.wait()
            new_far.verify_mode = ssl.CERT_NONE
            async with muxado.connect(listener.url, ssl_context=new_near) as another:
                await expect_an_echo(another)
            await expect_an_echo(session)
        tasks.cancel_scope.cancel()


async def test_a_context_replaces_a_context_and_nothing_else() -> None:
    context = tls_contexts()[1]
    async with muxado.listen("tcp://127.0.0.1:0") as listener:
        with pytest.raises(ValueError, match="an ssl_context needs a tls:// or wss:// URL"):
            listener.replace_ssl_context(context)
    async with muxado.listen("tls://127.0.0.1:0", ssl_context=context) as listener:
        with pytest.raises(TypeError, match=r"must be an ssl\.SSLContext, got None"):
            listener.replace_ssl_context(None)  # type: ignore[arg-type]


async def test_a_name_that_is_not_in_the_certificate() -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.2:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        with pytest.raises(OSError, match=r"IP address mismatch|doesn't match"):
            async with muxado.connect(listener.url, ssl_context=near_ssl):
                pytest.fail("connected")
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01"])
async def test_a_client_that_does_not_speak_tls_hurts_nobody_else(said: bytes) -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as rude:
            if said:
                await rude.send(said)
            async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
                await expect_an_echo(session)
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            await expect_an_echo(session)
        tasks.cancel_scope.cancel()


async def test_a_server_that_hangs_up_in_the_handshake_is_an_os_error() -> None:
    async def hang_up(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()

    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with tcp, create_task_group() as tasks:
        tasks.start_soon(tcp.serve, hang_up)
        port = tcp.extra(SocketAttribute.local_port)
        with pytest.raises(ConnectionResetError, match="during the TLS handshake"):
            async with muxado.connect(f"tls://127.0.0.1:{port}"):
                pytest.fail("connected")
        tasks.cancel_scope.cancel()


@pytest.mark.slow
async def test_a_server_that_is_mute_times_out() -> None:
    async def stay(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await anyio.sleep_forever()

    config = muxado.Config(connect_timeout=0.5)
    tcp = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with tcp, create_task_group() as tasks:
        tasks.start_soon(tcp.serve, stay)
        port = tcp.extra(SocketAttribute.local_port)
        with fail_after(10), pytest.raises(TimeoutError, match="no TLS handshake with tls://"):
            async with muxado.connect(f"tls://127.0.0.1:{port}", config=config):
                pytest.fail("connected")
        tasks.cancel_scope.cancel()


async def test_a_client_that_is_mute_is_let_go() -> None:
    _, far_ssl = tls_contexts()
    config = muxado.Config(connect_timeout=0.05)
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl, config=config) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rsplit(":", 1)[1])
        with fail_after(10):
            async with await anyio.connect_tcp("127.0.0.1", port) as mute:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await mute.receive()
        tasks.cancel_scope.cancel()


async def test_a_handshake_that_is_under_way_ends_with_the_serving() -> None:
    _, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rsplit(":", 1)[1])
        async with await anyio.connect_tcp("127.0.0.1", port) as mute:
            await all_tasks_blocked()
            tasks.cancel_scope.cancel()
            with fail_after(20, shield=True):
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await mute.receive()


async def test_a_handshake_that_fails_when_the_listener_is_closed_hurts_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    near_ssl, far_ssl = tls_contexts()
    async with (
        muxado.listen("tls://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rsplit(":", 1)[1])
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            async with await anyio.connect_tcp("127.0.0.1", port):
                await expect_an_echo(session)
                await listener.aclose()
            with fail_after(10):
                while "failed" not in caplog.text:
                    await expect_an_echo(session)
            await expect_an_echo(session)
        tasks.cancel_scope.cancel()
    assert f" to {listener.url} failed: " in caplog.text


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_a_connection_that_fails_is_logged_with_its_peer(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, far_ssl = tls_contexts()
    async with (
        muxado.listen(f"tls://{host}:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        port = int(listener.url.rsplit(":", 1)[1])
        async with await anyio.connect_tcp(host.strip("[]"), port) as rude:
            own = rude.extra(SocketAttribute.local_port)
            await rude.send(b"GET / HTTP/1.1\r\n\r\n")
            with fail_after(10), suppress(anyio.BrokenResourceError):
                await receive_all(rude)
        with fail_after(10):
            while "failed" not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
                await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert f"a connection from {host}:{own} to {listener.url} failed: http request" in caplog.text


# Transports that end.


async def test_a_peer_that_vanishes_is_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever scans ports must not fill it with tracebacks."""
    caplog.set_level(logging.INFO, logger="muxado.handler")

    async def serve_beside_another_task(session: muxado.Session) -> None:
        async with create_task_group() as tasks:
            tasks.start_soon(echo, session)

    for handler in (echo, serve_beside_another_task):
        caplog.clear()
        async with (
            muxado.listen("tcp://127.0.0.1:0") as listener,
            create_task_group() as tasks,
        ):
            tasks.start_soon(listener.serve, handler)
            async with await anyio.connect_tcp("127.0.0.1", int(listener.url.rsplit(":", 1)[1])):
                pass
            with fail_after(10):
                while "ended: " not in caplog.text:  # noqa: ASYNC110 - a log wakes nobody
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        assert "without a goodbye" in caplog.text
        assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("scheme", TCP_SCHEMES)
async def test_a_connection_that_is_cut_is_an_error_on_both_sides(scheme: str) -> None:
    near_ssl, far_ssl = contexts_of(scheme)
    async with (
        muxado.listen(f"{scheme}://127.0.0.1:0", ssl_context=far_ssl) as listener,
        create_task_group() as tasks,
    ):
        ended = anyio.Event()

        async def handle(session: muxado.Session) -> None:
            stream = await session.accept_stream()
            with pytest.raises(muxado.TransportError):
                await receive_all(stream)
            with pytest.raises(muxado.TransportError):
                await session.wait()
            ended.set()

        tasks.start_soon(listener.serve, handle)
        async with muxado.connect(listener.url, ssl_context=near_ssl) as session:
            stream = await session.open_stream()
            await stream.send(b"x")
            await session.ping()
            with socket.socket(fileno=os.dup(_socket_of(session).fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
            with fail_after(10), pytest.raises(muxado.TransportError):
                await stream.receive()
            with fail_after(10):
                await ended.wait()
        tasks.cancel_scope.cancel()


async def test_without_a_mark_what_is_dialed_is_as_the_system_makes_it() -> None:
    name = socket.TCP_CONGESTION if sys.platform == "linux" else 0
    if not name:
        pytest.skip("this system has one congestion control for all")
    with socket.socket() as plain:
        usual = plain.getsockopt(socket.IPPROTO_TCP, name, 16)
    async with muxado.listen("tcp://127.0.0.1:0") as listener, create_task_group() as tasks:
        tasks.start_soon(listener.serve, echo)
        config = muxado.Config(notsent_lowat=None)
        async with muxado.connect(listener.url, config=config) as session:
            raw = _socket_of(session)
            assert raw.getsockopt(socket.IPPROTO_TCP, name, 16) == usual
        tasks.cancel_scope.cancel()
