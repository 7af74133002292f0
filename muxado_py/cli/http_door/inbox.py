"""Inboxes: what a caller has said and nobody has taken yet, and what it is still to be told.

What it is.  A caller is heard all the time, also while its answer is on the way: so it shows at once that it is gone,
and what it says ahead is there when it is wanted.  On asyncio and uvloop the loop calls back, also for TLS; elsewhere a
task reads.

The rule.  A caller that says more than :data:`MOST_HEARD` ahead is not read until something was taken.

The trap.  Who has ended may still be told something: that it ended is said once, and is no failure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from ...runtime.checkpoints import socket_loop
from ...runtime.plain_sockets import PlainSocket
from ...session.socket_end import SocketEnd

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from anyio.abc import ByteStream, TaskGroup

__all__ = ("Inbox", "open_inbox")

MOST_HEARD = 64 * 1024
"""Bytes after which a caller is not read; one piece more may be there."""


class Inbox:
    """What a caller said, and the way to it.

    :ivar ended: called when the caller ends or breaks, with no argument.
    """

    def __init__(self, said: bytes = b"", *, has_ended: bool = False) -> None:
        self.said = bytearray(said)
        self.has_ended = has_ended
        """Whether it said that it says no more."""
        self.failure: Exception | None = None
        """Why nothing can be heard of it or said to it any more."""
        self.ended: Callable[[], None] | None = None
        self._news: anyio.Event | None = None

    def take(self, size: int | None = None) -> bytes:
        """What it said, as far as ``size``; that is gone then."""
        data = bytes(self.said[:size])
        del self.said[:size]
        if len(self.said) < MOST_HEARD and not self.has_ended and self.failure is None:
            self._hear_on()
        return data

    def put_back(self, data: bytes) -> None:
        """It was too much."""
        self.said[:0] = data

    async def more(self) -> None:
        """Wait until it has said more, or ends.

        :raises Exception: if it is gone.

        Cancellation: safe.
        """
        if not self.has_ended and self.failure is None:
            self._news = anyio.Event()
            await self._news.wait()
        if self.failure is not None:
            raise self.failure

    def _tell(self, *, over: bool) -> None:
        if self._news is not None:
            self._news.set()
        if over and self.ended is not None:
            self.ended()

    # For each kind.

    def send(self, data: bytes) -> bool:
        """Say ``data``, after all that was said; whether that is done, else :meth:`flush` waits for it."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Wait until all was said.

        :raises Exception: if it is gone.

        Cancellation: a part of it may have been said.
        """
        raise NotImplementedError

    async def stop(self) -> None:
        """Hear nothing more: the connection is somebody else's."""
        raise NotImplementedError

    def _hear_on(self) -> None:
        raise NotImplementedError


class CallbackInbox(Inbox, SocketEnd):
    """That of a plain socket, where the loop calls back."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: PlainSocket,
        said: bytes = b"",
        *,
        has_ended: bool = False,
    ) -> None:
        Inbox.__init__(self, said, has_ended=has_ended)
        SocketEnd.__init__(self, loop, connection.raw_socket)
        self._sent: anyio.Event | None = None
        if not has_ended and len(said) < MOST_HEARD:
            self._watch_reading()

    def _heard(self, data: bytes) -> None:
        if data:
            self.said += data
            if len(self.said) >= MOST_HEARD:
                self._stop_reading()
        else:
            self.has_ended = True
            self._stop_reading()
        self._tell(over=self.has_ended)

    def _broke(self, exc: Exception) -> None:
        self.failure = exc
        self._unwatch()
        self._took_rest()
        self._tell(over=True)

    def _took_rest(self) -> None:
        if self._sent is not None:
            self._sent.set()

    def put_back(self, data: bytes) -> None:
        super().put_back(data)
        if len(self.said) >= MOST_HEARD:  # or each request that is taken would let a piece more in
            self._stop_reading()

    def _hear_on(self) -> None:
        self._watch_reading()

    def send(self, data: bytes) -> bool:
        if self._rest:
            self._rest = memoryview(bytes(self._rest) + data)
            return False
        return self.failure is None and self._send(data)

    async def flush(self) -> None:
        if self._rest and self.failure is None:
            self._sent = anyio.Event()
            await self._sent.wait()
        if self.failure is not None:
            raise self.failure

    async def stop(self) -> None:
        self._unwatch()


class TaskInbox(Inbox):
    """That of any stream, which a task reads."""

    def __init__(self, connection: ByteStream, tasks: TaskGroup) -> None:
        super().__init__()
        self._connection = connection
        self._room = anyio.Event()
        self._unsent = b""
        self._scope = anyio.CancelScope()
        self._stopped = anyio.Event()
        tasks.start_soon(self._hear)

    async def _hear(self) -> None:
        try:
            with self._scope:
                await self._hear_all()
        finally:
            self._stopped.set()

    async def _hear_all(self) -> None:
        try:
            while data := await self._connection.receive(MOST_HEARD):
                self.said += data
                self._tell(over=False)
                while len(self.said) >= MOST_HEARD:
                    self._room = anyio.Event()
                    await self._room.wait()
        except anyio.EndOfStream:
            pass
        except Exception as exc:  # noqa: BLE001 - it is gone, in whatever way
            self.failure = exc
        self.has_ended = self.failure is None
        self._tell(over=True)

    def _hear_on(self) -> None:
        self._room.set()

    def send(self, data: bytes) -> bool:
        self._unsent += data
        return False

    async def flush(self) -> None:
        unsent, self._unsent = self._unsent, b""
        try:
            await self._connection.send(unsent)
        except Exception as exc:
            self.failure = exc
            raise

    async def stop(self) -> None:
        self._scope.cancel()
        with anyio.CancelScope(shield=True):
            await self._stopped.wait()


def open_inbox(
    connection: ByteStream, tasks: TaskGroup, said: bytes = b"", *, has_ended: bool = False
) -> Inbox:
    """Hear ``connection`` from now on.

    :param tasks: where that is done, if it takes a task.
    :param said: what it said before, where the loop calls back.
    :param has_ended: whether it has ended behind that.
    """
    loop = socket_loop()
    if loop is not None and isinstance(connection, PlainSocket):
        return CallbackInbox(loop, connection, said, has_ended=has_ended)
    return TaskInbox(connection, tasks)
