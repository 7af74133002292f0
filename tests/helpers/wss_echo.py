"""A word that an application at ``/echo`` of a host says again, over a websocket and TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.asyncio.client import connect

if TYPE_CHECKING:
    import ssl

PATIENCE = 30.0


def echoed(word: str, host: str, port: int, context: ssl.SSLContext) -> str | bytes:
    """What comes back from ``host``, which is at ``port`` of this machine.

    Not by ``websockets.sync``: two of its threads use one TLS socket, and with 17.4 one handshake in 200 had no answer, from
    uvicorn alone as well.
    """

    async def echo() -> str | bytes:
        async with (
            asyncio.timeout(PATIENCE),
            connect(f"wss://{host}/echo", host="127.0.0.1", port=port, ssl=context) as websocket,
        ):
            await websocket.send(word)
            return await websocket.recv()

    return asyncio.run(echo())
