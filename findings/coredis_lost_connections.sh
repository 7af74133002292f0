#!/bin/bash
# coredis 6.9.0: a connection pool loses a place for good with each pipeline that was cancelled, or that had no answer in time,
# though the connection was given back; and with each connection that did not come about in time.
#
# Why a user cares: a server that hangs for as many commands as the pool has places is never asked again.  When it answers again,
# each command waits for a place and fails, until the client is made anew.
# Behaviour: `get_connection` takes a place, and `release` gives it back only with a connection that is still usable.
# Valid input only: Debian's redis-server, stopped and continued; pipelines of one SET.
# Output seen: "commands alone: OK", "pipelines that were cancelled: TimeoutError", "pipelines that had no answer in time: TimeoutError".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" -q install 'coredis==6.9.0'
cat > "$folder/lost.py" <<'P'
import signal
import subprocess
import sys

import anyio
from coredis import Redis
from coredis.retry import NoRetryPolicy

PLACES = 4


def make(path):
    return Redis.from_url(
        f"unix://{path}", decode_responses=True, retry_policy=NoRetryPolicy(), max_connections=PLACES,
        connect_timeout=0.3, stream_timeout=0.3, pool_timeout=0.3,
    )


async def alone(client):
    await client.set("key", "value")


async def pipeline(client):
    async with client.pipeline(transaction=False) as commands:
        commands.set("key", "value")


async def asked(client, ask, server, is_cancelled):
    """What a plain GET says after the server hung, or whoever asked did not wait."""
    await ask(client)
    server.send_signal(signal.SIGSTOP)
    for _ in range(2 * PLACES):
        with anyio.move_on_after(0.05 if is_cancelled else 5):
            try:
                await ask(client)
            except Exception:
                pass
    server.send_signal(signal.SIGCONT)
    await anyio.sleep(2)
    try:
        return "OK" if await client.get("key") == "value" else "another value"
    except Exception as exc:
        return type(exc).__name__


async def main(path):
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
    )
    said = []
    try:
        await anyio.sleep(1)
        for what, ask, is_cancelled in (
            ("commands alone", alone, False),
            ("pipelines that were cancelled", pipeline, True),
            ("pipelines that had no answer in time", pipeline, False),
        ):
            async with make(path) as client:
                said.append(await asked(client, ask, server, is_cancelled))
                print(f"{what}: {said[-1]}")
    finally:
        server.kill()
        server.wait()
    return said == ["OK", "TimeoutError", "TimeoutError"]


sys.exit(not anyio.run(main, sys.argv[1]))
P
"$folder/venv/bin/python" "$folder/lost.py" "$folder/redis"
