"""Plans: what one session does, drawn from the seed of the run and its number."""

from __future__ import annotations

import ssl
from functools import cache
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import anyio
import trustme

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

__all__ = (
    "HEAD",
    "LOOPS",
    "TRANSPORTS",
    "WIRES",
    "Plan",
    "StreamPlan",
    "contexts",
    "expected",
    "run_on",
    "write_certificates",
)

LOOPS = ("asyncio", "uvloop", "trio")
TRANSPORTS = ("tcp", "tls", "ws", "wss", "unix", "exec", "connect", "socks5")
"""``exec`` is a command for each session, which gives its pipes to the listener; the last two are ``tcp`` through a proxy of
the dialer's."""

WIRES = ("muxado", "muxado", "muxado", "yamux", "smux2", "muxado1")
"""Three of six are the default's.  smux1 has no windows: a slow reader would stop its session."""

HEAD = 8
"""Bytes at the beginning of each stream that name its session and itself."""

MOST = 200_000
"""Bytes of a stream; with sixteen of these a session is more than sockets hold."""


class StreamPlan(NamedTuple):
    """What is sent on one stream."""

    nbytes: int
    closes: bool
    """Whether it is closed before the session is."""
    read_late: float
    """Seconds until its reader begins; one that never does has ``inf``."""
    answer: int
    """Bytes that its reader sends back meanwhile, which the dialer does not wait for."""


class Plan(NamedTuple):
    """What one session does."""

    wire: str
    streams: tuple[StreamPlan, ...]
    linger: float
    """Seconds between the last send and the close."""
    how: str
    """How it is closed: ``leave``, ``aclose`` or ``drain``."""

    @classmethod
    def of(cls, seed: int, number: int) -> Plan:
        """The plan of a session."""
        rng = Random(seed * 1_000_003 + number)
        wire = rng.choice(WIRES)
        most = int(2 ** rng.uniform(6, 17.6))
        streams = tuple(
            StreamPlan(
                nbytes=HEAD + rng.randrange(min(most, MOST)),
                closes=rng.random() < 0.8,
                read_late=_late(rng),
                answer=rng.choice((0, 0, 0, 10, 20_000)),
            )
            for _ in range(rng.choice((1, 1, 2, 4, 8, 16)))
        )
        linger = rng.choice((0.0, 0.0, 0.0, 0.01, 0.3))
        return cls(wire, streams, linger, rng.choice(("leave", "leave", "aclose", "drain")))


def _late(rng: Random) -> float:
    kind = rng.random()
    if kind < 0.02:
        return float("inf")
    return rng.uniform(0, 0.5) if kind < 0.1 else 0.0


@cache
def _block() -> bytes:
    return Random(0).randbytes(MOST + 251 + 1)


def expected(session: int, stream: int, nbytes: int) -> bytes:
    """All bytes of a stream."""
    start = (17 * session + stream) % 251
    head = session.to_bytes(4, "big") + stream.to_bytes(4, "big")
    return head + _block()[start : start + nbytes - HEAD]


def run_on(loop: str, main: Callable[[], Awaitable[None]]) -> None:
    """Run a program on one of :data:`LOOPS`."""
    options = {"use_uvloop": True} if loop == "uvloop" else {}
    backend = "trio" if loop == "trio" else "asyncio"
    anyio.run(main, backend=backend, backend_options=options)


def write_certificates(folder: Path) -> None:
    """For ``localhost``: ``server.pem`` and ``ca.pem``."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For the dialer and for the listener."""
    dialer = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    listener = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    listener.load_cert_chain(str(folder / "server.pem"))
    return dialer, listener
