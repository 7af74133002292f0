"""Sessions through proxies of HTTP and of SOCKS5, and proxies that make no connection."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trustme
from anyio import create_task_group, fail_after

import muxado_py as muxado
from muxado_py.service.causes import distrust, reason

from ..check_byte_stream import receive_all
from .proxy_servers import connect_proxy, socks_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

HERE = "127.0.0.1"
SCHEMES = ("tcp", "tls", "ws", "wss")


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of who dials, and of the host ``gateway.test``, which nobody but a proxy finds."""
    authority = trustme.CA()
    far = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("gateway.test", "127.0.0.1").configure_cert(far)
    near = ssl.create_default_context()
    authority.configure_trust(near)
    return near, far


@asynccontextmanager
async def gateway(scheme: str, far: ssl.SSLContext) -> AsyncIterator[str]:
    """The URL of an echo by a name."""

    async def echo(session: muxado.Session) -> None:
        async def handle(stream: muxado.Stream) -> None:
            await stream.send(await receive_all(stream))

        await session.net_listener().serve(handle)

    context = far if scheme in ("tls", "wss") else None
    async with (
        muxado.listen(f"{scheme}://{HERE}:0", ssl_context=context) as listener,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, echo)
        yield listener.url.replace(HERE, "gateway.test")
        tasks.cancel_scope.cancel()


async def expect_an_echo(
    url: str, near: ssl.SSLContext, proxy: str | muxado.Proxy, size: int = 5
) -> None:
    context = near if url.startswith(("tls", "wss")) else None
    with fail_after(60):
        async with (
            muxado.connect(url, ssl_context=context, proxy=proxy) as session,
            await session.open_stream() as stream,
            create_task_group() as tasks,
        ):

            async def send() -> None:
                await stream.send(b"h" * size)
                await stream.send_eof()

            tasks.start_soon(send)
            assert await receive_all(stream) == b"h" * size


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_connect_with_who_asks(
    scheme: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    near, far = contexts
    async with (
        gateway(scheme, far) as url,
        connect_proxy(credentials="Basic dXM6OmVyOnDDpC9zcw==", gateway=HERE) as proxy,
    ):
        with pytest.raises(muxado.ProxyRefusedError):
            await expect_an_echo(url, near, f"http://us@{HERE}:{proxy.port}")
        there = url.partition("://")[2]
        assert proxy.heads[0].startswith(f"CONNECT {there} HTTP/1.1\r\nHost: {there}\r\n")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_connect_whatever_the_pieces_of_its_answer(
    scheme: str, size: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    near, far = contexts
    async with (
        gateway(scheme, far) as url,
        connect_proxy(size=size, credentials="Basic dXM6cMOkL3NzOndvcmQ=", gateway=HERE) as proxy,
    ):
        await expect_an_echo(
            url, near, f"http://us:p%C3%A4%2Fss%3Aword@{HERE}:{proxy.port}", 200_000
        )
        assert len(proxy.heads) == 1


async def test_what_the_host_says_at_once_is_not_lost() -> None:
    """Its first bytes may come with the proxy's answer."""
    first = b"HTTP/1.1 103 Wait\r\n\r\nHTTP/1.1 204 Now\r\n\r\n"

    async def speak(session: muxado.Session) -> None:
        async with await session.open_stream() as stream:
            await stream.send(b"at once")
        await session.wait()

    async with (
        muxado.listen(f"tcp://{HERE}:0") as listener,
        connect_proxy(answer=first) as proxy,
        create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, speak)
        with fail_after(60):
            url = f"http://{HERE}:{proxy.port}"
            async with muxado.connect(listener.url, proxy=url) as session:
                assert await receive_all(await session.accept_stream()) == b"at once"
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_tls_to_the_proxy_and_within_it(
    scheme: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    near, far = contexts
    async with gateway(scheme, far) as url, connect_proxy(ssl_context=far, gateway=HERE) as proxy:
        there = muxado.Proxy(f"https://{HERE}:{proxy.port}", ssl_context=near)
        await expect_an_echo(url, near, there, 200_000)
        url_of_proxy = f"https://{HERE}:{proxy.port}"
        words = rf"^no TLS with the proxy {url_of_proxy}: .*certificate verify failed"
        with pytest.raises(ssl.SSLError, match=words) as info:  # the system's roots do not know it
            await expect_an_echo(url, near, url_of_proxy)
        assert isinstance(info.value.__cause__, ssl.SSLCertVerificationError)
        # Who dials again tells it in a line: not as what the gateway shows.
        assert distrust(info.value) is None
        assert f"the proxy {url_of_proxy}" in reason(info.value)


@pytest.mark.parametrize("scheme", ["tls", "wss"])
async def test_the_dot_of_a_whole_name_is_in_no_certificate(
    scheme: str, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    near, far = contexts
    asked: list[str | None] = []
    far.sni_callback = lambda _, name, __: asked.append(name)
    try:
        async with gateway(scheme, far) as url, connect_proxy(gateway=HERE) as proxy:
            whole = url.replace("gateway.test", "gateway.test.")
            await expect_an_echo(whole, near, f"http://{HERE}:{proxy.port}")
            # The name is the proxy's to find.
            assert proxy.heads[0].startswith("CONNECT gateway.test.:")
    finally:
        far.sni_callback = None
    assert asked == ["gateway.test"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", [1, 1000])
async def test_socks(
    scheme: str, size: int, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    near, far = contexts
    async with gateway(scheme, far) as url, socks_proxy(size=size, gateway=HERE) as proxy:
        await expect_an_echo(url, near, f"socks5://{HERE}:{proxy.port}", 200_000)
        await expect_an_echo(url, near, f"socks5h://us:secret@{HERE}:{proxy.port}")
        assert proxy.heads == [url.partition("://")[2]] * 2
        assert proxy.shown == [("us", "secret")]


REFUSALS: dict[str, tuple[Any, int | None, str]] = {
    "forbidden": (
        lambda: connect_proxy(
            answer=b"HTTP/1.1 403 Not\x1b there\r\nContent-Length: 2\r\n\r\nno", size=3
        ),
        403,
        r"^the proxy http://127\.0\.0\.1:\d+ refuses to connect to gateway\.test:7000: 403 Not",
    ),
    "wants to know who": (
        lambda: connect_proxy(credentials="Basic other"),
        407,
        r"refuses to connect to gateway\.test:7000: 407 Who are you\?$",
    ),
    "without a reason": (
        lambda: connect_proxy(answer=b"HTTP/1.1 502\r\n\r\n"),
        502,
        r"refuses to connect to gateway\.test:7000: 502$",
    ),
    "no HTTP": (
        lambda: connect_proxy(answer=b"554 smtp.test\r\n\r\n"),
        None,
        "answers with no HTTP",
    ),
    "not at all": (lambda: connect_proxy(answer=b""), None, "ended the connection before"),
    "half": (lambda: connect_proxy(answer=b"HTTP/1.1 500 I"), None, "ended the connection before"),
    "a reset": (
        lambda: connect_proxy(answer=b"", resets=True),
        None,
        "ended the connection before",
    ),
    "half, and a reset": (
        lambda: connect_proxy(answer=b"HTTP/1.1 200 I", resets=True),
        None,
        "ended the connection before",
    ),
    "a long head": (
        lambda: connect_proxy(answer=b"HTTP/1.1 500 " + b"x" * 200_000),
        None,
        "answers with no HTTP",
    ),
    "heads without end": (
        lambda: connect_proxy(
            answer=b"HTTP/1.1 102 Wait\r\nX: %s\r\n\r\n" % (b"x" * 9_000) * 100, size=9_000
        ),
        None,
        "more than 65,536 bytes of heads",
    ),
    "socks: a name that is none": (
        lambda: socks_proxy(reply=b"\x05\0\0\3\2\xff\xfe\0P", method=0),
        None,
        "^no connection with the proxy socks5://127",
    ),
    "socks: not allowed": (
        lambda: socks_proxy(reply=2, method=0),
        2,
        r"^the proxy socks5://127\.0\.0\.1:\d+ refuses to connect to gateway\.test:7000: Connection not",
    ),
    "socks: wrong password": (lambda: socks_proxy(), None, "authentication failure"),
    "socks: no method": (lambda: socks_proxy(method=255), None, "No acceptable authentication"),
    "socks: another version": (lambda: socks_proxy(version=4), None, "Unexpected SOCKS version"),
    "socks: not at all": (
        lambda: socks_proxy(method=-1),
        None,
        "closed unexpectedly|reset by peer",
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_whatever_it_does_is_an_os_error_that_says_so(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, status, words = REFUSALS[kind]
    async with make() as proxy:
        scheme = "socks5" if kind.startswith("socks") else "http"
        with fail_after(60), pytest.raises(OSError) as info:  # noqa: PT011 - its words are looked at
            url = f"{scheme}://us:pa55word@{HERE}:{proxy.port}"
            async with muxado.connect("tcp://gateway.test:7000", proxy=url):
                pytest.fail("connected")
        assert re.search(words, str(info.value))
        assert getattr(info.value, "status", None) == status
        exc: BaseException | None = info.value
        while exc is not None:  # nor in what caused it
            assert "pa55" not in f"{exc!r} {exc}"
            exc = exc.__cause__ or exc.__context__
        assert str(info.value).isprintable()


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_its_own_name_is_none(scheme: str) -> None:
    with pytest.raises(OSError, match=f"no connection with the proxy {scheme}://xxx"):
        async with muxado.connect("tcp://gateway.test:1", proxy=f"{scheme}://{'x' * 70}:1"):
            pytest.fail("connected")


async def test_nobody_is_there() -> None:
    with socket.socket() as taken:
        taken.bind((HERE, 0))
        for scheme in ("http", "https", "socks5"):
            url = f"{scheme}://us:pa55word@{HERE}:{taken.getsockname()[1]}"
            with pytest.raises(
                OSError, match=f"no connection with the proxy {scheme}://127"
            ) as info:
                async with muxado.connect("tcp://gateway.test:7000", proxy=url):
                    pytest.fail("connected")
            assert "pa55" not in str(info.value)


@pytest.mark.parametrize("scheme", ["http", "https", "socks5"])
async def test_one_that_is_silent_has_the_time_of_a_dialing(scheme: str) -> None:
    with socket.create_server((HERE, 0)) as silent:
        url = f"{scheme}://us:pa55word@{HERE}:{silent.getsockname()[1]}"
        config = muxado.Config(connect_timeout=0.05)
        with pytest.raises(TimeoutError) as info:
            async with muxado.connect("tcp://gateway.test:7000", proxy=url, config=config):
                pytest.fail("connected")
    there = url.replace("us:pa55word@", "")
    assert str(info.value) == (
        f"no connection through the proxy {there} with tcp://gateway.test:7000 in 0.05 s"
    )


async def test_what_no_proxy_can_be_asked_for() -> None:
    async with connect_proxy() as proxy, socks_proxy() as socks:
        for url in (f"http://{HERE}:{proxy.port}", f"socks5://{HERE}:{socks.port}"):
            with pytest.raises(OSError, match="a zone is of this machine alone"):
                async with muxado.connect("tcp://[fe80::1%eth0]:7000", proxy=url):
                    pytest.fail("connected")
            with pytest.raises(OSError, match=r"a proxy cannot be asked for .*, which is no name"):
                async with muxado.connect(f"tcp://{'x' * 70}.ä.test:7000", proxy=url):
                    pytest.fail("connected")
            # Its letters for ASCII have a space.
            with pytest.raises(OSError, match=r"a proxy cannot be asked for .*, which is no name"):
                async with muxado.connect(
                    "tcp://gateway\N{CENT SIGN}\N{ACUTE ACCENT}:7000", proxy=url
                ):
                    pytest.fail("connected")


async def test_a_pool_goes_through_it_again_and_again(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    near, far = contexts
    async with gateway("wss", far) as url, connect_proxy(gateway=HERE) as proxy:
        there = f"http://{HERE}:{proxy.port}"
        async with muxado.connect_pool(url, ssl_context=near, proxy=there, sessions=2) as pool:
            with fail_after(60):
                for _ in range(2):
                    async with await pool.open_stream() as stream:
                        await stream.send(b"x")
                        await stream.send_eof()
                        assert await receive_all(stream) == b"x"
                while len(proxy.heads) < 2:  # noqa: ASYNC110 - the proxy wakes nobody
                    await anyio.sleep(0.01)


async def test_what_has_no_use_for_a_proxy_says_so() -> None:
    for wrong in ("unix:///run/relay", "exec:cat", "stdio:"):
        with pytest.raises(
            ValueError, match=r"^a proxy needs a tcp://, tls://, ws:// or wss:// URL"
        ):
            async with muxado.connect(wrong, proxy="http://us:pa55word@proxy.test:1"):
                pytest.fail("connected")
    with pytest.raises(ValueError, match="a proxy needs a tcp://"):
        muxado.connect_pool("unix:///run/relay", proxy="http://proxy.test:1")
