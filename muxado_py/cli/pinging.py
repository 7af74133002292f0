"""``muxado ping``: round-trip times over a session of its own.

What it is.  One session, one ping after the other, and what came of them: a line each on stdout, or
with ``--json`` one object at the end.  A ping stands in the same queues as any control frame, so
what is measured is what a stream's first byte would feel on an idle session.

The trap.  A ping that is not answered in time is one thing, a session that ended is another; both
arrive as a ``SessionError``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import click

import muxado_py as muxado

from ..runtime.extras import MissingExtraError
from ..service.causes import reason
from ..service.dialed import CONNECT_ERRORS
from .running import ConnectionLost, NotStarted

if TYPE_CHECKING:
    import ssl

    from ..dialing.proxies import Proxy

__all__ = ("ping",)

TIMEOUT = 5.0

# A gateway takes every session for an agent's; this one must not be given callers.
CONFIG = muxado.Config(max_streams=0)


async def ping(
    url: str,
    stop: anyio.Event,
    *,
    count: int,
    interval: float,
    as_json: bool,
    ssl_context: ssl.SSLContext | None,
    proxy: Proxy | str | None = None,
) -> None:
    """Ping ``url`` ``count`` times, or until ``stop`` is set, and print the times.

    :raises NotStarted: if there is no session, or its peer answers no pings.
    :raises ConnectionLost: if the session ended, or nothing was answered.

    Cancellation: nothing is printed any more.
    """
    times: list[float | None] = []
    try:
        async with muxado.connect(
            url, config=CONFIG, ssl_context=ssl_context, proxy=proxy
        ) as session:
            while len(times) < count and not stop.is_set():
                if times:
                    with anyio.move_on_after(interval):
                        await stop.wait()
                        break
                times.append(await _once(session))
                if not as_json:
                    _print_line(len(times), times[-1])
    except (MissingExtraError, ValueError) as exc:
        raise NotStarted(str(exc)) from exc
    except CONNECT_ERRORS as exc:
        if times:
            raise ConnectionLost(f"the session with {url} ended: {reason(exc)}") from exc
        raise NotStarted(f"no session with {url}: {reason(exc)}") from exc
    _print_summary(url, times, as_json)
    if times and not any(times):
        raise ConnectionLost(f"{url} answered none of {len(times)} pings")


async def _once(session: muxado.Session) -> float | None:
    """Seconds, or None for no answer in time."""
    try:
        return await session.ping(TIMEOUT)
    except muxado.PeerTimeoutError:
        if session.closed:
            raise
        return None


def _print_line(number: int, time: float | None) -> None:
    answer = "no answer" if time is None else f"time={time * 1000:.3f} ms"
    click.echo(f"seq={number} {answer}")


def _print_summary(url: str, times: list[float | None], as_json: bool) -> None:
    answered = [time * 1000 for time in times if time is not None]
    figures = (
        {
            "min_ms": round(min(answered), 3),
            "avg_ms": round(sum(answered) / len(answered), 3),
            "max_ms": round(max(answered), 3),
        }
        if answered
        else {}
    )
    if as_json:
        milliseconds = [None if time is None else round(time * 1000, 3) for time in times]
        counts = {"sent": len(times), "answered": len(answered)}
        click.echo(json.dumps({"url": url, **counts, **figures, "ms": milliseconds}))
        return
    summary = "".join(f", {name[:3]} {value:.3f} ms" for name, value in figures.items())
    click.echo(f"{len(times)} sent, {len(answered)} answered{summary}")
