"""Doors: the published addresses, and who attends to those who come in.

What it is.  A door is a listening socket, TCP or Unix.  It gives each connection, where it speaks TLS after a handshake
(:mod:`.handshakes`), to whoever serves its callers: to
:class:`.callers.Callers`, which leads them to the agents of a name, or to those without one, or to
:class:`.http_door.guests.Guests`; by callbacks where the loop has them.

The rule.  All doors are open before the first caller is let in, or none is.

The trap.  A Unix socket is a file (:mod:`.binding`), which is removed with its door.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from anyio.abc import AsyncResource

from ..runtime.accept_callbacks import AcceptCallbacks
from ..runtime.accept_loop import AcceptingListener
from ..runtime.checkpoints import callback_context, socket_loop
from ..runtime.plain_sockets import accept_plain
from ..service.causes import reason
from .binding import bind
from .options import Address
from .running import NotStarted
from .trust.names import check_name

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from ..runtime.plain_sockets import PlainSocket
    from .binding import Bound
    from .handshakes import Handshakes
    from .options import UnixAddress

__all__ = ("Door", "open_door")

logger = logging.getLogger("muxado.cli")


async def open_door(address: Address | UnixAddress) -> Door:
    """Listen at the address.

    :raises NotStarted: if that is not possible.
    """
    try:
        bound = await bind(address)
    except OSError as exc:
        raise NotStarted(f"cannot publish on {address}: {reason(exc)}{_hint(address)}") from exc
    return Door(bound)


def _hint(address: Address | UnixAddress) -> str:
    """What may have been meant by an address that looks like a name and a port."""
    if not isinstance(address, Address) or address.host == "localhost":
        return ""
    try:
        check_name(address.host)
    except ValueError:
        return ""
    return f" (agents that serve {address.host} are published by {address.host}={address.port})"


class Door(AsyncResource):
    """An address that is listened on.

    :ivar address: where it is, with the port that it got.
    """

    def __init__(
        self,
        bound: Bound,
    ) -> None:
        self.address = bound.address
        self._accepting: AsyncResource = bound.listener
        self._bound = bound
        self._handshakes: Handshakes | None = None

    @property
    def port(self) -> int:
        """Its TCP port; 0 for a Unix socket."""
        return getattr(self.address, "port", 0)

    @property
    def has_tls(self) -> bool:
        """Whether callers speak TLS."""
        return getattr(self.address, "tls", False)

    def let_in(
        self,
        who: str,
        came: Callable[[socket.socket], None],
        handle: Callable[[PlainSocket], Awaitable[None]],
        tasks: TaskGroup,
        handshakes: Handshakes | None = None,
    ) -> None:
        """From here on those who come are served.

        :param who: they are, for the log.
        :param came: serves one, if the loop has callbacks.
        :param handle: does the same if it has none.
        :param tasks: where they are accepted then.
        :param handshakes: of a door with TLS.
        """
        if handshakes is not None:
            self._handshakes = handshakes
            came, handle = partial(handshakes.came, came), partial(handshakes.handle, handle)
        logger.info("%s connect to %s", who, self.address)
        loop = socket_loop()
        if loop is None:
            self._accepting = listener = AcceptingListener(self._bound.listener, accept_plain)
            tasks.start_soon(listener.serve, handle, tasks)
        else:
            self._accepting = accepting = AcceptCallbacks(self._bound.listener, loop, came)
            callback_context().run(accepting.start)

    async def aclose(self) -> None:
        """Let nobody in any more.

        Cancellation: it is closed all the same.
        """
        if self._bound.path is not None:
            self._bound.path.remove()
        await self._accepting.aclose()
        if self._handshakes is not None:
            self._handshakes.stop()
