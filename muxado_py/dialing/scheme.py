"""Scheme: what stands before the colon of a session's URL, and all that follows from it.

What it is.  An object for each scheme says what its URLs look like, how it dials, where it listens, whether there is TLS in
it, and which options it takes.  ``connect``, ``listen`` and the ``muxado`` command ask it, and know no scheme by
its name; :mod:`~muxado_py.dialing.schemes` has them all.

Where data comes from and goes to.  An address and the caller's :class:`Options` come in; a
:class:`~muxado_py.dialing.pending.PendingConnection` comes out, over which a session is run.

The rules.  Whoever asks bounds the time: a scheme says what it waits for (:attr:`Dialing.awaited`) and needs no clock.  A
connection that did not become a pending one is closed by who made it, also when that was cancelled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Container, Mapping, Sequence

    from anyio.abc import Listener

    from ..config import Config
    from ..links.upgrade import WebSocketRequest
    from .addresses import Address
    from .pending import PendingConnection
    from .proxies import Proxy

__all__ = ("Bound", "Dialing", "Options", "Scheme")


@dataclass(frozen=True, kw_only=True, repr=False)
class Options:
    """What ``connect`` and ``listen`` are given besides an address; None is what was not given.

    ``called`` is what an error says for one of them.  There is no ``repr``: some are secrets.
    """

    ssl_context: ssl.SSLContext | None = field(default=None, metadata={"called": "an ssl_context"})
    proxy: str | Proxy | None = field(default=None, metadata={"called": "a proxy"})
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = field(
        default=None, metadata={"called": "headers"}
    )
    subprotocol: str | None = field(default=None, metadata={"called": "a subprotocol"})
    check_request: Callable[[WebSocketRequest], int | None] | None = field(
        default=None, metadata={"called": "check_request"}
    )

    def only(self, names: Container[str]) -> Options:
        """Those of these names, without the others."""
        return Options(**{name: value for name, value in self.given().items() if name in names})

    def given(self) -> dict[str, Any]:
        """Those that were."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in found.items() if value is not None}


class Dialing:
    """One address that is being dialed."""

    def __init__(self, address: Address, config: Config, options: Options) -> None:
        self.address = address
        self.config = config
        self.options = options
        self.awaited = "connection"
        """What is waited for, for the error of one that waited too long."""


class Bound(ABC):
    """What listens at one address.

    :ivar address: with the real port, if a free one was asked for.
    :ivar listener: gives what is accepted.
    """

    address: Address
    listener: Listener[Any]

    @abstractmethod
    async def pending(self, accepted: Any, config: Config) -> PendingConnection:
        """The connection of what was accepted, which is closed if none comes about.

        :raises OSError: if it is gone already.
        """

    async def aclose(self) -> None:
        """Accept no more, and leave nothing behind.

        Cancellation: it is closed all the same.
        """
        await self.listener.aclose()


class Scheme(ABC):
    """One scheme; ``name`` is what stands before the colon, in small letters."""

    name: str
    form: str
    """How its URLs look, for an error."""
    has_host = True
    """Whether its addresses name a host of a network; without one, only this machine comes here."""
    has_tls = False
    """Whether there is TLS in it: who dials verifies a certificate, who listens has to have one."""
    dials = True
    dials_again = True
    """Whether there may be another connection when one is lost."""
    listens = True
    options: frozenset[str] = frozenset()
    """Those of :class:`Options` that it takes."""

    @abstractmethod
    def read(self, url: str) -> Address | None:
        """The address that ``url`` says, which begins with this scheme; None if it is not of the form.

        :raises ValueError: the same, in words that do not repeat the URL.
        """

    @abstractmethod
    def write(self, address: Address) -> str:
        """The URL of an address."""

    @abstractmethod
    async def dial(self, dialing: Dialing) -> PendingConnection:
        """A connection, ready for a session.

        :raises OSError: if none comes about.

        Cancellation: nothing is left open.
        """

    @abstractmethod
    async def listen(self, address: Address) -> Bound:
        """Listen there; what is accepted has TLS and :meth:`greet` before it.

        :raises OSError: if that cannot be.
        """

    def check(self, options: Options) -> None:
        """What only the scheme itself can say of the options that it takes.

        :raises TypeError: if one is of a wrong type.
        :raises ValueError: if one cannot be.
        :raises MissingExtraError: if the scheme needs a library that is not installed.
        """
        return

    async def greet(
        self, pending: PendingConnection, address: Address, options: Options
    ) -> PendingConnection:
        """What the scheme itself agrees on with one who dialed, after TLS; ``pending`` is aborted if it fails.

        :param address: where it was accepted.
        :raises OSError: what went wrong.
        """
        return pending
