"""CodecStream: TLS, or a websocket, over any anyio byte stream, for the generic link.

Why not anyio's TLS.  It loses the alert of a handshake that failed, and has no half close.

The trap.  Reading must not wait for writing: two peers that each wait for the other to read would wait for ever.  So
what the codec says by itself leaves with the next thing that is sent: whoever drives the stream is told of it by
:attr:`.AddingStream.on_reply`, and sends nothing, ``b""``.  Only where nobody is told, or much has gathered, ``receive`` hands it over.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import BrokenResourceError, EndOfStream, Lock, move_on_after

from .codec import REFUSAL_WAIT
from .kernel_queue import AddingStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import ByteStream

    from .codec import Codec

__all__ = ("CodecStream",)

RECEIVE_SIZE = 64 * 1024
"""Bytes to ask for at a time, and to give at most."""

MAX_REPLIES = 64 * 1024
"""Bytes that the codec may have to say by itself before ``receive`` hands them over, whoever was told."""


class CodecStream(AddingStream):
    """``codec`` over ``below``; :meth:`handshake` comes first."""

    def __init__(self, below: ByteStream, codec: Codec) -> None:
        self._below = below
        self._codec = codec
        self._buffer = memoryview(bytearray(RECEIVE_SIZE))
        self._handing_over = Lock()
        self._end_sent = False

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**self._below.extra_attributes, **self._codec.attributes()}

    async def handshake(self, early: bytes = b"") -> None:
        """Agree with the peer.

        :param early: what was received already.
        :raises OSError: what went wrong; ``ConnectionResetError`` if the peer ended it.
        :raises ~anyio.BrokenResourceError: if the connection broke.

        Cancellation: close it.
        """
        ended = False
        if early:
            self._codec.feed(early)
        try:
            while not self._codec.handshake():
                await self._hand_over()
                if ended:
                    raise ConnectionResetError(f"it ended during the {self._codec.name} handshake")
                try:
                    self._codec.feed(await self._below.receive(RECEIVE_SIZE))
                except EndOfStream:
                    ended = True
                    self._codec.feed_end()
            await self._hand_over()
        except OSError:
            await self._refuse()
            raise

    async def _refuse(self) -> None:
        """Give the peer the time to read why; a dialer has read all that there is."""
        with suppress(Exception), move_on_after(REFUSAL_WAIT):
            await self._hand_over()
            if self._codec.server_side:
                await self._below.send_eof()
                while True:
                    await self._below.receive(RECEIVE_SIZE)

    async def receive(self, max_bytes: int = RECEIVE_SIZE) -> bytes:
        codec, room = self._codec, self._buffer[:max_bytes]
        while True:
            if codec.pending_output:
                await self._reply()  # first: who is cancelled in it has lost nothing yet
            count = codec.receive_into(room)
            if count:
                return bytes(room[:count])
            if codec.fault is not None:
                raise BrokenResourceError from codec.fault
            if codec.ended:
                raise EndOfStream
            try:
                codec.feed(await self._below.receive(RECEIVE_SIZE))
            except EndOfStream:
                codec.feed_end()

    async def _reply(self) -> None:
        if self.on_reply is not None and self._codec.pending_output <= MAX_REPLIES:
            self.on_reply()
        elif not self._handing_over.locked():
            await self._hand_over()

    async def send(self, item: bytes) -> None:
        try:
            if item:
                self._codec.send(item)
        except OSError as exc:
            raise BrokenResourceError from exc
        await self._hand_over()

    async def send_eof(self) -> None:
        """Say that this is the end; what the peer sends still comes, as far as the protocol lets it."""
        if not self._end_sent:
            self._end_sent = True
            self._codec.end()
            await self._hand_over()

    async def _hand_over(self) -> None:
        # One call at a time: what the codec made must leave in the order in which the codec made it.
        async with self._handing_over:
            data = self._codec.output()
            if data:
                below = self._below
                await below.send(data)
                # What the kernel is given is what counts, and the stream below may add to it, too.
                self.given = (
                    below.given if isinstance(below, AddingStream) else self.given + len(data)
                )

    async def aclose(self) -> None:
        """Say that this is the end, unless that was said or something is still on its way; close."""
        try:
            if not self._handing_over.locked():
                with suppress(Exception):
                    await self.send_eof()
        finally:
            await self._below.aclose()
