"""The side that dials: how long a command goes on, and what it tells whoever has started it.

What it is.  An :class:`Uplink` is a :class:`~muxado_py.Pool` of one session, to one of the gateways of a command line.
What is wrong it says in words of that command line, whose options are what the user can change; and it may give up.

The trap.  A certificate that either side does not trust looks like any other failure to connect, but waiting does not
mend it: before the first success it ends the command, when all URLs have failed so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import muxado_py as muxado

from ...dialing.scheme import Options
from ...dialing.schemes import check_takers, scheme_of
from ...dialing.targets import Target
from ...runtime.extras import MissingExtraError
from ...service.backoff import Backoff
from ...service.causes import distrust, has_no_tls, reason
from ...service.keeper import Manner
from ..agents.registration import RegistrationError
from ..running import ConnectionLost, NotStarted

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from anyio import Event

    from ...dialing.proxies import Proxy
    from ...service.dialed import Dialed
    from ...service.pool_sessions import Greet
    from ...session.sessions_listener import SessionsListener

__all__ = ("Uplink",)

CONNECT_TIMEOUT = 5.0
"""Seconds to connect in, where there is another URL to try."""

MENDS = {
    "nothing": "",
    "authority": ". Name its authority with --ssl-ca-certs",
    "certificate": ". Show a certificate of its authority, with --ssl-certfile",
}
"""What can be done about distrust, by what this side could be given."""


class Uplink:
    """A pool of one session, to one of the gateways of a command line.

    :param urls: the gateways; one has the session, another when that fails or ends.
    :param stop: once set, nothing is dialed any more; a session that is there goes on until it is over.
    :param ssl_context: for those that have TLS.
    :param proxy: for those that are hosts.
    :param max_retries: failures in a row, each at all URLs, that are retried; None for no end.
    :param greet: what the session begins with, see :func:`~muxado_py.connect_pool`.
    :param listener: where the peer's streams go; default one that nobody serves.
    :param backoff: makes what passes between two rounds of attempts.
    :raises NotStarted: if an option is for none of them.
    """

    def __init__(
        self,
        urls: Sequence[str],
        stop: Event,
        *,
        config: muxado.Config,
        ssl_context: ssl.SSLContext | None,
        proxy: Proxy | str | None,
        max_retries: int | None,
        greet: Greet | None = None,
        listener: SessionsListener | None = None,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        if not any(scheme_of(url).dials_again for url in urls):
            max_retries = 0
        if len(urls) > 1:
            config = replace(config, connect_timeout=min(CONNECT_TIMEOUT, config.connect_timeout))
        options = Options(ssl_context=ssl_context, proxy=proxy)
        try:
            check_takers(options, urls)
            self._targets = {
                url: Target(url, config, options.only(scheme_of(url).options)).session
                for url in urls
            }
        except (MissingExtraError, ValueError) as exc:
            raise NotStarted(str(exc)) from exc
        self._stop = stop
        self._greet = greet
        self._backoff = backoff
        self.pool = muxado.Pool(urls, listener=listener, words=_CommandManner(urls, max_retries))
        """Where streams are opened."""

    async def keep(self) -> None:
        """Have a session; returns after ``stop``, when the last one is over.

        :raises NotStarted: if it gave up before a peer ever answered.
        :raises ConnectionLost: if it gave up later.

        Cancellation: the sessions are closed with a short goodbye.
        """
        await self.pool.dial(
            self._targets,
            1,
            each=False,
            greet=self._greet,
            stop=self._stop,
            backoff=self._backoff,
        )


class _CommandManner(Manner):
    def __init__(self, urls: Sequence[str], max_retries: int | None) -> None:
        self._urls = urls
        self._max_retries = max_retries
        self._distrusted: set[str] = set()
        self._ever_answered = False

    def event(self, dialed: Dialed) -> str:
        if isinstance(dialed.failure, RegistrationError):
            return "cannot register at"
        return super().event(dialed)

    def cause(self, dialed: Dialed) -> str:
        exc = dialed.failure
        if dialed.was_mute and exc is not None and not has_no_tls(exc):
            scheme = scheme_of(dialed.url)
            if scheme.has_tls:
                wants = "a certificate (--ssl-certfile) that it knows, or another --wire"
            elif scheme.has_host:
                wants = "tls://, or another --wire"
            else:
                wants = "another --wire"
            return f"{reason(exc)}; it never said a word: does it want {wants}?"
        return reason(exc) if distrust(exc) and exc is not None else super().cause(dialed)

    def failed(self, dialed: Dialed, failures: int | None) -> None:
        """:raises NotStarted: if no URL is left with which there may be trust, or nobody ever answered.
        :raises ConnectionLost: if somebody did, and it was tried often enough.
        """
        self._ever_answered = self._ever_answered or dialed.answered
        if not self._ever_answered and (distrusted := distrust(dialed.failure)) is not None:
            self._distrusted.add(dialed.url)
            if self._distrusted.issuperset(self._urls):
                mends = MENDS[distrusted.wants]
                raise NotStarted(f"{dialed.url} {distrusted.text}{mends}.") from dialed.failure
        if failures is None or self._max_retries is None or failures <= self._max_retries:
            return
        cause = self.cause(dialed)
        point = "" if cause.endswith("?") else "."
        ended = ConnectionLost if self._ever_answered else NotStarted
        raise ended(
            f"{self.event(dialed)} {dialed.url}: {cause}{point} Gave up after {failures} attempt(s)"
            f"{f' at each of {len(self._urls)} gateways' if len(self._urls) > 1 else ''}."
        )
