"""The accept loop: a listener that goes on, whatever happens to one connection.

What it is.  Every listening side has it, on every backend.  It gives each connection that comes to the handler,
in a task group that outlives the listener.  :class:`AcceptingListener` is the listener below ``listen``;
:func:`serve_listener` serves any listener of anyio's in the same way.

Where connections come from.  From the sockets of a listener of anyio's, which has one for each address; how
one is accepted there, :class:`AcceptingListener` is told.

The rule.  What is wrong with one connection, or for a while (no file descriptor is left), must end neither the
listener nor what runs already.  anyio's own loop lets such an error end its task group.  An error that is
one connection's costs no time; whatever else it is, the next try waits, or the loop would do nothing else.

The trap.  No socket may be closed that the event loop still watches: who closes waits for the loop.
"""

from __future__ import annotations

import errno
import logging
from contextlib import AsyncExitStack
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    Event,
    ResourceGuard,
    aclose_forcefully,
    create_task_group,
    sleep,
)
from anyio.abc import AsyncResource, Listener, SocketAttribute, SocketListener
from anyio.streams.stapled import MultiListener
from anyio.streams.tls import TLSListener

from .congestion import unpaced_here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import SocketStream, TaskGroup

__all__ = ("ACCEPT_DELAY", "AcceptingListener", "log_failure", "serve_listener")

Accepted = TypeVar("Accepted")

logger = logging.getLogger("muxado.endpoints")

ACCEPT_DELAY = 1.0
"""Seconds until a listener that could not accept, for want of file descriptors say, tries again."""

_CONNECTION_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EPERM",
        "EPROTO",
        "ENOPROTOOPT",
        "ENETDOWN",
        "ENETUNREACH",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENONET",
        "EOPNOTSUPP",
    )
    if hasattr(errno, name)
)
"""Errors of ``accept`` that concern the connection which it took from the queue: Linux passes on what had
happened to that one, see accept(2)."""


_SHORTAGE_ERRNOS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""Errors that go away when something else is closed."""


async def serve_listener(
    listener: Listener[Accepted],
    handler: Callable[[Accepted], Any],
    task_group: TaskGroup | None = None,
) -> None:
    """Start ``handler(connection)`` for each connection, until ``listener`` is closed.

    As ``listener.serve``, but it goes on when a connection cannot be accepted: when no file descriptor is
    left it logs a line a second (``muxado.endpoints``) and tries again.  That holds for the listeners of
    anyio: sockets, several of them, TLS over these.  A listener of another kind is served again when its ``serve``
    raises such an ``OSError``.

    :param task_group: where the handlers run; default one of its own, which is waited for.  What a handler
        raises is that group's affair, as with anyio.
    :raises Exception: what the ``serve`` of a listener that is not anyio's raises otherwise; and
        :exc:`~anyio.BusyResourceError` if another task accepts from the same one.  In an ``ExceptionGroup``, if the task group
        is its own, or there are several sockets.

    Cancellation: no more is accepted; the handlers are cancelled too, if the task group is its own.
    """
    async with AsyncExitStack() as stack:
        if task_group is None:
            task_group = await stack.enter_async_context(create_task_group())
        await _ResilientListener(listener).serve(handler, task_group)


class _ResilientListener(Listener[Accepted]):
    """Serves ``listener`` as :func:`serve_listener` does."""

    def __init__(self, listener: Listener[Accepted]) -> None:
        self._listener = listener

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._listener.extra_attributes

    async def aclose(self) -> None:
        await self._listener.aclose()

    async def serve(
        self, handler: Callable[[Accepted], Any], task_group: TaskGroup | None = None
    ) -> None:
        assert task_group is not None
        listener: Listener[Any] = self._listener
        if isinstance(listener, TLSListener):  # it serves the one below, with its handshake
            resilient = copy(listener)
            resilient.listener = _ResilientListener(listener.listener)
            await resilient.serve(cast("Any", handler), task_group)
        elif isinstance(listener, MultiListener):
            async with create_task_group() as acceptors:
                for one in listener.listeners:
                    acceptors.start_soon(_ResilientListener(one).serve, handler, task_group)
        elif isinstance(listener, SocketListener):
            accept: Callable[[], Awaitable[Any]] = listener.accept
            await _accept_loop(accept, handler, task_group)
        else:
            await _serve_again(listener, handler, task_group)


async def _accept_loop(
    accept: Callable[[], Awaitable[Accepted]], handler: Callable[[Accepted], Any], tasks: TaskGroup
) -> None:
    """Start ``handler`` for each connection, until the listener is closed."""
    while True:
        try:
            accepted = await accept()
        except ClosedResourceError:
            return
        except (OSError, BrokenResourceError) as exc:
            await _log_and_wait(exc)
        else:
            await _start_handler(accepted, handler, tasks)


async def _start_handler(
    accepted: Accepted, handler: Callable[[Accepted], Any], tasks: TaskGroup
) -> None:
    try:
        tasks.start_soon(handler, accepted)
    except BaseException:  # the group has ended, and nobody else would close this one
        if isinstance(accepted, AsyncResource):
            await aclose_forcefully(accepted)
        else:  # a socket
            cast("Any", accepted).close()
        raise


async def _log_and_wait(exc: Exception) -> None:
    """Say that no connection was accepted, and wait if it is more than that one's trouble."""
    if log_failure(exc):
        await sleep(ACCEPT_DELAY)


def log_failure(exc: Exception) -> bool:
    """Say that no connection was accepted; whether it is more than that one's trouble, and the next try is to wait."""
    cause = exc.__cause__ or exc  # on trio, anyio says nothing itself and means its cause
    if getattr(cause, "errno", None) in _CONNECTION_ERRNOS:
        logger.debug("a connection was gone before it was accepted: %s", cause)
        return False
    logger.warning("cannot accept a connection: %s", cause)
    return True


async def _serve_again(
    listener: Listener[Accepted], handler: Callable[[Accepted], Any], tasks: TaskGroup
) -> None:
    """Serve a listener of which nothing is known but that."""
    while True:
        try:
            await listener.serve(handler, tasks)
        except ClosedResourceError:
            return
        except Exception as exc:
            if getattr(exc, "errno", None) not in _SHORTAGE_ERRNOS:
                raise
            await _log_and_wait(exc)
        else:
            return


async def _note_failure(
    run: Callable[[], Awaitable[None]], failures: list[Exception], scope: CancelScope
) -> None:
    try:
        await run()
    except Exception as exc:  # noqa: BLE001 - raised where it was asked for
        failures.append(exc)
        scope.cancel()


class AcceptingListener(Listener[Accepted]):
    """Accepts connections at the sockets that ``bound`` listens on.

    :param accept: waits for one at one of them; raises ``OSError`` or ``BrokenResourceError`` if there is
        none for now.
    """

    def __init__(
        self,
        bound: Listener[SocketStream],
        accept: Callable[[Listener[SocketStream]], Awaitable[Accepted]],
    ) -> None:
        self._bound = bound
        self._listeners: list[Listener[SocketStream]] = getattr(bound, "listeners", [bound])
        for one in self._listeners:
            unpaced_here(one.extra(SocketAttribute.raw_socket))
        self._accept = accept
        self._guard = ResourceGuard("accepting from")
        self._closed = False
        self._acceptors: CancelScope | None = None
        self._stopped = Event()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._bound.extra_attributes

    async def serve(
        self, handler: Callable[[Accepted], Any], task_group: TaskGroup | None = None
    ) -> None:
        """Start ``handler`` for each connection, in ``task_group``, until the listener is closed.

        :raises ~anyio.ClosedResourceError: if it was closed before.
        :raises RuntimeError: what a ``task_group`` raises that has ended, when the next connection comes.
        """
        assert task_group is not None
        if self._closed:
            raise ClosedResourceError
        self._stopped = Event()
        try:
            with self._guard:
                async with create_task_group() as acceptors:
                    self._acceptors = acceptors.cancel_scope
                    failures: list[Exception] = []
                    for one in self._listeners:
                        run = partial(_accept_loop, partial(self._accept, one), handler, task_group)
                        acceptors.start_soon(_note_failure, run, failures, acceptors.cancel_scope)
        finally:
            self._acceptors = None
            self._stopped.set()
        if failures:
            raise failures[0]  # itself, and no group of one

    async def aclose(self) -> None:
        self._closed = True
        if self._acceptors is not None:
            self._acceptors.cancel()
            with CancelScope(shield=True):
                await self._stopped.wait()
        await self._bound.aclose()
