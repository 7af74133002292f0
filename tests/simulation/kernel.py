"""Kernel: what an operating system tells of a connection, besides carrying it.

The rule.  The package asks with ``getsockopt`` and ``ioctl``, as it does of Linux, and is answered in the same
bytes.
"""

from __future__ import annotations

import errno
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from muxado_py.links import tcp_info as package_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .network import SimSocket

__all__ = ("Duplicate", "asked_of", "tcp_info")

_ESTABLISHED, _CLOSE = 1, 7


def tcp_info(alive: bool, round_trip: float, least: float, acknowledged: int) -> bytes:
    """A ``struct tcp_info``, as far as anybody looks at it."""
    info = bytearray(152)
    info[0] = _ESTABLISHED if alive else _CLOSE
    struct.pack_into("=I", info, 68, int(round_trip * 1e6))
    struct.pack_into("=I", info, 148, int(least * 1e6))
    struct.pack_into("=Q", info, 120, acknowledged)
    return bytes(info)


class Duplicate:
    """What ``dup`` gives."""

    def __init__(self, one: SimSocket) -> None:
        self._one = one
        self._open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._one, name)

    def __enter__(self) -> Duplicate:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._one.close()


class Fcntl:
    """The ``fcntl`` of a made-up kernel."""

    def __init__(self, *sockets: SimSocket) -> None:
        self._sockets = sockets

    def ioctl(self, number: int, request: int, argument: bytes) -> bytes:
        for one in self._sockets:
            if one.fileno() == number and not one.plan.blind:
                return one.queued.to_bytes(4, sys.byteorder)
        raise OSError(errno.EBADF, "Bad file descriptor")


@contextmanager
def asked_of(*sockets: SimSocket) -> Iterator[None]:
    """What the package asks of the kernel is asked of ours."""
    real = vars(package_info)["fcntl"]
    vars(package_info)["fcntl"] = Fcntl(*sockets)
    try:
        yield
    finally:
        vars(package_info)["fcntl"] = real
