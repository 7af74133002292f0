"""Doors: the published addresses, each with the name that its callers want.

What it is.  A door is a listening socket, TCP or Unix, and where those who come in are led: to the agents of a name, or
to those without one.  It gives each connection to :class:`.callers.Callers`, by callbacks where the loop has them.

The rule.  All doors are open before the first caller is let in, or none is.

The trap.  A Unix socket is a file: it is removed with its door, and one that a killed gateway left behind is taken
over.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio.abc import AsyncResource, SocketAttribute, SocketListener

from ..dialing.unix_paths import UnixPath
from ..runtime.accept_callbacks import AcceptCallbacks
from ..runtime.accept_loop import AcceptingListener
from ..runtime.checkpoints import callback_context, event_loop
from ..runtime.plain_sockets import accept_plain
from ..session.relay import may_relay
from .options import UnixAddress
from .running import NotStarted, reason

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream, TaskGroup

    from .callers import Callers
    from .destinations import Destination
    from .options import Published

__all__ = ("Door", "open_door")

logger = logging.getLogger("muxado.cli")


async def open_door(published: Published, destination: Destination) -> Door:
    """Listen at the address.

    :raises NotStarted: if that is not possible.
    """
    address = published.address
    path = None
    bound: Listener[SocketStream]
    try:
        if isinstance(address, UnixAddress):
            path = UnixPath(address.path)
            bound = await SocketListener.from_socket(path.socket)
        else:
            bound = await anyio.create_tcp_listener(
                local_host=address.host or None, local_port=address.port
            )
            address = address._replace(port=bound.extra(SocketAttribute.local_port))
    except OSError as exc:
        raise NotStarted(f"cannot publish on {address}: {reason(exc)}") from exc
    return Door(published._replace(address=address), bound, path, destination)


class Door(AsyncResource):
    """An address that is listened on.

    :param destination: where its callers are led.
    :ivar published: where it is, with the port that it got.
    """

    def __init__(
        self,
        published: Published,
        bound: Listener[SocketStream],
        path: UnixPath | None,
        destination: Destination,
    ) -> None:
        self.published = published
        self._accepting: AsyncResource = bound
        self._bound = bound
        self._path = path
        self._destination = destination

    @property
    def port(self) -> int:
        """Its TCP port; 0 for a Unix socket."""
        return getattr(self.published.address, "port", 0)

    def let_in(self, callers: Callers, tasks: TaskGroup) -> None:
        """From here on those who come are served by ``callers``.

        :param tasks: where they are accepted, if the loop has no callbacks.
        """
        of = "" if self.published.name is None else f" of {self.published.name}"
        logger.info("callers%s connect to %s", of, self.published.address)
        loop = event_loop()
        if loop is None or not may_relay():
            self._accepting = listener = AcceptingListener(self._bound, accept_plain)
            tasks.start_soon(listener.serve, partial(callers.handle, self._destination), tasks)
        else:
            came = partial(callers.came, self._destination)
            self._accepting = accepting = AcceptCallbacks(self._bound, loop, came)
            callback_context().run(accepting.start)

    async def aclose(self) -> None:
        """Let nobody in any more.

        Cancellation: it is closed all the same.
        """
        if self._path is not None:
            self._path.remove()
        await self._accepting.aclose()
