"""What every decoder is asked: the calls it makes of some bytes, and the memory it takes for them."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

from .recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from muxado_py.frames import Wire

__all__ = ("Call", "Sink", "decode", "peak_while", "singly")

Call = tuple[object, ...]


class Sink(Recorder):
    """Keeps of the payload only how much there was."""

    total = 0

    def data(self, stream_id: int, chunk: bytes | memoryview, pending: int) -> None:
        self.total += len(chunk)


def decode(wire: Wire, *chunks: bytes, pause_every: int = 0) -> tuple[list[Call], bool]:
    """What a decoder makes of the chunks, and whether it is in the middle of a frame then."""
    recorder = Recorder(pause_every)
    decoder = wire.decoder(recorder)
    for chunk in chunks:
        decoder.feed(chunk)
        while recorder.paused and pause_every and recorder.calls[-1][0] != "violated":
            recorder.paused = False
            decoder.feed(b"")
    return recorder.calls, decoder.midway


def singly(data: bytes) -> list[bytes]:
    """The bytes of ``data``, one at a time."""
    return [data[i : i + 1] for i in range(len(data))]


def peak_while(feed: Callable[[], Any]) -> int:
    """The most memory that was allocated at once during ``feed``."""
    tracemalloc.start()
    try:
        feed()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
