"""Captures: the bytes that each live peer really sends in busy sessions, for the fuzzer.

Where data comes from and goes to.  For each peer of the table, in both roles, a puppet plays a few
scenes with muxado_py over a transport that writes down what it receives.  ``python -m
interop.captures FILE`` keeps the captures as JSON, in hexadecimal; ``interop.fuzz`` makes its own if it
is given none.

The rule.  The scenes are there to bring out every kind of frame that the peer has, not to judge it:
what a scene fails at is another's affair, and what was sent until then is kept.

The trap.  Bytes differ from run to run, in order and in random payload.  What a test rests on must be
copied into it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import ByteStream, SocketListener

import muxado_py as muxado
from muxado_py import ErrorCode
from tests.transports import memory_transports

from .actors import answer_with_echo
from .peers import PEERS, Peer
from .puppet import run_puppet
from .workshop import ToolchainError, Workshop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping

    from .puppet import Puppet

__all__ = ("Capture", "capture_all", "load", "main", "save")

PATIENCE = 10.0  # seconds for a scene, and for one step that a peer may never answer
STEP = 2.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Capture:
    """What one peer sent in one session."""

    peer: str
    wire: str
    scene: str
    client: bool
    """Whether muxado_py was the client."""
    data: bytes


class Recording(ByteStream):
    """A transport that writes down what it receives."""

    def __init__(self, inner: ByteStream) -> None:
        self._inner = inner
        self.received = bytearray()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._inner.extra_attributes

    async def receive(self, max_bytes: int = 65536) -> bytes:
        data = await self._inner.receive(max_bytes)
        self.received += data
        return data

    async def send(self, item: bytes) -> None:
        await self._inner.send(item)

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def aclose(self) -> None:
        await self._inner.aclose()


# The scenes


class Stage:
    """One session and its puppet, and the steps that scenes are made of."""

    def __init__(self, peer: Peer, session: muxado.Session, puppet: Puppet) -> None:
        self.can = peer.can
        self.session = session
        self.puppet = puppet

    async def do(self, verb: str, **arguments: object) -> dict[str, Any]:
        """A command whose answer, or its absence, changes nothing."""
        with anyio.move_on_after(STEP):
            return await self.puppet.do(verb, **arguments)
        return {}

    async def ours(self, kind: int | None) -> tuple[muxado.Stream, int]:
        """A stream of ours that the peer has accepted and read."""
        stream = await self.session.open_stream(
            stream_type=kind, priority=muxado.Priority(random.randrange(8))
        )
        await stream.send(b"hello")
        theirs = (await self.puppet.do("accept"))["stream"]
        await self.do("read", stream=theirs, size=5)
        return stream, theirs

    async def theirs(self, kind: int | None) -> tuple[muxado.Stream, int]:
        """A stream of the peer that we have accepted."""
        theirs = (await self.puppet.do("open", type=kind))["stream"]
        await self.puppet.do("write", stream=theirs, text="hello")
        return await self.session.accept_stream(), theirs


async def busy(stage: Stage, kind: int | None, size: int = 3_000, credited: int = 300_000) -> None:
    """Streams of both sides, data, credit, half closes, resets, closes, pings, refusals, a goodbye."""
    up, up_there = await stage.ours(kind)
    down, down_there = await stage.theirs(kind)
    cut, cut_there = await stage.ours(kind)
    left, left_there = await stage.theirs(kind)
    for stream, name in ((up, up_there), (down, down_there)):
        await stage.do("write", stream=name, size=random.randint(1, size), chunk=1000)
        await read_some(stream)
    async with anyio.create_task_group() as tasks:  # enough to be given credit for
        tasks.start_soon(up.send, bytes(credited))
        await stage.do("read", stream=up_there, size=credited)
    if "ping" in stage.can:
        await stage.do("ping")
    with suppress(muxado.MuxadoError):
        await stage.session.ping(timeout=STEP)
    cut.reset(ErrorCode.STREAM_CANCELLED)
    await stage.do("write", stream=cut_there, text="too late")
    await stage.do("close", stream=left_there)
    for _ in range(3):  # data for what was closed brings out a reset
        with suppress(muxado.MuxadoError):
            await left.send(b"nobody reads this")
        await anyio.sleep(0.02)
    await left.aclose()
    await stage.do("close_write", stream=down_there)
    await down.send(b"answer")
    await down.aclose()
    with suppress(NotImplementedError):
        await up.send_eof()
    await stage.do("write", stream=up_there, text="answer")
    await stage.do("close", stream=up_there)
    await up.aclose()
    unaccepted = [await stage.session.open_stream(stream_type=kind) for _ in range(5)]
    for stream in unaccepted:
        with suppress(muxado.MuxadoError):
            await stream.send(b"too many")
    await anyio.sleep(0.1)
    if "go_away" in stage.can:
        await stage.do("go_away")
    await stage.do("close_session")


async def echoes(stage: Stage, kind: int | None) -> None:
    """Many short streams of both sides at once, until our goodbye."""
    await stage.puppet.begin("serve_echo")

    async def call() -> None:
        async with await stage.session.open_stream(stream_type=kind) as stream:
            await stream.send(random.randbytes(random.randint(1, 400)))
            await stream.receive()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stage.session.net_listener().serve, answer_with_echo)
        await stage.do("call_echo", count=12, size=300)
        async with anyio.create_task_group() as calls:
            for _ in range(12):
                calls.start_soon(call)
        tasks.cancel_scope.cancel()
    await stage.session.drain(1.0)


async def beats(stage: Stage, kind: int | None) -> None:
    """Little happens, and the peer shows every 100 ms that it lives."""
    stream, name = await stage.theirs(kind)
    accepting = await stage.puppet.begin("accept")
    await anyio.sleep(0.7)
    await stage.do("write", stream=name, text="still here")
    await read_some(stream)
    del accepting


async def read_some(stream: muxado.Stream) -> None:
    """What comes within a step; nothing is fine."""
    with anyio.move_on_after(0.2), suppress(anyio.EndOfStream):
        while True:
            await stream.receive()


Scene = tuple["Callable[[Stage, int | None], Coroutine[Any, Any, None]]", bool]
SCENES: dict[str, Scene] = {
    "busy": (busy, False),
    "brief": (partial(busy, size=20, credited=140_000), False),
    "echoes": (echoes, False),
    "beats": (beats, True),
}
"""Each with whether heartbeats run."""


# Sessions


async def capture(peer: Peer, program: Path, scene: str, *, client: bool) -> Capture:
    """Play one scene, and keep what the peer sent however it ended."""
    play, beating = SCENES[scene]
    flags = [*peer.flags, *(peer.beating if beating else ())]
    if "refuse" in peer.can and not beating:
        flags += ["-backlog", "3"]
    flags += [] if beating else peer.lingering
    typed = beating and peer.typed_beats
    config = muxado.Config(
        **peer.settings(typed_streams=typed, heartbeat_interval=0.2 if beating else None)
    )
    heard = bytearray()
    with anyio.move_on_after(PATIENCE), suppress(Exception):
        async with connected(program, flags, client=client) as (puppet, transport):
            heard = transport.received
            async with (muxado.client if client else muxado.server)(transport, config) as session:
                await play(Stage(peer, session, puppet), 7 if typed else None)
    return Capture(peer.name, peer.wire, scene, client, bytes(heard))


@asynccontextmanager
async def connected(
    program: Path, flags: list[str], *, client: bool
) -> AsyncIterator[tuple[Puppet, Recording]]:
    """A puppet, and our end of its connection."""
    if client:
        async with run_puppet(program, "-listen", f"{LOOPBACK}:0", *flags) as puppet:
            port = int(puppet.address.rpartition(":")[2])
            yield puppet, Recording(await anyio.connect_tcp(LOOPBACK, port))
        return
    async with await anyio.create_tcp_listener(local_host=LOOPBACK) as listener:
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        [socket] = listener.listeners
        async with run_puppet(program, "-connect", f"{LOOPBACK}:{port}", *flags) as puppet:
            assert isinstance(socket, SocketListener)
            yield puppet, Recording(await socket.accept())


async def capture_ourselves(wire: str) -> list[Capture]:
    """What two muxado_py say to each other: on the muxado wire that is more than others understand."""
    near, far = map(Recording, memory_transports())
    config = muxado.Config(wire=wire, session_window=65_536)
    async with (
        muxado.client(near, config) as client,
        muxado.server(far, config) as server,
        anyio.create_task_group() as tasks,
    ):
        for ours, other in ((client, server), (server, client)):
            tasks.start_soon(other.net_listener().serve, answer_with_echo)
            for urgency in (0, 3, 7):
                stream = await ours.open_stream(priority=muxado.Priority(urgency))
                await stream.send(random.randbytes(500))
                stream.priority = muxado.Priority(7 - urgency, 50)
                await stream.receive()
                if urgency:
                    await stream.aclose()
                else:
                    stream.reset(ErrorCode.STREAM_CANCELLED)
            with suppress(muxado.MuxadoError):
                await ours.ping(timeout=STEP)
        tasks.start_soon(client.drain, 1.0)
        await client.wait()
        tasks.cancel_scope.cancel()
    heard = ((True, near.received), (False, far.received))
    return [Capture("muxado_py", wire, "busy", client, bytes(data)) for client, data in heard]


def capture_all(wires: list[str], directory: Path) -> Iterator[Capture]:
    """Every scene with every peer of ``wires`` that can be built, in both roles."""
    for wire in wires:
        yield from anyio.run(capture_ourselves, wire)
    workshop = Workshop(directory)
    for peer in PEERS:
        if peer.wire not in wires:
            continue
        try:
            program = workshop.program(peer.source)
        except ToolchainError as error:
            print(f"{peer.name} cannot be built: {error}", file=sys.stderr)
            continue
        for scene in SCENES:
            for client in (True, False):
                yield anyio.run(partial(capture, peer, program, scene, client=client))


def save(captures: list[Capture], file: Path) -> None:
    """Keep captures as JSON."""
    entries = [{**asdict(one), "data": one.data.hex()} for one in captures]
    file.write_text(json.dumps(entries, indent=0) + "\n")


def load(file: Path) -> list[Capture]:
    """What ``save`` kept."""
    entries = json.loads(file.read_text())
    return [Capture(**{**entry, "data": bytes.fromhex(entry["data"])}) for entry in entries]


def main() -> None:
    """Capture everything into the file named by the first argument; more name the wires."""
    _, file, *wires = sys.argv
    captures = []
    with tempfile.TemporaryDirectory() as directory:
        for one in capture_all(wires or sorted({peer.wire for peer in PEERS}), Path(directory)):
            captures.append(one)
            role = "client" if one.client else "server"
            print(f"{one.peer:40} {one.scene:7} python is {role}: {len(one.data):7,} bytes")
    save(captures, Path(file))


if __name__ == "__main__":
    main()
