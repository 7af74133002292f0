"""Congestion control: which one the kernel uses for a connection, and which one where there is no path.

What it is.  Linux lets each TCP socket have its own.  BBR, a common default, sends by a rate that it measures: it waits
between two bursts by a timer, and asks what arrived in which time.  On a path that is what makes it good.  Between two
processes of one machine there is no path: nothing queues but what the reader has not read, and the timers, the short
bursts and the wake-ups for each of them cost more than the bytes do (``docs/measurements.md``).

The rule.  A connection that leads to the loopback of this machine gets Reno where it had BBR: every Linux has it, and
every user may choose it.  No other connection is touched, and no other congestion control.

The traps.  Each end sets what it sends itself; how the peer's kernel sends is the peer's affair.  To change it costs as
much as a tenth of a short connection: where many are accepted, the listening socket is told, from which they have it.
And the socket of a transport that uvloop has closed answers with ``ValueError``, where every other raises ``OSError``.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress

__all__ = ("is_here", "is_paced", "unpaced_here")

# Not every system has it.
_TCP_CONGESTION = getattr(socket, "TCP_CONGESTION", None)

_NAME_SIZE = 16  # TCP_CA_NAME_MAX


def is_paced(raw: socket.socket) -> bool:
    """Whether BBR, of any version, decides when a connection sends.

    :raises OSError: if the socket is closed; ``ValueError`` if uvloop closed it.
    """
    if _TCP_CONGESTION is None:
        return False
    return raw.getsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, _NAME_SIZE).startswith(b"bbr")


def is_here(raw: socket.socket) -> bool:
    """Whether a connected socket leads to this machine, or a listening one is called from nowhere else: by its own address,
    which is one of the loopback.

    :raises OSError: if the socket is closed; ``ValueError`` if uvloop closed it.
    """
    address = ipaddress.ip_address(raw.getsockname()[0].partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        return (address.ipv4_mapped or address).is_loopback
    return address.is_loopback


def unpaced_here(raw: socket.socket) -> None:
    """Let a TCP connection to this machine, or all that a listener will accept, send without waiting for timers.

    Nothing is said of a socket that is closed, or of another kind.
    """
    with suppress(OSError, ValueError):
        if is_paced(raw) and is_here(raw):
            assert _TCP_CONGESTION is not None
            raw.setsockopt(socket.IPPROTO_TCP, _TCP_CONGESTION, b"reno")
