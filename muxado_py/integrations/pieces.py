"""Pieces: what an app server holds of requests that are not read, and of answers.

What it is.  Wrappings of what a server calls and is called by.  uvicorn's protocol is told to pause when it has a
piece of a body that its application has not asked for; what an application sends is given to its server in pieces, of
which that holds one when the transport takes no more.

Why.  uvicorn pauses at more than 64 KiB of a body, and servers copy a whole message of an answer of unknown length.
That is nothing for one connection, and 128 MiB for a thousand that stand still.

The trap.  Only ``receive`` and the end of the response let a paused protocol of uvicorn's go on.  So it is paused
only within a body of which more is to come, never within a head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..session.copy_budget import MAX_PIECE, piece_size

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    Send = Callable[[Any], Awaitable[None]]

__all__ = ("InPieces", "reading_in_pieces")


def reading_in_pieces(protocol_class: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """``protocol_class``, one of uvicorn's, that holds no more of a body than a piece."""

    received = protocol_class.data_received

    class ReadingInPieces(protocol_class):  # type: ignore[misc, valid-type]
        def data_received(self, data: bytes) -> None:
            received(self, data)
            cycle = getattr(self, "cycle", None)
            if cycle is None or cycle.response_complete or not cycle.more_body:
                return
            if len(cycle.body) >= piece_size():
                self.flow.pause_reading()

    return ReadingInPieces


class InPieces:
    """An ASGI application whose long messages come to its server in pieces, where there are many connections."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]:
        # No coroutine around the application's: each of its steps, and each request, would pay for it.
        app: Awaitable[None] = self._app(
            scope, receive, _in_pieces(send) if scope["type"] == "http" else send
        )
        return app


def _in_pieces(send: Send) -> Send:
    async def send_pieces(
        message: Any,
    ) -> None:  # and no plain function: adaptors of WSGI look for that
        most = piece_size()
        if most < MAX_PIECE and len(message.get("body") or b"") > most:
            body = message["body"]
            for start in range(0, len(body) - most, most):
                piece = bytes(body[start : start + most])
                await send({**message, "body": piece, "more_body": True})
            rest = len(body) % most or most
            message = {**message, "body": bytes(body[-rest:])}
        await send(message)

    return send_pieces
