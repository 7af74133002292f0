"""TcpInfo: what Linux knows of a TCP connection's path.

Where data comes from and goes to.  ``getsockopt(TCP_INFO)`` and ``ioctl(SIOCOUTQ)`` give the figures;
:mod:`~muxado_py.links.inflight_cap` and :mod:`~muxado_py.links.kernel_queue` read them, and the link tells them to
an application that asks for statistics.

The rule.  The figures and their places are those of ``struct tcp_info`` in ``linux/tcp.h``, which only
grows at its end.  ``tcpi_delivery_rate`` is not used: while an application sends less than the
path would take, and a capped one does, it keeps the greatest value it ever had.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple, Protocol

from ..runtime.congestion import is_here, is_paced

if sys.platform == "linux":
    import fcntl
    import termios

__all__ = ("PathFigures", "PathSource", "TcpInfo", "is_unix", "least_unsent")

_STATE = 0  # tcpi_state
_FIGURES = struct.Struct("=68x I 28x I 16x Q 20x I")
"""tcpi_rtt, tcpi_total_retrans, tcpi_bytes_acked and tcpi_min_rtt, at 68, 100, 120 and 148; microseconds,
segments and bytes."""
_LENGTH = 152  # since Linux 4.6

_TCP_CLOSE = 7

BBR_UNSENT = 256 * 1024
"""Bytes: what a flush of ours is at most.  With a lower mark BBR sends many bytes twice, without one a message
waits longer behind bulk (``docs/measurements.md``)."""


class PathFigures(NamedTuple):
    """What is known of the path at one moment."""

    round_trip: float
    """Seconds, as it is now."""
    least_round_trip: float
    """Seconds, at its best in the last minutes."""
    acknowledged: int
    """Bytes, since the connection began."""
    retransmits: int
    """Segments that were sent again, since the connection began."""


CLOSED = PathFigures(0.0, 0.0, 0, 0)
"""Of a socket that is closed, which its TLS transport tells only a turn later."""


class PathSource(Protocol):
    """Who knows the path."""

    def figures(self) -> PathFigures:
        """The figures of this moment."""

    def in_flight(self) -> int:
        """Bytes that were handed over and are not acknowledged."""


class TcpInfo:
    """A :class:`PathSource`; ask :meth:`of` for one."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    @classmethod
    def of(cls, raw: socket.socket) -> TcpInfo | None:
        """Of a connected socket, or None where no kernel tells: other systems, other sockets."""
        if sys.platform != "linux" or raw.family not in (socket.AF_INET, socket.AF_INET6):
            return None
        try:
            known = len(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)) == _LENGTH
        except (OSError, ValueError):  # it is closed; uvloop's has no number then
            return None
        return cls(raw) if known else None

    def figures(self) -> PathFigures:
        """See :meth:`.PathSource.figures`."""
        assert sys.platform == "linux"
        try:
            info = self._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LENGTH)
        except (OSError, ValueError):  # it has no number any more
            return CLOSED
        now, retransmits, acknowledged, least = _FIGURES.unpack(info)
        least = min(now, least)  # of one that was not measured yet, Linux says 0 and 71 minutes
        return PathFigures(now / 1e6, least / 1e6, acknowledged, retransmits)

    @property
    def is_paced(self) -> bool:
        """See :func:`~muxado_py.runtime.congestion.is_paced`; not if it is closed."""
        try:
            return is_paced(self._raw)
        except (OSError, ValueError):  # as above
            return False

    def is_open(self) -> bool:
        """Whether it is still a socket, that can be asked."""
        return self._state() is not None

    def is_connected(self) -> bool:
        """Whether it is still a connection: neither closed here nor reset."""
        return self._state() not in (None, _TCP_CLOSE)

    def _state(self) -> int | None:
        assert sys.platform == "linux"
        try:
            return self._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _STATE + 1)[_STATE]
        except (OSError, ValueError):  # it has no number any more
            return None

    def in_flight(self) -> int:
        """See :meth:`.PathSource.in_flight`."""
        assert sys.platform == "linux"
        try:
            answer = fcntl.ioctl(self._raw.fileno(), termios.TIOCOUTQ, bytes(4))
        except (OSError, ValueError):  # as above
            return 0
        return int.from_bytes(answer, sys.byteorder)


def is_unix(raw: socket.socket) -> bool:
    """Whether it leads to a process on this machine, by its kernel alone."""
    return raw.family == getattr(socket, "AF_UNIX", None)


def least_unsent(raw: socket.socket) -> int:
    """How many bytes, at least, its kernel must be let hold unsent.

    BBR, of any version, takes no rate for the path's that was measured when nothing waited to be sent.  With
    a low mark for unsent bytes that is nearly always so: it stays in its start-up for good, and sends
    many bytes twice.  Not so towards this machine: nothing is lost there, and if a proxy leads on to
    a narrow path, what the kernel holds is all that stands before what is urgent.
    """
    try:
        return BBR_UNSENT if is_paced(raw) and not is_here(raw) else 0
    except (OSError, ValueError):  # it has no number any more
        return 0
