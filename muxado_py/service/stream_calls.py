"""Stream calls: calls whose request and answer come in pieces, where they are called.

What it is.  The block of ``async with caller.stream_call() as call``: a stream that is opened when it is entered, reset when it
is left early, and at the deadline.

The rule.  Nothing of what was sent is kept, so a streamed call is sent once; what it ends with says whether all of it may be
sent again.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope

from ..arguments import check_whole
from ..errors import ErrorCode, Retry
from .call_errors import CallTimeoutError
from .call_frames import STREAMED, check_call
from .call_pieces import StreamCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from ..session.stream import Stream

__all__ = ("stream_call",)


@asynccontextmanager
async def stream_call(
    open_stream: Callable[[float | None], Awaitable[Stream]],
    now: Callable[[], float],
    timeout: float | None,
    metadata: Mapping[str, bytes] | None,
    max_piece: int,
) -> AsyncIterator[StreamCall]:
    """See :meth:`.Caller.stream_call`.

    :param open_stream: opens the stream, and says with it what is left until a deadline, by ``now``.
    """
    check_call(timeout, metadata)
    check_whole("max_piece", max_piece, 0, 2**40)
    verdict = Retry.NEVER_SENT
    deadline = None if timeout is None else now() + timeout
    with CancelScope(deadline=math.inf if deadline is None else deadline):
        stream = await open_stream(deadline)
        try:
            await stream.send(STREAMED)
            yield StreamCall(stream, max_piece)
        finally:
            # What was left early, or is not answered to the end, is of no use to the other side.
            stream.reset()
            verdict = stream.retry
        return
    raise CallTimeoutError(
        f"the call was not over in {timeout:g} s", code=ErrorCode.STREAM_CANCELLED, retry=verdict
    )
