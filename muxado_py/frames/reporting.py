"""Reporting: what the frames of a session say, in words that are the same for every wire.

What it is.  A :class:`~muxado_py.frames.Receiver` that makes one dict of each operation, gives it to a
function, and hands the operation on.  What is received goes through one on its way to the core; what is
sent is decoded a second time, into one that hands it on to nobody.

Why sent frames are decoded.  The operations of a :class:`~muxado_py.frames.Wire` give bytes that may wait behind
others, or never leave; what is cut for the transport is the truth, in the order of the wire.  And so a frame has the
same line on both sides, whichever wire it is.

The rules.  Of a payload, and of metadata, only the size is told, and what a peer says in words only escaped.  The length of a
DATA frame is that of the whole frame, however many pieces it arrives in, and is told with the first.

The trap.  A frame that says several things has a line for each: a FIN on DATA is a ``fin`` behind its ``data``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..errors import code_name, escaped
from .wire import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .wire import Input, Receiver, Wire

__all__ = ("Report", "Reporting", "SentFrames")

Report: TypeAlias = "Callable[[dict[str, Any]], None]"
"""Called with what one frame says; it raises nothing."""

_SETTINGS = {
    Setting.INITIAL_WINDOW: "initial_window",
    Setting.MAX_STREAMS: "max_streams",
    Setting.SESSION_WINDOW: "session_window",
}


class Reporting:
    """Reports each operation of one direction, and hands it on to ``receiver``."""

    __slots__ = ("_direction", "_pending", "_receiver", "_report")

    def __init__(self, report: Report, direction: str, receiver: Receiver) -> None:
        self._report = report
        self._direction = direction
        self._receiver = receiver
        self._pending = 0  # bytes of the DATA frame under way, which was reported

    @property
    def paused(self) -> bool:
        return self._receiver.paused

    def _say(self, frame: str, **what: object) -> None:
        self._report({"direction": self._direction, "frame": frame, **what})

    def opened(self, stream_id: int, stream_type: int | None = None, metadata: bytes = b"") -> None:
        more = {} if stream_type is None else {"type": stream_type}
        if metadata:
            more["metadata"] = len(metadata)
        self._say("open", stream=stream_id, **more)
        self._receiver.opened(stream_id, stream_type, metadata)

    def acknowledged(self, stream_id: int, at_hand_off: bool) -> None:
        self._say("ack", stream=stream_id)
        self._receiver.acknowledged(stream_id, at_hand_off)

    def data(self, stream_id: int, chunk: Input, pending: int) -> None:
        if not self._pending:
            self._say("data", stream=stream_id, size=len(chunk) + pending)
        self._pending = pending
        self._receiver.data(stream_id, chunk, pending)

    def finished(self, stream_id: int) -> None:
        self._say("fin", stream=stream_id)
        self._receiver.finished(stream_id)

    def credited(self, stream_id: int, nbytes: int) -> None:
        self._say("credit", stream=stream_id, size=nbytes)
        self._receiver.credited(stream_id, nbytes)

    def consumed(self, stream_id: int, total: int, window: int) -> None:
        self._say("credit", stream=stream_id, consumed=total, window=window)
        self._receiver.consumed(stream_id, total, window)

    def widened(self, stream_id: int, window: int) -> None:
        self._say("window", stream=stream_id, window=window)
        self._receiver.widened(stream_id, window)

    def was_reset(self, stream_id: int, code: int) -> None:
        self._say("reset", stream=stream_id, code=code_name(code))
        self._receiver.was_reset(stream_id, code)

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        text = escaped(debug.decode("utf-8", "replace"))
        self._say("goaway", last_stream=last_id, code=code_name(code), text=text)
        self._receiver.going_away(last_id, code, debug)

    def pinged(self, payload: bytes) -> None:
        self._say("ping", number=int.from_bytes(payload, "big"))
        self._receiver.pinged(payload)

    def ponged(self, payload: bytes) -> None:
        self._say("pong", number=int.from_bytes(payload, "big"))
        self._receiver.ponged(payload)

    def recognized(self, is_muxado_py: bool) -> None:
        if is_muxado_py:  # else the first frame is another one, and comes next
            self._say("hello")
        self._receiver.recognized(is_muxado_py)

    def settings(self, values: Mapping[int, int]) -> None:
        self._say("settings", **{_SETTINGS.get(key, str(key)): values[key] for key in values})
        self._receiver.settings(values)

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        self._say("priority", stream=stream_id, urgency=urgency, weight=weight)
        self._receiver.prioritized(stream_id, urgency, weight)

    def session_credited(self, limit: int) -> None:
        self._say("session_credit", total=limit)
        self._receiver.session_credited(limit)

    def noise(self) -> None:
        self._say("nop")
        self._receiver.noise()

    def violated(self, code: int, message: str) -> None:
        self._say("violation", code=code_name(code), text=escaped(message))
        self._receiver.violated(code, message)


class SentFrames:
    """Reports what ``cut`` gives to the transport.

    :param cut: gives the next frames, in pieces.
    """

    def __init__(
        self, wire: Wire, report: Report, cut: Callable[[int], list[bytes | memoryview]]
    ) -> None:
        self._decoder = wire.decoder(Reporting(report, "sent", cast("Receiver", _Nobody())))
        self._cut = cut

    def cut(self, budget: int) -> list[bytes | memoryview]:
        pieces = self._cut(budget)
        for piece in pieces:
            self._decoder.feed(piece)
        return pieces


class _Nobody:
    """A :class:`~muxado_py.frames.Receiver` that does nothing."""

    paused = False

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object) -> None:
    pass
