"""``unix://``: a path of this machine's, as a socket.

The rule.  A path is everything behind the slashes, since it may have any character: no query, no fragment, no escapes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio.abc import SocketListener

from .addresses import Address
from .backend_sockets import sockets_here
from .host_schemes import SocketBound
from .scheme import Scheme
from .unix_paths import UnixPath

if TYPE_CHECKING:
    from anyio.abc import Listener, SocketStream

    from .pending import PendingConnection
    from .scheme import Bound, Dialing

__all__ = ("UNIX",)


class _UnixScheme(Scheme):
    name = "unix"
    form = "unix:///path"
    has_host = False

    def read(self, url: str) -> Address | None:
        _, slashes, path = url.partition("://")
        if not slashes or not path or "\0" in path:
            return None
        return Address("unix", path=path)

    def write(self, address: Address) -> str:
        return f"unix://{address.path}"

    async def dial(self, dialing: Dialing) -> PendingConnection:
        return await sockets_here().dial_unix(dialing.address.path)

    async def listen(self, address: Address) -> Bound:
        path = UnixPath(address.path)
        return _UnixBound(await SocketListener.from_socket(path.socket), address, path)


class _UnixBound(SocketBound):
    """Its path is gone when it no longer listens."""

    def __init__(self, bound: Listener[SocketStream], address: Address, path: UnixPath) -> None:
        super().__init__(bound, address)
        self._path = path

    async def aclose(self) -> None:
        self._path.remove()
        await super().aclose()


UNIX = _UnixScheme()
