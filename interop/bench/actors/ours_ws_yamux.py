"""muxado_py as yamux inside a websocket in the clear, as what it is compared with."""

from __future__ import annotations

from .ours_url import YAMUX, play_over

if __name__ == "__main__":
    play_over("ws", YAMUX)
