"""muxado_py: thousands of prioritized, flow-controlled byte streams over one connection.

The layout; CONTRIBUTING.md has all modules::

    arguments, errors    what is asked of a caller, and what it is told
    frames/              bytes to operations and back, one module for each wire
    scheduler/           who writes next
    config               every bound and time-out
    protocol/            the rules of one connection, sans-IO: streams, windows, ends
    runtime/             what the event loop is asked for
    links/               bytes between a connection and its transport, and their end
    session/             what applications hold, on anyio, with its tasks and timers
    dialing/             sessions from addresses and transports
    service/             rules of calls that may go to one of several sessions
    integrations/        servers, clients and sockets of the ecosystem
    cli/                 the ``muxado`` command

Nothing imports what stands below it.
"""

from __future__ import annotations

from .config import Config
from .dialing.endpoints import client, connect, listen, server
from .dialing.session_listener import SessionListener
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
from .scheduler import Priority
from .session.bridge import bridge, forward
from .session.listener import NetListener
from .session.session import Session
from .session.statistics import PathStatistics, SessionStatistics, StreamStatistics
from .session.stream import Stream

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
