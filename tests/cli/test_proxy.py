"""The demo's emulated link: what a pipe holds and when it gives it, and that the forwarder forwards.

The pipe reads no clock, so rate and delay are asserted exactly; the forwarder is asserted by its
bytes, never by the time they took.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from muxado_py.cli.demo.proxy import READ_SIZE, EmulatedLink, Pipe, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINK = EmulatedLink(rate=1000.0, delay=10.0, queue=READ_SIZE + 500)


def drained(pipe: Pipe, now: float) -> bytes:
    data = bytes(pipe.arrived(now))
    pipe.taken(len(data))
    return data


def test_a_chunk_takes_its_size_by_the_rate_and_then_the_delay() -> None:
    pipe = Pipe(LINK)
    pipe.push(0.0, bytes(500))
    assert drained(pipe, 10.4) == b""
    assert drained(pipe, 10.5) == bytes(500)


def test_chunks_leave_one_after_the_other() -> None:
    pipe = Pipe(LINK)
    pipe.push(0.0, b"a" * 500)
    pipe.push(0.0, b"b" * 500)
    pipe.push(5.0, b"c" * 500)
    assert drained(pipe, 10.5) == b"a" * 500
    assert drained(pipe, 11.0) == b"b" * 500
    assert drained(pipe, 15.4) == b""
    assert drained(pipe, 15.5) == b"c" * 500


def test_over_any_time_no_more_than_the_rate_arrives() -> None:
    pipe = Pipe(LINK)
    received = 0
    for tick in range(10_000):
        now = tick / 100
        while pipe.room(now) >= READ_SIZE:
            pipe.push(now, bytes(READ_SIZE))
        received += len(drained(pipe, now))
        assert received <= max(0.0, now - LINK.delay) * 1000.0
    assert received >= (99.99 - LINK.delay) * 1000.0 - READ_SIZE


def test_the_queue_takes_what_is_left_of_it() -> None:
    pipe = Pipe(LINK)
    assert pipe.room(0.0) == LINK.queue
    pipe.push(0.0, bytes(READ_SIZE))
    assert pipe.room(0.0) == 500
    assert pipe.room(1.0) == 1500
    pipe.arrived(100.0)  # and nobody takes it
    assert pipe.room(100.0) == LINK.queue - READ_SIZE
    drained(pipe, 100.0)
    assert pipe.room(100.0) == LINK.queue


def test_what_a_receiver_does_not_take_stays_inside_and_in_order() -> None:
    pipe = Pipe(LINK)
    pipe.push(0.0, b"abcdef")
    assert bytes(pipe.arrived(20.0)) == b"abcdef"
    pipe.taken(2)
    assert len(pipe) == 4
    assert drained(pipe, 20.0) == b"cdef"
    assert len(pipe) == 0


def test_the_next_event_is_an_arrival_or_room_again() -> None:
    pipe = Pipe(LINK)
    assert pipe.next_event(0.0) is None
    pipe.push(0.0, bytes(1000))
    assert pipe.next_event(0.0) == pytest.approx(0.5)  # 500 bytes more and a read fits again
    assert pipe.next_event(2.0) == pytest.approx(11.0)


def test_without_a_rate_the_queue_still_bounds_it() -> None:
    pipe = Pipe(EmulatedLink(queue=1000))
    pipe.push(0.0, bytes(600))
    assert pipe.room(0.0) == 400
    assert drained(pipe, 0.0) == bytes(600)
    assert pipe.room(0.0) == 1000


class Running:
    """A proxy in a thread, between a socket of ours and one it dialed."""

    def __init__(self, link: EmulatedLink) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.proxy = Proxy(self.server.getsockname()[:2], link)
        reading, self.commands = os.pipe()
        self.thread = threading.Thread(target=self._run, args=(reading,))
        self.thread.start()
        self.near = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=20)
        self.far, _ = self.server.accept()
        self.far.settimeout(20)

    def _run(self, reading: int) -> None:
        self.proxy.run(reading)
        os.close(reading)

    def close(self) -> None:
        os.close(self.commands)
        self.thread.join(20)
        for sock in (self.near, self.far, self.server):
            sock.close()


@contextmanager
def running(link: EmulatedLink) -> Iterator[Running]:
    proxy = Running(link)
    try:
        yield proxy
    finally:
        proxy.close()


def exactly(receive: Callable[[int], bytes], size: int) -> bytes:
    data = bytearray()
    while len(data) < size and (piece := receive(size - len(data))):
        data += piece
    return bytes(data)


@pytest.mark.parametrize(
    "link", [EmulatedLink(), EmulatedLink(rate=50e6, delay=0.001)], ids=["bare", "shaped"]
)
def test_bytes_and_half_closes_pass_both_ways(link: EmulatedLink) -> None:
    up, down = os.urandom(1_000_000), os.urandom(300_000)
    with running(link) as proxy:
        sender = threading.Thread(target=lambda: proxy.near.sendall(up))
        sender.start()
        assert exactly(proxy.far.recv, len(up)) == up
        sender.join()
        proxy.near.shutdown(socket.SHUT_WR)
        assert proxy.far.recv(1) == b""
        sender = threading.Thread(target=lambda: proxy.far.sendall(down))
        sender.start()
        assert exactly(proxy.near.recv, len(down)) == down
        sender.join()


@pytest.mark.slow
def test_a_sender_feels_that_nobody_reads() -> None:
    """The proxy holds a bounded amount, whatever is thrown at it."""
    with running(EmulatedLink(queue=64 * 1024)) as proxy:
        proxy.near.settimeout(0.5)
        proxy.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        proxy.far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 64 * 1024 * 1024:
                sent += proxy.near.send(bytes(65536))


@pytest.mark.slow
def test_a_frozen_link_says_nothing_and_a_cut_one_resets() -> None:
    with running(EmulatedLink()) as proxy:
        proxy.near.sendall(b"x")
        assert proxy.far.recv(1) == b"x"
        os.write(proxy.commands, b"freeze\n")
        proxy.far.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:  # what was on its way when the order came may still arrive
                proxy.near.sendall(b"y")
                proxy.far.recv(1)
        proxy.far.settimeout(20)
        os.write(proxy.commands, b"cut\n")
        for sock in (proxy.near, proxy.far):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_a_target_that_refuses_ends_the_connection() -> None:
    with running(EmulatedLink()) as proxy:
        proxy.server.close()
        refused = socket.create_connection(("127.0.0.1", proxy.proxy.port), timeout=20)
        assert refused.recv(1) == b""
        refused.close()
