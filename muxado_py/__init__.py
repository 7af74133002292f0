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
    service/             sessions that are kept up, and rules of calls that may go to one of several
    integrations/        servers, clients and sockets of the ecosystem
    blocking/            the same for code that blocks, by a thread in the background
    cli/                 the ``muxado`` command

Nothing imports what stands below it.
"""

from __future__ import annotations

from .config import Config
from .dialing.endpoints import client, connect, listen, server
from .dialing.proxies import Proxy
from .dialing.session_listener import SessionListener
from .dialing.through_proxy import ProxyRefusedError
from .errors import (
    ErrorCode,
    GoneAwayError,
    MuxadoError,
    PeerTimeoutError,
    PoolError,
    PoolTimeoutError,
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
    aiohttp_connector,
    asgi_endpoint,
    httpx_client,
    pool_collector,
    requests_adapter,
    retry_verdict,
    serve_asgi,
    serve_wsgi,
    traced_call,
    traced_handler,
)
from .links.upgrade import UpgradeRefusedError, WebSocketAttribute, WebSocketRequest
from .scheduler import Priority
from .service.call_errors import (
    AnswerError,
    CallError,
    CallStatus,
    CallTimeoutError,
    RetryBudgetError,
)
from .service.call_pieces import IncomingCall, StreamCall
from .service.call_server import CallRequest, serve_calls
from .service.call_statistics import CallStatistics
from .service.calls import Caller
from .service.dialed import Dialed
from .service.limits import CallLimits
from .service.pool import Pool
from .service.pool_state import PoolState, TargetState
from .service.pools import accept_pool, connect_pool
from .service.retry_policy import RetryPolicy
from .session.bridge import bridge, forward
from .session.listener import NetListener
from .session.session import Session
from .session.statistics import PathStatistics, SessionStatistics, StreamStatistics
from .session.stream import Stream
from .session.stream_connectable import StreamConnectable

__all__ = (
    "AnswerError",
    "CallError",
    "CallLimits",
    "CallRequest",
    "CallStatistics",
    "CallStatus",
    "CallTimeoutError",
    "Caller",
    "Config",
    "Dialed",
    "ErrorCode",
    "GoneAwayError",
    "IncomingCall",
    "MissingExtraError",
    "MuxadoError",
    "NetListener",
    "PathStatistics",
    "PeerTimeoutError",
    "Pool",
    "PoolError",
    "PoolState",
    "PoolTimeoutError",
    "Priority",
    "ProtocolError",
    "Proxy",
    "ProxyRefusedError",
    "Retry",
    "RetryBudgetError",
    "RetryPolicy",
    "Session",
    "SessionClosedError",
    "SessionError",
    "SessionListener",
    "SessionStatistics",
    "StartupError",
    "Stream",
    "StreamCall",
    "StreamClosedError",
    "StreamConnectable",
    "StreamError",
    "StreamLimitError",
    "StreamRefusedError",
    "StreamResetError",
    "StreamStatistics",
    "TargetState",
    "TransportError",
    "UndeliveredError",
    "UpgradeRefusedError",
    "WebSocketAttribute",
    "WebSocketRequest",
    "accept_pool",
    "aiohttp_connector",
    "asgi_endpoint",
    "bridge",
    "client",
    "connect",
    "connect_pool",
    "forward",
    "httpx_client",
    "listen",
    "pool_collector",
    "requests_adapter",
    "retry_verdict",
    "serve_asgi",
    "serve_calls",
    "serve_wsgi",
    "server",
    "traced_call",
    "traced_handler",
)

__version__ = "0.1.0"
