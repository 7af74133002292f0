"""A socket that speaks TLS, and never waits."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest

from muxado_py.links.tls import TLSCodec
from muxado_py.links.tls_socket import TLSSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

Ends = tuple["Peer", TLSSocket]


class Peer:
    """The other side, which waits: a socket, and TLS beside it."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        raw.settimeout(10)
        self.raw = raw
        self.codec = TLSCodec(context, server_side=False, hostname="app")
        self.room = memoryview(bytearray(65536))

    def hand_over(self) -> None:
        self.raw.sendall(self.codec.output())

    def send(self, data: bytes) -> None:
        self.codec.send(data)
        self.hand_over()

    def receive(self, size: int = 1 << 30) -> bytes:
        """So many bytes, or what comes before the end; an end without a goodbye is none."""
        got = b""
        while len(got) < size:
            if count := self.codec.receive_into(self.room):
                got += self.room[:count]
            elif self.codec.ended:
                break
            else:
                data = self.raw.recv(65536)
                assert data, "it ended without a goodbye"
                self.codec.feed(data)
        return got


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for end in (near, far):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return near, far


@pytest.fixture
def raw_ends(tls: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[Ends]:
    near, far = tcp_pair()
    with near, TLSSocket(far, tls[0], memoryview(bytearray(65536))) as sock:
        yield Peer(near, tls[1]), sock


@pytest.fixture
def ends(raw_ends: Ends) -> Ends:
    """Both have agreed."""
    peer, sock = raw_ends
    while not peer.codec.handshake():
        peer.hand_over()
        readable(sock)
        assert not sock.handshake()
        peer.codec.feed(peer.raw.recv(65536))
    peer.hand_over()
    readable(sock)
    assert sock.handshake()
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    return raw_ends


def readable(sock: TLSSocket) -> None:
    assert select.select([sock], [], [], 10)[0]


def received(sock: TLSSocket, size: int) -> bytes:
    if not sock.has_more:
        readable(sock)
    return sock.recv(size)


def test_what_was_not_asked_for_is_here_and_not_in_the_kernel(ends: Ends) -> None:
    peer, sock = ends
    peer.send(b"one two")
    assert received(sock, 3) == b"one"
    assert not select.select([sock], [], [], 0)[0]
    assert sock.has_more
    assert sock.recv(100) == b" two"
    assert not sock.has_more
    with pytest.raises(BlockingIOError):
        sock.recv(100)


def test_an_end_that_came_behind_bytes_is_heard_though_the_connection_is_open(ends: Ends) -> None:
    peer, sock = ends
    peer.codec.send(b"last")
    peer.codec.end()
    peer.hand_over()
    assert received(sock, 100) == b"last"
    assert sock.has_more
    assert sock.recv(100) == b""
    assert sock.recv(100) == b""
    assert sock.send(b"still") == 5


def test_a_request_that_came_with_the_end_of_the_handshake_is_here(raw_ends: Ends) -> None:
    peer, sock = raw_ends
    while not peer.codec.handshake():
        peer.hand_over()
        readable(sock)
        sock.handshake()
        peer.codec.feed(peer.raw.recv(65536))
    peer.codec.send(b"hello")
    peer.hand_over()
    readable(sock)
    assert sock.handshake()
    assert sock.has_more
    assert sock.recv(100) == b"hello"


def fill(sock: TLSSocket, data: bytes) -> int:
    """Send until there is no room; how many bytes were taken."""
    taken = 0
    while True:
        try:
            taken += sock.send(data[taken:])
        except BlockingIOError:
            assert sock.is_full
            return taken


def test_what_was_not_taken_is_sent_once_though_it_is_sent_again(ends: Ends) -> None:
    peer, sock = ends
    data = bytes(range(256)) * (1 << 15)
    taken = fill(sock, data)
    with pytest.raises(BlockingIOError):
        sock.send(data[taken:])
    got = b""
    while taken < len(data):
        got += peer.receive(1)
        try:
            taken += sock.send(data[taken:])
        except BlockingIOError:
            continue
    while len(got) < len(data):
        got += peer.receive(1)
    assert got == data


def test_other_bytes_go_behind_those_that_were_not_taken(ends: Ends) -> None:
    """A send that was cancelled while it waited may have sent its piece whole, and no part of one."""
    peer, sock = ends
    fill(sock, bytes(8 << 20))
    got = b""
    while True:
        try:
            assert sock.send(b"other") == 5
        except BlockingIOError:
            got += peer.receive(1)
        else:
            break
    while not got.endswith(b"other"):
        got += peer.receive(1)
    assert not got[:-5].strip(b"\0")


def test_who_ends_where_there_is_no_room_is_called_again_and_its_end_is_no_cut(ends: Ends) -> None:
    peer, sock = ends
    taken = fill(sock, bytes(8 << 20))
    with pytest.raises(BlockingIOError):
        sock.shutdown(socket.SHUT_WR)
    got = b""
    while True:
        try:
            sock.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            got += peer.receive(1)
        else:
            break
    got += peer.receive()
    assert len(got) >= taken
    peer.send(b"a half close only")
    assert received(sock, 100) == b"a half close only"


def test_who_closes_in_order_says_goodbye(ends: Ends) -> None:
    peer, sock = ends
    sock.send(b"last")
    sock.close()
    assert peer.receive() == b"last"


def test_who_resets_does_not(ends: Ends) -> None:
    peer, sock = ends
    sock.send(b"a part")
    assert peer.receive(6) == b"a part"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    with pytest.raises(ConnectionResetError):
        peer.receive()


def test_what_is_no_tls_is_an_error_behind_what_was(ends: Ends) -> None:
    peer, sock = ends
    peer.codec.send(b"fine")
    peer.raw.sendall(peer.codec.output() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert received(sock, 100) == b"fine"
    assert sock.has_more
    for _ in range(2):
        with pytest.raises(ssl.SSLError):
            sock.recv(100)


def test_a_handshake_that_fails_tells_why(raw_ends: Ends) -> None:
    peer, sock = raw_ends
    peer.raw.sendall(b"\x16\x03\x01\x00\x05nonsense that is no hello")
    readable(sock)
    with pytest.raises(ssl.SSLError):
        sock.handshake()
    sock.tell_failure()
    sock.discard()
    sock.close()
    assert peer.raw.recv(100)[:1] == b"\x15"  # an alert


def test_a_handshake_that_the_peer_ends_is_a_reset(raw_ends: Ends) -> None:
    peer, sock = raw_ends
    peer.raw.close()
    readable(sock)
    with pytest.raises(ConnectionResetError):
        sock.handshake()


def test_nothing_is_sent_of_nothing(ends: Ends) -> None:
    assert ends[1].send(b"") == 0
