"""What the gateway says itself, in bytes; to whom it says so is in ``cli/test_gateway.py`` and ``cli/http_door``."""

from __future__ import annotations

from muxado_py.cli.callers.answers import own_answer


def test_what_the_gateway_says_itself() -> None:
    said = own_answer(503, "Nobody is here.", is_head=False, closes=True)
    lines, _, body = said.partition(b"\r\n\r\n")
    assert b"\r\nRetry-After: " in lines
    assert b"\r\nConnection: close" in lines
    assert lines.endswith(b"Content-Length: %d\r\nConnection: close\r\nRetry-After: 5" % len(body))
    assert body == b"503 Service Unavailable: Nobody is here.\n"
    assert own_answer(404, "No.", is_head=True, closes=False).endswith(b"\r\n\r\n")
