"""muxado_py over TLS and over websockets: ``connect`` and ``listen`` with a URL of the transport's.

What the clients of others dial is the server of :func:`serve_over`, too.

The trap.  The certificate is made for the run, and is encrypted for and not verified: nobody else may come to this port.
"""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import trustme
from anyio import TASK_STATUS_IGNORED

import muxado_py as muxado

from .client import Muxer
from .ours import CONFIG, answer_all
from .stage import play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

    from .server import Answer

__all__ = ("SECURE", "YAMUX", "certified", "play_over", "serve_over", "trusting")

SECURE = ("tls", "wss")
YAMUX = muxado.Config(wire="yamux", max_streams=20_000)


def play_over(scheme: str, config: muxado.Config = CONFIG) -> None:
    """Be a process of the pair whose sessions are over ``scheme``."""
    play(partial(dial_over, scheme, config), partial(serve_over, scheme, config))


@asynccontextmanager
async def dial_over(scheme: str, config: muxado.Config, address: str) -> AsyncIterator[Muxer]:
    """A session; a call is a stream."""
    context = trusting() if scheme in SECURE else None
    url = f"{scheme}://{address}"
    async with muxado.connect(url, config=config, ssl_context=context) as session:
        yield Muxer(session.open_stream)


async def serve_over(
    scheme: str,
    config: muxado.Config,
    answer: Answer,
    *,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Each session that is dialed."""

    async def on_session(session: muxado.Session) -> None:
        await answer_all(session, answer)

    context = certified("127.0.0.1") if scheme in SECURE else None
    url = f"{scheme}://127.0.0.1:0"
    async with muxado.listen(url, config=config, ssl_context=context) as listener:
        task_status.started(listener.url.removeprefix(f"{scheme}://").rstrip("/"))
        await listener.serve(on_session)


def certified(host: str) -> ssl.SSLContext:
    """Of who listens there."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert(host).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    """Of who takes any certificate."""
    # Without authorities, which take long to read.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
