#!/bin/bash
# anycorn 0.20.1 with h11 0.16.0: a request whose head has 30,000 bytes is answered if the head comes in one piece, and is
# refused with 431 if the same bytes come in two.
#
# Why a user cares: h11_max_incomplete_size (16 KiB by default) is no bound for a head.  It bounds what is there of one that is
# not whole yet, so whether a long cookie is let in depends on the network and on how busy the server is: it passes every test
# on loopback, and fails now and then behind a proxy.  Who lets long heads in sets it to the longest one.
# Behaviour: h11 looks at its max_incomplete_event_size only when it has not found the end of the head in what it was given.
# Valid input only: one GET with one long field, to a server with its default settings.
# Output seen: "at once: 200", "in two pieces: 431", "in two pieces, bound 32 KiB: 200".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q anycorn==0.20.1 h11==0.16.0
cat > "$folder/head.py" <<'P'
import socket
import sys
from functools import partial

import anycorn
import anyio
from anyio import to_thread

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nLong: " + b"b" * 30_000 + b"\r\n\r\n"


async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        what = (await receive())["type"]
        await send({"type": f"{what}.complete"})
        if what == "lifespan.shutdown":
            return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def status(port, *pieces):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as caller:
        for piece in pieces:
            caller.sendall(piece)
            try:
                caller.settimeout(0.5)
                if answer := caller.recv(100):
                    return int(answer[9:12])
            except TimeoutError:
                caller.settimeout(10)
        return int(caller.recv(100)[9:12])


async def asked(bound, *pieces):
    config = anycorn.Config()
    if bound:
        config.h11_max_incomplete_size = bound
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config.bind = [f"127.0.0.1:{port}"]
    config.accesslog = config.errorlog = None
    over = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(anycorn.serve, app, config, shutdown_trigger=over.wait))
        with anyio.fail_after(10):
            while True:
                try:
                    async with await anyio.connect_tcp("127.0.0.1", port):
                        break
                except OSError:
                    await anyio.sleep(0.05)
        found = await to_thread.run_sync(status, port, *pieces)
        over.set()
    return found


async def main():
    halves = HEAD[:20_000], HEAD[20_000:]
    seen = [
        ("at once", await asked(None, HEAD)),
        ("in two pieces", await asked(None, *halves)),
        ("in two pieces, bound 32 KiB", await asked(32 * 1024, *halves)),
    ]
    for what, code in seen:
        print(f"{what}: {code}")
    return [code for _, code in seen] != [200, 431, 200]


sys.exit(anyio.run(main))
P
"$folder/venv/bin/python" "$folder/head.py"
