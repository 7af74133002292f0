#!/bin/bash
# httpcore 1.0.9: over HTTP/2 the task of one request writes the head of another.
#
# Why a user cares: a request that is given up before its own task has written anything may have been sent, and executed, all the
# same.  Who notes in a network backend which task writes, to tell what is safe to send again, notes the wrong one.
# Behaviour: heads are put into the state of the connection first; whoever has the lock for writing then writes all that is there.
# Valid input only: three GETs on one connection, the last given up while the first is being written.
# Output seen: "request 3: its task wrote 0 times, it was given up, and the server had its head".
# Fails (exit 1) if that changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" -q install 'httpcore==1.0.9' 'h2==4.4.0' 'anyio==4.16.0'
cat > "$folder/shared.py" <<'P'
import sys
from importlib.metadata import version

import anyio
import h2.connection
import h2.config
import h2.events
import httpcore

writers = []


class Server(httpcore.AsyncNetworkStream):
    """A server in memory, which never answers; each write waits until it may go on."""

    def __init__(self):
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.paths = []
        self.goes_on = anyio.Event()
        self.goes_on.set()

    async def read(self, max_bytes, timeout=None):
        while not (data := self.h2.data_to_send()):
            await anyio.sleep(0.01)
        return data

    async def write(self, buffer, timeout=None):
        if buffer:
            writers.append(anyio.get_current_task().name)
        await self.goes_on.wait()
        for event in self.h2.receive_data(buffer) if buffer else ():
            if isinstance(event, h2.events.RequestReceived):
                self.paths.append(dict(event.headers)[b":path"].decode())

    async def aclose(self):
        pass


async def main():
    server = Server()
    origin = httpcore.Origin(b"http", b"app", 80)
    async with httpcore.AsyncHTTP2Connection(origin=origin, stream=server) as connection:
        scopes = {}

        async def get(number):
            with anyio.CancelScope() as scopes[number]:
                await connection.request("GET", f"http://app/{number}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(get, 0, name="request 0")  # which opens the connection
            await anyio.sleep(0.2)
            server.goes_on = anyio.Event()
            for number in (1, 2, 3):
                tasks.start_soon(get, number, name=f"request {number}")
                await anyio.sleep(0.1)
            scopes[3].cancel()
            await anyio.sleep(0.1)
            server.goes_on.set()
            await anyio.sleep(0.3)
            tasks.cancel_scope.cancel()
    return writers.count("request 3"), "/3" in server.paths


print("httpcore", version("httpcore"), "h2", version("h2"), "on", sys.version.split()[0])
times, has_come = anyio.run(main)
came = "had" if has_come else "did not have"
print(f"request 3: its task wrote {times} times, it was given up, and the server {came} its head")
sys.exit(0 if (times, has_come) == (0, True) else 1)
P
"$folder/venv/bin/python" "$folder/shared.py"
