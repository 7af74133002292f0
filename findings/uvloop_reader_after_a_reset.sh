#!/bin/bash
# uvloop 0.22.1 and 0.23.0: of a socket whose peer sent bytes and then reset the connection, a reader of loop.add_reader is
# called once, and never again, though bytes are left in the socket; asyncio calls it until they are read, and for the reset.
#
# Why a user cares: who reads a piece for each call, as one may with asyncio, gets the first piece and no word of the
# reset; such a connection stays open for as long as nothing is sent on it.  Who uses add_reader on both loops reads until
# the socket has nothing left, or looks again a little later.
# Behaviour: libuv stops a poll handle when the kernel says that there is an error, and calls back one last time.  Valid
# input only: a connected socket, a peer that closes with SO_LINGER of no time.
# Output seen: "0.22.1: [1000]", "0.23.0: [1000]", "asyncio: [1000, 1000, 1000, 'ConnectionResetError']".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/reader.py" <<'P'
import asyncio
import socket
import struct
import sys

NO_TIME = struct.pack("ii", 1, 0)


async def main():
    loop = asyncio.get_running_loop()
    told = []

    def read():
        try:
            told.append(len(far.recv(1000)))
        except OSError as exc:
            told.append(type(exc).__name__)
            loop.remove_reader(far)

    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        with far:
            far.setblocking(False)
            near.sendall(bytes(3000))
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
            near.close()
            await asyncio.sleep(0.2)
            loop.add_reader(far, read)
            await asyncio.sleep(1)
            loop.remove_reader(far)
    print(f"{sys.argv[1]}: {told}")
    return str(told) == sys.argv[2]


if sys.argv[1] == "asyncio":
    right = asyncio.run(main())
else:
    import uvloop

    assert uvloop.__version__ == sys.argv[1]
    right = uvloop.run(main())
sys.exit(not right)
P
for version in 0.22.1 0.23.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "uvloop==$version"
    "$folder/$version/bin/python" "$folder/reader.py" "$version" "[1000]"
done
python3 "$folder/reader.py" asyncio "[1000, 1000, 1000, 'ConnectionResetError']"
