"""TLSByteStream: TLS over any anyio byte stream, for the generic link.

Why not anyio's own.  It loses the alert of a handshake that failed, and has no half close.

The trap.  Reading must not wait for writing: two peers that each wait for the other to read would wait for ever.  So
what TLS says by itself leaves with the next thing that is sent; ``receive`` hands it over only when it is much.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import BrokenResourceError, EndOfStream, Lock, move_on_after

from .attributes import tls_attributes
from .kernel_queue import AddingStream
from .tls import ALERT_WAIT, TLSCodec

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream

__all__ = ("TLSByteStream",)

RECEIVE_SIZE = 64 * 1024
"""Bytes to ask for at a time, and to give at most."""

MAX_REPLIES = 64 * 1024
"""Bytes that TLS may have to say by itself before ``receive`` hands them over."""


class TLSByteStream(AddingStream):
    """TLS over ``below``, whose :meth:`handshake` comes first; the parameters are the codec's."""

    def __init__(
        self, below: ByteStream, context: ssl.SSLContext, *, server_side: bool, hostname: str | None
    ) -> None:
        self._below = below
        self._server_side = server_side
        self._codec = TLSCodec(context, server_side=server_side, hostname=hostname)
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._handing_over = Lock()
        self._end_sent = False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**self._below.extra_attributes, **tls_attributes(self._codec.ssl_object)}

    async def handshake(self) -> None:
        """Agree on TLS.

        :raises OSError: what went wrong.
        :raises ~anyio.BrokenResourceError: if the connection broke.
        :raises ~anyio.EndOfStream: if the peer ended it.

        Cancellation: close it.
        """
        try:
            while not self._codec.handshake():
                await self._hand_over()
                self._codec.feed(await self._below.receive(RECEIVE_SIZE))
            await self._hand_over()
        except OSError:
            await self._refuse()
            raise

    async def _refuse(self) -> None:
        """Give the peer the time to read why; a dialer has read all that there is."""
        with suppress(Exception), move_on_after(ALERT_WAIT):
            await self._hand_over()
            if self._server_side:
                await self._below.send_eof()
                while True:
                    await self._below.receive(RECEIVE_SIZE)

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bytes:
        codec, room = self._codec, self._buffer[:max_bytes]
        while not (count := codec.receive_into(room)):
            if codec.fault is not None:
                raise BrokenResourceError from codec.fault
            if codec.ended:
                raise EndOfStream
            if codec.pending_output > MAX_REPLIES:
                await self._hand_over()
            try:
                codec.feed(await self._below.receive(RECEIVE_SIZE))
            except EndOfStream:
                codec.feed_end()
        return bytes(room[:count])

    async def send(self, item: bytes) -> None:
        try:
            self._codec.send(item)
        except OSError as exc:
            raise BrokenResourceError from exc
        await self._hand_over()

    async def send_eof(self) -> None:
        """Send the closing alert; what the peer sends still comes."""
        if not self._end_sent:
            self._end_sent = True
            self._codec.end()
            await self._hand_over()

    async def _hand_over(self) -> None:
        # One call at a time: records must leave in the order in which the codec made them.
        async with self._handing_over:
            data = self._codec.output()
            if data:
                await self._below.send(data)
                self.given += len(data)

    async def aclose(self) -> None:
        """Say that this is the end, unless that was said or something is still on its way; close."""
        try:
            if not self._handing_over.locked():
                with suppress(Exception):
                    await self.send_eof()
        finally:
            await self._below.aclose()
