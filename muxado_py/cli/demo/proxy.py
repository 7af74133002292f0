"""The narrow link of the demo: a TCP forwarder with a rate, a delay and a short queue.

What it is.  A process of its own, so that shaping neither waits for nor delays what is measured.
Bytes come from one socket, stand in a :class:`Pipe` until the emulated link would have delivered
them, and go to the other socket; each direction has its own pipe.  One thread, one selector, no
busy waiting: it sleeps until a socket or the next release time calls, about 1 ms precise.

How a pipe counts.  A chunk that enters at ``now`` begins to leave when the chunk before it has left
(``_free_at``), takes ``size / rate`` to leave, and arrives ``delay`` later.  What has not begun to
leave is the queue; when the queue is full the proxy stops reading, the sender's TCP window closes,
and the sender feels the narrow link.  The pipe reads no clock: times are passed in.

The rule.  Nothing here may hide the sender's own buffering, which is what the demo shows.  Hence
small SO_RCVBUF and SO_SNDBUF, set *before* the handshake (afterwards the window scale is fixed),
and an Ethernet segment size: with loopback's 64 KiB segments the sender's kernel would size its
send buffer for a link that is not there.

The trap.  A chunk is released whole, when its last byte would have left.  Large reads would turn
into bursts, so a read takes at most 4 KiB (0.7 ms at 50 Mbit/s).

The parent speaks to it in lines: it prints ``{"port": N}``, then obeys ``freeze`` (the network goes
dark: nothing moves, nothing is said) and ``cut`` (every connection is reset) on stdin; end of file
on stdin ends it, so that it cannot outlive its parent.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import struct
import sys
import time
from collections import deque
from typing import NamedTuple

__all__ = ("EmulatedLink", "Pipe", "Proxy", "main")

READ_SIZE = 4096
SOCKET_BUFFER = 32 * 1024
SEGMENT_SIZE = 1448


class EmulatedLink(NamedTuple):
    """What is emulated, in each direction.

    :param rate: bytes per second, or None for no limit.
    :param delay: seconds one way, half of the round trip.
    :param queue: bytes that may wait in front of the link.
    """

    rate: float | None = None
    delay: float = 0.0
    queue: int = 64 * 1024


class Pipe:
    """One direction of a link: bytes and the times at which they arrive; see the module essay."""

    __slots__ = ("_chunks", "_due", "_free_at", "_held", "_link")

    def __init__(self, link: EmulatedLink) -> None:
        self._link = link
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._due = bytearray()  # arrived, not yet taken by the receiver
        self._held = 0
        self._free_at = 0.0

    def __len__(self) -> int:
        """Bytes inside: waiting, under way, and arrived but not taken."""
        return self._held

    def room(self, now: float) -> int:
        """How many bytes the queue takes at ``now``."""
        if self._link.rate is None:
            waiting = self._held
        else:
            waiting = int(max(0.0, self._free_at - now) * self._link.rate) + len(self._due)
        return max(0, self._link.queue - waiting)

    def push(self, now: float, data: bytes) -> None:
        """``data`` enters the queue at ``now``."""
        self._free_at = max(self._free_at, now)
        if self._link.rate is not None:
            self._free_at += len(data) / self._link.rate
        self._chunks.append((self._free_at + self._link.delay, data))
        self._held += len(data)

    def arrived(self, now: float) -> bytearray:
        """What can be handed to the receiver at ``now``; :meth:`taken` says how much went."""
        while self._chunks and self._chunks[0][0] <= now:
            self._due += self._chunks.popleft()[1]
        return self._due

    def taken(self, size: int) -> None:
        """The receiver took the first ``size`` bytes of what had arrived."""
        del self._due[:size]
        self._held -= size

    def next_event(self, now: float) -> float | None:
        """When :meth:`arrived` or :meth:`room` next has something to give, or None if never."""
        events = [self._chunks[0][0]] if self._chunks else []
        if self._link.rate is not None and (lacking := READ_SIZE - self.room(now)) > 0:
            events.append(now + lacking / self._link.rate)
        return min(events, default=None)


class _Flow:
    """One direction of a forwarded connection: from ``source`` through ``pipe`` to ``sink``."""

    __slots__ = ("blocked", "eof", "finished", "pipe", "sink", "source")

    def __init__(self, source: socket.socket, sink: socket.socket, link: EmulatedLink) -> None:
        self.source = source
        self.sink = sink
        self.pipe = Pipe(link)
        self.blocked = False  # the sink's socket was full
        self.eof = False  # the source has ended
        self.finished = False  # and the sink was told

    def move(self, now: float) -> None:
        """Take what the source has, give the sink what has arrived.

        :raises OSError: one of the two connections is gone.
        """
        while not self.eof and self.pipe.room(now) >= READ_SIZE:
            try:
                data = self.source.recv(READ_SIZE)
            except BlockingIOError:
                break
            if data:
                self.pipe.push(now, data)
            else:
                self.eof = True
        self.blocked = False
        while due := self.pipe.arrived(now):
            try:
                self.pipe.taken(self.sink.send(due))
            except BlockingIOError:
                self.blocked = True
                break
        if self.eof and not self.pipe and not self.finished:
            self.sink.shutdown(socket.SHUT_WR)
            self.finished = True


class Proxy:
    """Forwards connections on a loopback port to ``target`` through an :class:`EmulatedLink`."""

    def __init__(self, target: tuple[str, int], link: EmulatedLink) -> None:
        self._target = target
        self._link = link
        self._frozen = False
        self._flows: list[_Flow] = []
        self._selector = selectors.DefaultSelector()
        self._watched: dict[socket.socket, int] = {}
        self._listener = _small_socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """The loopback port to connect to."""
        port: int = self._listener.getsockname()[1]
        return port

    def run(self, commands: int) -> None:
        """Forward until end of file on the descriptor ``commands``, obeying what it says."""
        self._selector.register(commands, selectors.EVENT_READ)
        running = True
        while running:
            self._watch()
            ready = {key.fileobj for key, _ in self._selector.select(self._sleep())}
            if commands in ready:
                running = self._obey(os.read(commands, 1024).split())
            if self._listener in ready:
                self._accept()
            if not self._frozen:
                self._forward()
        self.cut()
        self._listener.close()
        self._selector.close()

    def cut(self) -> None:
        """Reset every connection."""
        while self._flows:
            self._drop(self._flows[0])

    def _obey(self, words: list[bytes]) -> bool:
        for word in words:
            if word == b"freeze":
                self._frozen = True
            elif word == b"cut":
                self.cut()
        return bool(words)

    def _sleep(self) -> float | None:
        if self._frozen:
            return None
        now = time.monotonic()
        events = [
            event
            for flow in self._flows
            if not flow.blocked and (event := flow.pipe.next_event(now)) is not None
        ]
        # Never zero, which would poll: a chunk that is a millisecond late is still in time.
        return max(0.001, min(events) - now) if events else None

    def _watch(self) -> None:
        wanted: dict[socket.socket, int] = {}
        if not self._frozen:
            now = time.monotonic()
            for flow in self._flows:
                if not flow.eof and flow.pipe.room(now) >= READ_SIZE:
                    wanted[flow.source] = wanted.get(flow.source, 0) | selectors.EVENT_READ
                if flow.blocked:
                    wanted[flow.sink] = wanted.get(flow.sink, 0) | selectors.EVENT_WRITE
        for sock in self._watched.keys() - wanted.keys():
            self._selector.unregister(sock)
        for sock, events in wanted.items():
            if sock not in self._watched:
                self._selector.register(sock, events)
            elif self._watched[sock] != events:
                self._selector.modify(sock, events)
        self._watched = wanted

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = _small_socket()
        try:
            far.connect(self._target)
        except OSError:
            near.close()
            far.close()
            return
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
        self._flows += [_Flow(near, far, self._link), _Flow(far, near, self._link)]

    def _forward(self) -> None:
        now = time.monotonic()
        for flow in list(self._flows):
            if flow not in self._flows:
                continue  # its other direction has just dropped both
            try:
                flow.move(now)
            except OSError:
                self._drop(flow)

    def _drop(self, flow: _Flow) -> None:
        """Reset both connections of ``flow`` and forget both directions."""
        pair = (flow.source, flow.sink)
        self._flows = [other for other in self._flows if other.source not in pair]
        for sock in pair:
            if self._watched.pop(sock, None) is not None:
                self._selector.unregister(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


def _small_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_SIZE)
    return sock


def main(argv: list[str]) -> None:
    """``proxy.py TARGET_PORT LINK_AS_JSON``: announce the port, forward until stdin ends."""
    proxy = Proxy(("127.0.0.1", int(argv[0])), EmulatedLink(**json.loads(argv[1])))
    print(json.dumps({"port": proxy.port}), flush=True)
    proxy.run(sys.stdin.fileno())


if __name__ == "__main__":
    main(sys.argv[1:])
