"""What the fuzzer aims at: a decoder, a connection, and sessions in memory and over sockets.

Where data comes from and goes to.  A :class:`Case` is made and judged by ``interop/fuzz.py``; each
target here gives its bytes to one part of muxado_py, and raises what is wrong.

The rule.  Whatever a target decides is drawn from the case's seed, so that a case repeats.

The trap.  What a callback of the event loop raises reaches nobody: it is logged, and looked for there.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

import anyio
from anyio.abc import ByteStream

import muxado_py as muxado
from muxado_py.frames import WIRES
from tests.helpers.decoding import decode
from tests.helpers.rowdy import configs, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("SHARES", "TARGETS", "Case")

PATIENCE = 30.0  # seconds of the clock for a session


@dataclass(frozen=True, slots=True)
class Case:
    """One input and where it goes."""

    wire: str
    target: str
    client: bool
    """Whether the side that receives it is the client."""
    seed: int
    data: bytes

    def command(self) -> str:
        """What repeats it."""
        role = "client" if self.client else "server"
        return (
            f"python -m interop.fuzz --wire {self.wire} --target {self.target} --role {role} "
            f"--seed {self.seed} --input {self.data.hex() or '-'}"
        )


def chunks(data: bytes, source: Random) -> list[bytes]:
    """``data`` in pieces of random sizes."""
    pace = source.choice((1, 3, 11, 100, 1500, 65_536))
    pieces = []
    while data:
        size = source.randint(1, pace)
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def try_decoder(case: Case) -> None:
    """The calls are the same whole, in pieces, and with pauses."""
    source = Random(case.seed)
    wire = WIRES[case.wire](client=case.client)
    calls, midway = decode(wire, case.data)
    violated = bool(calls) and calls[-1][0] == "violated"  # what is kept of the rest is nothing
    pieces = chunks(case.data, source)
    again, still_midway = decode(wire, *pieces)
    assert again == calls, "the chunking shows"
    assert still_midway == midway or violated, "the chunking shows at the end"
    pause = source.choice((1, 2, 5))
    assert decode(wire, *pieces, pause_every=pause)[0] == calls, "a pause shows"


def try_connection(case: Case) -> None:
    source = Random(case.seed)
    config = source.choice(configs(case.wire))
    run(config, case.data, client=case.client, seed=case.seed, weigh=source.random() < 0.05)


def try_session(case: Case) -> None:
    """A session with an application of tasks, on a clock that runs."""
    config = Random(case.seed).choice(configs(case.wire))
    anyio.run(over_memory, case, config)


def try_auto(case: Case) -> None:
    """A server that looks for the dialer's wire first."""
    anyio.run(over_memory, replace(case, client=False), muxado.Config(wire="auto"))


def try_socket(case: Case) -> None:
    """The same over a real socket, by the link that asyncio's callbacks drive."""
    source = Random(case.seed)
    config = source.choice(configs(case.wire))
    options = {"use_uvloop": source.random() < 0.5}
    with complaints() as complained, tempfile.TemporaryDirectory() as directory:
        anyio.run(over_socket, case, config, f"{directory}/socket", backend_options=options)
    assert not complained, complained[0]


TARGETS: dict[str, Callable[[Case], None]] = {
    "decoder": try_decoder,
    "connection": try_connection,
    "session": try_session,
    "auto": try_auto,
    "socket": try_socket,
}
SHARES = (30, 55, 5, 5, 5)
"""Of a hundred cases, how many each target gets."""


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What is logged as an error meanwhile: what nobody could catch."""
    caught: list[str] = []

    class Catch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            caught.append(self.format(record))

    handler = Catch(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        yield caught
    finally:
        logging.getLogger().removeHandler(handler)


class Played(ByteStream):
    """A transport that gives what was captured, and then ends."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces[::-1]
        self._rest = b""

    async def receive(self, max_bytes: int = 65536) -> bytes:
        await anyio.lowlevel.checkpoint()
        if not (self._rest or self._pieces):
            raise anyio.EndOfStream
        data = self._rest or self._pieces.pop()
        self._rest = data[max_bytes:]
        return data[:max_bytes]

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()

    async def send_eof(self) -> None: ...

    async def aclose(self) -> None: ...


async def over_memory(case: Case, config: muxado.Config) -> None:
    source = Random(case.seed)
    transport = Played(chunks(case.data, source))
    with anyio.fail_after(PATIENCE), suppress(muxado.SessionError):
        async with (muxado.client if case.client else muxado.server)(transport, config) as session:
            await converse(session, source)


async def over_socket(case: Case, config: muxado.Config, path: str) -> None:
    source = Random(case.seed)
    pieces = chunks(case.data, source) if len(case.data) < 2_000 else [case.data]

    async def play(stream: ByteStream) -> None:
        async with stream, anyio.create_task_group() as tasks:
            tasks.start_soon(hear, stream)
            with suppress(anyio.BrokenResourceError):  # the session may end before it heard all
                for piece in pieces:
                    await stream.send(piece)
                await stream.send_eof()

    async def serve(session: muxado.Session) -> None:
        await converse(session, source)
        ended.set()

    ended = anyio.Event()
    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as tasks:
            if case.client:
                tasks.start_soon((await anyio.create_unix_listener(path)).serve, play)
                async with muxado.connect(f"unix://{path}", config=config) as session:
                    await converse(session, source)
            else:
                async with muxado.listen(f"unix://{path}", config=config) as listener:
                    tasks.start_soon(listener.serve, serve)
                    await play(await anyio.connect_unix(path))
                    await ended.wait()
            tasks.cancel_scope.cancel()


async def hear(stream: ByteStream) -> None:
    """Throw away what comes, so that nobody waits for it to be taken."""
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async for _ in stream:
            pass


async def converse(session: muxado.Session, source: Random) -> None:
    """Open and answer streams until the session ends; it must, with its transport."""
    async with anyio.create_task_group() as tasks:
        for _ in range(source.choice((0, 1, 4))):
            tasks.start_soon(call, session, source)
        with suppress(muxado.SessionError):
            while True:
                tasks.start_soon(answer, await session.accept_stream(), source.randrange(4))
    left = session.statistics()
    assert left.live_streams == left.peer_streams == left.backlog == left.unread == 0


async def call(session: muxado.Session, source: Random) -> None:
    typed = session.config.typed_streams
    with suppress(muxado.MuxadoError, anyio.EndOfStream):
        stream = await session.open_stream(stream_type=7 if typed else None)
        async with stream:
            await stream.send(bytes(source.choice((1, 500, 100_000))))
            async for _ in stream:
                pass


async def answer(stream: muxado.Stream, habit: int) -> None:
    with suppress(muxado.MuxadoError, anyio.EndOfStream):
        async with stream:
            if habit == 0:
                stream.reset()
            elif habit == 1:
                await stream.receive(10)
            else:
                async for chunk in stream:
                    await stream.send(chunk)
