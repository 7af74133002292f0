"""A command that gives its stdin and stdout to whoever listens at a Unix socket: ``python hand_over.py PATH``.

It stays until they are closed there, and is told so by the end of that connection.  It runs by its path, without
anything but the standard library, because tests start it often.
"""

from __future__ import annotations

import os
import socket
import sys

STDIN, STDOUT = 0, 1


def main() -> None:
    """Give them away."""
    with socket.socket(socket.AF_UNIX) as there:
        there.connect(sys.argv[1])
        socket.send_fds(there, [b"x"], [STDIN, STDOUT])
        os.close(STDIN)
        os.close(STDOUT)
        there.recv(1)


if __name__ == "__main__":
    main()
