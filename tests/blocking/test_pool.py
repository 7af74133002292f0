"""A pool for threads: real sockets, local ports and servers, over sessions that a thread in the background keeps up."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import muxado_py as muxado
from muxado_py import blocking
from muxado_py.blocking.background import Background

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Server

PATIENCE = 30.0


def nobody() -> str:
    """The URL of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"tcp://127.0.0.1:{taken.getsockname()[1]}"


def ask(connection: socket.socket, question: bytes) -> bytes:
    """All that comes back, until the end."""
    connection.settimeout(PATIENCE)
    connection.sendall(question)
    connection.shutdown(socket.SHUT_WR)
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


# Sockets


def test_a_socket_leads_to_a_stream_for_several_threads_at_once(server: Server) -> None:
    def question(number: int) -> bytes:
        return bytes([number]) * 50_000

    def asked(number: int) -> bytes:
        with pool.open_socket(timeout=PATIENCE) as connection:
            return ask(connection, question(number))

    with blocking.connect_pool(server.url) as pool, ThreadPoolExecutor(16) as threads:
        assert list(threads.map(asked, range(64))) == [question(it) for it in range(64)]


def test_a_socket_has_time_outs_of_its_own(server: Server) -> None:
    with (
        blocking.connect_pool(server.url) as pool,
        pool.open_socket(timeout=PATIENCE) as connection,
    ):
        connection.settimeout(0.01)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def _by_a_copy(its: socket.socket) -> bytes:
    with its.dup() as copy:
        return copy.recv(100)


READERS: dict[str, Callable[[socket.socket], bytes]] = {
    "recv": lambda its: its.recv(100),
    "recv_into": lambda its: b"some"[: its.recv_into(bytearray(100))],
    "a file": lambda its: its.makefile("rb").read(100),
    "a copy": _by_a_copy,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", ["ends", "is reset", "loses its session", "is closed"])
def test_a_socket_tells_a_stream_that_ended_from_one_that_broke_off(
    how: str, reader: str, server: Server
) -> None:
    """As a kernel's does: what came of an answer is not the whole of it."""
    with (
        blocking.connect_pool(server.url) as pool,
        pool.open_socket(timeout=PATIENCE) as its,
    ):
        its.sendall(b"some")
        assert its.recv(4) == b"some"
        if how == "ends":
            its.shutdown(socket.SHUT_WR)
        elif how == "is reset":
            its.give_up()
        elif how == "loses its session":
            server.cut_off()
        else:
            pool.close()
        if how == "ends":
            assert READERS[reader](its) == b""
        else:
            with pytest.raises(ConnectionResetError, match="broke off before its end"):
                READERS[reader](its)


@pytest.mark.parametrize("reader", READERS)
def test_a_socket_keeps_the_pool_that_nobody_else_keeps(reader: str, server: Server) -> None:
    """As an answer of an HTTP library its connection; else what came until the collector did would read as the whole."""

    def dial() -> socket.socket:
        return blocking.connect_pool(server.url).open_socket(timeout=PATIENCE)

    with dial() as its:
        gc.collect()
        its.settimeout(PATIENCE)
        for said in (b"half", b"rest"):
            its.sendall(said)
            assert its.recv(4) == said
            gc.collect()
        its.shutdown(socket.SHUT_WR)
        assert READERS[reader](its) == b""
    [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
    with pytest.warns(ResourceWarning, match="dropped unclosed"):
        del its
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_copy_of_a_socket_keeps_the_pool_too(server: Server) -> None:
    pools = [blocking.connect_pool(server.url)]
    its = pools[0].open_socket(timeout=PATIENCE)
    copy = its.dup()
    its.close()
    del its
    [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
    pools.clear()
    assert ask(copy, b"well?") == b"well?"
    copy.close()
    with pytest.warns(ResourceWarning, match="dropped unclosed"):
        del copy
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR], ids=["RD", "RDWR"])
def test_who_reads_from_a_socket_that_this_side_shuts_down_is_told_of_an_end(
    how: int, reader: str, server: Server
) -> None:
    """As by a kernel's: so one thread wakes another that reads, and nothing broke off."""
    with (
        blocking.connect_pool(server.url) as pool,
        pool.open_socket(timeout=PATIENCE) as its,
        ThreadPoolExecutor(1) as threads,
    ):
        its.sendall(b"some")
        assert its.recv(4) == b"some"
        reading = threads.submit(READERS[reader], its)
        with its.dup() as copy:
            copy.shutdown(how)
        assert reading.result(PATIENCE) == b""
        assert its.recv(1) == b""


def test_without_a_session_a_socket_is_an_error_in_time_and_was_never_sent() -> None:
    url = nobody()
    with (
        blocking.connect_pool(url) as pool,
        pytest.raises(muxado.PoolTimeoutError, match=url) as info,
    ):
        pool.open_socket(timeout=0.01)
    assert info.value.retry is muxado.Retry.NEVER_SENT


def test_a_session_that_is_lost_comes_again(server: Server) -> None:
    with blocking.connect_pool(server.url) as pool:
        for _ in range(2):
            with pool.open_socket(timeout=PATIENCE) as connection:
                assert ask(connection, b"here?") == b"here?"
            server.cut_off()


def test_whoever_is_interrupted_waits_no_more() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with blocking.connect_pool(nobody()) as pool:
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                pool.open_socket()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert pool.state.waiting == 0


# Calls


async def doubled(request: muxado.CallRequest) -> bytes:
    if not request.payload:
        raise muxado.CallError(muxado.CallStatus.INVALID_ARGUMENT, "nothing to double")
    return 2 * request.payload


def test_calls_are_answered_for_several_threads_at_once(server: Server) -> None:
    server.calls = doubled
    with blocking.connect_pool(server.url) as pool, ThreadPoolExecutor(16) as threads:
        answers = threads.map(lambda it: pool.call(b"%d" % it, timeout=PATIENCE), range(100))
        assert list(answers) == [2 * (b"%d" % it) for it in range(100)]
        with pytest.raises(muxado.CallError, match="nothing to double") as info:
            pool.call(b"")
        assert info.value.status == muxado.CallStatus.INVALID_ARGUMENT


def test_a_call_whose_time_is_over_says_whether_it_was_sent() -> None:
    with blocking.connect_pool(nobody()) as pool:
        with pytest.raises(muxado.MuxadoError) as info:
            pool.call(b"?", timeout=0.05)
        assert info.value.retry is muxado.Retry.NEVER_SENT


def test_what_became_of_calls_is_counted(server: Server) -> None:
    server.calls = doubled
    with blocking.connect_pool(server.url) as pool:
        for payload in (b"1", b"2"):
            pool.call(payload, timeout=PATIENCE)
        with pytest.raises(muxado.CallError):
            pool.call(b"")
        counted = pool.call_statistics()
    assert {how: times for how, times in counted.outcomes.items() if times} == {
        "answered": 2,
        "error": 1,
    }
    assert counted.attempts == counted.ended == 3


# Local ports


def test_a_local_port_is_forwarded_also_after_its_session_was_lost(server: Server) -> None:
    with blocking.connect_pool(server.url) as pool, pool.forward() as tunnel:
        assert f"{tunnel.host}:{tunnel.port}" in repr(tunnel)
        for _ in range(2):
            with socket.create_connection((tunnel.host, tunnel.port), PATIENCE) as connection:
                assert ask(connection, b"through") == b"through"
            server.cut_off()


def test_a_port_that_is_taken_is_an_error_of_forward_and_the_pool_goes_on(server: Server) -> None:
    with (
        blocking.connect_pool(server.url) as pool,
        socket.create_server(("127.0.0.1", 0)) as taken,
    ):
        with pytest.raises(OSError, match=r"in use|Errno"):
            pool.forward(taken.getsockname()[1])
        with pool.open_socket(timeout=PATIENCE) as connection:
            assert ask(connection, b"well?") == b"well?"


def test_what_can_be_no_priority_and_no_port_is_an_error_of_forward() -> None:
    with blocking.connect_pool(nobody()) as pool:
        with pytest.raises(TypeError, match="a priority must be"):
            pool.forward(priority=1)  # type: ignore[arg-type]
        with pytest.raises(OverflowError):
            pool.forward(1 << 16)


def test_a_forward_that_is_closed_leaves_its_port(server: Server) -> None:
    with blocking.connect_pool(server.url) as pool:
        with pool.forward() as tunnel:
            pass
        tunnel.wait(PATIENCE)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((tunnel.host, tunnel.port), PATIENCE)


# Applications


def wsgi(environ: dict[str, object], start_response: object) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]
    return [b"wsgi, ", str(threading.current_thread() is threading.main_thread()).encode()]


async def asgi(scope: dict[str, object], receive: object, send: object) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
        await send({"type": "http.response.body", "body": b"asgi"})  # type: ignore[operator]


async def get(session: muxado.Session) -> bytes:
    async with muxado.httpx_client(session) as client:
        return bytes((await client.get("http://app/")).content)


def test_applications_are_served_to_the_peer_also_on_its_next_session(server: Server) -> None:
    with blocking.connect_pool(server.url) as pool, pool.serve_wsgi(wsgi):
        assert server.portal.call(get, server.session()) == b"wsgi, False"
        server.cut_off()
        assert server.portal.call(get, server.session()) == b"wsgi, False"
    with blocking.connect_pool(server.url) as pool, pool.serve_asgi(asgi, server="uvicorn"):
        assert server.portal.call(get, server.session()) == b"asgi"


def test_an_application_that_cannot_be_found_is_an_error_and_the_pool_goes_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with blocking.connect_pool(server.url) as pool:
        with pytest.raises(muxado.StartupError):
            pool.serve_asgi("no_such_module:app")
        with pool.open_socket(timeout=PATIENCE) as connection:
            assert ask(connection, b"well?") == b"well?"


# Threads and processes


def test_a_call_in_the_pools_own_thread_is_an_error_and_no_dead_lock(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    pools: list[blocking.Pool] = []
    tried = threading.Event()

    def on_change(_: object) -> None:
        if pools:
            tried.set()
            pools[0].open_socket()

    with (
        caplog.at_level(logging.ERROR),
        blocking.connect_pool(server.url, on_change=on_change) as pool,
    ):
        pools.append(pool)
        server.cut_off()
        assert tried.wait(PATIENCE)
    assert "call it from another one" in caplog.text


FORKS = """
import os, sys
from muxado_py import blocking
with blocking.connect_pool("tcp://127.0.0.1:9") as pool:
    child = os.fork()
    if not child:
        try:
            pool.open_socket()
        except blocking.ForkedError as exc:
            print(exc, flush=True)
            os._exit(7)
    _, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no fork here")
def test_a_process_that_was_forked_is_told_instead_of_waiting_for_ever() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKS]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 7, ran.stderr
    assert "make another one after the fork" in ran.stdout


FORKS_BESIDE_ANOTHER_THREAD = """
import os, signal, sys, threading
from muxado_py import blocking
asked, forked = threading.Event(), threading.Event()
class Service(blocking.Service):
    @property
    def is_over(self):
        if threading.current_thread() is other:  # which looks, while it starts another one
            asked.set()
            forked.wait()
        return super().is_over
with blocking.connect_pool("tcp://127.0.0.1:9") as pool, pool.forward() as service:
    service.__class__ = Service
    other = threading.Thread(target=pool.forward)
    other.start()
    asked.wait()
    child = os.fork()
    if not child:
        for method in (pool.forward, pool.close, service.wait, service.close):
            signal.alarm(20)
            try:
                method()
            except blocking.ForkedError:
                print(method.__name__, flush=True)
        os._exit(7)
    forked.set()
    other.join()
    _, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no fork here")
def test_a_process_that_was_forked_waits_for_no_lock_of_a_thread_that_it_does_not_have() -> None:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c"]
    command.append(FORKS_BESIDE_ANOTHER_THREAD)
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout.split() == ["forward", "close", "wait", "close"], ran.stderr
    assert ran.returncode == 7, ran.stderr


# The end


def test_a_closed_pool_says_so_and_can_be_closed_again(server: Server) -> None:
    pool = blocking.connect_pool(server.url)
    pool.close()
    pool.close()
    for method in (pool.open_socket, pool.forward):
        with pytest.raises(muxado.SessionClosedError, match="you closed this pool") as info:
            method()
        assert info.value.retry is muxado.Retry.NEVER_SENT


def test_whoever_waits_in_another_thread_hears_of_the_end() -> None:
    with ThreadPoolExecutor(1) as threads:
        pool = blocking.connect_pool(nobody())
        waiting = threads.submit(pool.open_socket)
        while not pool.state.waiting:
            time.sleep(0.001)
        pool.close()
        with pytest.raises(muxado.SessionClosedError):
            waiting.result(PATIENCE)


def test_none_of_many_who_call_while_the_pool_is_closed_waits_for_ever(server: Server) -> None:
    begun = threading.Event()

    def call_on(_: int) -> Exception:
        while True:
            try:
                with pool.open_socket():
                    begun.set()
            except Exception as exc:  # noqa: BLE001 - asserted below
                return exc

    pool = blocking.connect_pool(server.url)
    with ThreadPoolExecutor(8) as threads:
        outcomes = threads.map(call_on, range(8), timeout=PATIENCE)
        assert begun.wait(PATIENCE)
        pool.close()
        assert {type(one) for one in outcomes} == {muxado.SessionClosedError}


def test_the_thread_ends_when_nobody_waits_for_what_it_does_any_more() -> None:
    """A loop that stops before would never begin with what it was given, and whoever gave it would wait for ever."""
    begun, goes_on = threading.Event(), threading.Event()

    async def done_when_told() -> str:
        begun.set()
        while not goes_on.is_set():  # noqa: ASYNC110 - another thread's
            await anyio.sleep(0.001)
        return "done"

    background = Background("test")
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(background.run, done_when_told)
        assert begun.wait(PATIENCE)
        stopping = threading.Thread(target=background.stop)
        stopping.start()
        stopping.join(0.2)
        assert stopping.is_alive()
        goes_on.set()
        assert waiting.result(PATIENCE) == "done"
        stopping.join(PATIENCE)
        assert not stopping.is_alive()


def test_a_server_that_is_still_starting_ends_with_its_pool() -> None:
    begun = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    pool = blocking.connect_pool(nobody())
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(pool.serve_asgi, app, graceful_timeout=0.1)
        assert begun.wait(PATIENCE)
        pool.close()
        with pytest.raises(muxado.SessionClosedError, match="before it had started"):
            starting.result(PATIENCE)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="nothing interrupts here")
def test_a_start_that_is_interrupted_leaves_nothing_that_a_close_waits_for() -> None:
    begun = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await anyio.sleep_forever()

    def interrupt(*_: object) -> None:
        if begun.is_set():
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.01)

    pool = blocking.connect_pool(nobody())
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            pool.serve_asgi(app, graceful_timeout=0.1)
    finally:
        signal.signal(signal.SIGALRM, before)
    closing = threading.Thread(target=pool.close, daemon=True)
    closing.start()
    closing.join(PATIENCE)
    assert not closing.is_alive()


def test_none_of_many_services_that_begin_while_the_pool_is_closed_outlives_it() -> None:
    begun = threading.Event()

    def begin(_: int) -> Exception:
        while True:
            try:
                pool.forward()
                begun.set()
            except Exception as exc:  # noqa: BLE001 - asserted below
                return exc

    pool = blocking.connect_pool(nobody())
    with ThreadPoolExecutor(8) as threads:
        outcomes = threads.map(begin, range(8), timeout=PATIENCE)
        assert begun.wait(PATIENCE)
        pool.close()
        assert {type(one) for one in outcomes} == {muxado.SessionClosedError}


def test_a_service_that_is_over_is_not_kept() -> None:
    with blocking.connect_pool(nobody()) as pool:
        with pool.forward() as service:
            known = weakref.ref(service)
        del service
        pool.forward()
        gc.collect()
        assert known() is None


def test_drain_waits_for_sockets_that_are_open(server: Server) -> None:
    pool = blocking.connect_pool(server.url)
    with ThreadPoolExecutor(1) as threads, pool.open_socket(timeout=PATIENCE) as connection:
        drained = threads.submit(pool.drain, PATIENCE)
        assert ask(connection, b"to the end") == b"to the end"
        connection.close()
        drained.result(PATIENCE)


def test_a_drain_that_leaves_something_undelivered_closes_the_pool_all_the_same(
    server: Server,
) -> None:
    """Its thread would stay as long as the process, for whoever has caught the error has no more use for the pool."""

    async def take_nothing(stream: muxado.Stream) -> None:
        async with stream:
            await anyio.sleep_forever()

    server.answer = take_nothing
    pool = blocking.connect_pool(server.url)
    [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
    with pool.open_socket(timeout=PATIENCE) as connection:
        connection.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.sendall(bytes(50_000_000))
        with pytest.raises(muxado.UndeliveredError):
            pool.drain(0.05)
    assert not thread.is_alive()
    pool.close()
    with pytest.raises(muxado.SessionClosedError, match="you closed this pool"):
        pool.call(b"")


@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), ("1", TypeError)])
def test_a_drain_for_no_time_that_there_is_closes_nothing(
    timeout: Any, error: type[Exception], server: Server
) -> None:
    with blocking.connect_pool(server.url) as pool:
        with pytest.raises(error):
            pool.drain(timeout)
        with pool.open_socket(timeout=PATIENCE) as connection:
            assert ask(connection, b"well?") == b"well?"


def test_a_drain_that_is_interrupted_closes_the_pool(server: Server) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    pool = blocking.connect_pool(server.url)
    [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
    with pool.open_socket(timeout=PATIENCE) as connection:
        connection.sendall(b"some")
        assert connection.recv(4) == b"some"
        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyboardInterrupt):
                pool.drain()
        finally:
            signal.signal(signal.SIGALRM, before)
    assert not thread.is_alive()


def test_a_wrong_argument_is_said_before_there_is_a_thread() -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="http"):
        blocking.connect_pool("http://somewhere")
    with pytest.raises(TypeError, match="target"):
        blocking.connect_pool()
    assert threading.active_count() == before


def test_a_pool_that_is_dropped_is_a_warning_and_its_thread_ends(server: Server) -> None:
    pools = [blocking.connect_pool(server.url)]
    [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
    with pytest.warns(ResourceWarning, match="dropped unclosed"):
        pools.clear()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_who_asks_what_was_dropped_is_told_that_it_is_over() -> None:
    """A finalizer may, of what was dropped together with a pool."""

    async def nothing() -> None:
        """Never begun."""

    background = Background("dropped")
    [thread] = [it for it in threading.enumerate() if it.name == "dropped"]
    background.abandon()
    thread.join(PATIENCE)
    with pytest.raises(muxado.SessionClosedError) as info:
        background.run(nothing)
    assert info.value.retry is muxado.Retry.NEVER_SENT


def test_a_pool_that_is_dropped_in_its_own_thread_ends_it_too(
    server: Server, recwarn: pytest.WarningsRecorder
) -> None:
    """The collector runs wherever something is made, in the pool's thread most of all."""

    def on_change(_: object) -> None:
        if dropped.is_set():
            gc.collect()

    dropped = threading.Event()
    gc.disable()
    try:
        ring: list[object] = [blocking.connect_pool(server.url, on_change=on_change)]
        ring.append(ring)
        [thread] = [it for it in threading.enumerate() if it.name == "muxado_py.blocking"]
        session = server.session()
        del ring
        dropped.set()
        server.portal.call(session.abort)
        thread.join(PATIENCE)
        assert not thread.is_alive()
    finally:
        gc.enable()
    assert "dropped unclosed" in str(recwarn.pop(ResourceWarning).message)
