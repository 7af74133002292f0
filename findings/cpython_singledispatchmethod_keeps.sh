#!/bin/bash
# CPython 3.13.0 with python-socks 3.2.1: each connection through a SOCKS5 proxy leaves its objects behind, for as long as the process lives.
#
# Why a user cares: a program that connects again and again through such a proxy grows by more than a kilobyte each time, though it
# closes all, and no tool that looks at the program's own objects finds who holds them.
# Behaviour: `functools.singledispatchmethod` of 3.13.0 remembers a bound function for each object that it was called on, by a weak
# key, and the function refers to the object (https://github.com/python/cpython/issues/127750); python-socks asks one such method
# to write each request. A later CPython has no such memory.
# Valid input only: a proxy that answers as RFC 1928 says.
# Output seen: "kept after 20 connections: 20" with 3.13.0, and "kept after 20 connections: 0" with 3.11.7.
# Fails (exit 1) if either changes; needs a python3.13.0 and a python3.11, found on PATH or among pyenv's.
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/kept.py" <<'P'
import gc
import socket
import sys
import threading
from importlib.metadata import version

from python_socks._protocols.socks5 import Connection
from python_socks.sync import Proxy

TIMES = 20


def exactly(connection, size):
    read = b""
    while len(read) < size:
        read += connection.recv(size - len(read))
    return read


def proxy(listener):
    """Say that the tunnel stands, without a password, to all who ask."""
    for _ in range(TIMES):
        connection, _ = listener.accept()
        with connection:
            methods = exactly(connection, 2)[1]
            exactly(connection, methods)
            connection.sendall(b"\x05\x00")
            kind = exactly(connection, 4)[3]
            exactly(connection, 6 if kind == 1 else exactly(connection, 1)[0] + 2)
            connection.sendall(b"\x05\x00\x00\x01" + bytes(6))
            connection.recv(1)


print("python-socks", version("python-socks"), "on", sys.version.split()[0])
with socket.create_server(("127.0.0.1", 0)) as listener:
    thread = threading.Thread(target=proxy, args=(listener,))
    thread.start()
    client = Proxy.from_url(f"socks5://127.0.0.1:{listener.getsockname()[1]}")
    for _ in range(TIMES):
        client.connect("192.0.2.1", 80, timeout=20).close()
    thread.join()
gc.collect()
kept = sum(isinstance(one, Connection) for one in gc.get_objects())
print("kept after", TIMES, "connections:", kept)
sys.exit(0 if kept == int(sys.argv[1]) else 1)
P
run() {  # run VERSION EXPECTED
    for python in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python; do
        if found=$("$python" -c 'import sys; print(sys.version)' 2>/dev/null) && [[ $found == "$1"* ]]; then
            "$python" -m venv "$folder/$1"
            "$folder/$1/bin/pip" -q install 'python-socks==3.2.1'
            "$folder/$1/bin/python" "$folder/kept.py" "$2"
            return
        fi
    done
    echo "no CPython $1 was found"
    return 1
}
run 3.13.0 20
run 3.11 0
