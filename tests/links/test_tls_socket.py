"""A socket that speaks TLS, and never waits."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from random import Random
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from muxado_py.links.tls import TLSCodec
from muxado_py.links.tls_socket import TLSSocket
from muxado_py.runtime.plain_sockets import reset_when_closed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Ends = tuple["Peer", TLSSocket]

UNLIKE = Random(7).randbytes(8 << 20)
"""More than there is room for, and no part of it is as another."""


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
    agree(*raw_ends)
    return raw_ends


def agree(peer: Peer, sock: TLSSocket) -> None:
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
    data = UNLIKE
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


@pytest.mark.parametrize("other", [b"", b"other"], ids=["nothing", "others"])
def test_what_was_not_taken_is_sent_once_whatever_else_was_tried_meanwhile(
    ends: Ends, other: bytes
) -> None:
    peer, sock = ends
    data = UNLIKE
    taken = fill(sock, data)
    try:
        assert sock.send(other) == 0
    except BlockingIOError:
        assert other
    got = b""
    while taken < len(data):
        try:
            taken += sock.send(data[taken:])
        except BlockingIOError:
            got += peer.receive(1)
    while len(got) < len(data):
        got += peer.receive(1)
    assert got == data


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


class Asking:
    """TLS 1.3 of a client that asks for new keys again and again, and says something in between (RFC 8446, 4.6.3)."""

    def __init__(self, peer: Peer, secrets: Path) -> None:
        cipher = peer.codec.ssl_object.cipher()
        assert cipher is not None
        self._hash = hashes.SHA384() if cipher[0].endswith("384") else hashes.SHA256()
        self._key_size = 32 if "256_GCM" in cipher[0] else 16
        assert "GCM" in cipher[0]
        (line,) = [
            one for one in secrets.read_text().splitlines() if "CLIENT_TRAFFIC_SECRET_0" in one
        ]
        self._use(bytes.fromhex(line.split()[2]))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._cipher = AESGCM(self._expand(b"key", self._key_size))
        self._iv = self._expand(b"iv", 12)
        self._number = 0

    def _expand(self, label: bytes, size: int) -> bytes:
        name = b"tls13 " + label
        info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
        return HKDFExpand(self._hash, size, info).derive(self._secret)

    def _record(self, kind: int, said: bytes) -> bytes:
        nonce = int.from_bytes(self._iv, "big") ^ self._number
        self._number += 1
        head = b"\x17\x03\x03" + (len(said) + 17).to_bytes(2, "big")
        return head + self._cipher.encrypt(nonce.to_bytes(12, "big"), said + bytes([kind]), head)

    def say(self, said: bytes) -> bytes:
        return self._record(0x17, said)

    def ask(self) -> bytes:
        asked = self._record(0x16, b"\x18\0\0\x01\x01")
        self._use(self._expand(b"traffic upd", self._hash.digest_size))
        return asked


@pytest.fixture
def asking(
    raw_ends: Ends,
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Peer, TLSSocket, Asking]:
    monkeypatch.setattr(tls[1], "keylog_filename", str(tmp_path / "secrets"))
    peer, sock = raw_ends
    peer.codec = TLSCodec(tls[1], server_side=False, hostname="app")
    agree(peer, sock)
    return peer, sock, Asking(peer, tmp_path / "secrets")


@pytest.mark.parametrize("said", [b"", b"x"], ids=["nothing else", "something"])
def test_who_asks_for_more_in_tls_than_it_reads_is_cut_off_behind_what_it_said(
    asking: tuple[Peer, TLSSocket, Asking], said: bytes
) -> None:
    peer, sock, client = asking
    fill(sock, bytes(8 << 20))
    got = sent = b""
    with pytest.raises(ssl.SSLError, match="more in TLS than it reads"):
        for _ in range(100_000 // 50):
            peer.raw.sendall(b"".join(client.ask() + client.say(said) for _ in range(50) if said))
            sent += said * 50
            peer.raw.sendall(b"".join(client.ask() for _ in range(50)))
            while True:
                try:
                    got += received(sock, 10)
                except BlockingIOError:
                    break
    assert got == sent
    with pytest.raises(ssl.SSLError):
        sock.recv(10)


def test_what_was_heard_is_given_though_the_answer_of_tls_to_it_cannot_leave(
    asking: tuple[Peer, TLSSocket, Asking],
) -> None:
    """And then its end is no end in order, though the kernel tells of a reset once only."""
    peer, sock, client = asking
    peer.raw.sendall(client.say(b"heard") + client.ask() + client.ask())
    reset_when_closed(peer.raw)
    peer.raw.close()
    broken = select.poll()
    broken.register(sock, 0)
    assert broken.poll(10_000)
    assert sock.recv(100) == b"heard"
    with pytest.raises(ConnectionError):
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
