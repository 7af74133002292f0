#!/bin/bash
# CPython 3.11.7 and 3.13.0 (asyncio) and uvloop 0.23.0: a transport that has paused its writer tells it once.  The protocol that
# takes its place by set_protocol() hears of no pause, whatever still waits, and then of a resume_writing() that it never
# waited for.  Lower limits (set_write_buffer_limits) set before set_protocol() are told to the old protocol, too.
#
# Why a user cares: whoever changes protocols on a live connection (an upgrade, the end of a TLS handshake) and counts on
# pause_writing() takes all that it writes for taken.  Ask transport.get_write_buffer_size() right after set_protocol().
# Behaviour: the transport remembers that it is paused, and not whom it told.  Valid input only: two protocols, one
# write that the peer does not read yet.
# Output seen: "asyncio: paused first 1, second 0; resumed second 1", the same for uvloop.
# Fails (exit 1) if that changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/paused.py" <<'P'
import asyncio
import socket
import sys


class Counting(asyncio.Protocol):
    def __init__(self):
        self.paused = self.resumed = 0

    def pause_writing(self):
        self.paused += 1

    def resume_writing(self):
        self.resumed += 1


async def main():
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    first, second = Counting(), Counting()
    transport, _ = await loop.create_connection(lambda: first, sock=near)
    size = 4 * 1024 * 1024
    transport.write(bytes(size))
    transport.set_protocol(second)
    assert transport.get_write_buffer_size() > 0, "the peer has read nothing"
    transport.write(b"!")
    await asyncio.sleep(0)
    assert second.resumed == 0
    left = size + 1
    while left:
        left -= len(await loop.sock_recv(far, 65536))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if second.resumed:
            break
    print(f"{sys.argv[1]}: paused first {first.paused}, second {second.paused}; resumed second {second.resumed}")
    transport.close()
    far.close()
    return (first.paused, second.paused, second.resumed) == (1, 0, 1)


if sys.argv[1] == "asyncio":
    right = asyncio.run(main())
else:
    import uvloop

    assert uvloop.__version__ == "0.23.0"
    right = uvloop.run(main())
sys.exit(not right)
P
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q uvloop==0.23.0
python3 --version
"$folder/env/bin/python" "$folder/paused.py" asyncio
"$folder/env/bin/python" "$folder/paused.py" uvloop
