"""muxado_py: thousands of prioritized, flow-controlled byte streams over one connection.

The layout; CONTRIBUTING.md has all modules::

    arguments, errors                     what is asked of a caller, and what it is told
    frames/                               bytes to operations and back, one module for each wire
    scheduler/                            who writes next
    config                                every bound and time-out
    fields, sending, receiving, state     one stream
    aging, deadlines, table, budgets      all streams
    outbound, endings, inbound, closing, connection    the protocol's rules, sans-IO
    parting, link, tls, stream_link, asyncio_link      bytes between a connection and its transport, and their end
    connected, accepting                  connections before their sessions
    liveness, timekeeper, driver          tasks, timers and wake-ups
    stream, listener, bridging, session, scope         what applications use, on anyio
    addresses, endpoints                  sessions by URL
    integrations/                         servers, clients and sockets of the ecosystem
    cli/                                  the ``muxado`` command

Nothing imports what stands below it.
"""

from __future__ import annotations

from .bridging import bridge, forward
from .config import Config
from .endpoints import SessionListener, connect, listen
from .errors import (
    ErrorCode,
    GoneAwayError,
    MuxadoError,
    PeerTimeoutError,
    ProtocolError,
    Retry,
    SessionClosedError,
    SessionError,
    StreamClosedError,
    StreamError,
    StreamLimitError,
    StreamRefusedError,
    StreamResetError,
    TransportError,
    UndeliveredError,
)
from .integrations import (
    MissingExtraError,
    StartupError,
    httpx_client,
    retry_verdict,
    serve_asgi,
    serve_wsgi,
)
from .listener import NetListener
from .scheduler import Priority
from .scope import client, server
from .session import Session
from .statistics import PathStatistics, SessionStatistics, StreamStatistics
from .stream import Stream

__all__ = (
    "Config",
    "ErrorCode",
    "GoneAwayError",
    "MissingExtraError",
    "MuxadoError",
    "NetListener",
    "PathStatistics",
    "PeerTimeoutError",
    "Priority",
    "ProtocolError",
    "Retry",
    "Session",
    "SessionClosedError",
    "SessionError",
    "SessionListener",
    "SessionStatistics",
    "StartupError",
    "Stream",
    "StreamClosedError",
    "StreamError",
    "StreamLimitError",
    "StreamRefusedError",
    "StreamResetError",
    "StreamStatistics",
    "TransportError",
    "UndeliveredError",
    "bridge",
    "client",
    "connect",
    "forward",
    "httpx_client",
    "listen",
    "retry_verdict",
    "serve_asgi",
    "serve_wsgi",
    "server",
)

__version__ = "0.1.0"
