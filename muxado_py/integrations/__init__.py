"""What meets the ecosystem: servers, clients and sockets over the streams of a session.

==================== =========================================================================
``asgi_endpoint``    take sessions at a websocket route of an ASGI application
``asgi``, ``wsgi``   serve an application to the peer: uvicorn or anycorn, waitress
``httpx``, ``aiohttp``, ``requests``  call the peer's application with an ordinary HTTP client
``prometheus``, ``opentelemetry``  what a pool and its calls do, for those who watch
``asyncio_transport``  asyncio's protocols, and its reader and writer, over a stream
==================== =========================================================================

The rule.  Nothing here imports an optional library until it is called, and a missing one is named
with the command that installs it (``runtime.extras``).  Nothing here looks below ``Session`` and
``Stream``.
"""

from __future__ import annotations

from ..runtime.extras import MissingExtraError
from .aiohttp import aiohttp_connector
from .asgi import serve_asgi
from .asgi_endpoint import asgi_endpoint
from .asyncio_transport import MuxTransport, open_connection
from .httpx import httpx_client
from .loading import StartupError
from .opentelemetry import traced_call, traced_handler
from .prometheus import pool_collector
from .requests import requests_adapter
from .verdicts import retry_verdict
from .wsgi import serve_wsgi

__all__ = (
    "MissingExtraError",
    "MuxTransport",
    "StartupError",
    "aiohttp_connector",
    "asgi_endpoint",
    "httpx_client",
    "open_connection",
    "pool_collector",
    "requests_adapter",
    "retry_verdict",
    "serve_asgi",
    "serve_wsgi",
    "traced_call",
    "traced_handler",
)
