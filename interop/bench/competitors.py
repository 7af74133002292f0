"""The competitors: muxado_py on three event loops, and everything it is measured against.

Each is two processes of the *same* implementation.  A :class:`Competitor` says how to start them and
what they can do; nothing else in the benchmark knows one from another.

The rule.  Everyone at their library's defaults, with the best a user can do with its interface.  What
a competitor cannot do is missing from ``can``, with the reason in ``note``, and is not replaced by
something that resembles it.

The trap.  ``streams`` overrides a workload's number: sixteen bulk streams of ours stand against *one*
TCP connection that carries as much.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from ..workshop import GoSource, ToolchainError
from .workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..workshop import Workshop

__all__ = ("COMPETITORS", "GO", "MODULES", "OURS", "Competitor")

MODULES = {
    "muxado": "golang.ngrok.com/muxado/v2@v2.0.2",
    "yamux": "github.com/hashicorp/yamux@v0.1.2",
    "smux": "github.com/xtaci/smux@v1.5.58",
}
"""What ``interop/go/go.mod`` names; a test holds the two together."""

PROGRAM = GoSource("bench", MODULES["muxado"])

UNARY = frozenset({"unary-1", "unary-64"})
BLOCKING = frozenset({"blocking-1"})
ALL = frozenset(workload.name for workload in WORKLOADS)
CALLS = frozenset({"calls-1", "calls-64"})
BULK = frozenset({"bulk-1", "bulk-16"})

OURS, GO, OTHER = "muxado_py", "Go peer", "alternative"


@dataclass(frozen=True, slots=True)
class Competitor:
    """One implementation, on one event loop."""

    name: str
    kind: str
    actor: str
    """The module in ``actors``, or the library of the Go program."""
    loop: str = ""
    packages: tuple[str, ...] = ()
    """What its version is read from; for a Go peer, its module."""
    can: frozenset[str] = ALL
    streams: Mapping[str, int] = field(default_factory=dict)
    note: str = ""

    def absence(self, workshop: Workshop) -> str:
        """Why it cannot take part on this machine, or nothing."""
        if self.kind == GO:
            try:
                workshop.program(PROGRAM)
            except ToolchainError as error:
                return f"it cannot be built: {error}"
            return ""
        missing = [name for name in self.packages if not _version(name)]
        return f"{' and '.join(missing)} not installed" if missing else ""

    def versions(self) -> str:
        """What was measured, for the report."""
        if self.kind == GO:
            return MODULES[self.packages[0]]
        return ", ".join(f"{name} {_version(name)}" for name in self.packages) or "CPython's own"

    def command(self, workshop: Workshop) -> list[str]:
        """How its server is started; its client gets ``--connect HOST:PORT`` too."""
        if self.kind == GO:
            return [str(workshop.program(PROGRAM)), "--library", self.actor]
        return [sys.executable, "-m", f"{__package__}.actors.{self.actor}", "--loop", self.loop]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _packages(loop: str) -> tuple[str, ...]:
    return (
        "muxado-py",
        "anyio",
        *({"asyncio": (), "uvloop": ("uvloop",)}.get(loop, ("trio",))),
    )


def _ours(loop: str) -> Competitor:
    return Competitor(f"muxado_py, {loop}", OURS, "ours", loop, _packages(loop))


def _our_calls(loop: str) -> Competitor:
    return Competitor(
        f"muxado_py, calls, {loop}",
        OURS,
        "ours_calls",
        loop,
        _packages(loop),
        can=UNARY,
        note="pool.call and serve_calls",
    )


def _go(name: str, library: str, module: str) -> Competitor:
    return Competitor(name, GO, library, packages=(module,))


def _tcp(loop: str, *packages: str) -> Competitor:
    return Competitor(
        f"TCP connections, {loop}",
        OTHER,
        "tcp",
        loop,
        packages,
        note="asyncio's streams; a stream is a connection, so a call is a new one; memory is "
        "without the kernel's",
    )


COMPETITORS = (
    _ours("asyncio"),
    _ours("uvloop"),
    _ours("trio"),
    Competitor(
        "muxado_py, any transport",
        OURS,
        "ours_any",
        "asyncio",
        ("muxado-py", "anyio"),
        note="on asyncio, over a byte stream of anyio's",
    ),
    _our_calls("asyncio"),
    _our_calls("uvloop"),
    _our_calls("trio"),
    Competitor(
        "muxado_py, blocking",
        OURS,
        "ours_blocking",
        "uvloop",
        ("muxado-py", "anyio", "uvloop"),
        can=BLOCKING,
        note="pool.call of muxado_py.blocking; its server is that of our calls, on uvloop",
    ),
    _go("Go muxado", "muxado", "muxado"),
    _go("Go yamux", "yamux", "yamux"),
    _go("Go smux, version 1", "smux1", "smux"),
    _go("Go smux, version 2", "smux2", "smux"),
    Competitor(
        "py-libp2p yamux",
        OTHER,
        "libp2p_yamux",
        "trio",
        ("libp2p", "trio"),
        can=ALL - {"idle"},
        note="its muxer alone, on a plain TCP connection; it opens at most 256 streams, so it has "
        "no idle ten thousand",
    ),
    _tcp("asyncio"),
    _tcp("uvloop", "uvloop"),
    Competitor(
        "raw TCP, asyncio",
        OTHER,
        "raw_tcp",
        "asyncio",
        can=BULK,
        streams={"bulk-16": 1},
        note="sock_sendall and sock_recv on one connection, for 16 streams too: the limit",
    ),
    Competitor(
        "HTTP/2, httpx",
        OTHER,
        "http2",
        "asyncio",
        ("httpx", "h2", "anycorn"),
        can=CALLS | UNARY,
        note="POST in the clear over one connection, served by anycorn; calls only",
    ),
    Competitor(
        "gRPC, grpcio aio",
        OTHER,
        "grpc_aio",
        "asyncio",
        ("grpcio",),
        can=(ALL | UNARY) - {"idle"},
        note="a call is a unary RPC, a stream a bidirectional one, without protocol buffers",
    ),
    Competitor(
        "gRPC, grpclib",
        OTHER,
        "grpclib_aio",
        "uvloop",
        ("grpclib", "h2", "uvloop"),
        can=UNARY,
        note="a unary RPC, without protocol buffers, on uvloop; calls only",
    ),
    Competitor(
        "HTTP, requests",
        OTHER,
        "requests_http",
        "uvloop",
        ("requests", "uvicorn", "httptools", "uvloop"),
        can=BLOCKING,
        note="POST in the clear over one connection that is kept alive, served by uvicorn on uvloop",
    ),
)
