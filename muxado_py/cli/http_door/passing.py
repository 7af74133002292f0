"""Passing: an agent's answer on its way to a caller, in the framing that this one gets.

What it is.  What was heard of the answer goes in, what the caller is to be told comes out; nothing here waits or sends.

The rule.  Whether another request may follow is decided before the first byte of the answer goes out, for the head says it.

The trap.  An answer may come before the body of its request has: who then went on with the connection would take the rest
of the body for a request.  Such a connection is closed behind the answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .bodies import Chunked, Counted, chunk, last_chunk
from .fields import BadMessage

if TYPE_CHECKING:
    from .answers import Answer
    from .requests import Request

__all__ = ("Passing",)


class Passing:
    """One answer, which is no interim one.

    :param may_go_on: whether another request may follow, as far as the caller's connection is concerned.
    """

    __slots__ = ("_body", "_head", "_in_chunks", "keeps_alive")

    def __init__(self, answer: Answer, request: Request, *, may_go_on: bool) -> None:
        self._body = body = answer.body(request.method)
        is_framed_anew = not isinstance(body, Counted)
        self._in_chunks = is_framed_anew and request.minor == 1
        self.keeps_alive = may_go_on and request.keeps_alive and self._in_chunks == is_framed_anew
        """Whether another request may follow."""
        connection = b"close"
        if self.keeps_alive:
            connection = b"" if request.minor else b"keep-alive"
        self._head = answer.for_caller(in_chunks=self._in_chunks, connection=connection)

    @property
    def is_whole(self) -> bool:
        """Whether all of it was heard."""
        return self._body.done

    def take(self, heard: bytes) -> bytes:
        """What the caller is told, now that ``heard`` has come; the first time also the head, whatever has.

        :raises BadMessage: 502, if the answer cannot be read.
        """
        said, self._head = self._head, b""
        body = self._body
        if heard and not body.done:
            try:
                content = body.feed(heard)
            except BadMessage as exc:
                raise BadMessage(502, f"The agent's answer cannot be read: {exc.text}") from None
            if content:
                content = chunk(content) if self._in_chunks else content
                said = said + content if said else content
        return said + self._end() if body.done and self._in_chunks else said

    def end(self) -> bytes:
        """The same, now that nothing more comes.

        :raises EOFError: if the answer is not whole.
        """
        self._body.end()
        return self._end()

    def _end(self) -> bytes:
        if not self._in_chunks:
            return b""
        return last_chunk(self._body.trailers if isinstance(self._body, Chunked) else [])
