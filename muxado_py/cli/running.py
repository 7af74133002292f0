"""Running a command: the event loop, the signals, the log, and the exit code.

What it is.  A command is an async function that gets a ``stop`` event; :func:`run` chooses the
loop, sets ``stop`` at the first SIGINT or SIGTERM, cancels at the second, and turns what went wrong
into one line on stderr and an exit code.  What the second has not ended within :data:`FORCED`, the
process ends: a shielded shutdown, an application that swallows its cancellation, a thread.

The rule.  What the user can act on is raised as one of the exceptions here, whose exit codes the
package's essay lists; anything else is a fault of ours and keeps its traceback.

The traps.  SIGHUP says two things: to a service that it should read its files again, and to whoever runs on a terminal
that this is gone, and nobody can stop it any more.  Task groups wrap what is raised in them in exception groups, however deep.  click knows
only plain exceptions, so the first one that is for the user is taken out here, in one place.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import signal
import sys
import threading
from typing import IO, TYPE_CHECKING, Any

import anyio
import click

from .log_lines import JsonLines, TextLines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = (
    "LOOPS",
    "ConnectionLost",
    "NotStarted",
    "configure_logging",
    "keep_for_good",
    "run",
)

LOOPS = ("auto", "asyncio", "uvloop", "trio")

FORCED = 0.5
"""Seconds after the second signal in which a command may remove what it has made."""

HANGUP = getattr(signal, "SIGHUP", None)  # which Windows has not

logger = logging.getLogger("muxado.cli")


class _Ending(click.ClickException):
    """What ends a command; a log that programs read has it as a record like any other."""

    def show(self, file: IO[Any] | None = None) -> None:
        handlers = logging.getLogger("muxado").handlers
        if any(isinstance(one.formatter, JsonLines) for one in handlers):
            logger.critical("%s", self.format_message())
        else:
            super().show(file)


class NotStarted(_Ending):
    """It never got going: the app, a port, a certificate, the first connection."""

    exit_code = 3


class ConnectionLost(_Ending):
    """There was a connection, it is lost, and nothing more will be tried."""

    exit_code = 4


class _Forced(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(
    command: Callable[[anyio.Event], Awaitable[None]],
    *,
    loop: str = "auto",
    hangup: Callable[[], None] | None = None,
) -> None:
    """Run ``command`` until it returns, or the second signal.

    :param loop: one of :data:`LOOPS`; ``auto`` is uvloop where it is installed, else asyncio.
    :param hangup: called at each SIGHUP, unless the terminal is gone; default is that it ends the process.
    :raises click.ClickException: what the user is to be told.
    :raises SystemExit: after a second signal.
    """
    backend, options = _backend(loop)
    try:
        anyio.run(_supervised, command, hangup, backend=backend, backend_options=options)
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        for leaf in leaves:
            if isinstance(leaf, click.ClickException):
                raise leaf from None
        if forced := next((leaf for leaf in leaves if isinstance(leaf, _Forced)), None):
            sys.exit(128 + forced.number)
        raise


def configure_logging(level: str, use_colors: bool | None = None, log_format: str = "text") -> None:
    """Send the records of muxado and of the servers behind it to stderr, a line each.

    :param level: the name of a level of :mod:`logging`, in lower case.
    :param use_colors: None for yes on a terminal, unless ``NO_COLOR`` is set.
    :param log_format: ``text`` or ``json``, see :mod:`.log_lines`; JSON has no colors.
    """
    if use_colors is None:
        use_colors = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    as_json = log_format == "json"
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines(use_colors))
    for name in ("muxado", "uvicorn", "anycorn", "waitress"):
        configured = logging.getLogger(name)
        configured.handlers[:] = [handler]
        configured.propagate = False
        configured.setLevel(level.upper())
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(handler.formatter if as_json else None)


async def _supervised(
    command: Callable[[anyio.Event], Awaitable[None]], hangup: Callable[[], None] | None
) -> None:
    stop = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_signals, stop, hangup)
        await command(stop)
        tasks.cancel_scope.cancel()


async def _watch_signals(stop: anyio.Event, hangup: Callable[[], None] | None) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM]
    if hangup is not None and HANGUP is not None:
        numbers.append(HANGUP)
    on_terminal = _is_on_terminal()
    with anyio.open_signal_receiver(*numbers) as signals:
        async for number in signals:
            if hangup is not None and number == HANGUP and _is_on_terminal() == on_terminal:
                hangup()
                continue
            if stop.is_set():
                _end_soon(128 + number)
                raise _Forced(number)
            logger.info("%s: stopping; once more to stop at once", signal.Signals(number).name)
            stop.set()


def keep_for_good() -> None:
    """What there is now stays until this process ends, and the garbage collector need not walk over it again and again.

    Modules and functions are most of what a command has.  Nothing of a caller is cyclic, so the collector finds nothing
    among its objects, and to walk over all others for that would keep whoever comes at that moment waiting.
    """
    gc.collect()  # what is garbage already need not stay
    gc.freeze()


def _is_on_terminal() -> bool:
    """Whether there is a terminal; one that was closed is none any more."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()


def _end_soon(code: int) -> None:
    """End this process whatever it is waiting for; a thread's timer needs no loop and no lock."""
    timer = threading.Timer(FORCED, os._exit, (code,))
    timer.daemon = True
    timer.start()


def _backend(loop: str) -> tuple[str, dict[str, Any]]:
    if loop == "trio":
        if importlib.util.find_spec("trio") is None:
            raise click.UsageError("--loop trio needs trio: pip install trio 'muxado-py[anycorn]'")
        return "trio", {}
    has_uvloop = importlib.util.find_spec("uvloop") is not None
    if loop == "uvloop" and not has_uvloop:
        raise click.UsageError("--loop uvloop needs uvloop: pip install uvloop")
    return "asyncio", {"use_uvloop": has_uvloop and loop in ("auto", "uvloop")}


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for exc in group.exceptions:
        leaves += _leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc]
    return leaves
