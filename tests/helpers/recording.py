"""A receiver that writes down what a decoder tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Recorder",)


class Recorder:
    """Notes every call; the pieces of one DATA frame become one entry, however they were cut.

    :param pause_every: pause after so many calls, as the core does when replies pile up.
    """

    def __init__(self, pause_every: int = 0) -> None:
        self.paused = False
        self.calls: list[tuple[object, ...]] = []
        self.pieces: list[int] = []
        """The sizes of all pieces of DATA, as they came."""
        self._pause_every = pause_every
        self._count = 0

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        self._count += 1
        if self._pause_every and self._count % self._pause_every == 0:
            self.paused = True

    def opened(self, stream_id: int, stream_type: int | None = None, metadata: bytes = b"") -> None:
        more = (
            *(() if stream_type is None else (stream_type,)),
            *((metadata,) if metadata else ()),
        )
        self._note("opened", stream_id, *more)

    def acknowledged(self, stream_id: int, at_hand_off: bool) -> None:
        self._note("acknowledged", stream_id, at_hand_off)

    def data(self, stream_id: int, chunk: bytes | memoryview, pending: int) -> None:
        chunk = bytes(chunk)
        self.pieces.append(len(chunk))
        last = self.calls[-1] if self.calls else ("",)
        if last[:2] == ("data", stream_id) and last[3] == pending + len(chunk) != 0:
            before = last[2]
            assert isinstance(before, bytes)
            self.calls[-1] = ("data", stream_id, before + chunk, pending)
        else:
            self._note("data", stream_id, chunk, pending)

    def finished(self, stream_id: int) -> None:
        self._note("finished", stream_id)

    def credited(self, stream_id: int, nbytes: int) -> None:
        self._note("credited", stream_id, nbytes)

    def consumed(self, stream_id: int, total: int, window: int) -> None:
        self._note("consumed", stream_id, total, window)

    def was_reset(self, stream_id: int, code: int) -> None:
        self._note("was_reset", stream_id, code)

    def going_away(self, last_id: int, code: int, debug: bytes) -> None:
        self._note("going_away", last_id, code, debug)

    def pinged(self, payload: bytes) -> None:
        self._note("pinged", payload)

    def ponged(self, payload: bytes) -> None:
        self._note("ponged", payload)

    def recognized(self, is_muxado_py: bool) -> None:
        self._note("recognized", is_muxado_py)

    def settings(self, values: Mapping[int, int]) -> None:
        self._note("settings", dict(values))

    def prioritized(self, stream_id: int, urgency: int, weight: int) -> None:
        self._note("prioritized", stream_id, urgency, weight)

    def session_credited(self, limit: int) -> None:
        self._note("session_credited", limit)

    def widened(self, stream_id: int, window: int) -> None:
        self._note("widened", stream_id, window)

    def noise(self) -> None:
        self._note("noise")

    def violated(self, code: int, message: str) -> None:
        self._note("violated", code, message)
        self._pause_every = 0
        self.paused = True  # for good: nothing after this can be trusted
