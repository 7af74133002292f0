"""Regulars: callers of the HTTP door that are served by callbacks alone, for as long as all goes as usual.

What it is.  The usual request comes whole, in one piece; an agent takes it, and answers; the caller takes the answer.  On
asyncio and uvloop that takes no task: the loop says that the caller can be read, its request is read and written anew, a stream
is opened with it, and what the stream says goes to the socket in the framing that the caller gets.  So it goes on for each request of a connection, and
one that has none costs a few small objects.  The agent's side of a request is in :mod:`.asked`; the socket in :mod:`.guest_end`.

The rule.  There is one place for the rules of a request, :mod:`.conversation` and :mod:`.exchange`.  Whatever is not usual (a
head or a body in pieces, a websocket, what is to be refused, no agent, a stream that ended or failed before its answer, an
answer before the last) is handed over to a task that goes on there, from where this had come; when that has answered, the
caller comes back.  What begins here and cannot go on anywhere else ends here: an answer that breaks off, a time that is up.

The traps.  Whatever is wrong is one caller's trouble: who calls in here is the loop, the door or a task of the gateway's, which must not
end of it; so each way in ends in :meth:`Regular.abort`.  Nothing is cancelled here: who stops the gateway asks for :meth:`Regular.abort`.  The stream's callback comes from
inside the session, and only schedules a turn.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from anyio import EndOfStream, WouldBlock

from ...session.copy_budget import piece_size
from ..callers.ledger import End
from .conversation import Conversation
from .fields import BadMessage
from .guest_end import GuestEnd
from .host import TakenOver
from .inbox import MOST_HEARD
from .prepared import prepare

if TYPE_CHECKING:
    import asyncio

    from ...runtime.plain_sockets import PlainSocket
    from .accounts import Account
    from .asked import Asked
    from .fronts import Source
    from .host import Host

__all__ = ("Regular", "RegularsHost")

logger = logging.getLogger("muxado.cli")

PIECES_PER_TURN = 4
"""Pieces of an answer that go to a caller before others have their turn."""


class RegularsHost(Protocol):
    """Whose guests they are."""

    def hand_over(self, regular: Regular, over: TakenOver) -> None:
        """Go on with it in a task, which gives it back by :meth:`Regular.resume`."""

    def left(self, regular: Regular) -> None:
        """Its connection is closed."""


class Regular(GuestEnd):
    """One caller.

    :param guests: whose guest it is.
    :param host: what all callers of the door have in common.
    :param source: where its requests come from.
    :param account: where is written down what it asks.
    """

    __slots__ = (
        "_asked",
        "_guests",
        "_is_handed_over",
        "_is_scheduled",
        "_source",
        "account",
    )

    def __init__(
        self,
        guests: RegularsHost,
        host: Host,
        loop: asyncio.AbstractEventLoop,
        connection: PlainSocket,
        source: Source,
        account: Account,
    ) -> None:
        super().__init__(host, loop, connection)
        self._guests = guests
        self._source = source
        self.account = account
        self._asked: Asked | None = None  # what an agent has
        self._is_scheduled = False
        self._is_handed_over = False

    def begin(self) -> None:
        """Hear it from here on."""
        try:
            self._watch_reading()
            self._readable()  # the usual one has said something already
            if not (self._asked or self._is_handed_over or self._is_closing):
                self._wait()
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()

    def conversation(self, over: TakenOver) -> Conversation:
        """What goes on with it."""
        return Conversation(
            self._connection, self._host, self._source, self.account, taken_over=over
        )

    def resume(self, *, stops: bool) -> None:
        """Go on; its connection was given back, and it was answered.

        :param stops: whether it has no further requests.
        """
        self._is_handed_over = False
        self.stops = stops
        try:
            if stops:
                self._close()
            else:
                self._wait()
                self._watch_reading()
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()

    def let_go(self, why: str) -> None:
        """End it if it has no request, and after the one that it has."""
        self.stops = True
        if not self._is_busy and self._reading:
            self._readable()  # a request may have come in this moment
        if not (self._is_busy or self._is_closing):
            self._close()

    @property
    def _is_busy(self) -> bool:
        """Whether it has a request."""
        return self._is_handed_over or self._asked is not None or bool(self._said)

    def abort(self) -> None:
        """Cut it off, and its stream."""
        self._end_request(End.CUT_OFF)
        self._leave(in_order=False)

    # Its request.

    def _wait(self) -> None:
        """It has no request."""
        self._host.waits(self)
        self._deadline.set(self._host.limits.idle)

    def _heard(self, data: bytes) -> None:
        try:
            if self._discards:
                self._discard(data)
            elif not data:
                self._ended()
            elif self._is_closing:
                pass  # it has had its last answer
            elif self._asked is None and not self._said:
                self._ask(data)
            else:
                self._said += data
                if len(self._said) >= MOST_HEARD:
                    self._stop_reading()
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()

    def _ended(self) -> None:
        self._has_ended = True
        self._stop_reading()
        if self._asked is not None:
            self._tell_end(self._asked)
        elif not (self._said or self._is_closing):
            self._close()

    def _tell_end(self, asked: Asked) -> None:
        if not self._said:
            asked.tell_end()

    def _ask(self, said: bytes) -> None:
        """``said`` begins with a request, or is the beginning of one."""
        self._host.asks(self)
        prepared = prepare(said, self._host, self._source)
        if prepared is None:
            self._hand_over(said)
            return
        asked, rest = prepared
        self._asked = asked
        self._said += rest
        self.account.begin(said)
        if self._source.is_front:
            self.account.asked_by(asked.source.client)
        if asked.destination.name is not None:
            self.account.wants(asked.destination.name)
        self.account.led(asked.passage)
        self._host.budget.count_call()
        asked.since = self._deadline.set(self._host.limits.answer)
        try:
            asked.send(self._schedule)
        except Exception as exc:  # noqa: BLE001 - whoever goes on hears of it too
            logger.debug("an agent takes no request: %r", exc)
            self._hand_over()
            return
        if self._has_ended:
            self._tell_end(asked)

    def _hear_on(self) -> None:
        """Hear it again, unless what it has said ahead is still enough."""
        hears = not (self._has_ended or self._is_handed_over or self._is_closing)
        if hears and len(self._said) < MOST_HEARD:
            self._watch_reading()

    # Its answer.

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """The stream may have bytes, an end, or have failed; or the caller has taken what it was told."""
        self._is_scheduled = False
        try:
            if self._is_handed_over or self._is_closing or self._rest:
                return
            asked = self._asked
            if asked is not None:
                if asked.passing is not None and asked.passing.is_whole:
                    self._answered(asked)
                else:
                    self._pull(asked)
            elif self._said:
                said = bytes(self._said)
                self._said.clear()
                self._ask(said)
                self._hear_on()
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()

    def _pull(self, asked: Asked) -> None:
        stream = asked.passage.stream
        for _ in range(PIECES_PER_TURN):
            if not stream.is_readable:
                return
            try:
                heard = stream.receive_nowait(piece_size())
            except WouldBlock:
                return
            except EndOfStream:
                self._stream_ended(asked)
                return
            except Exception as exc:  # noqa: BLE001 - of whatever type
                self._stream_failed(asked, exc)
                return
            passing = asked.passing
            try:
                said = self._begin_answer(asked, heard) if passing is None else passing.take(heard)
            except BadMessage as exc:  # of a body, whose head the caller has
                self._stream_failed(asked, exc)
                return
            if said is None or not self._say(asked, said):
                return
        self._schedule()

    def _begin_answer(self, asked: Asked, heard: bytes) -> bytes | None:
        """What the caller is told; None: a task goes on."""
        stops = self.stops or self._host.is_draining
        said = asked.begin_answer(heard, may_go_on=not stops)
        if said is None:
            self._hand_over()
        elif asked.passing is not None:
            self.account.answering(asked.status)
            self._deadline.clear()
        return said

    def _say(self, asked: Asked, said: bytes) -> bool:
        """Tell the caller; whether more of the answer is to come, and may."""
        if said and not self._send(said):
            if self._rest:
                self._deadline.set(self._host.limits.write)
            return False
        if asked.passing is not None and asked.passing.is_whole:
            self._answered(asked)
            return False
        return True

    def _took_rest(self) -> None:
        self._deadline.clear()
        self._schedule()

    def _stream_ended(self, asked: Asked) -> None:
        if asked.passing is None:
            self._hand_over()
            return
        try:
            said = asked.passing.end()
        except EOFError:
            self.abort()  # a part of an answer must not look like the whole
        else:
            self._say(asked, said)

    def _stream_failed(self, asked: Asked, failure: Exception) -> None:
        if asked.passing is None:
            self._hand_over()
        else:
            logger.debug("an answer broke off: %r", failure)
            self.abort()

    def _answered(self, asked: Asked) -> None:
        passing = asked.passing
        assert passing is not None
        self._asked = None
        asked.close()
        self.account.ended(End.ANSWERED)
        if not passing.keeps_alive or self.stops:
            self._close()
        elif self._said:
            self._schedule()
        elif self._has_ended:
            self._close()
        else:
            self._wait()
            self._watch_reading()

    # The end.

    def _end_request(self, end: End) -> None:
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cut_off()
        self.account.ended(end)

    def _hand_over(self, said: bytes = b"") -> None:
        """A task is to go on.

        :param said: what the caller said before what nobody has taken.
        """
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.release()
        over = TakenOver(said + bytes(self._said), self._has_ended, asked)
        self._said.clear()
        self._unwatch()
        self._deadline.stop()  # it may leave there
        self._is_handed_over = True
        self._guests.hand_over(self, over)

    def _broke(self, exc: Exception) -> None:
        logger.debug("a caller is gone: %r", exc)
        self._end_request(End.GONE)
        self._leave(in_order=False)

    def _left(self) -> None:
        self._guests.left(self)

    # Its time.

    def _late(self) -> None:
        try:
            if self._asked is not None and self._asked.passing is None:
                self._hand_over()  # to one whose time is up
            elif self._asked is None and not self._is_closing:
                self._close()
            else:  # it does not take its answer
                self._end_request(End.GONE)
                self._leave(in_order=False)
        except Exception:
            logger.exception("serving a caller failed")
            self.abort()
