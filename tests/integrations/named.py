"""An application to be found by its name."""

from __future__ import annotations

from typing import Any


class package:
    """``named:package.app``"""

    @staticmethod
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"named"})
