"""What a connection sent, judged by what it received: frames that our own decoder takes, in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from muxado_py.frames import WIRES

from .decoding import decode

if TYPE_CHECKING:
    from .decoding import Call

__all__ = ("check_sent",)


def check_sent(wire: str, sent: bytes, received: bytes, *, client: bool) -> None:
    """Our own decoder takes what was sent, and nothing follows the end of a stream's direction."""
    calls, midway = decode(WIRES[wire](client=not client), sent)
    assert not midway, "a frame was cut short"
    has_reset = WIRES[wire].traits.has_reset
    # What comes before its SYN is answered with a reset, and the SYN then taken all the same.
    early = _early(decode(WIRES[wire](client=client), received)[0])
    finished: set[object] = set()
    over: set[object] = set()
    for name, *details in calls:
        stream_id = details[0] if details else None
        assert name != "violated", details
        if name == "opened":
            over.discard(stream_id)
        elif name == "finished" and not has_reset and stream_id in over:
            pass  # a refusal on smux, which says to others no more than that
        elif name in ("data", "finished", "credited", "consumed", "acknowledged"):
            assert stream_id not in over, f"{name} after the reset of stream {stream_id}"
        if name == "data":
            assert stream_id not in finished, f"data after the end of stream {stream_id}"
        elif name == "finished":
            assert stream_id not in finished or not has_reset, f"stream {stream_id} ends twice"
            finished.add(stream_id)
        elif name == "was_reset" and stream_id not in early:
            over.add(stream_id)


def _early(calls: list[Call]) -> set[object]:
    """Ids that data came for before they were opened."""
    opened: set[object] = set()
    early: set[object] = set()
    for name, *details in calls:
        if name == "opened":
            opened.add(details[0])
        elif name == "data" and details[0] not in opened:
            early.add(details[0])
    return early
