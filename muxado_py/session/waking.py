"""Waking: who waits at a stream, and how it is woken.

Where data comes from and goes to.  A stream has one place for who receives and one for who sends; the driver
wakes whoever is there when the core says that something changed.  A task leaves a waiter there while it
waits, an adaptor without a task its functions.

The rule.  One place, one waiter.  Who finds it taken is told that the stream is busy; who leaves gives it back.

The trap.  What wakes a task need not be what it waits for: it looks again.  And the place is taken, too, by a call
that only gives way to others, or two would find the same bytes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anyio import BusyResourceError

from ..arguments import check_function
from ..runtime.checkpoints import Callback, wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..protocol.stream_state import StreamState
    from .driver import Driver

__all__ = (
    "call_back",
    "check_idle_sender",
    "giving_way",
    "giving_way_to_send",
    "until_peer_closed",
    "until_room",
    "unwatch_peer",
    "wake_all",
    "watch_peer",
)


def _nothing() -> None:
    """Whoever gives way finds out by itself what changed."""


class _GivingWay(Callback):
    """The place of a task that gives way: taken, as by one that waits, and called like the callback it stands for."""

    __slots__ = ()

    def __init__(self, callback: Callback | None = None) -> None:
        super().__init__(_nothing if callback is None else partial(callback.set_result, None))


_GIVING_WAY = _GivingWay()


async def giving_way(driver: Driver, state: StreamState) -> None:
    """A checkpoint, during which nobody else may receive."""
    state.read_waiter = _GIVING_WAY
    try:
        await driver.backend_checkpoint()
    finally:
        state.read_waiter = None


async def giving_way_to_send(driver: Driver, state: StreamState) -> None:
    """A checkpoint, during which nobody else may send."""
    callback = state.write_waiter
    state.write_waiter = _GIVING_WAY if callback is None else _GivingWay(callback)
    try:
        await driver.backend_checkpoint()
    finally:
        state.write_waiter = callback


def check_idle_sender(state: StreamState) -> None:
    """:raises ~anyio.BusyResourceError: if a task is sending: it waits, or gives way."""
    writer = state.write_waiter
    if writer is not None and type(writer) is not Callback:
        raise BusyResourceError("sending to")


async def until_room(driver: Driver, state: StreamState, written: int) -> None:
    """Wait until half of the buffer is free; what was ``written`` and no frame has is taken back else."""
    try:
        while state.unsent > driver.outgoing.low_water:
            state.wants_writable = True
            waiter = driver.new_waiter()
            callback, state.write_waiter = state.write_waiter, waiter
            try:
                await waiter
            finally:
                state.write_waiter = callback
            if state.failure is not None:
                raise state.error()
    except BaseException:
        if driver.connection.unwrite(state, written):
            driver.process_events()  # a FIN may have waited behind it
        raise


async def until_peer_closed(driver: Driver, state: StreamState) -> None:
    """Wait until the stream is over for the peer."""
    try:
        while not watch_peer(driver, state):
            state.read_waiter = waiter = driver.new_waiter()
            await waiter
    finally:
        state.read_waiter = None
        unwatch_peer(driver, state)


def watch_peer(driver: Driver, state: StreamState) -> bool:
    """Whether the stream is over for the peer.  If not, it is asked where that is possible, until
    :func:`unwatch_peer`, and whoever receives is woken when it is."""
    ended = state.fin_sent and state.fin_received
    if ended or state.failure is not None or not driver.can_half_close:
        return True
    driver.connection.watch(state)
    return False


def unwatch_peer(driver: Driver, state: StreamState) -> None:
    """Nobody wants to know any more."""
    driver.connection.unwatch(state)


def call_back(
    state: StreamState,
    on_readable: Callable[[], object] | None,
    on_writable: Callable[[], object] | None,
    *,
    answers: bool = True,
) -> None:
    """See :meth:`.Stream.set_callbacks`.

    :param answers: of ``on_readable``, see :class:`.Callback`.
    """
    if on_readable is not None:
        check_function("on_readable", on_readable)
    if on_writable is not None:
        check_function("on_writable", on_writable)
    check_idle_sender(state)
    if state.read_waiter is not None and type(state.read_waiter) is not Callback:
        raise BusyResourceError("receiving from")
    state.read_waiter = None if on_readable is None else Callback(on_readable, answers=answers)
    state.write_waiter = None if on_writable is None else Callback(on_writable)


def wake_all(state: StreamState) -> None:
    """Whoever waits in ``send`` or ``receive`` must learn that the stream was closed here.

    The core has nothing more to tell; letting go of it here spares the garbage collector.
    """
    for waiter in (state.read_waiter, state.write_waiter):
        if waiter is not None:
            wake(waiter)
    state.read_waiter = state.write_waiter = None
