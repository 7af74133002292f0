"""Uploads: what an agent is sent of one request, as it comes, and again if nobody took it.

What it is.  The head and the body in the form in which agents get them.  What has come when the request is offered goes with
the head, what comes later is carried after it.

The rules.  All of it is kept until it is answered, as far as the body is no longer than :data:`~muxado_py.cli.callers.heads.MOST_KEPT`,
and all callers together no more than :class:`~muxado_py.cli.callers.kept.Kept` has room for.  A caller that lets its body wait is
held to a time, which is longer the more has come.

The trap.  A piece that was taken of the caller is in ``said`` before anybody waits: who is cancelled then has lost nothing of
it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from ..callers.heads import MOST_KEPT
from .bodies import Counted, chunk, last_chunk
from .fields import BadMessage

if TYPE_CHECKING:
    import muxado_py as muxado

    from ..callers.kept import Kept
    from .inbox import Inbox
    from .limits import Limits
    from .requests import Request

__all__ = ("Upload", "whole_body")

logger = logging.getLogger("muxado.cli")


class Upload:
    """One request, on its way to agents.

    :param head: what they get of its head.
    :param kept: where it is counted, with others, while it is kept.
    :param is_sent: whether an agent has all of it, which is ``head`` then, or nothing, if that is not kept any more.
    :raises BadMessage: if what has come of the body is wrong.
    """

    def __init__(
        self,
        request: Request,
        head: bytes,
        inbox: Inbox,
        kept: Kept,
        limits: Limits,
        *,
        is_sent: bool = False,
    ) -> None:
        self._inbox = inbox
        self._kept = kept
        self._limits = limits
        self._body = Counted(0) if is_sent else request.body()
        self._is_chunked = request.is_chunked
        self._size = 0  # of what came of the body
        self._waited = 0.0  # for it
        self.is_continued = is_sent or not request.expects
        """Whether the caller waits for no word of the agent's before it sends the body, or no longer."""
        self.is_kept = bool(head)
        """Whether ``said`` is all that an agent was sent."""
        self.said = bytearray(head)
        """What an agent gets."""
        _check_size(request.length or 0, limits)
        if not self._body.done and (data := inbox.take()):
            self.said += self._piece(data)

    @property
    def is_whole(self) -> bool:
        """Whether all of the request has come."""
        return self._body.done

    def keep(self) -> None:
        """An agent has it, and may not take it."""
        if self._size > MOST_KEPT:
            self.forget()
        elif self.is_kept:
            self._kept.keep(self)

    def hold(self) -> None:
        """No agent has it any more: it is no copy until one has, and is not forgotten."""
        self._kept.drop(self)

    def forget(self) -> None:
        """It is not sent to another agent."""
        self.is_kept = False
        self._kept.drop(self)
        self.said.clear()

    async def carry(self, stream: muxado.Stream) -> None:
        """Send on ``stream`` what comes of the body, until it is whole.

        :raises BadMessage: if it is wrong, or too slow; 504, if the agent is.
        :raises Exception: if the caller is gone.

        Cancellation: what was taken of the caller is in ``said``.
        """
        takes = True
        while not self._body.done:
            data = self._inbox.take()
            if not data:
                await self._await_more()
                continue
            piece = self._piece(data)
            if self.is_kept:
                self.said += piece
                self.keep()
            # A stream that takes no more may still answer, and who is not read does not read it.
            takes = takes and await self._passes(stream, piece)

    async def _passes(self, stream: muxado.Stream, piece: bytes) -> bool:
        """Whether the agent takes it."""
        with anyio.move_on_after(self._limits.answer):
            try:
                await stream.send(piece)
            except Exception as exc:  # noqa: BLE001 - who hears the answer finds out
                logger.debug("an agent takes no more of a request: %r", exc)
                return False
            return True
        raise BadMessage(504, "The agent stopped taking the request. It may have executed it.")

    async def _await_more(self) -> None:
        if self._inbox.has_ended:
            raise BadMessage(400, "The body of the request ended before it was whole.")
        while not self.is_continued:
            limit = self._limits.answer
            with anyio.move_on_after(limit):
                await self._inbox.more()
                return
            if not self.is_continued:
                raise BadMessage(
                    504,
                    f"The agent said nothing for {limit:g} s. It may have executed the request.",
                )
        began = anyio.current_time()
        patience = self._limits.body + self._size / self._limits.body_rate - self._waited
        with anyio.move_on_after(patience) as scope:
            await self._inbox.more()
        if scope.cancelled_caught:
            raise BadMessage(408, "The body of the request came too slowly.")
        self._waited += anyio.current_time() - began

    def _piece(self, data: bytes) -> bytes:
        """What an agent gets of ``data``."""
        self.is_continued = True  # who hears no word begins without one
        body = self._body
        content = body.feed(data)
        if body.done:
            self._inbox.put_back(body.rest)
        self._size += len(content)
        _check_size(self._size, self._limits)
        if not self._is_chunked:
            return content
        return (chunk(content) if content else b"") + (last_chunk([]) if body.done else b"")


def whole_body(request: Request, said: bytes, limits: Limits) -> tuple[bytes, bytes]:
    """What an agent gets of the body that ``said`` begins with, and what comes behind that.

    :raises EOFError: if not all of it has come, or it is too long to be kept.
    :raises BadMessage: if it is wrong.
    """
    body = request.body()
    content = body.feed(said)
    body.end()
    _check_size(len(content), limits)
    if len(content) > MOST_KEPT:
        raise EOFError
    if request.is_chunked:
        content = (chunk(content) if content else b"") + last_chunk([])
    return content, body.rest


def _check_size(size: int, limits: Limits) -> None:
    most = limits.max_body
    if most is not None and size > most:
        raise BadMessage(413, f"The body of the request is longer than {most} bytes.")
