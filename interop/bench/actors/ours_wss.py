"""muxado_py inside a websocket over TLS."""

from __future__ import annotations

from .ours_url import play_over

if __name__ == "__main__":
    play_over("wss")
