"""TLS: a codec between plain bytes and records, without IO.

What it is.  OpenSSL's side of one connection, as Python shows it: two buffers in memory and an object between
them.  :mod:`~muxado_py.links.tls_transport` drives it by the callbacks of asyncio,
:mod:`~muxado_py.links.tls_stream` over any anyio byte stream; so TLS is the same on every backend.

Where data comes from and goes to.  What the transport received is given to ``feed`` and comes out of
``receive_into``; what is to be sent is given to ``send`` and comes out of ``output``, with whatever TLS itself
has to say: the driver empties ``output`` after each call, also after one that raised, because there
the alert lies that tells the peer why.

The rules.  The end of the peer's bytes is the end, with a closing alert or without: muxado says goodbye by
itself, so a cut is noticed anyway.  What was whole before a fault is received before the fault is told.  And
each direction ends by itself: after ``end`` the peer's bytes still come.
"""

from __future__ import annotations

from contextlib import suppress
from ssl import MemoryBIO, SSLEOFError, SSLError, SSLWantReadError, SSLZeroReturnError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ("ALERT_WAIT", "TLSCodec")

MAX_RECORD = 16 * 1024
"""The most plain bytes of a record."""

ALERT_WAIT = 1.0
"""Seconds that a peer whose handshake was refused may take to read why, and to close.  Until then what it
sends is read and thrown away: a socket that is closed with unread bytes takes the alert with it."""


class TLSCodec:
    """One connection's TLS.

    :param hostname: what the peer's certificate has to name, or None.
    :raises ValueError: if the context wants a host name and there is none.
    """

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None) -> None:
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=hostname
        )
        self._read: Callable[[int, memoryview], int] = self.ssl_object.read  # type: ignore[assignment]
        self._write = self.ssl_object.write
        self._decrypted: bytearray = bytearray()  # but not received yet; see ``end``
        self.feed = self._incoming.write
        """The transport received this."""
        self.feed_end = self._incoming.write_eof
        """It will receive no more."""
        self.output = self._outgoing.read
        """What is to be sent."""
        self.ended = False
        """Whether the peer's bytes have come to their end, and all were received."""
        self.fault: SSLError | None = None
        """What is wrong with the peer's records, behind all that was received."""

    @property
    def pending_output(self) -> int:
        """Bytes that ``output`` would give."""
        return self._outgoing.pending

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done.

        :raises ssl.SSLError: if it failed.
        """
        try:
            self.ssl_object.do_handshake()
        except SSLWantReadError:
            return False
        return True

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send this.

        :raises ssl.SSLError: if it cannot be sent any more.
        """
        sent = self._write(data)
        while sent < len(data):
            data = memoryview(data)[sent:]
            sent = self._write(data)

    def receive_into(self, room: memoryview) -> int:
        """Fill ``room`` with what has come, as far as it goes; how many bytes.

        If that is less than the room, there is no more: for now, or for good, see ``ended`` and ``fault``.
        """
        if not self._decrypted:
            return self._decrypt_into(room)
        count = min(len(room), len(self._decrypted))
        room[:count] = self._decrypted[:count]
        del self._decrypted[:count]
        return count + self._decrypt_into(room[count:])

    def _decrypt_into(self, room: memoryview) -> int:
        read, incoming, size = self._read, self._incoming, len(room)
        filled = 0
        try:
            while filled < size:
                count = read(size - filled, room[filled:] if filled else room)
                if not count:
                    self.ended = True
                    break
                filled += count
                if filled < size and not incoming.pending:  # spares an error that says the same
                    break
        except SSLWantReadError:
            pass
        except (SSLZeroReturnError, SSLEOFError):
            self.ended = self.fault is None
        except SSLError as exc:
            self.fault = self.fault or exc
        return filled

    def end(self) -> None:
        """Send no more: the closing alert is the last of our output."""
        # OpenSSL looks for the peer's end as well, and would take bytes that lie before it for a fault.
        room = memoryview(bytearray(MAX_RECORD))
        while count := self._decrypt_into(room):
            self._decrypted += room[:count]
        with suppress(SSLError):  # it wants the peer's end, too; or the connection is closed
            self.ssl_object.unwrap()
