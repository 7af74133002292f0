"""StreamConnectable: a session where anyio wants a connectable, whose connections are streams of it.

What it is for.  Whatever makes connections by a ``ByteStreamConnectable`` makes streams then: anyio's TLS, buffers and text over them, and
``connect`` itself, for a session inside a stream, through a gateway that only passes bytes on, say.

The rule.  What keeps a stream from being opened is a ``ConnectionFailed``, as anyio has it; its cause has the verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from anyio import ConnectionFailed
from anyio.abc import ByteStreamConnectable

from ..arguments import check_able
from ..errors import MuxadoError

if TYPE_CHECKING:
    from .bridge import Dialer
    from .stream import Stream

__all__ = ("StreamConnectable",)


class StreamConnectable(ByteStreamConnectable):
    """Connects by opening streams of ``session``.

    :param session: a :class:`~muxado_py.Session`, or a :class:`~muxado_py.Pool`, for as long as it lives.
    :param options: for each stream, as for its ``net_dial``: ``priority``, ``stream_type``, ``metadata``, ``timeout``.
    :raises TypeError: if ``session`` is neither.
    """

    def __init__(self, session: Dialer, **options: Any) -> None:
        check_able("session", session, "a Session, or a Pool", "net_dial")
        self._session = session
        self._options = options

    def __repr__(self) -> str:
        return f"<StreamConnectable of {self._session!r}>"

    async def connect(self) -> Stream:
        """A new stream.

        :raises ~anyio.ConnectionFailed: if the session is over, going away or full; an ``OSError``.

        Cancellation: no stream is opened.
        """
        try:
            return await self._session.net_dial(**self._options)
        except MuxadoError as exc:
            raise ConnectionFailed(str(exc)) from exc
