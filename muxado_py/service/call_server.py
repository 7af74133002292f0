"""Call server: the other side of calls, a handler for each request.

Where data comes from and goes to.  A listener gives a stream for each call; its request is received whole, the handler is
given it, and what that returns is sent (:mod:`~muxado_py.service.call_frames`).

The rules.  Nothing of a call is received until it has its place (:mod:`~muxado_py.service.call_queue`): so it can be
refused, and whoever called may ask another server, also with what must not be executed twice.  And no place is taken by
who has not sent his request yet, or the beginning of a long one.

A handler is cancelled when nobody waits for its answer any more: when the time is over that whoever called has
said to have, and when the stream was reset.  What fails in it is logged here, and told as ``INTERNAL`` without a word
of it: texts of exceptions name files, tables and passwords.

The scope that cancels it is that of its task, and its deadline an alarm of the session: a scope of its own, with a deadline,
would cost a call more than all else that is done for it here.

Whatever a handler has begun with is answered with a status or cut off, never refused: who called would send it again.

The trap.  The time that is left is counted from the moment at which this side has the stream, for there is no other
clock that both sides have; what a request waited for on its way is lost to its caller, not to its handler.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, CancelScope, ClosedResourceError, move_on_after

from ..arguments import check_able, check_function, check_whole
from ..errors import escaped
from ..session.handlers import ScopedHandler, is_of_a_peer, part_mistakes
from ..session.whole import (
    alarms_of,
    first_byte,
    has_come,
    has_failed,
    receive_whole,
    until_come,
    unwatch_end,
    watch_end,
)
from .call_errors import CallError, CallStatus
from .call_frames import END, OK, PLAIN, STREAMED, error_answer, read_time_left
from .call_pieces import IncomingCall
from .call_queue import CallQueue
from .limits import CallLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import Listener

    from ..session.stream import Stream

__all__ = ("MAX_REQUEST", "CallRequest", "serve_calls")

logger = logging.getLogger("muxado.calls")

MAX_REQUEST = 4 * 1024 * 1024
"""Bytes of a request, unless the server says otherwise; gRPC's default for a message."""

BEGINNING = 4096
"""Bytes of a request that must be here before it has a place, or all of it; a peer can always send so many."""

RECEIVE_TIMEOUT = 30.0
"""Seconds in which the rest of a longer request must come: it has its place already."""

_FAILED = error_answer(CallError(CallStatus.INTERNAL, "the handler failed"))
_LATE = error_answer(CallError(CallStatus.DEADLINE_EXCEEDED, "the time of the call is over"))
_SLOW = error_answer(CallError(CallStatus.DEADLINE_EXCEEDED, "the request did not come in time"))
_BUSY = error_answer(CallError(CallStatus.UNAVAILABLE, "the server has too much to do"))
_FOREIGN = error_answer(
    CallError(CallStatus.UNIMPLEMENTED, "the request is no call of muxado_py, or of a newer one")
)


class CallRequest:
    """What a handler of :func:`serve_calls` is given."""

    __slots__ = ("_stream", "deadline", "metadata", "payload")

    def __init__(
        self,
        payload: bytes,
        metadata: Mapping[str, bytes],
        deadline: float,
        stream: Stream,
    ) -> None:
        self.payload = payload
        """What was asked, 0 to ``max_request`` bytes."""
        self.metadata = metadata
        """What whoever called said with it, and the call's own: ``time-left``, ``attempt``."""
        self.deadline = deadline
        """When the handler is cancelled, by ``anyio.current_time()``; infinite for never.

        ``anyio.current_effective_deadline()`` does not know of it.
        """
        self._stream = stream

    def __repr__(self) -> str:
        return f"<muxado_py.CallRequest {len(self.payload)} bytes of {self._stream!r}>"

    @property
    def stream(self) -> Stream:
        """The stream that it came on, for its ``extra_attributes``, ``priority`` and ``id``."""
        return self._stream


async def serve_calls(
    listener: Listener[Stream],
    handler: Callable[[CallRequest], Awaitable[bytes]],
    *,
    stream_handler: Callable[[IncomingCall], Awaitable[object]] | None = None,
    max_request: int = MAX_REQUEST,
    limits: CallLimits | None = None,
) -> None:
    """Answer calls until the listener's session is over: ``handler(request)`` for each, all at once.

    What the handler returns is the answer.  A :class:`CallError` that it raises is what whoever called is told; any other
    exception is logged (``muxado.calls``) and told as ``INTERNAL``.  It is cancelled when whoever called has
    no more time, or has gone.  When that time is over says ``request.deadline``, and not ``anyio.current_effective_deadline()``
    (docs/calls.md has what to do for those who ask for that).

    :param listener: ``session.net_listener()``, or another listener of streams.
    :param stream_handler: called with each streamed call (``stream_call``): it iterates over the pieces of the request, and
        sends those of the answer; default ``UNIMPLEMENTED``.
    :param max_request: the most bytes of a request, or of one piece of it; a longer one is answered with ``RESOURCE_EXHAUSTED``.
    :param limits: how many handlers run at once, and how long calls wait for one; what is beyond is refused, and may be
        asked elsewhere.  Default ``CallLimits()``.
    :raises TypeError: if ``listener`` is none, ``handler`` no function, or ``max_request`` no int, or ``limits`` no :class:`CallLimits`.
    :raises SessionError: what the listener raises.

    Cancellation: the handlers are cancelled too; who waits for their answers is told ``UNKNOWN``.
    """
    check_able("listener", listener, "a listener of streams, as session.net_listener()", "serve")
    check_function("handler", handler)
    if stream_handler is not None:
        check_function("stream_handler", stream_handler)
    check_whole("max_request", max_request, 0, 2**40)
    if limits is not None and not isinstance(limits, CallLimits):
        raise TypeError(f"limits must be CallLimits, got {limits!r:.80}")
    server = _CallServer(handler, stream_handler, max_request, limits or CallLimits())
    await listener.serve(server)


class _CallServer(ScopedHandler):
    def __init__(
        self,
        handler: Callable[[CallRequest], Awaitable[bytes]],
        stream_handler: Callable[[IncomingCall], Awaitable[object]] | None,
        max_request: int,
        limits: CallLimits,
    ) -> None:
        self._handler = handler
        self._stream_handler = stream_handler
        self._max_request = max_request
        self._queue = CallQueue(limits)

    async def handle(self, stream: Stream, scope: CancelScope) -> None:
        """Answer one call; whoever gave the stream closes it."""
        queue, metadata = self._queue, stream.metadata
        left = read_time_left(metadata) if metadata else None
        deadline = math.inf if left is None else queue.now() + left
        if not has_come(stream, BEGINNING):
            await until_come(stream, 1)
            if first_byte(stream) != STREAMED[0]:
                await until_come(stream, BEGINNING)
        began = queue.enter()
        if began is None:
            began = await queue.wait(stream, deadline - queue.now())
            if began is None:
                await self._turn_away(stream)
                return
        cut_off = False
        try:
            if first_byte(stream) == STREAMED[0]:
                status = await self._answer_pieces(stream, metadata, deadline)
                cut_off = status is _LATE
                answer = END + status
            elif left is None:
                answer = await self._answer(stream, metadata, deadline, scope)
            else:
                alarms = alarms_of(stream)
                alarm = alarms.set(deadline, _cancel, scope)
                try:
                    answer = await self._answer(stream, metadata, deadline, scope)
                except BaseException as exc:
                    rang = alarms.call_off(alarm)
                    # A cancellation, or on trio a group with one in it: by the alarm, or by whoever called, whose own
                    # deadline is a moment earlier.
                    if not isinstance(exc, Exception):
                        cut_off = True
                        if rang:
                            stream.send_whole_nowait(_LATE)
                            stream.close()  # or whoever runs this would reset it
                    raise
                alarms.call_off(alarm)
            if not stream.send_whole_nowait(answer):
                await stream.send(b"")  # until there is room again
        except (
            BrokenResourceError,
            ClosedResourceError,
        ) as exc:  # the handler may have broken it off
            logger.debug("nobody waits for the answer on %r: %s", stream, escaped(str(exc)))
        finally:
            queue.done(began, None if left is None else deadline - began, cut_off=cut_off)

    async def _answer(
        self, stream: Stream, metadata: Mapping[str, bytes], deadline: float, scope: CancelScope
    ) -> bytes:
        if has_come(stream, self._max_request + 1):
            request = await receive_whole(stream, self._max_request + 1)
        else:
            with move_on_after(RECEIVE_TIMEOUT) as receiving:
                request = await receive_whole(stream, self._max_request + 1)
            if receiving.cancelled_caught:
                return _SLOW
        if request is None:
            text = f"the request has more than {self._max_request} bytes"
            return error_answer(CallError(CallStatus.RESOURCE_EXHAUSTED, text))
        if request[:1] != PLAIN:
            return _FOREIGN
        call = CallRequest(request[1:], metadata, deadline, stream)
        watch_end(stream, scope.cancel)
        try:
            return OK + await self._handler(call)
        except Exception as exc:  # noqa: BLE001 - one call must not end them all
            return _told(call, exc)
        finally:
            unwatch_end(stream)

    async def _answer_pieces(
        self, stream: Stream, metadata: Mapping[str, bytes], deadline: float
    ) -> bytes:
        """Let the handler answer; the status behind what it has sent."""
        if self._stream_handler is None:
            text = "no streamed calls are served here"
            return error_answer(CallError(CallStatus.UNIMPLEMENTED, text))
        with CancelScope(deadline=deadline) as scope:
            await stream.receive(1)
            call = IncomingCall(stream, metadata, deadline, self._max_request)
            call.watch(scope.cancel)
            try:
                await self._stream_handler(call)
                return OK
            except Exception as exc:  # noqa: BLE001 - one call must not end them all
                if has_failed(stream) and is_of_a_peer(exc):
                    return _LATE  # whoever called has gone, and the handler was told so where it received or sent
                return _told(stream, exc)
            except BaseException as exc:
                part_mistakes(stream, exc)
                raise
            finally:
                call.unwatch()
        return _LATE

    async def _turn_away(self, stream: Stream) -> None:
        """There is no place for it: nothing of it was received."""
        if has_failed(stream):  # meanwhile whoever called has gone
            return
        try:
            stream.refuse()
        except NotImplementedError:  # this peer would not believe it
            streamed = first_byte(stream) == STREAMED[0]
            await stream.send(END + _BUSY if streamed else _BUSY)


def _cancel(scope: CancelScope) -> None:
    scope.cancel()


def _told(request: object, exc: Exception) -> bytes:
    """What whoever called is told of what a handler has raised."""
    if not isinstance(exc, CallError):
        logger.error("the handler of %r failed", request, exc_info=exc)
    elif exc.remote:
        logger.error("the handler of %r let the error of another call out", request, exc_info=exc)
    else:
        return error_answer(exc)
    return _FAILED
