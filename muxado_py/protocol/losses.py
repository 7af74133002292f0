"""Losses: what of the bytes that ``send`` took is known to have been lost with the session.

Where data comes from and goes to.  The core notes here what lay in its streams when the session ended; what
the transport was given and did not take, the link knows, as frames.  Whoever closes the session asks for both.

The rule.  What the application asked for is no loss: a reset drops what it drops, in silence.  A stream that
has raised an error since has said it; but our own close must say itself what it lost.

The end of a stream counts as a byte where nothing else of it was lost: who got all bytes does not know that they
are all.

The traps.  Frames that were not taken, or only in part, have left the streams: whose they are nobody
knows but by reading them as their peer would have.  And not all payload is the application's: heartbeats are
not, nor is the type that a stream may begin with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .stream_state import DROPPED, SendState

if TYPE_CHECKING:
    from collections.abc import Collection

    from ..frames import Receiver, Wire
    from ..frames.wire import Input
    from .stream_state import StreamState

__all__ = ("Losses",)


class Losses:
    """What was written to the streams of one session and has not left.

    :param unwanted: see :attr:`.ControlQueue.unwanted`.
    :param lead: with how many bytes of payload that are its type each stream of ours begins.
    """

    def __init__(self, wire: Wire, unwanted: Collection[int], lead: int) -> None:
        self._wire = wire
        self._lead = lead
        self._unsent: dict[StreamState, int] = {}
        self._ends: list[StreamState] = []  # of which nothing but the FIN was left
        self._heartbeats: set[int | None] = set()
        self._ended: dict[int | None, StreamState] = {}
        self._unwanted = unwanted

    def note(self, stream: StreamState, *, beats: bool) -> None:
        """``stream`` ends, and with the session unless nobody else could be told; ``beats`` if it carries heartbeats."""
        unsent = stream.unsent
        self._ended[stream.id] = stream
        if beats:
            self._heartbeats.add(stream.id)
            return
        if unsent and stream.local and stream.id is None:
            unsent -= self._lead
        if unsent:
            self._unsent[stream] = unsent
        elif (
            stream.send_state is SendState.FIN_QUEUED
            and stream.failure is not DROPPED
            and stream.id not in self._unwanted  # where a reset has no frame, an end stands for it
        ):
            self._ends.append(stream)

    def count(self, *, unsaid: bool) -> list[tuple[int | None, int]]:
        """The id of each stream, None if it has none yet, with how many bytes it lost.

        :param unsaid: only those that have raised no error since; and an end only towards a peer that may wait for
            it, which one that has finished too does not.
        """
        lost = [*self._unsent.items(), *((one, 1) for one in self._ends)]
        if unsaid:
            lost = [
                (stream, nbytes)
                for stream, nbytes in lost
                if not stream.failure_raised and (stream in self._unsent or not stream.fin_received)
            ]
        return [(stream.id, nbytes) for stream, nbytes in lost]

    def payload_of(self, frames: Input, skip: int, *, unsaid: bool) -> dict[int, int]:
        """How many bytes of which streams are in ``frames`` of ours, which begin with a whole one.

        :param skip: how many bytes at the beginning do not count.
        :param unsaid: only of streams that have raised no error since; of ends as :meth:`count` has it.
        """
        tally = _Tally(self._lead)
        decoder = self._wire.decoder(cast("Receiver", tally))
        decoder.feed(self._wire.hello())  # else it would not know what only a muxado_py is sent
        decoder.feed(frames[:skip])
        tally.found.clear()
        tally.ended.clear()
        decoder.feed(frames[skip:])
        said = {one.id for one in self._ended.values() if unsaid and one.failure_raised}
        ignored = {*self._heartbeats, *self._unwanted, *said}
        lost = {stream_id: nbytes for stream_id, nbytes in tally.found.items() if nbytes}
        for stream_id in tally.ended - lost.keys():
            stream = self._ended.get(stream_id)
            if not unsaid or (stream is not None and not stream.fin_received):
                lost[stream_id] = 1
        return {stream_id: lost[stream_id] for stream_id in lost if stream_id not in ignored}


class _Tally:
    """A :class:`~muxado_py.frames.Receiver` that counts payload and ends, and lets all else pass."""

    paused = False

    def __init__(self, lead: int) -> None:
        self.found: dict[int, int] = {}
        self.ended: set[int] = set()
        self._lead = lead
        self._leads: dict[int, int] = {}  # what of it is still to come

    def opened(self, stream_id: int, stream_type: int | None = None, metadata: bytes = b"") -> None:
        self._leads[stream_id] = self._lead

    def data(self, stream_id: int, chunk: Input, pending: int) -> None:
        lead = self._leads.get(stream_id, 0)
        self._leads[stream_id] = max(0, lead - len(chunk))
        self.found[stream_id] = self.found.get(stream_id, 0) + max(0, len(chunk) - lead)

    def finished(self, stream_id: int) -> None:
        self.ended.add(stream_id)

    def was_reset(self, stream_id: int, code: int) -> None:
        self.found.pop(stream_id, None)
        self.ended.discard(stream_id)

    def __getattr__(self, name: str) -> Any:
        return _nothing


def _nothing(*_: object) -> None:
    pass
