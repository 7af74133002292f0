"""Targets: what a session is dialed to, once or again and again: a URL, or a connectable of anyio's.

Where data comes from and goes to.  :func:`~muxado_py.connect` and whoever keeps sessions up make a target of what they were
given; :meth:`Target.session` dials it and runs a session over what came of it.

The rule.  What is wrong with a target is told when it is made, and not at the first attempt, where it would be tried again.

The trap.  A connectable gives a transport that nothing is known of: no option of a socket is set on it, and it has TLS if
it says so itself (``anyio.streams.tls.TLSConnectable``).
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import move_on_after
from anyio.abc import ByteStreamConnectable

from ..config import AUTO, config_or_default
from .pending import AnyioPending
from .scheme import Dialing, Options
from .schemes import SCHEMES, check_options, parse_url, url_of
from .session_scope import SessionScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..config import Config
    from ..session.session import Session
    from .addresses import Address
    from .pending import PendingConnection

__all__ = ("Target",)


class Target:
    """What is dialed for sessions.

    :param what: a URL, or any ``ByteStreamConnectable``.
    :ivar name: what logs and errors call it.
    :raises TypeError: if it is neither, or an option is of a wrong type.
    :raises ValueError: for what :func:`~muxado_py.connect` raises it for.
    """

    def __init__(
        self,
        what: str | ByteStreamConnectable,
        config: Config | None = None,
        options: Options | None = None,
    ) -> None:
        self._config = config_or_default(config)
        self._options = options or Options()
        self._connectable: ByteStreamConnectable | None = None
        self._address: Address | None = None
        if isinstance(what, ByteStreamConnectable):
            self._connectable = what
            self.name = f"{what!r:.200}"
            if self._options != Options():
                raise ValueError(f"an option needs a URL, got {self.name}, which has its own")
        elif isinstance(what, str):
            self._address = parse_url(what)
            self.name = url_of(self._address)
            check_options(what, self._options, listens=False)
        else:
            raise TypeError(
                f"a target must be a URL or an anyio.abc.ByteStreamConnectable, got {what!r:.200}"
            )
        if self._config.wire == AUTO:
            raise ValueError(
                f'wire="auto" is for listen(), connect({self.name!r}) must name its wire'
            )

    async def dial(self) -> PendingConnection:
        """A connection, ready for a session.

        :raises OSError: if none comes about.
        :raises TimeoutError: not within ``Config.connect_timeout``; it says what was waited for.

        Cancellation: nothing is left open.
        """
        timeout = self._config.connect_timeout
        awaited = "connection"
        with move_on_after(timeout):
            if self._connectable is not None:
                return AnyioPending(await self._connectable.connect())
            assert self._address is not None
            dialing = Dialing(self._address, self._config, self._options)
            try:
                return await SCHEMES[self._address.scheme].dial(dialing)
            except OSError as exc:
                exc.add_note(f"dialing {self.name}")  # few of the system's say where that was
                raise
            finally:
                awaited = dialing.awaited
        raise TimeoutError(f"no {awaited} with {self.name} in {timeout:g} s")

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """Dial, and run a session over the connection; raises as :meth:`dial`.

        Cancellation: the session is closed without a long flush.
        """
        async with SessionScope(await self.dial(), self._config, is_client=True) as session:
            yield session
