"""Guests: the callers of the HTTP door, all of them, and how many there may be.

What it is.  Each connection is one conversation, in a task of its own.

The rules.  A caller that has no request only waits; when there is no room, the one that has waited longest makes some.
Those that find none are told so, and of these there are few.

The trap.  Callers that came a moment ago, or have just had an answer, have waited for nobody's sake: their next request
is on the way.  Those make no room.
"""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute

from ...runtime.checkpoints import callback_context, event_loop
from ...runtime.plain_sockets import plain_socket
from ...service.retry_budget import RetryBudget
from ...session.bridge import abort
from ..kept import Kept
from ..visits import QUIET
from .conversation import Conversation, Host
from .fields import BadMessage

if TYPE_CHECKING:
    import socket

    from anyio.abc import TaskGroup

    from ...runtime.plain_sockets import PlainSocket
    from ..latest import Latest
    from .limits import Limits
    from .routes import Routes

__all__ = ("Guests",)

logger = logging.getLogger("muxado.cli")


class Guests(Host):
    """The connections to one HTTP door.

    :param limit: how many may be served or wait at once; an eighth of it more may be being turned away.
    :param tasks: where they are served.
    :param latest: where they are seen.
    :param scheme: what they speak, ``http`` or ``https``.
    """

    def __init__(
        self,
        routes: Routes,
        limit: int,
        tasks: TaskGroup,
        limits: Limits,
        latest: Latest | None = None,
        scheme: str = "http",
    ) -> None:
        loop = event_loop()
        self._now = anyio.current_time if loop is None else loop.time
        super().__init__(routes, Kept(), limits, RetryBudget(self._now), latest, scheme)
        self._limit = limit
        self._tasks = tasks
        self._context = callback_context()
        self._most_refused = max(8, limit // 8)
        self._refused = 0
        self._served: set[Conversation] = set()
        self._waiting: dict[Conversation, float] = {}  # the longest first
        self._idle: anyio.Event | None = None

    def came(self, accepted: socket.socket) -> None:
        """Serve one caller; for callbacks."""
        try:
            connection = plain_socket(accepted)
        except OSError as exc:  # it is gone already
            logger.debug("a caller is gone: %r", exc)
            accepted.close()
            return
        conversation = self._admit(connection)
        if conversation is None:
            connection.abort()
        else:
            start: Any = self._tasks.start_soon
            self._context.run(start, self._serve, conversation)

    async def handle(self, connection: PlainSocket) -> None:
        """Serve one caller.

        Cancellation: its connection is broken off.
        """
        conversation = self._admit(connection)
        if conversation is None:
            await abort(connection)
        else:
            await self._serve(conversation)

    def waits(self, conversation: Conversation) -> None:
        if not conversation.stops:
            self._waiting[conversation] = self._now()

    def asks(self, conversation: Conversation) -> None:
        self._waiting.pop(conversation, None)

    def stop(self) -> None:
        """Let go of those that have no request, and of the others after it; for a door that is closed."""
        for conversation in list(self._served):
            conversation.let_go("had not come when the gateway stopped")

    async def finished(self) -> None:
        """Wait until no caller is served.

        Cancellation: safe.
        """
        while self._served:
            self._idle = anyio.Event()
            await self._idle.wait()

    def _admit(self, connection: PlainSocket) -> Conversation | None:
        """A caller that is served or told why not; None: there are too many of these, too."""
        client = _address(connection)
        if len(self._served) - self._refused < self._limit or self._make_room():
            conversation = Conversation(connection, self, client)
        elif self._refused < self._most_refused:
            self._refused += 1
            text = "This gateway has no room for more connections."
            conversation = Conversation(connection, self, client, BadMessage(503, text))
        else:
            return None
        self._served.add(conversation)
        return conversation

    def _make_room(self) -> bool:
        """Let the caller go that has waited longest, unless that is a moment only."""
        for conversation, since in self._waiting.items():
            if self._now() - since > 2 * QUIET:
                del self._waiting[conversation]
                conversation.let_go("had not come when its place was needed")
                return True
            break
        return False

    async def _serve(self, conversation: Conversation) -> None:
        if self.latest is not None:
            self.latest.came(conversation)
        try:
            await conversation.run()
        except Exception:
            # Whatever it is, it is this caller's trouble and must not end the gateway.
            logger.exception("serving a caller failed")
        finally:
            if self.latest is not None:
                self.latest.left(conversation)
            self._waiting.pop(conversation, None)
            self._served.discard(conversation)
            self._refused -= conversation.is_turned_away
            if not self._served and self._idle is not None:
                self._idle.set()


def _address(connection: PlainSocket) -> str | None:
    """Where a caller comes from; None on a Unix socket, or if it is gone."""
    try:
        address = connection.extra(SocketAttribute.remote_address)
    except (OSError, anyio.TypedAttributeLookupError):
        return None
    if not isinstance(address, tuple):
        return None
    host = ipaddress.ip_address(address[0].partition("%")[0])
    mapped = host.ipv4_mapped if isinstance(host, ipaddress.IPv6Address) else None
    return str(mapped or host)
