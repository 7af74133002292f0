#!/bin/bash
# anyio 4.16.0: a receive on a UNIXSocketStream that is cancelled while bytes arrive makes asyncio's event loop report
# an InvalidStateError from a callback.
#
# Why a user cares: move_on_after around receive, or a task group that is cancelled, is everyday code.  The error goes
# to the loop's exception handler, so it appears in logs as an unhandled exception of nobody, and test suites that
# turn such reports into failures are flaky.
# Behaviour: receive gives the bare future to the loop, loop.add_reader(raw_socket, f.set_result, None).  A future
# that is cancelled in the same turn of the loop in which the socket becomes readable is then given a result.
# To meet that turn the script sends in one turn and cancels at the beginning of the next; up to 5,000 tries.
# Valid input only: one byte through a socket pair.
# Output seen: "reported after N tries: InvalidStateError('invalid state')".
# Fails (exit 1) if it is not seen in 5,000 tries.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q anyio==4.16.0
cat > "$folder/cancelled.py" <<'P'
import asyncio
import socket
from importlib.metadata import version

import anyio
import anyio.lowlevel
from anyio.abc import UNIXSocketStream

TRIES = 5000


async def main():
    loop, reports = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: reports.append(context.get("exception")))
    for number in range(1, TRIES + 1):
        near, far = socket.socketpair(socket.AF_UNIX)
        stream = await UNIXSocketStream.from_socket(near)
        with anyio.CancelScope() as scope:
            def both():
                far.send(b"x")
                loop.call_soon(scope.cancel)  # before what the loop then finds readable

            loop.call_later(0.005, both)  # receive waits by then
            await stream.receive()
        await anyio.lowlevel.checkpoint()
        await stream.aclose()
        far.close()
        if reports:
            print(f"reported after {number} tries: {reports[0]!r}")
            return 0
    print(f"not reported in {TRIES} tries")
    return 1


print("anyio", version("anyio"))
raise SystemExit(asyncio.run(main()))
P
"$folder/venv/bin/python" "$folder/cancelled.py"
