"""The demo's agent process: it dials out and serves the demo's app back to the side it dialed.

It is what a user would write, three lines of it, and a puppet's strings around them: it reports
when it is connected, and then, whenever asked, the ids of the calls that its app has executed, as
soon as there are ``at_least`` so many; also after the connection is gone.
"""

from __future__ import annotations

import json
import ssl
import sys
from typing import Any

import anyio

import muxado_py as muxado

from .app import DemoApp
from .puppet import orders, report

__all__ = ("main",)


async def _agent(url: str, authority: str, config: dict[str, Any]) -> None:
    app = DemoApp()

    async def serve() -> None:
        context = ssl.create_default_context(cafile=authority)
        async with muxado.connect(
            url, config=muxado.Config(**config), ssl_context=context
        ) as session:
            report(connected=True)
            try:
                await muxado.serve_asgi(app, session.net_listener())
            except muxado.SessionError as exc:
                print(exc, file=sys.stderr)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        async for order in orders():
            await app.has_executed(order["at_least"])
            report(executed=app.executed)
        tasks.cancel_scope.cancel()


def main(argv: list[str]) -> None:
    """``agent URL AUTHORITY_FILE CONFIG_AS_JSON``."""
    anyio.run(_agent, argv[0], argv[1], json.loads(argv[2]))


if __name__ == "__main__":
    main(sys.argv[1:])
