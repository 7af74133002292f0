"""The accept loop: what is wrong with one connection, or for a while, ends nothing else."""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
from anyio import create_task_group
from anyio.abc import ByteStream, Listener, SocketAttribute, TaskGroup
from anyio.streams.tls import TLSListener

from muxado_py.runtime import accept_loop
from muxado_py.runtime.accept_loop import AcceptingListener, serve_listener

from ..descriptors import no_descriptor_left

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio


def no_descriptors() -> Exception:
    return OSError(errno.EMFILE, "Too many open files")


def no_descriptors_on_trio() -> Exception:
    """anyio says nothing itself, and means its cause."""
    exc = anyio.BrokenResourceError()
    exc.__cause__ = no_descriptors()
    return exc


@pytest.mark.parametrize("trouble", [no_descriptors, no_descriptors_on_trio])
async def test_a_listener_that_cannot_accept_for_a_while_goes_on(
    trouble: Callable[[], Exception],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(accept_loop, "ACCEPT_DELAY", 0)
    found: list[str] = []
    came: list[Exception | str] = ["first", trouble(), trouble(), "second"]
    done = anyio.Event()

    async def accept(_: object) -> str:
        if not came:
            await anyio.sleep_forever()
        one = came.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    async def handle(one: str) -> None:
        found.append(one)
        if one == "second":
            done.set()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as bound:
        listener: AcceptingListener[Any] = AcceptingListener(bound, accept)
        async with create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle, tasks)
            with anyio.fail_after(10):
                await done.wait()
            await listener.aclose()
    assert found == ["first", "second"]
    assert caplog.text.count("cannot accept a connection: [Errno 24] Too many open files") == 2


KINDS = ("tcp", "every address", "unix", "tls")


async def bound(kind: str, where: Path, context: ssl.SSLContext) -> Listener[Any]:
    if kind == "unix":
        return await anyio.create_unix_listener(where / "socket")
    host = None if kind == "every address" else "127.0.0.1"
    listener = await anyio.create_tcp_listener(local_host=host, family=socket.AF_INET)
    return TLSListener(listener, context, standard_compatible=False) if kind == "tls" else listener


def sockets_of(listener: Any) -> Iterator[socket.socket]:
    if isinstance(listener, TLSListener):
        listener = listener.listener
    for one in getattr(listener, "listeners", [listener]):
        yield one.extra(SocketAttribute.raw_socket)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
async def test_a_listener_of_anyios_outlives_the_want_of_descriptors(
    kind: str,
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(accept_loop, "ACCEPT_DELAY", 0.05)

    async def echo(connection: ByteStream) -> None:
        await connection.send(await connection.receive())
        await connection.aclose()

    def dial(connection: socket.socket, to: Any) -> None:
        connection.settimeout(10)
        connection.connect(to)

    def ask(connection: socket.socket) -> bytes:
        if kind == "tls":
            connection = tls[1].wrap_socket(connection, server_hostname="app")
        with connection:
            connection.sendall(b"question")
            return connection.recv(100)

    async with await bound(kind, tmp_path, tls[0]) as listener, create_task_group() as tasks:
        [listening] = sockets_of(listener)
        visitors = [socket.socket(listening.family) for _ in range(3)]
        tasks.start_soon(serve_listener, listener, echo)
        await anyio.to_thread.run_sync(dial, visitors[0], listening.getsockname())
        assert await anyio.to_thread.run_sync(ask, visitors[0]) == b"question"
        with no_descriptor_left():
            for one in visitors[1:]:
                await anyio.to_thread.run_sync(dial, one, listening.getsockname())
            with anyio.fail_after(10):
                said = "cannot accept a connection: [Errno 24]"
                while caplog.text.count(said) < 2:  # noqa: ASYNC110 - a log wakes nobody
                    await anyio.sleep(0.01)
        for one in visitors[1:]:
            assert await anyio.to_thread.run_sync(ask, one) == b"question"
        tasks.cancel_scope.cancel()


async def test_a_listener_that_is_closed_lets_its_handlers_finish() -> None:
    said: list[bytes] = []

    async def note(connection: ByteStream) -> None:
        async with connection:
            said.append(await connection.receive())
            said.append(await connection.receive())

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        port = listener.extra(SocketAttribute.local_port)
        async with create_task_group() as tasks:
            tasks.start_soon(serve_listener, listener, note)
            async with await anyio.connect_tcp("127.0.0.1", port) as visitor:
                await visitor.send(b"before")
                while not said:
                    await anyio.lowlevel.checkpoint()
                await listener.aclose()
                await visitor.send(b"after")
    assert said == [b"before", b"after"]


class Foreign(Listener[str]):
    """A listener of nobody knows whom, whose ``serve`` ends in one way after the other."""

    def __init__(self, *ends: Exception) -> None:
        self.ends = list(ends)

    async def serve(self, handler: Any, task_group: TaskGroup | None = None) -> None:
        assert task_group is not None
        task_group.start_soon(handler, f"{len(self.ends)} left")
        if self.ends:
            raise self.ends.pop(0)

    async def aclose(self) -> None:
        pass


async def test_a_foreign_listener_is_served_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_loop, "ACCEPT_DELAY", 0)
    found: list[str] = []

    async def handle(one: str) -> None:
        found.append(one)

    await serve_listener(Foreign(no_descriptors(), no_descriptors()), handle)
    assert found == ["2 left", "1 left", "0 left"]


async def test_what_else_ends_a_foreign_listener_is_raised() -> None:
    async def handle(one: str) -> None:
        pass

    with pytest.raises(ExceptionGroup) as caught:
        await serve_listener(Foreign(ValueError("no such door")), handle)
    assert caught.group_contains(ValueError, match="no such door")


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN])
async def test_a_connection_that_was_gone_before_it_was_accepted_delays_nobody(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accept_loop, "ACCEPT_DELAY", float("inf"))
    came: list[Exception | str] = [OSError(number, "gone"), "next"]
    found: list[str] = []

    async def accept(_: object) -> str:
        if not came:
            raise anyio.ClosedResourceError
        one = came.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    async def handle(one: str) -> None:
        found.append(one)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as bound,
        create_task_group() as tasks,
    ):
        with anyio.fail_after(10):
            await AcceptingListener(bound, accept).serve(handle, tasks)
    assert found == ["next"]
    assert "cannot accept" not in caplog.text
