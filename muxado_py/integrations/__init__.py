"""What meets the ecosystem: servers, clients and sockets over the streams of a session.

==================== =========================================================================
``asgi``, ``wsgi``   serve an application to the peer: uvicorn or anycorn, waitress
``httpx``            call the peer's application with an ordinary HTTP client
``asyncio_transport``  asyncio's protocols, and its reader and writer, over a stream
==================== =========================================================================

The rule.  Nothing here imports an optional library until it is called, and a missing one is named
with the command that installs it (``extras``).  Nothing here looks below ``Session`` and
``Stream``.
"""

from __future__ import annotations

from .asgi import serve_asgi
from .asyncio_transport import MuxTransport, open_connection
from .extras import MissingExtraError
from .httpx import httpx_client, retry_verdict
from .loading import StartupError
from .wsgi import serve_wsgi

__all__ = (
    "MissingExtraError",
    "MuxTransport",
    "StartupError",
    "httpx_client",
    "open_connection",
    "retry_verdict",
    "serve_asgi",
    "serve_wsgi",
)
