"""TLS: a codec between plain bytes and records, without IO.

What it is.  OpenSSL's side of one connection, as Python shows it: two buffers in memory and an object between
them; a :class:`~muxado_py.links.codec.Codec`.

The rules.  The end of the peer's bytes is the end, with a closing alert or without: muxado says goodbye by
itself, so a cut is noticed anyway.  And each direction ends by itself: after ``end`` the peer's bytes still come.
"""

from __future__ import annotations

from contextlib import suppress
from ssl import MemoryBIO, SSLEOFError, SSLError, SSLWantReadError, SSLZeroReturnError
from typing import TYPE_CHECKING, Any

from .attributes import tls_attributes

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

__all__ = ("TLSCodec",)

MAX_RECORD = 16 * 1024
"""The most plain bytes of a record."""


class TLSCodec:
    """One connection's TLS; see :class:`~muxado_py.links.codec.Codec`.

    :param hostname: what the peer's certificate has to name, or None.
    :raises ValueError: if the context wants a host name and there is none.
    """

    name = "TLS"

    def __init__(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None) -> None:
        self.server_side = server_side
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        self.ssl_object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=hostname
        )
        self.info: dict[str, Any] = {"ssl_object": self.ssl_object, "sslcontext": context}
        self._read: Callable[[int, memoryview], int] = self.ssl_object.read  # type: ignore[assignment]
        self._write = self.ssl_object.write
        self._decrypted: bytearray = bytearray()  # but not received yet; see ``end``
        self.feed = self._incoming.write
        self.feed_end = self._incoming.write_eof
        self.output = self._outgoing.read
        self.output_pieces = None
        self.ended = False
        self.fault: OSError | None = None

    @property
    def pending_output(self) -> int:
        return self._outgoing.pending

    def handshake(self) -> bool:
        try:
            self.ssl_object.do_handshake()
        except SSLWantReadError:
            return False
        except SSLEOFError as exc:
            raise ConnectionResetError("it ended during the TLS handshake") from exc
        return True

    def send(self, data: bytes | bytearray | memoryview) -> None:
        sent = self._write(data)
        while sent < len(data):
            data = memoryview(data)[sent:]
            sent = self._write(data)

    def receive_into(self, room: memoryview) -> int:
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
        """The closing alert is the last of our output."""
        # OpenSSL looks for the peer's end as well, and would take bytes that lie before it for a fault.
        room = memoryview(bytearray(MAX_RECORD))
        while count := self._decrypt_into(room):
            self._decrypted += room[:count]
        with suppress(SSLError):  # it wants the peer's end, too; or the connection is closed
            self.ssl_object.unwrap()

    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return tls_attributes(self.ssl_object)
