#!/bin/bash
# uvloop 0.22.1: create_connection(sock=...) that is cancelled closes the descriptor of the caller's socket, and the
# socket still says its number.  asyncio and uvloop 0.23.0 close the socket object, or detach it.
#
# Why a user cares: whoever hands over a socket of his own closes it when the call fails, which does no harm there.  With
# uvloop 0.22.1 (and 0.21.0) that raises "Bad file descriptor" in place of the cancellation; in a program with threads the
# number may be that of another file by then.
# Behaviour: the transport is closed with its descriptor before the socket was attached to it.  Valid input only: a
# connected socket, a task that is cancelled after one turn.
# Output seen: "0.22.1: closed, not told", "0.23.0: closed, told", "asyncio: closed, told".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/cancelled.py" <<'P'
import asyncio
import os
import socket
import sys


async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        near.setblocking(False)
        number = near.fileno()
        task = asyncio.ensure_future(loop.create_connection(asyncio.Protocol, sock=near))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        try:
            os.fstat(number)
            state = "open"
        except OSError:
            state = "closed, told" if near.fileno() == -1 else "closed, not told"
        near.detach()
        print(f"{sys.argv[1]}: {state}")
        return state == sys.argv[2]


if sys.argv[1] == "asyncio":
    right = asyncio.run(main())
else:
    import uvloop

    assert uvloop.__version__ == sys.argv[1]
    right = uvloop.run(main())
sys.exit(not right)
P
while read -r version state; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "uvloop==$version"
    "$folder/$version/bin/python" "$folder/cancelled.py" "$version" "$state"
done << 'L'
0.22.1 closed, not told
0.23.0 closed, told
L
python3 "$folder/cancelled.py" asyncio "closed, told"
