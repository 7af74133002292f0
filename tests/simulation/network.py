"""Network: two connected sockets, with the buffers of a kernel and a path between them.

What it is.  What a sender's kernel holds, what is on its way, and what the receiver's kernel holds are
three things with sizes of their own.  A path has a delay, a rate, a size of segments, stalls, and a
byte at which it is cut.

The rules, which are those of Linux.  Closing a socket with unread bytes sends a RST, and what was unsent
is lost.  Bytes that come to a closed socket are answered with a RST, with the same effect.  Who gets a
RST can still read what had arrived, then the error once, then the end.  A closed socket goes on
sending what it holds, and then its FIN.
"""

from __future__ import annotations

import errno
import os
import socket
from itertools import count
from typing import TYPE_CHECKING, Any

from .kernel import Duplicate, tcp_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .clock import Clock
    from .plan import PathPlan

__all__ = ("SimSocket", "connected", "joined")

_numbers = count(1_000_000)


class SimSocket:
    """One end; the methods are those of ``socket.socket`` as far as event loops use them."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM
    proto = socket.IPPROTO_TCP

    def __init__(self, name: str, clock: Clock, plan: PathPlan) -> None:
        self.name = name
        self.plan = plan  # of the direction that begins here
        self.peer: SimSocket = self
        self._clock = clock
        self._number = next(_numbers)
        self._outbox = bytearray()  # unsent
        self._unacked = 0
        self._flying = 0
        self._free_at = 0.0  # when the path takes the next segment
        self._pumping = False
        self._carried = 0
        self._fin = ""  # "", "due", "sent", "acknowledged"
        self._written = 0
        self._acked = 0
        self.inbox = bytearray()
        self._ended = False  # the peer's FIN or RST came
        self._error: int | None = None
        self._gone = False  # it was reset
        self._shut = False
        self.closed = False
        self._handles = 1
        self.dark = False
        self.mute = False
        self.on_change: Callable[[], None] = _nothing
        self.last_arrival = 0.0
        self.unread_since = 0.0
        """When the first of what is there came."""
        self.last_taken = 0.0
        """When the kernel last took a byte of the application, or freed room for one."""
        self.log: Callable[[str], None] = _ignore

    # What an event loop asks.

    def fileno(self) -> int:
        return -1 if self.closed else self._number

    @property
    def descriptors(self) -> tuple[int, ...]:
        """By which an event loop knows it."""
        return (self._number,)

    def setblocking(self, flag: bool) -> None:
        assert not flag

    def gettimeout(self) -> float:
        return 0.0

    def getsockname(self) -> tuple[str, int]:
        return self.name, 1

    def getpeername(self) -> tuple[str, int]:
        return self.peer.name, 1

    def setsockopt(self, *arguments: object) -> None:
        """There is nothing to set."""

    def getsockopt(self, *arguments: object) -> bytes:
        if self.plan.blind or self.closed or arguments[1] != socket.TCP_INFO:
            raise OSError(errno.ENOPROTOOPT, "no such option")
        least = self.plan.delay + self.peer.plan.delay
        now = least + len(self._outbox) / self.plan.rate
        acknowledged = self._acked + (self._fin == "acknowledged")
        size = arguments[2]
        assert isinstance(size, int)
        return tcp_info(not self._gone, now, least, acknowledged)[:size]

    @property
    def has_ended(self) -> bool:
        """Whether the other end's FIN or RST came."""
        return self._ended

    @property
    def was_reset(self) -> bool:
        """By either end."""
        return self._gone

    @property
    def readable(self) -> bool:
        return bool(self.inbox or self._ended or self._error)

    @property
    def writable(self) -> bool:
        return bool(self._gone or self._error or 3 * self._room >= self.plan.send_buffer)

    @property
    def _room(self) -> int:
        return self.plan.send_buffer - len(self._outbox) - self._unacked

    @property
    def queued(self) -> int:
        """Bytes that the peer's kernel has not acknowledged, and a FIN: SIOCOUTQ."""
        return self._written - self._acked + (self._fin in ("due", "sent"))

    # What it does.

    def send(self, data: bytes | bytearray | memoryview) -> int:
        self._check()
        if self._gone or self._shut:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        if self._room <= 0:
            raise BlockingIOError(errno.EAGAIN, "full")
        taken = min(len(data), self._room)
        self._outbox += memoryview(data)[:taken]
        self._written += taken
        self.last_taken = self._clock.now
        self._pump()
        return taken

    def sendmsg(self, buffers: Iterable[bytes | memoryview]) -> int:
        return self.send(b"".join(buffers))

    def recv(self, size: int) -> bytes:
        if self.inbox:
            data = bytes(self.inbox[:size])
            del self.inbox[:size]
            self._clock.later(self.plan.delay, self.peer._pump)  # the window opens
            return data
        self._check()
        if self._ended:
            return b""
        raise BlockingIOError(errno.EAGAIN, "nothing there")

    def recv_into(self, buffer: Any) -> int:
        data = self.recv(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def _check(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "Bad file descriptor")
        if self._error is not None:
            error, self._error = self._error, None
            raise OSError(error, os.strerror(error))

    def shutdown(self, how: int) -> None:
        if self._gone or self.closed:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            self._shut = True
            self._say_fin()

    def dup(self) -> Duplicate:
        self._handles += 1
        return Duplicate(self)

    def close(self) -> None:
        self._handles -= 1
        if self._handles or self.closed:
            return
        self.closed = True
        if self._gone:
            return
        if self.inbox:
            self.log(
                f"closed with {len(self.inbox)} B unread and {len(self._outbox)} B unsent: RST"
            )
            self._reset_peer()
        else:
            if self._outbox:
                self.log(f"closed with {len(self._outbox)} B unsent")
            self._say_fin()

    def _say_fin(self) -> None:
        if not self._fin:
            self._fin = "due"
            self._pump()

    def _reset_peer(self) -> None:
        self._gone = True
        self._outbox.clear()
        self._unacked = 0
        self._fly(self.peer._reset_arrives)

    def cut(self) -> None:
        """Both ends are reset."""
        for one in (self, self.peer):
            one._reset_arrives()

    # The path.

    def _fly(self, act: Callable[..., object], *arguments: Any) -> None:
        if not (self.dark or self.mute):
            # Behind what is on its way already: the same sum as its, or a rounding might put it before that.
            leaves = max(self._clock.now, self._free_at)
            self._clock.at(leaves + self.plan.delay, act, *arguments)

    def _pump(self) -> None:
        """Send what the path and the peer's window take now."""
        now = self._clock.now
        if self._pumping or self._gone:
            return
        for begin, length in self.plan.stalls:
            if begin <= now < begin + length:
                self._pump_later(begin + length - now)
                return
        while self._outbox and now >= self._free_at:
            size = min(len(self._outbox), self.plan.segment, self._window)
            if size < min(len(self._outbox), self.plan.segment, self.plan.receive_buffer // 4 + 1):
                return  # no tiny segments; the peer says when there is more room
            self._transmit(bytes(self._outbox[:size]))
            del self._outbox[:size]
        if self._outbox:
            self._pump_later(self._free_at - now)
        elif self._fin == "due":
            self._fin = "sent"
            self._fly(self.peer._fin_arrives)

    @property
    def _window(self) -> int:
        return self.plan.receive_buffer - len(self.peer.inbox) - self._flying

    def _pump_later(self, seconds: float) -> None:
        self._pumping = True
        self._clock.later(seconds, self._pump_again)

    def _pump_again(self) -> None:
        self._pumping = False
        self._pump()

    def _transmit(self, segment: bytes) -> None:
        self._free_at = self._clock.now + len(segment) / self.plan.rate
        self._flying += len(segment)
        self._unacked += len(segment)
        self._fly_segment(segment)

    def _fly_segment(self, segment: bytes) -> None:
        cut_at = self.plan.cut_at
        whole = segment
        if cut_at is not None and self._carried + len(segment) > cut_at:
            segment = segment[: cut_at - self._carried]
        self._carried += len(segment)
        arrives = self._free_at + self.plan.delay
        if not (self.dark or self.mute) and segment:
            self._clock.at(arrives, self.peer._arrives, segment)
        if not self.dark:
            self._clock.at(arrives + self.plan.delay, self._acknowledged, len(whole))
        if len(segment) < len(whole) and not (self.dark or self.mute):
            self.cut_path(arrives)

    def cut_path(self, arrives: float) -> None:
        """What arrives by then still does."""
        self.log(f"the path is cut behind byte {self._carried}: {self.plan.cut_kind}")
        if self.plan.cut_kind == "reset":
            self._clock.at(arrives, self.cut)
        elif self.plan.cut_kind == "mute":
            self.mute = True
        else:
            self.dark = self.peer.dark = True

    def _arrives(self, segment: bytes) -> None:
        self.peer._flying -= len(segment)
        if self._gone:
            return
        if self.closed:
            if self._outbox or self._fin == "due":
                self.log(
                    f"bytes came to a closed socket; {len(self._outbox)} B unsent are lost: RST"
                )
            self._reset_peer()
            return
        if not self.inbox:
            self.unread_since = self._clock.now
        self.inbox += segment
        self.last_arrival = self._clock.now
        self.on_change()

    def _acknowledged(self, size: int) -> None:
        if self.mute:
            self._flying = max(0, self._flying - size)  # what was lost fills no window
        if not self._gone:
            self._unacked -= size
            self._acked += size
            self.last_taken = self._clock.now
            self._pump()
            self.on_change()

    def _fin_arrives(self) -> None:
        self._ended = True
        self.last_arrival = self._clock.now
        self._clock.later(self.plan.delay, self.peer._fin_acknowledged)
        self.on_change()

    def _fin_acknowledged(self) -> None:
        if not self.dark:
            self._fin = "acknowledged"

    def _reset_arrives(self) -> None:
        if self._gone:
            return
        self._error = errno.EPIPE if self._ended else errno.ECONNRESET
        self._gone = self._ended = True
        self._outbox.clear()
        self._unacked = 0
        self.log("got a RST")
        self.on_change()


def connected(clock: Clock, plans: tuple[PathPlan, PathPlan]) -> tuple[SimSocket, SimSocket]:
    """The two ends of a connection; each plan is of what the end sends."""
    near, far = (SimSocket(name, clock, plan) for name, plan in zip("ab", plans, strict=True))
    joined(clock, (near, far))
    return near, far


def joined(clock: Clock, ends: tuple[SimSocket, SimSocket]) -> None:
    """Lay the path between two ends."""
    near, far = ends
    near.peer, far.peer = far, near
    for one in ends:
        if one.plan.cut_after is not None:
            clock.later(one.plan.cut_after, one.cut_path, one.plan.cut_after)


def _nothing() -> None:
    pass


def _ignore(text: str) -> None:
    pass
