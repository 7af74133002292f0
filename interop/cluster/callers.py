"""Callers that ask one request after the other, by way of a balancer that looks who is ready.

What it is.  A closed loop of a few tasks.  Each takes the next gateway that the balancer believes in, asks for a name that is
drawn, with an id that is nobody else's, and notes what it was told.

The rule.  Nothing is asked twice here: what a caller may do with what it was told is its affair.

The trap.  A process that is stopped takes connections; the balancer believes only in who says so.
"""

from __future__ import annotations

import itertools
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from .journal import Asked, Told

if TYPE_CHECKING:
    from pathlib import Path

    from .processes import Gateway

__all__ = ("Balancer", "Callers", "is_ready")

LOOK = 0.2
"""Seconds between two looks at a gateway."""

READY = 1.0
"""Seconds that it has for its answer: long, for a machine that has other things to do."""

PATIENCE = 5.0
"""Seconds of a caller."""

MAX_ANSWER = 4096


class Balancer:
    """Who of ``gateways`` is asked next."""

    def __init__(self, gateways: list[Gateway]) -> None:
        self.gateways = gateways
        self._ready = {gateway.number: True for gateway in gateways}
        self._turn = itertools.count()

    def next(self) -> Gateway:
        """One that was ready a moment ago; any, if none was."""
        ready = [one for one in self.gateways if self._ready[one.number]] or self.gateways
        return ready[next(self._turn) % len(ready)]

    async def run(self) -> None:
        """Look at all of them, until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            for gateway in self.gateways:
                tasks.start_soon(self._watch, gateway)

    async def _watch(self, gateway: Gateway) -> None:
        while True:
            self._ready[gateway.number] = await is_ready(gateway.admin)
            await anyio.sleep(LOOK)


async def is_ready(admin: Path) -> bool:
    """Whether the gateway that is asked there takes callers, as it says itself."""
    with (
        anyio.move_on_after(READY),
        suppress(OSError, anyio.BrokenResourceError, anyio.EndOfStream),
    ):
        async with await anyio.connect_unix(admin) as stream:
            await stream.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return (await stream.receive()).startswith(b"HTTP/1.1 200 ")
    return False


class Callers:
    """Those of one scenario.

    :param prefix: of the ids.
    """

    def __init__(self, prefix: str, balancer: Balancer, names: int) -> None:
        self._prefix = prefix
        self._balancer = balancer
        self._names = names
        self._numbers = itertools.count()
        self._zero = 0.0
        self.stopping = False
        self.asked: list[Asked] = []

    def fault(self) -> None:
        """Now the fault begins: times are counted from here."""
        self._zero = anyio.current_time()

    async def run(self, number: int) -> None:
        """Ask, so many at once, until :attr:`stopping` is set."""
        self.fault()
        async with anyio.create_task_group() as tasks:
            for _ in range(number):
                tasks.start_soon(self._ask_on)

    async def _ask_on(self) -> None:
        while not self.stopping:
            request_id = f"{self._prefix}-{next(self._numbers)}"
            began = anyio.current_time()
            told, why = await self._ask(request_id)
            at = began - self._zero
            self.asked.append(Asked(request_id, at, told, why))
            if told is not Told.ANSWERED:
                await anyio.sleep(0.01)

    async def _ask(self, request_id: str) -> tuple[Told, str]:
        gateway = self._balancer.next()
        name = f"name-{random.randrange(self._names)}"
        head = f"POST /{request_id} HTTP/1.1\r\nHost: {name}.test\r\nContent-Length: 2\r\n"
        with anyio.move_on_after(PATIENCE):
            try:
                stream = await anyio.connect_tcp("127.0.0.1", gateway.http)
            except OSError as exc:
                return Told.NOT_EXECUTED, f"no connection to gateway {gateway.number}: {exc}"
            async with stream:
                answer = b""
                try:
                    await stream.send(f"{head}Connection: close\r\n\r\nhi".encode())
                    while len(answer) < MAX_ANSWER:
                        answer += await stream.receive()
                except anyio.EndOfStream:
                    pass
                except (OSError, anyio.BrokenResourceError) as exc:
                    return Told.UNKNOWN, f"gateway {gateway.number} broke off: {exc!r}"
            return _read(answer, request_id, gateway.number)
        return Told.UNKNOWN, f"gateway {gateway.number} said nothing"


def _read(answer: bytes, request_id: str, number: int) -> tuple[Told, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    line = head.partition(b"\r\n")[0].decode()
    if line.startswith("HTTP/1.1 200 ") and body == f"{request_id}\n".encode():
        return Told.ANSWERED, ""
    why = f"gateway {number}: {line} {body.decode().strip()}"
    return (Told.NOT_EXECUTED if line.startswith("HTTP/1.1 503 ") else Told.UNKNOWN), why
