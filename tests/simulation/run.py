"""Run: one seed, from its plan to what the oracle says; and many.

The trap.  Whatever a run leaves behind would change the next: the garbage collector runs between two runs,
and numbers are counted from the beginning in each.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from anyio import fail_after, move_on_after
from anyio._backends import _asyncio as anyio_asyncio

from muxado_py.dialing.asyncio_sockets import AsyncioSockets
from muxado_py.dialing.pending import AnyioPending
from muxado_py.dialing.session_scope import SessionScope
from muxado_py.frames import WIRES
from muxado_py.links.websocket_handshakes import WebSocketClient, WebSocketServer

from ..helpers.inside import driver_of
from .apps import SideApp
from .asyncio_world import AsyncioWorld
from .clock import Clock
from .kernel import asked_of
from .ledger import Ledger
from .network import connected
from .oracle import judge
from .pipes import PipeEnd, asked_for_pipes, open_pipes, piped
from .plan import draw
from .proxies import dial, dialing_sockets, proxied
from .security import tls_contexts
from .trio_world import TrioSocket, TrioWorld

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Iterator

    from muxado_py import Session
    from muxado_py.dialing.pending import PendingConnection

    from .network import SimSocket
    from .plan import Plan
    from .proxies import SimProxy

__all__ = ("Result", "Tally", "run_many", "run_plan", "run_seed")


@dataclass
class Result:
    """Of one run."""

    plan: Plan
    ledger: Ledger
    findings: list[str]


def run_seed(
    seed: int, wire: str | None = None, loop: str | None = None, transport: str | None = None
) -> Result:
    """Run one seed; it does the same each time."""
    return run_plan(draw(seed, wire, loop, transport))


def run_plan(plan: Plan) -> Result:
    """Run a plan that somebody made."""
    clock = Clock()
    ledger = Ledger(clock)
    rng = Random(f"world {plan.seed}")
    sockets: Any
    proxy: SimProxy | None = None
    if plan.transport == "pipes":
        sockets = piped(clock, plan.paths)
        system = asked_for_pipes(sockets, on_trio=plan.loop == "trio")
    elif plan.proxy is not None:
        sockets, proxy = proxied(clock, plan)
        proxy.log = partial(ledger.note, "proxy")
        system = asked_of(*sockets)
    else:
        sockets = connected(clock, plan.paths)
        system = asked_of(*sockets)
    for one in sockets:
        one.log = partial(ledger.note, f"socket {one.name}")
    with clock.in_charge(), _clocks(), system, _no_collecting(), _recognition(plan):
        world: AsyncioWorld | TrioWorld
        if plan.loop == "asyncio":
            world = AsyncioWorld(clock, rng, sockets, plain=plan.plain)
        else:
            world = TrioWorld(clock, rng, sockets)
        mains = [_Main(plan, side, ledger, world, sockets[side], proxy) for side in (0, 1)]
        finished = world.run([main.run for main in mains], plan.limit)
        waiting = ledger.calls_waiting
        world.settle(1.0)
        left = world.left_over() if finished else waiting
        for main in mains:
            main.note_end()
        ledger.reset_at_proxy = proxy is not None and proxy.was_reset
        findings = judge(plan, ledger, sockets, left)
        world.close()
    return Result(plan, ledger, findings)


class _Main:
    """The main task of one side."""

    def __init__(
        self,
        plan: Plan,
        side: int,
        ledger: Ledger,
        world: AsyncioWorld | TrioWorld,
        sock: SimSocket,
        proxy: SimProxy | None,
    ) -> None:
        self._plan = plan
        self._proxy = proxy
        self._side = side
        self._record = ledger.sides[side]
        self._ledger = ledger
        self._sock = sock
        self._app = SideApp(plan, side, ledger, world.busy)

    async def run(self) -> None:
        plan = self._plan.sides[self._side]
        if isinstance(self._sock, PipeEnd):
            stream = open_pipes(self._sock, is_command=self._side == 0)
            made: PendingConnection | None = AnyioPending(stream)
        elif self._proxy is not None:
            made = await self._through(self._proxy)
        else:
            made = await self._make(self._sock)
        if made is None or not await self._agree(made):
            return
        scope = SessionScope(made, plan.config, is_client=self._side == 0)
        await self._app.run(scope, self._entered)
        self._record.heard_end = self._sock.has_ended

    def _make(self, sock: SimSocket) -> Awaitable[PendingConnection]:
        return _make(self._plan.loop, sock, self._plan.sides[self._side].anyio_link)

    async def _through(self, proxy: SimProxy) -> PendingConnection | None:
        """The connection through a proxy, if there is one within the minute that ``connect`` may give it."""
        assert self._plan.proxy is not None
        if self._side == 1:
            with move_on_after(60):
                await proxy.accepted()
                return await self._make(self._sock)
            return None
        try:
            with fail_after(60), dialing_sockets(self._sock, self._make, self._plan.loop):
                return await dial(self._plan.proxy)
        except OSError as exc:
            self._record.refused = exc
            self._ledger.note("a", f"no {self._plan.transport}: {exc!r}")
        except Exception as exc:  # noqa: BLE001 - whatever else it is, is found
            self._record.mistakes.append(f"dialing raised {exc!r}")
        return None

    async def _agree(self, made: PendingConnection) -> bool:
        """The handshakes, as ``connect`` and ``listen`` bound them."""
        is_server = self._side == 1
        try:
            with fail_after(60):
                if self._plan.has_tls:
                    context = tls_contexts()[self._side]
                    await made.secure(context, server_side=is_server, hostname=None)
                if self._plan.has_websocket:
                    await made.add_layer(
                        WebSocketServer(lambda _: None)
                        if is_server
                        else WebSocketClient("b", 80, "/", secure=self._plan.has_tls)
                    )
        except OSError as exc:
            self._ledger.note("ab"[self._side], f"no {self._plan.transport}: {exc!r}")
            await made.abort()
            return False
        return True

    def _entered(self, session: Session) -> None:
        driver = driver_of(session)
        # Which is called in the turn in which a session ends.
        take_events = driver.pings.take_events

        def watch() -> None:
            take_events()
            ended = driver.connection.events.failure
            if ended is not None and self._record.verdict is None:
                self._note_verdict(ended)

        driver.pings.take_events = watch
        if self._plan.sides[self._side].rogue:
            self._make_rogue(driver.connection)

    def _note_verdict(self, failure: Any) -> None:
        record, sock = self._record, self._sock
        record.verdict = failure
        record.verdict_at = self._ledger.clock.now
        record.unread_then = len(sock.inbox)
        record.unread_since_then = sock.unread_since
        record.last_arrival_then = sock.last_arrival
        record.last_taken_then = sock.last_taken
        self._ledger.note("ab"[self._side], f"session over: {failure.message}")

    def _make_rogue(self, connection: Any) -> None:
        """Behind the end of each stream there is a byte more."""
        honest, ids = connection.data_to_send, self._record.rogue_ids
        wire = WIRES[self._plan.wire](client=self._side == 0)

        def data_to_send(budget: int) -> Any:
            pieces = honest(budget)
            for stream in connection.inspect().known if pieces else ():
                half_closed = stream.fin_sent and not stream.fin_received
                if half_closed and stream.id not in ids and stream.failure is None:
                    ids.add(stream.id)
                    pieces += [wire.data_header(stream.id, 1, False), b"x"]
            return pieces

        connection.data_to_send = data_to_send

    def note_end(self) -> None:
        """What is known when the run is over."""
        session = self._record.session
        if session is None:
            return
        driver = driver_of(session)
        self._record.knows_peer = session.is_muxado_py is True
        self._record.paused = self._record.verdict is None and not driver.connection.may_read()
        for side in self._ledger.sides:
            for half in side.halves:
                if half.stream is not None and half.stream.id in self._record.rogue_ids:
                    half.rogue = True


async def _make(loop: str, sock: Any, anyio_link: bool) -> PendingConnection:
    """The connection as ``connect`` and ``listen``, or the user of a byte stream, have it."""
    if loop == "trio":
        from anyio._backends import _trio

        fake: Any = TrioSocket(sock)
        return AnyioPending(_trio.SocketStream(fake))
    if not anyio_link:
        return await AsyncioSockets().pending(sock)
    made: Any = await asyncio.get_running_loop().create_connection(
        anyio_asyncio.StreamProtocol, sock=sock
    )
    return AnyioPending(anyio_asyncio.SocketStream(*made))


@contextmanager
def _clocks() -> Iterator[None]:
    """Every clock of the package is the one of the run."""
    real = time.perf_counter
    modules = [
        module
        for name, module in [*sys.modules.items()]
        if name.startswith("muxado_py") and getattr(module, "perf_counter", None) is real
    ]

    def now() -> float:
        assert Clock.current is not None
        return Clock.current.now

    for module in modules:
        vars(module)["perf_counter"] = now
    anyio_asyncio.CancelScope.__hash__ = _same  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for module in modules:
            vars(module)["perf_counter"] = real
        anyio_asyncio.CancelScope.__hash__ = object.__hash__  # type: ignore[method-assign]


def _same(_: object) -> int:
    """Sets are then in the order in which they were filled."""
    return 0


@contextmanager
def _no_collecting() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _recognition(plan: Plan) -> Iterator[None]:
    """Two that do not know each other say no hello."""
    wire: Any = WIRES["muxado"]
    hello = vars(wire)["hello"]
    if plan.foreign:
        wire.hello = staticmethod(lambda: b"")
    try:
        yield
    finally:
        wire.hello = hello


@dataclass
class Tally:
    """Of many runs.

    :ivar found: seed, wire, loop, transport, and what was found.
    """

    runs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    found: list[tuple[int, str, str, str, list[str]]] = field(default_factory=list)
    seconds: float = 0.0
    last: int = 0


def run_many(
    seeds: Iterable[int],
    seconds: float,
    wire: str | None = None,
    loop: str | None = None,
    transport: str | None = None,
) -> Tally:
    """Run seeds for so many seconds of processor time."""
    tally = Tally()
    began = time.process_time()
    for seed in seeds:
        result = run_seed(seed, wire, loop, transport)
        plan = result.plan
        tally.runs[plan.wire, plan.loop, plan.transport] += 1
        tally.last = seed
        if result.findings:
            tally.found.append((seed, plan.wire, plan.loop, plan.transport, result.findings))
        tally.seconds = time.process_time() - began
        if tally.seconds > seconds:
            break
    return tally
