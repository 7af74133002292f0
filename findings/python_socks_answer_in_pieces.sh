#!/bin/bash
# python-socks 3.2.1: the answer of an HTTP proxy that comes in two pieces is read once, and its rest becomes the tunnel's first bytes.
#
# Why a user cares: TCP may cut an answer anywhere, and a proxy may write its status line and its fields one after the other.
# Whoever speaks first through the tunnel reads the end of a head in the place of what the other side said; a TLS handshake
# fails with words that name TLS and not the proxy.
# Behaviour: `Proxy.connect` calls recv once and takes a status line for the whole head.
# Valid input only: RFC 9110 and 9112 say nothing of how many segments a head comes in.
# Output seen: "whole: b'hello'", "in pieces: b'\r\n'".
# Fails (exit 1) if either changes.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"; "$folder/venv/bin/pip" -q install 'python-socks==3.2.1'
cat > "$folder/pieces.py" <<'P'
import socket
import sys
import threading
from contextlib import suppress
from importlib.metadata import version

from python_socks.sync import Proxy

HEAD = b"HTTP/1.1 200 Connection established\r\n", b"\r\n"


def proxy(listener, pieces, was_read):
    """Answer one CONNECT, and say hello through the tunnel."""
    connection, _ = listener.accept()
    with connection:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += connection.recv(4096)
        connection.sendall(pieces[0])
        was_read.wait(10)  # what is in `pieces` behind it leaves when that was taken for all of the answer
        connection.sendall(b"".join((*pieces[1:], b"hello")))
        with suppress(ConnectionError):
            connection.recv(1)


def first_bytes(pieces):
    was_read = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=proxy, args=(listener, pieces, was_read))
        thread.start()
        client = Proxy.from_url(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with client.connect("example.org", 80, timeout=20) as tunnel:
            was_read.set()
            first = tunnel.recv(2 if len(pieces) > 1 else 5)
        thread.join()
    return first


print("python-socks", version("python-socks"), "on", sys.version.split()[0])
whole, cut = first_bytes((b"".join(HEAD),)), first_bytes(HEAD)
print("whole:", whole)
print("in pieces:", cut)
sys.exit(0 if (whole, cut) == (b"hello", b"\r\n") else 1)
P
"$folder/venv/bin/python" "$folder/pieces.py"
