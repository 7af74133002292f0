"""Closing: the ways in which this side ends a session.

Where data comes from and goes to.  :class:`~muxado_py.Session` says what each promises; here it is done, with the
driver's means: to refuse streams, to wait for what is open, to close within a time.

The rule.  All of them take no more streams first.  What was handed to the application stays as it is told: no
stream that it has is ever refused.

The trap.  A task that ends a session may be cancelled while it waits for the flush.  The session
must be over all the same, or the scope that made it would wait for ever.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from anyio import CancelScope, current_time, move_on_after

from ..errors import ErrorCode, Failure, MuxadoError, SessionClosedError, code_name
from ..links.parting import GOODBYE_WAIT
from ..protocol.connection import CLOSED_HERE

if TYPE_CHECKING:
    from .driver import Driver

__all__ = ("abort_session", "close_session", "drain_session", "go_away")


def go_away(driver: Driver, code: int = ErrorCode.NO_ERROR, debug: bytes = b"") -> None:
    """See :meth:`.Session.go_away`."""
    if driver.ended.is_set():
        return
    driver.check_here()
    driver.connection.go_away(code, debug)
    if code != ErrorCode.NO_ERROR:
        message = f"you ended the session, {code_name(code)}"
        driver.give_up(GOODBYE_WAIT)
        driver.end(Failure(SessionClosedError, message, code, False))
    driver.process_events()


async def drain_session(driver: Driver, timeout: float) -> None:
    """See :meth:`.Session.drain`."""
    driver.check_here()
    close_by = current_time() + timeout
    cut_off_at = close_by - min(driver.config.close_timeout, timeout / 4)
    try:
        with CancelScope(deadline=cut_off_at):
            if not driver.ended.is_set():
                driver.connection.announce_go_away()
                driver.process_events()
                await _wait_round_trip(driver)
                go_away(driver)
            await driver.wait_until(driver.is_idle)
    except BaseException:
        abort_session(driver)
        raise
    await _close_by(driver, close_by)


async def _wait_round_trip(driver: Driver) -> None:
    if driver.pings.can_ask:
        with suppress(MuxadoError):
            await driver.pings.ping(None)
            return
    # Nobody answers pings here; what is on its way arrives while we wait this long.
    with move_on_after(GOODBYE_WAIT):
        await driver.ended.wait()


async def close_session(driver: Driver) -> None:
    """See :meth:`.Session.aclose`."""
    await _close_by(driver, current_time() + driver.config.close_timeout + GOODBYE_WAIT)


async def _close_by(driver: Driver, time: float) -> None:
    driver.check_unless_over()
    now = current_time()
    flush_by = min(now + driver.config.close_timeout, time - min(GOODBYE_WAIT, (time - now) / 2))
    try:
        _take_no_more(driver)
    finally:  # a scheduler of the application's may make a mistake
        await driver.close(flush_by, time)


def _take_no_more(driver: Driver) -> None:
    go_away(driver)
    if driver.ended.is_set():
        driver.connection.stop_accepting()  # nor what had come whole before its end


def abort_session(driver: Driver) -> None:
    """See :meth:`.Session.abort`."""
    driver.check_unless_over()
    try:
        _take_no_more(driver)
    finally:
        driver.give_up(GOODBYE_WAIT)
        driver.end(CLOSED_HERE)
