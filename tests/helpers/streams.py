"""Streams of no connection."""

from __future__ import annotations

from muxado_py.protocol.stream_state import StreamState
from muxado_py.scheduler import DEFAULT_PRIORITY

__all__ = ("stream",)


def stream(
    stream_id: int | None = 3,
    *,
    local: bool | None = None,
    send_window: int = 10,
    recv_window: int = 10,
    max_recv_window: int | None = None,
) -> StreamState:
    """One stream.

    :param local: whether this side opened it; default if it has no id yet.
    :param max_recv_window: default as much as ``recv_window``.
    """
    state = StreamState(
        None if local else stream_id,
        DEFAULT_PRIORITY,
        send_window,
        recv_window,
        recv_window if max_recv_window is None else max_recv_window,
    )
    state.id = stream_id
    return state
