"""TLSSocket: a connected socket whose bytes are in TLS, for whoever reads and writes sockets without waiting.

What it is.  A :class:`socket.socket` that does not block, with :class:`~muxado_py.links.tls.TLSCodec` between its user and
the kernel.  So whatever moves bytes by the event loop's callbacks moves them over TLS too, and needs no task for it; it
is told by ``BlockingIOError`` when the kernel, or TLS, has nothing yet.

Why not the one of :mod:`ssl`.  That asks the kernel twice for each record, and says in errors of its own that it would block.

The rules.  A record is whole or it is none: so ``send`` that had to leave a part of one in hands says that it took nothing,
and wants the same bytes again (as OpenSSL does; other bytes are sent behind them, and nothing at all changes nothing).
What was decrypted is given before any error is told.  ``shutdown`` says goodbye in TLS, and
is called again after ``BlockingIOError`` as well; then it ends the direction of the kernel's socket.  ``close`` says goodbye
too, unless the socket is about to be reset: a part must not look like the whole.

The trap.  The loop sees the kernel's bytes only.  What was decrypted and not asked for, and an end that came behind bytes, is
here and nowhere else: who waits for the loop asks :attr:`has_more` first.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ssl import SSLError
from typing import TYPE_CHECKING

from ..runtime.plain_sockets import is_reset_when_closed
from .tls import TLSCodec

if TYPE_CHECKING:
    import ssl

__all__ = ("TLSSocket",)

READ_SIZE = 64 * 1024
"""Bytes of records that are read at once."""

MAX_PIECE = 64 * 1024
"""Plain bytes that are made into records at once; so much is in hands where the kernel has no room."""

MAX_REPLIES = 64 * 1024
"""Bytes that TLS may have to say by itself to a peer that does not take them."""


class TLSSocket(socket.socket):
    """The server's side of TLS over ``accepted``, which is this one's from now on; :meth:`handshake` comes first.

    :param memory: to decrypt into; all sockets of one thread may share it.
    """

    def __init__(
        self, accepted: socket.socket, context: ssl.SSLContext, memory: memoryview
    ) -> None:
        family, kind, proto = accepted.family, accepted.type, accepted.proto
        super().__init__(family, kind, proto, fileno=accepted.detach())
        self.setblocking(False)
        self._codec = TLSCodec(context, server_side=True, hostname=None)
        self._memory = memory
        self._records = b""  # what the kernel had no room for
        self._promised = b""  # of whom these are, if who sent it was told that it is not taken
        self._end_sent = True  # there is none before the handshake
        self._reply_fault: OSError | None = None
        self.has_more = True
        """Whether :meth:`recv` may have something although the kernel has not."""

    @property
    def is_full(self) -> bool:
        """Whether the kernel has not taken all that TLS has to say."""
        return bool(self._records)

    def handshake(self) -> bool:
        """Go on with the handshake; whether it is done, else wait until the socket can be read, or written if :attr:`is_full`.

        :raises OSError: if it failed; the peer was told why, as far as the kernel took it.
        """
        codec = self._codec
        self._hand_over()
        while not codec.handshake():
            self._hand_over()
            try:
                data = super().recv(READ_SIZE)
            except BlockingIOError:
                return False
            if not data:
                raise ConnectionResetError("it ended during the TLS handshake")
            codec.feed(data)
        self._end_sent = False
        self._hand_over()
        return True

    def tell_failure(self, text: bytes = b"") -> None:
        """After a handshake that failed: hand over what tells the peer why, and end this direction.

        :param text: what it is told instead of TLS's alert, if it does not speak TLS.
        """
        if text:
            super().send(text)
        else:
            self._hand_over()
        super().shutdown(socket.SHUT_WR)

    def discard(self) -> bool:
        """After that: throw away what the peer has sent; whether more may come."""
        try:
            while super().recv(READ_SIZE):
                pass
        except BlockingIOError:
            return True
        return False

    # Reading.

    def recv(self, size: int, flags: int = 0) -> bytes:
        """What has come, at most ``size`` bytes; nothing: the peer says no more.

        :raises BlockingIOError: if nothing has come.
        :raises OSError: if the connection broke, or what came is no TLS.
        """
        codec, room = self._codec, self._memory[:size]
        count = codec.receive_into(room) if self.has_more else 0
        if not count and not (codec.ended or codec.fault or self._reply_fault):
            self.has_more = False
            if data := super().recv(READ_SIZE, flags):
                codec.feed(data)
            else:
                codec.feed_end()
            count = codec.receive_into(room)
            if codec.pending_output:
                self._reply()
        fault = codec.fault or self._reply_fault
        if count:
            self.has_more = count == len(room) or codec.ended or fault is not None
            return bytes(room[:count])
        if fault is not None:
            raise fault
        if codec.ended:
            return b""
        raise BlockingIOError

    def _reply(self) -> None:
        """What TLS says by itself leaves at once, or with what is sent next; if it cannot, nothing more is read."""
        if self._end_sent:
            self._codec.output()  # nobody hears it
            return
        try:
            self._hand_over()
        except OSError as exc:
            self._reply_fault = exc
            return
        if len(self._records) > MAX_REPLIES + MAX_PIECE:
            self._reply_fault = SSLError("the peer asks for more in TLS than it reads")

    # Writing.

    def send(self, data: bytes | memoryview, flags: int = 0) -> int:  # type: ignore[override]
        """Send of ``data`` what there is room for; how many bytes that is.

        :raises BlockingIOError: if there is no room; nothing is taken then, and the same is to be sent again.
        :raises OSError: if the connection broke.
        """
        view, promised = memoryview(data), self._promised
        if not view:
            return 0
        if promised and view[: len(promised)] == promised:
            self._hand_over()
            if self._records:
                raise BlockingIOError
            self._promised = b""
            return len(promised)
        if self._records:
            self._hand_over()
            if self._records:
                raise BlockingIOError
        piece = view[:MAX_PIECE]
        self._codec.send(piece)
        self._promised = b""
        self._hand_over()
        if self._records:
            self._promised = bytes(piece)
            raise BlockingIOError
        return len(piece)

    def shutdown(self, how: int) -> None:
        """Say that nothing more comes.

        :raises BlockingIOError: if there is no room for that; call it again.
        :raises OSError: if the connection broke.
        """
        self._say_goodbye()
        if self._records:
            raise BlockingIOError
        super().shutdown(how)

    def _say_goodbye(self) -> None:
        if not self._end_sent:
            self._end_sent = True
            self._codec.end()
        self._hand_over()

    def _hand_over(self) -> None:
        """Give the kernel what it has room for."""
        records = self._records + self._codec.output()
        if records:
            try:
                taken = super().send(records)
            except BlockingIOError:
                taken = 0
            self._records = records[taken:]

    def close(self) -> None:
        if self.fileno() >= 0:
            with suppress(OSError):
                if not is_reset_when_closed(self):
                    self._say_goodbye()
        super().close()
