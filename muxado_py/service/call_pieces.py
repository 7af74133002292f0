"""Call pieces: a request and an answer that come in parts, on either side of a streamed call.

Where data comes from and goes to.  A piece is its length and its bytes (:mod:`~muxado_py.service.call_frames`).  What is sent
waits for the peer as a stream's bytes do, and what is not received makes its sender stand still: nothing is kept here but
the piece that is being put together.

The rules.  An answer that ends without its status has broken off.  And whoever is told by a handler why it takes no more hears
that also where it sends: an error that has come goes before the reset behind it, which says nothing of the reason.

The traps.  A length is what the peer says: no room is made for it before the bytes come.  And behind a part of a piece nothing
may be sent, a status neither: the other side would take it for the rest.  What a failed ``send`` looks at it leaves unread:
another task may be waiting for the very same bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, BusyResourceError, EndOfStream

from ..arguments import octets
from ..errors import ErrorCode, Retry
from ..session.whole import unread_whole, unwatch_end, watch_failure
from .call_errors import AnswerError, CallError, CallStatus
from .call_frames import END, MAX_ERROR, error_too_long, read_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..session.stream import Stream

__all__ = ("CallPieces", "IncomingCall", "StreamCall")

MAX_CHUNK = 64 * 1024
"""Bytes that are received at a time."""


class CallPieces:
    """What both sides of a streamed call have: ``send``, and ``async for piece in call``."""

    def __init__(self, stream: Stream, max_piece: int, max_end: int) -> None:
        """
        :param max_end: bytes that are received behind ``END``.
        """
        self._stream = stream
        self._max_piece = max_piece
        self._max_end = max_end
        self._received = bytearray()

    async def send(self, piece: bytes | bytearray | memoryview) -> None:
        """Send one piece, which the other side receives as one; waits while the other side does not receive.

        :raises TypeError: if it is no bytes.
        :raises ValueError: if it has 2**32 - 1 bytes or more.
        :raises StreamError: if the call is over; so do all errors of its session.

        Cancellation: the call is broken off, its stream reset.
        """
        data = piece if type(piece) is bytes else octets(piece)
        if len(data) >= 2**32 - 1:
            raise ValueError(f"a piece has less than 2**32 - 1 bytes, got {len(data)}")
        try:
            await self._stream.send(len(data).to_bytes(4, "big") + data)
        except BaseException as exc:
            if not isinstance(exc, Exception):
                self._break_off()
            raise

    async def receive(self) -> bytes:
        """Wait for the next piece.

        :raises ~anyio.EndOfStream: if there is none.
        :raises StreamError: if the call broke off; so do all errors of its session.

        Cancellation: nothing is lost.
        """
        if not await self._fill(4):
            return self._end()
        head = bytes(self._received[:4])
        if head == END:
            while await self._fill(len(self._received) + 1):
                if len(self._received) > self._max_end + 4:
                    self._too_long()
            return self._end()
        size = int.from_bytes(head, "big")
        if size > self._max_piece:
            self._too_long()
        if not await self._fill(4 + size):
            return self._end()
        piece = bytes(self._received[4 : 4 + size])
        del self._received[: 4 + size]
        return piece

    def __aiter__(self) -> CallPieces:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def _fill(self, nbytes: int) -> bool:
        """Whether so many bytes are here; waits until it is known."""
        received = self._received
        while len(received) < nbytes:
            try:
                received += await self._receive_some()
            except EndOfStream:
                return False
        return True

    async def _receive_some(self) -> bytes:
        return await self._stream.receive(MAX_CHUNK)

    def _break_off(self) -> None:
        self._stream.reset()

    @abstractmethod
    def _end(self) -> bytes:
        """All that came is here, and no whole piece: raise what that means."""

    @abstractmethod
    def _too_long(self) -> None:
        """Raise what a piece means that is longer than may be."""


class StreamCall(CallPieces):
    """A streamed call, where it was called: made by ``stream_call``."""

    def __init__(self, stream: Stream, max_piece: int) -> None:
        super().__init__(stream, max_piece, MAX_ERROR)

    async def send(self, piece: bytes | bytearray | memoryview) -> None:
        """Send one piece, which the other side receives as one; waits while the other side does not receive.

        :raises TypeError: if it is no bytes.
        :raises ValueError: if it has 2**32 - 1 bytes or more.
        :raises CallError: if the handler has ended with an error, and takes no more.
        :raises StreamError: if the call is over otherwise; so do all errors of its session.

        The pieces of the answer that came before are still to be received after an error.

        Cancellation: the call is broken off, its stream reset.
        """
        try:
            await super().send(piece)
        except BrokenResourceError as exc:
            self._raise_what_came(exc)
            raise

    async def send_eof(self) -> None:
        """The request is whole; the answer goes on.

        :raises CallError: as :meth:`send`, and so do all others.
        """
        try:
            await self._stream.send_eof()
        except BrokenResourceError as exc:
            self._raise_what_came(exc)
            raise

    def _raise_what_came(self, failure: BrokenResourceError) -> None:
        """Raise the error that the answer ends with, if it is whole and ends with one."""
        unread = unread_whole(self._stream)
        if unread is None:
            return
        came = bytes(self._received) + unread
        begin = 0
        while (head := came[begin : begin + 4]) != END:
            if len(head) < 4:
                return
            begin += 4 + int.from_bytes(head, "big")
        try:
            read_answer(came[begin + 4 :])
        except CallError as exc:
            raise exc from failure
        except AnswerError:
            return  # whoever receives is told that

    def _end(self) -> bytes:
        received = bytes(self._received)
        if received[:4] != END:
            raise AnswerError(
                "the answer ended without its status: it broke off, or the peer does not serve_calls",
                code=ErrorCode.NO_ERROR,
                retry=self._stream.retry,
                remote=True,
            )
        read_answer(received[4:])
        raise EndOfStream

    def _too_long(self) -> None:
        if self._received[:4] == END:
            raise error_too_long()
        raise AnswerError(
            f"a piece of the answer has more than {self._max_piece} bytes: ask for less, or call with max_piece=...",
            code=ErrorCode.STREAM_CANCELLED,
            retry=Retry.PROCESSED,
        )


class IncomingCall(CallPieces):
    """A streamed call, where it is answered: what ``stream_handler`` is given.

    :ivar metadata: what whoever called said with it, and the call's own.
    :ivar deadline: when the handler is cancelled, by ``anyio.current_time()``; infinite for never.
    """

    def __init__(
        self, stream: Stream, metadata: Mapping[str, bytes], deadline: float, max_piece: int
    ) -> None:
        super().__init__(stream, max_piece, max_piece)
        self.metadata = metadata
        self.deadline = deadline
        self._gone: Callable[[], object] = _nothing
        self._is_receiving = False

    def watch(self, gone: Callable[[], object]) -> None:
        """Call ``gone`` when nobody waits for the answer any more, unless :meth:`receive` is told of that."""
        self._gone = gone
        watch_failure(self._stream, gone)

    def unwatch(self) -> None:
        """Nobody wants to know any more."""
        if not self._is_receiving:  # whose waiter has the place of the watch
            unwatch_end(self._stream)

    def _break_off(self) -> None:
        self.unwatch()  # the handler itself has done it, and may go on with something else
        super()._break_off()

    async def _receive_some(self) -> bytes:
        if self._is_receiving:
            raise BusyResourceError("receiving from")
        self._is_receiving = True
        unwatch_end(self._stream)
        try:
            data = await super()._receive_some()
        except BrokenResourceError:
            raise  # the handler knows it now
        except BaseException:
            watch_failure(self._stream, self._gone)
            raise
        else:
            watch_failure(self._stream, self._gone)
        finally:
            self._is_receiving = False
        return data

    @property
    def stream(self) -> Stream:
        """The stream that it came on, for its ``extra_attributes``, ``priority`` and ``id``."""
        return self._stream

    def _end(self) -> bytes:
        if self._received:
            raise CallError(
                CallStatus.INVALID_ARGUMENT, "the request ends in the middle of a piece"
            )
        raise EndOfStream

    def _too_long(self) -> None:
        text = f"a piece of the request has more than {self._max_piece} bytes"
        raise CallError(CallStatus.RESOURCE_EXHAUSTED, text)


def _nothing() -> None:
    """Nobody watches yet."""
