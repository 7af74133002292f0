"""Streams of no connection."""

from __future__ import annotations

from muxado_py.protocol.stream_state import StreamState
from muxado_py.scheduler import DEFAULT_PRIORITY

__all__ = ("stream",)


def stream(
    stream_id: int | None = 3,
    *,
    local: bool | None = None,
    credit: int = 10,
    allowed: int = 10,
    window: int | None = None,
) -> StreamState:
    """One stream.

    :param local: whether this side opened it; default if it has no id yet.
    :param window: default as much as ``allowed``.
    """
    state = StreamState(
        None if local else stream_id,
        DEFAULT_PRIORITY,
        credit,
        allowed,
        allowed if window is None else window,
    )
    state.id = stream_id
    return state
