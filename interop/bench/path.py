"""A narrow path between two network namespaces, with the kernel's own TCP at both ends.

Where data comes from and goes to.  ``interop/go/path`` makes two TUN devices and carries packets between
them, at a rate, with a delay, through a queue that overflows; here each device gets a namespace of its
own, and a process started with :meth:`Path.command` lives in one of them.  Machines that can shape
traffic in the kernel (netem) are rare enough that this is used everywhere: figures of two machines are
of the same path.

The rule.  Whatever was made is taken down again: the program of the path ends with its standard input,
and its devices with it.  Names carry our process id, so that two benchmarks do not meet.

The traps.  The kernel remembers what it learned of a path and gives it to the next connection; it is
told not to.  Only root's own namespace may have any congestion control as its default, so this one
comes with the route.  And a path whose program waits for a processor is another path: the program goes before
everybody else.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ..workshop import GoSource, ToolchainError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..workshop import Workshop

__all__ = ("CUBIC", "FAR_ADDRESS", "NICE", "PROGRAM", "Line", "Path", "PathError", "lay")

PROGRAM = GoSource("path")
NEAR_ADDRESS, FAR_ADDRESS = "10.98.0.1", "10.98.0.2"  # nobody else is in these namespaces
NETWORK = "10.98.0.0/30"
PATIENCE = 20.0
"""Seconds for any one step."""

CUBIC = "cubic"
"""Linux's default congestion control."""

PATH_NICE, NICE = -20, -15
"""Of the program of the path, and of what is measured on it."""

SETTINGS = {
    "tcp_no_metrics_save": "1",
    # Room for 5 MB on their way; the kernel grows buffers as it always does.
    "tcp_rmem": "4096 131072 33554432",
    "tcp_wmem": "4096 16384 33554432",
}

_numbers = itertools.count()


class PathError(Exception):
    """There can be no path here; the message says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """What a path is like, the same in both directions."""

    name: str
    rate: float
    """Bits per second, with the headers of IP and TCP."""
    round_trip: float
    """Seconds, with the queue empty."""
    queue: int
    """Bytes that wait before the next packet is lost."""
    mtu: int = 1500
    congestion_control: str = CUBIC
    """Of both ends."""

    def __str__(self) -> str:
        return (
            f"{self.rate / 1e6:g} Mbit/s, {self.round_trip * 1e3:g} ms round trip, a queue of "
            f"{self.queue / 1e3:g} KB, packets of {self.mtu}, {self.congestion_control}"
        )


class Segments(NamedTuple):
    """Counters of RFC 4022 (``tcpOutSegs``, ``tcpRetransSegs``); Linux counts what is sent again in both."""

    sent: int
    sent_again: int


@dataclass(frozen=True, slots=True)
class Path:
    """A path that is there."""

    near: str
    """The namespace of the side that sends most."""
    far: str
    """The other, which has :data:`FAR_ADDRESS`."""

    def command(self, side: str, command: Sequence[str]) -> list[str]:
        """``command``, to be run in the namespace ``side``, before whatever else the machine does.

        The process that is started becomes the command.
        """
        return ["ip", "netns", "exec", side, "nice", "-n", str(NICE), *command]

    def segments(self) -> Segments:
        """What TCP has sent in the near namespace so far."""
        command = ["ip", "netns", "exec", self.near, "cat", "/proc/net/snmp"]
        said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
        names, figures = (it.split() for it in said.stdout.splitlines() if it.startswith("Tcp:"))
        found = dict(zip(names[1:], map(int, figures[1:]), strict=True))
        return Segments(found["OutSegs"], found["RetransSegs"])


@contextmanager
def lay(line: Line, workshop: Workshop) -> Iterator[Path]:
    """A path like ``line``, as long as the context lasts.

    :raises PathError: if this machine, or this user, cannot have one.
    """
    number = f"{os.getpid()}x{next(_numbers)}"
    path = Path(f"muxado{number}near", f"muxado{number}far")
    devices = {path.near: f"mx{number}n"[-15:], path.far: f"mx{number}f"[-15:]}
    with ExitStack() as stack:
        try:
            program = workshop.program(PROGRAM)
            for side in devices:
                _ip("netns", "add", side)
                stack.callback(_ip, "netns", "delete", side)
            stack.enter_context(_carrier(str(program), line, *devices.values()))
            for side, address in zip(devices, (NEAR_ADDRESS, FAR_ADDRESS), strict=True):
                _settle(side, devices[side], address, line)
        except (ToolchainError, OSError, subprocess.SubprocessError) as error:
            raise PathError(_why(error)) from error
        yield path


@contextmanager
def _carrier(program: str, line: Line, near: str, far: str) -> Iterator[None]:
    """The program of the path, between devices that exist."""
    figures = {
        "near": near,
        "far": far,
        "rate": f"{line.rate:g}",
        "delay": f"{line.round_trip * 5e5:.0f}us",
        "queue": str(line.queue),
    }
    command = ["nice", "-n", str(PATH_NICE), program]
    command += [f"-{name}={value}" for name, value in figures.items()]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise OSError(process.stderr.read().strip() or "the path's program said nothing")
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()


def _settle(side: str, device: str, address: str, line: Line) -> None:
    """Move a device into its namespace, and tell TCP there how to behave."""
    _ip("link", "set", device, "netns", side)
    _ip("-n", side, "address", "add", f"{address}/30", "dev", device)
    _ip("-n", side, "link", "set", device, "mtu", str(line.mtu), "txqueuelen", "20000", "up")
    _ip("-n", side, "link", "set", "lo", "up")
    route = ("route", "change", NETWORK, "dev", device, "src", address)
    _ip("-n", side, *route, "congctl", line.congestion_control)
    script = "".join(f"echo {it} > /proc/sys/net/ipv4/{name}; " for name, it in SETTINGS.items())
    _ip("netns", "exec", side, "sh", "-e", "-c", script)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=PATIENCE)


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{' '.join(error.cmd)}` failed: {error.stderr.strip()}"
    return str(error)
