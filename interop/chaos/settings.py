"""What both sides are told, beside the wire: to notice a silent peer in seconds."""

from __future__ import annotations

import muxado_py as muxado

__all__ = ("WIRES", "config")

WIRES = ("muxado", "muxado1", "yamux")
"""Those on which every error has a verdict that is more than a guess, and a request has an end."""


def config(wire: str) -> muxado.Config:
    """Of servers and of clients."""
    return muxado.Config(
        wire=wire,
        heartbeat_interval=0.5,
        heartbeat_timeout=1.5,
        connect_timeout=1.0,
        close_timeout=1.0,
    )
