"""Losses: what of the bytes that ``send`` took is known to have been lost with the session.

Where data comes from and goes to.  The core notes here what lay in its streams when the session ended; what
the transport was given and did not take, the link knows, as frames.  Whoever closes the session asks for both.

The rule.  What the application asked for is no loss: a reset drops what it drops, in silence.  A stream that
has raised an error since has said it; but our own close must say itself what it lost.

The trap.  Frames that were not taken, or only in part, have left the streams: whose they are nobody
knows but by reading them as their peer would have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .frames import Receiver, Wire
    from .frames.wire import Input
    from .state import StreamState

__all__ = ("Losses", "payload_of")


class Losses:
    """What was written to the streams of one session and is in no frame."""

    def __init__(self) -> None:
        self._unsent: dict[StreamState, int] = {}

    def note(self, stream: StreamState) -> None:
        """``stream`` ends with the session."""
        if stream.unsent:
            self._unsent[stream] = stream.unsent

    def count(self, *, unsaid: bool) -> list[tuple[int | None, int]]:
        """The id of each stream, None if it has none yet, with how many bytes it lost.

        :param unsaid: only those that have raised no error since.
        """
        return [
            (stream.id, nbytes)
            for stream, nbytes in self._unsent.items()
            if not (unsaid and stream.raised)
        ]


def payload_of(wire: Wire, frames: Input, skip: int) -> dict[int, int]:
    """How many bytes of which streams are in ``frames``, which begin with a whole one.

    :param skip: how many bytes at the beginning do not count.
    """
    tally = _Tally()
    decoder = wire.decoder(cast("Receiver", tally))
    decoder.feed(frames[:skip])
    tally.found.clear()
    decoder.feed(frames[skip:])
    return {stream_id: nbytes for stream_id, nbytes in tally.found.items() if nbytes}


class _Tally:
    """A :class:`~muxado_py.frames.Receiver` that counts payload, and lets all else pass."""

    paused = False

    def __init__(self) -> None:
        self.found: dict[int, int] = {}

    def data(self, stream_id: int, chunk: Input, pending: int) -> None:
        self.found[stream_id] = self.found.get(stream_id, 0) + len(chunk)

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object) -> None:
    pass
