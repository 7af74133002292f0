"""For code that blocks: a pool whose sessions are kept up by a thread in the background.

``connect_pool`` gives a :class:`Pool` whose methods wait, in the thread that calls them, for what the event loop of the
pool's own thread does.  Any thread may call them, and several at once.

The rule.  Nothing here has rules of its own about sessions, streams or calls: each method is one of
:class:`muxado_py.Pool`, or a function that takes a pool, run in the background.
"""

from __future__ import annotations

from .background import ForkedError
from .pool import Pool, connect_pool
from .services import Forward, Service
from .stream_socket import StreamSocket

__all__ = ("ForkedError", "Forward", "Pool", "Service", "StreamSocket", "connect_pool")
