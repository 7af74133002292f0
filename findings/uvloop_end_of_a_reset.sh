#!/bin/bash
# uvloop 0.22.1: of a connection that its peer reset behind bytes that were not read yet, a transport gives the bytes to its
# protocol and then says that the peer has ended in order; uvloop 0.23.0 and asyncio say that the connection was reset.
#
# Why a user cares: an answer that was cut off looks whole.  Who is to know says in the protocol itself where a message ends,
# or asks for uvloop 0.23.
# Behaviour: eof_received is called where connection_lost(ConnectionResetError) is due.  Valid input only: a connected
# socket, a peer that sends 3,000 bytes and closes with SO_LINGER of no time.
# Output seen: "0.22.1: 3000 bytes, an end", "0.23.0: 3000 bytes, ConnectionResetError",
# "asyncio: 3000 bytes, ConnectionResetError".
# Fails (exit 1) if any of the three changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/transport.py" <<'P'
import asyncio
import socket
import struct
import sys

NO_TIME = struct.pack("ii", 1, 0)


class Told(asyncio.Protocol):
    def __init__(self):
        self.size = 0
        self.how = asyncio.get_running_loop().create_future()

    def data_received(self, data):
        self.size += len(data)

    def eof_received(self):
        self.how.set_result("an end")

    def connection_lost(self, exc):
        if not self.how.done():
            self.how.set_result(type(exc).__name__)


async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport, told = await loop.create_connection(Told, *server.getsockname())
        transport.pause_reading()
        peer, _ = server.accept()
        peer.sendall(bytes(3000))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
        peer.close()
        await asyncio.sleep(0.2)
        transport.resume_reading()
        how = await asyncio.wait_for(told.how, 5)
    print(f"{sys.argv[1]}: {told.size} bytes, {how}")
    return [told.size, how] == [3000, sys.argv[2]]


if sys.argv[1] == "asyncio":
    right = asyncio.run(main())
else:
    import uvloop

    assert uvloop.__version__ == sys.argv[1]
    right = uvloop.run(main())
sys.exit(not right)
P
for pair in "0.22.1 an end" "0.23.0 ConnectionResetError"; do
    version=${pair%% *}
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q "uvloop==$version"
    "$folder/$version/bin/python" "$folder/transport.py" "$version" "${pair#* }"
done
python3 "$folder/transport.py" asyncio ConnectionResetError
