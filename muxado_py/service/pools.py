"""Pools: how an application gets one, of sessions that it dials or of those that others dial.

The rule.  What is wrong with an argument is said at the call: at the first attempt it would be tried again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..arguments import check_function, check_whole
from ..dialing.scheme import Options
from ..dialing.schemes import check_takers, scheme_of
from ..dialing.session_listener import SessionListener
from ..dialing.session_scope import ClosingScope
from ..dialing.targets import Target
from .pool import Pool
from .retry_policy import policy_or_default

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import ByteStreamConnectable

    from ..config import Config
    from ..dialing.proxies import Proxy
    from .pool_sessions import Greet
    from .pool_state import PoolState
    from .retry_policy import RetryPolicy

__all__ = ("accept_pool", "connect_pool")

MAX_SESSIONS = 1000
"""Sessions to one target, at most."""


def connect_pool(
    *targets: str | ByteStreamConnectable,
    config: Config | None = None,
    ssl_context: ssl.SSLContext | None = None,
    proxy: str | Proxy | None = None,
    headers: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
    subprotocol: str | None = None,
    sessions: int = 1,
    each: bool = True,
    on_change: Callable[[PoolState], object] | None = None,
    retry: RetryPolicy | None = None,
    greet: Greet | None = None,
) -> AbstractAsyncContextManager[Pool]:
    """Keep sessions to ``targets``: dial them, and dial them again, until the block is left.

    Entering the block waits for nothing, so that a program can begin before its servers do;
    :meth:`.Pool.open_stream` waits.  A target that cannot be reached, refuses, falls silent or goes away soon is left
    alone for a while: at random up to 50 ms at first, twice as long after each failure, 30 s at most, and from
    the beginning when a session has lasted 5 s.  A session whose peer goes away is replaced before its last stream is
    over.

    Leaving the block closes all sessions as :meth:`.Pool.aclose` does, and raises what that raises, unless an
    exception is leaving it already.

    :param targets: what :func:`~muxado_py.connect` takes: URLs, or connectables of anyio's.
    :param config: for each session; what it says of heartbeats decides how soon a peer that hangs is left.
    :param ssl_context: for the targets that have TLS; default one that verifies the peer with the system's roots.
    :param proxy: for the targets that are hosts, as :func:`~muxado_py.connect` takes one.
    :param headers: for the targets that are websockets, and so ``subprotocol``.
    :param sessions: how many to keep.
    :param each: to each target; with False in all, each to one of the targets, and to another when it fails.
    :param on_change: called with the new state whenever a session comes, is lost or goes away, or is dialed; must
        not wait.  What it raises is logged (``muxado.pool``).
    :param retry: how often its calls (:meth:`.Pool.call`) are sent again; default ``RetryPolicy()``.
    :param greet: what each session begins with: ``async with greet(session, dialed)`` is entered before a stream of the
        application's is opened or served on it, and left when it is over.  A token, say, is shown there.  What it raises
        ends the session, and another is dialed after a while: after ``retry_after`` seconds, if that is an attribute of an
        ``OSError`` that it raises.  ``dialed`` (:class:`.Dialed`) can have another session in the place of this one.
    :raises TypeError: if an argument is of a wrong type, or there is no target.
    :raises ValueError: if a URL is none of a session, a target is named twice, ``sessions`` is not from 1 to 1000,
        or an option is for no target.
    :raises MissingExtraError: for websockets, without the extra ``ws``; for a proxy, without the extra ``proxy``.

    Cancellation: the sessions are closed without a long flush.
    """
    options = Options(
        ssl_context=ssl_context, proxy=proxy, headers=headers, subprotocol=subprotocol
    )
    return _DialingScope(targets, config, options, sessions, each, on_change, retry, greet)


def accept_pool(
    *listeners: SessionListener,
    on_change: Callable[[PoolState], object] | None = None,
    retry: RetryPolicy | None = None,
) -> AbstractAsyncContextManager[Pool]:
    """A pool of the sessions that others dial: ``async with listen(url) as listener, accept_pool(listener) as pool``.

    The listeners' connections are taken by the pool until the block is left, which closes them and all sessions.
    :meth:`.Pool.open_stream` waits until somebody has dialed in; :meth:`.Pool.net_listener` gives the streams of all.

    :param listeners: what :func:`~muxado_py.listen` gives; their ``serve`` is not called beside.
    :param on_change: as for :func:`connect_pool`.
    :param retry: likewise.
    :raises TypeError: if there is no listener, or one is none, ``on_change`` no function, or ``retry`` no policy.
    :raises ValueError: if a listener is named twice.

    Cancellation: the sessions are closed without a long flush.
    """
    return _AcceptingScope(listeners, on_change, retry)


class _AcceptingScope(ClosingScope[Pool]):
    def __init__(
        self,
        listeners: tuple[SessionListener, ...],
        on_change: Callable[[PoolState], object] | None,
        retry: RetryPolicy | None,
    ) -> None:
        super().__init__()
        if on_change is not None:
            check_function("on_change", on_change)
        if not listeners:
            raise TypeError("a pool needs a listener: accept_pool(listener)")
        for one in listeners:
            if not isinstance(one, SessionListener):
                raise TypeError(f"a listener must be what listen() gives, got {one!r:.200}")
        if len(set(listeners)) < len(listeners):
            raise ValueError("a listener is named twice")
        self._listeners = listeners
        self._on_change = on_change
        self._retry = policy_or_default(retry)

    async def begin(self) -> tuple[Pool, Callable[[], Coroutine[Any, Any, None]]]:
        pool = Pool([one.url for one in self._listeners], self._on_change, self._retry)
        return pool, partial(pool.accept, self._listeners)


class _DialingScope(ClosingScope[Pool]):
    def __init__(
        self,
        targets: tuple[str | ByteStreamConnectable, ...],
        config: Config | None,
        options: Options,
        sessions: int,
        each: bool,
        on_change: Callable[[PoolState], object] | None,
        retry: RetryPolicy | None,
        greet: Greet | None,
    ) -> None:
        super().__init__()
        check_whole("sessions", sessions, 1, MAX_SESSIONS)
        if not isinstance(each, bool):
            raise TypeError(f"each must be a bool, got {each!r}")
        if on_change is not None:
            check_function("on_change", on_change)
        if greet is not None:
            check_function("greet", greet)
        if not targets:
            raise TypeError("a pool needs a target: connect_pool('tcp://host:port')")
        self._targets: dict[str, Target] = {}
        for one in targets:
            takes = scheme_of(one).options if isinstance(one, str) else frozenset[str]()
            target = Target(one, config, options.only(takes))
            if target.name in self._targets:
                raise ValueError(f"{target.name} is named twice")
            self._targets[target.name] = target
        check_takers(options, [one for one in targets if isinstance(one, str)])
        self._sessions = sessions
        self._each = each
        self._on_change = on_change
        self._retry = policy_or_default(retry)
        self._greet = greet

    async def begin(self) -> tuple[Pool, Callable[[], Coroutine[Any, Any, None]]]:
        pool = Pool(tuple(self._targets), self._on_change, self._retry)

        async def run() -> None:
            dials = {name: target.session for name, target in self._targets.items()}
            await pool.dial(dials, self._sessions, each=self._each, greet=self._greet)

        return pool, run
