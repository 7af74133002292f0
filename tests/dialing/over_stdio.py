"""A process whose stdin and stdout carry a session: ``python -m tests.dialing.over_stdio WHAT [BACKEND]``."""

from __future__ import annotations

import os
import sys

import anyio

import muxado_py as muxado

from ..check_byte_stream import receive_all


async def echo(session: muxado.Session) -> None:
    async def handle(stream: muxado.Stream) -> None:
        await stream.send(await receive_all(stream))

    await session.net_listener().serve(handle)


async def count(session: muxado.Session) -> None:
    """Say on stderr what came, and that the session ended well."""
    async with await session.accept_stream() as stream:
        received = await receive_all(stream)
    await session.wait()
    print(f"{len(received)} bytes and a goodbye", file=sys.stderr)


async def freeze(session: muxado.Session) -> None:
    """Read nothing, and never end."""
    stream = await session.accept_stream()
    print("frozen", file=sys.stderr, flush=True)
    await anyio.sleep_forever()
    await stream.aclose()


async def fail(session: muxado.Session) -> None:
    await session.accept_stream()
    os._exit(7)


async def listening(what: str) -> None:
    async with muxado.listen("stdio:", config=muxado.Config(wire="auto")) as listener:
        print("what is printed is no byte of the session", flush=True)
        assert sys.stdin.read() == ""
        handlers = {"echo": echo, "count": count, "freeze": freeze, "fail": fail}
        await listener.serve(handlers[what])
        try:
            async with muxado.listen("stdio:"):
                pass
        except OSError as exc:
            print(f"again: {exc}", file=sys.stderr)


async def dialing() -> None:
    async with muxado.connect("stdio:") as session:
        await echo(session)


async def main() -> None:
    what = sys.argv[1]
    await (dialing() if what == "dial" else listening(what))


if __name__ == "__main__":
    backend, _, loop = (sys.argv[2] if len(sys.argv) > 2 else "asyncio").partition("+")
    anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if loop else {})
