"""Bytes between a connection and its transport, and their end.

A link drives one :class:`~muxado_py.protocol.connection.Connection` over one transport: any stream of anyio's, or a
socket of asyncio's by callbacks.  Nothing in here knows a ``Stream`` or a ``Session``.
"""

from __future__ import annotations

__all__ = ()
