#!/bin/bash
# anyio 4.16.0 on uvloop 0.23.0: a SocketStream whose peer has reset the connection answers extra(anything, default) with an
# AttributeError, 'NoneType' object has no attribute 'getpeername', for every attribute, of TLS too.
#
# Why a user cares: a default is given so that there is nothing to catch.  A server that asks who has called, for its log, ends
# with the first caller who breaks off in that moment; and a wrapper that merges the attributes of what it wraps has none of its own.
# Behaviour: uvloop's transport answers get_extra_info("socket") with None once it is closed, and anyio's extra_attributes ask that
# for its peer, and catch an OSError only.  asyncio's transport keeps a socket without a number: there the default comes for what
# that leaves out, and an OSError, in spite of the default, for local_address.
# Valid input only: a connected socket, a peer that closes with SO_LINGER of no time, a receive() that says so.
# Output seen: "uvloop remote_address: AttributeError", the same of local_address, raw_socket and ssl_object;
# "asyncio remote_address: None", "asyncio local_address: OSError", "asyncio raw_socket: TransportSocket", "asyncio ssl_object: None".
# Fails (exit 1) if any of the eight changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q anyio==4.16.0 uvloop==0.23.0
cat > "$folder/attributes.py" <<'P'
import socket
import struct

import anyio
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

NO_TIME = struct.pack("ii", 1, 0)
ASKED = {
    "remote_address": SocketAttribute.remote_address,
    "local_address": SocketAttribute.local_address,
    "raw_socket": SocketAttribute.raw_socket,
    "ssl_object": TLSAttribute.ssl_object,
}
EXPECTED = {
    "uvloop": ["AttributeError"] * 4,
    "asyncio": ["None", "OSError", "TransportSocket", "None"],
}


async def main(loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = await anyio.connect_tcp(*server.getsockname())
        peer, _ = server.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_TIME)
        peer.close()
        try:
            await stream.receive()
        except anyio.BrokenResourceError:
            pass
    seen = []
    for name, attribute in ASKED.items():
        try:
            answer = stream.extra(attribute, None)
            seen.append("None" if answer is None else type(answer).__name__)
        except Exception as exc:
            seen.append(type(exc).__name__)
        print(f"{loop} {name}: {seen[-1]}")
    return seen == EXPECTED[loop]


right = [
    anyio.run(main, loop, backend_options={"use_uvloop": loop == "uvloop"}) for loop in EXPECTED
]
raise SystemExit(not all(right))
P
"$folder/venv/bin/python" "$folder/attributes.py"
