#!/bin/bash
# trio 0.35.0 and anyio 4.16.0 on it: a connection to a Unix socket whose listener has a full backlog is said to be there,
# and is not.
#
# Why a user cares: a server that is slow to accept for a moment (a restart, a crowd) gives its clients connections of which
# the first use fails, with "not connected" or "invalid argument"; whoever tries again only when connecting fails does
# not.  Over TCP the same clients wait, or get a time-out.
# Behaviour: connect(2) of a non-blocking Unix socket fails with EAGAIN then, where TCP's has EINPROGRESS; the socket is
# not connected, is writable for a selector, and has no error in SO_ERROR, by which trio judges.  asyncio waits.  Valid
# input only: a listener with a backlog of 0 and two clients.
# Output seen: "trio: connected, and not", "anyio on trio: connected, and not", "anyio on asyncio: waits".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/backlog.py" <<'P'
import socket
import sys

import anyio
import trio


def listening(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(0)
    first = socket.socket(socket.AF_UNIX)
    first.connect(path)
    return listener, first


def is_connected(raw):
    try:
        raw.getpeername()
    except OSError:
        return False
    return True


async def by_trio(path):
    with trio.move_on_after(1):
        stream = await trio.open_unix_socket(path)
        return "connected" if is_connected(stream.socket) else "connected, and not"
    return "waits"


async def by_anyio(path):
    with anyio.move_on_after(1):
        stream = await anyio.connect_unix(path)
        raw = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        return "connected" if is_connected(raw) else "connected, and not"
    return "waits"


right = True
for name, run, expected in (
    ("trio", lambda path: trio.run(by_trio, path), "connected, and not"),
    ("anyio on trio", lambda path: anyio.run(by_anyio, path, backend="trio"), "connected, and not"),
    ("anyio on asyncio", lambda path: anyio.run(by_anyio, path), "waits"),
):
    path = f"{sys.argv[1]}/{name.replace(' ', '-')}"
    kept = listening(path)
    found = run(path)
    print(f"{name}: {found}")
    right = right and found == expected
sys.exit(not right)
P
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "trio==0.35.0" "anyio==4.16.0"
"$folder/venv/bin/python" "$folder/backlog.py" "$folder"
