"""Time left: applications end with the patience of whoever opened a stream for a request.

Where data comes from and goes to.  A caller says in the metadata of a stream how long it waits still, as with a call
(:mod:`~muxado_py.service.call_frames`); our own HTTP client does (:mod:`.httpx`).  An ASGI application finds the moment in its
scope and is cancelled then, one of WSGI finds it in its environ (:mod:`._waitress`): a thread cannot be cancelled.

The rules.  Only metadata says it, which is what the peer of the session wrote.  A field of a request would do for everybody who
reaches the application through a gateway, who could so break it off wherever it waits.  It is said of the first
request of a stream: the others have said nothing.

The trap.  An application may go on when its answer is complete (background tasks of Starlette's do); for that nobody waits, and it
is not cancelled.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, current_time
from anyio.lowlevel import checkpoint_if_cancelled

from ..service.call_frames import read_time_left
from ..session.stream import Stream

if TYPE_CHECKING:
    from anyio.abc import ByteStream

__all__ = ("LATE", "InTime", "time_left")

logger = logging.getLogger("muxado.server")

LATE = b"the time of the request is over"
"""The body of a 504."""


def time_left(stream: ByteStream) -> float | None:
    """Seconds that whoever opened ``stream`` has said to wait; None if nothing was said."""
    return read_time_left(stream.metadata) if isinstance(stream, Stream) else None


class InTime:
    """An ASGI application for one stream, whose first request has a deadline.

    The application finds it as ``scope["extensions"]["muxado"]["deadline"]``, by ``anyio.current_time()``.  If it has not begun to
    answer by then the answer is 504.

    :param left: seconds, from now on.
    """

    def __init__(self, app: Any, left: float) -> None:
        self._app = app
        self._deadline: float | None = current_time() + left

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False
        patience = CancelScope(deadline=deadline)

        async def send_in_time(message: Any) -> None:
            nonlocal has_begun
            is_head = message["type"] == "http.response.start"
            if is_head and current_time() >= deadline:
                patience.cancel()  # as the loop is about to: what begins now could not be complete
            await checkpoint_if_cancelled()  # an application may go on all the same
            has_begun = True
            if is_head:
                # Cut off in the middle of that, anycorn would take it for unsent, and send another.
                patience.deadline = math.inf
            try:
                await send(message)
            finally:
                patience.deadline = deadline
            if message["type"] == "http.response.body" and not message.get("more_body"):
                patience.deadline = math.inf

        extensions = {**(scope.get("extensions") or {}), "muxado": {"deadline": deadline}}
        with patience:
            await self._app({**scope, "extensions": extensions}, receive, send_in_time)
        if not patience.cancelled_caught:
            return
        logger.debug("%s %r was cancelled: its time is over", scope["method"], scope["path"])
        if not has_begun:
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(LATE))]
            await send({"type": "http.response.start", "status": 504, "headers": headers})
            await send({"type": "http.response.body", "body": LATE})
