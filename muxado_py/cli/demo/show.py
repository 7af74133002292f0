"""The demo's parent: it starts the processes, moves them through the parts, and judges.

What it is.  Three rounds, each with fresh processes so that none inherits buffers or windows from
the one before: idle and then FIFO beside a download; priorities beside a download; and a connection
that is cut while calls are open.

How the cut is made.  Some calls run in the app.  Then the proxy freezes, as a network does that goes
dark; more calls are made, an upload fills every buffer down to the frozen link, and the last calls
find no way out of the gateway process.  Then the proxy resets both connections.  The first are
executed, the second were sent and never arrived, the last were never sent: only those may be
called safe, and the app's own record says whether that is true.

The rule.  Whatever happens, no process stays: each lives in a context manager.

The trap.  Nothing here may load the machine while it measures: progress is one line a part.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import click

from ...runtime.extras import MissingExtraError, require
from ..running import NotStarted
from .progress import progress
from .proxy import EmulatedLink
from .puppet import puppet
from .report import Call, Findings, Phase, table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .puppet import Puppet

__all__ = ("NotHeld", "demo")

# The window lets one download fill the link; everything else that differs is the point.
WINDOW = {"stream_window": 4 * 1024 * 1024}
FIFO: dict[str, Any] = {**WINDOW, "scheduler": "fifo", "notsent_lowat": None}
PRIORITY: dict[str, Any] = {**WINDOW, "scheduler": "priority"}

CALLS = 4  # of each kind
UPLOAD = 4 * 1024 * 1024
FREEZE_TIME = 0.5  # seconds for each step to come to rest
SITUATIONS = {
    "a": "running in the app",
    "b": "sent, lost on the way",
    "c": "upload under way",
    "d": "waiting behind the upload",
}


class NotHeld(click.ClickException):
    """What was measured is not what should be."""

    exit_code = 1


class _Stage(NamedTuple):
    """The processes of one round, connected."""

    agent: Puppet
    gateway: Puppet
    proxy: Puppet | None


class _Workshop(NamedTuple):
    """What all rounds share."""

    directory: Path
    certfile: Path
    keyfile: Path

    @asynccontextmanager
    async def stage(
        self, config: dict[str, Any], link: EmulatedLink | None
    ) -> AsyncIterator[_Stage]:
        """Start the processes and wait until the agent is connected; end them afterwards."""
        settings = json.dumps(config)
        async with AsyncExitStack() as stack:

            async def start(name: str, *arguments: str) -> Puppet:
                return await stack.enter_async_context(puppet(name, self.directory, *arguments))

            gateway = await start("gateway", str(self.certfile), str(self.keyfile), settings)
            port = (await gateway.hear())["port"]
            proxy = None
            if link is not None:
                proxy = await start("proxy", str(port), json.dumps(link._asdict()))
                port = (await proxy.hear())["port"]
            agent = await start("agent", f"tls://127.0.0.1:{port}", str(self.certfile), settings)
            await agent.hear()
            yield _Stage(agent, gateway, proxy)


async def demo(
    stop: anyio.Event, *, as_json: bool, seconds: float, link: EmulatedLink | None
) -> None:
    """Run the demo and print what it found.

    :raises NotStarted: if an extra is missing or a process fails.
    :raises NotHeld: if something did not hold.

    Cancellation: the processes are ended.
    """
    try:
        for library, extra in (
            ("cryptography", "demo"),
            ("uvicorn", "demo"),
            ("httpx2", "demo"),
        ):
            require(library, extra)
    except MissingExtraError as exc:
        raise NotStarted(str(exc)) from exc
    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            await stop.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(leave)
        findings = await _rounds(seconds, link)
        tasks.cancel_scope.cancel()
    if stop.is_set():
        return
    click.echo(json.dumps(findings.as_json(), indent=2) if as_json else table(findings))
    if not all(claim.held for claim in findings.claims()):
        raise NotHeld(
            "not everything held that the demo claims; a time or a rate may fail where something else runs "
            "beside the demo: start it again on an idle machine"
        )


async def _rounds(seconds: float, link: EmulatedLink | None) -> Findings:
    from .certificate import make_certificate

    with tempfile.TemporaryDirectory(prefix="muxado-demo-") as name, progress() as say:
        directory = Path(name)
        workshop = _Workshop(directory, *make_certificate(directory))
        say("starting a gateway and an agent")
        async with workshop.stage(FIFO, link) as stage:
            say(f"requests alone, {seconds:g} s")
            idle = await _measure(stage, seconds, beside_bulk=False)
            say(f"requests beside a saturating download, FIFO order, {seconds:g} s")
            fifo = await _measure(stage, seconds, beside_bulk=True)
        say("starting them again, with priorities")
        async with workshop.stage(PRIORITY, link) as stage:
            say(f"requests beside a saturating download, with priorities, {seconds:g} s")
            priority = await _measure(stage, seconds, beside_bulk=True)
        say("starting them again, and cutting the connection under open calls")
        async with workshop.stage(PRIORITY, link or EmulatedLink()) as stage:
            calls = await _cut(stage)
    return Findings(seconds, link, idle, fifo, priority, calls)


async def _measure(stage: _Stage, seconds: float, *, beside_bulk: bool) -> Phase:
    order = {"do": "measure", "seconds": seconds, "beside_bulk": beside_bulk}
    answer = await stage.gateway.ask(order, patience=seconds + 60)
    return Phase(answer["latencies"], answer["failures"], answer["bulk_rate"])


async def _cut(stage: _Stage) -> list[Call]:
    assert stage.proxy is not None

    async def call(kind: str, path: str, count: int, body: int = 0) -> None:
        calls = [f"{kind}{number}" for number in range(1, count + 1)]
        await stage.gateway.ask({"do": "call", "calls": calls, "path": path, "body": body})

    await call("a", "/slow", CALLS)
    await stage.agent.ask({"at_least": CALLS})
    await stage.proxy.say("freeze")
    await anyio.sleep(0.05)
    await call("b", "/count", CALLS)
    await anyio.sleep(FREEZE_TIME)
    await call("c", "/count", 1, body=UPLOAD)
    await anyio.sleep(FREEZE_TIME)
    await call("d", "/count", CALLS)
    await anyio.sleep(FREEZE_TIME)
    await stage.proxy.say("cut")
    verdicts = (await stage.gateway.ask({"do": "verdicts"}))["verdicts"]
    await anyio.sleep(FREEZE_TIME)  # what the agent has received it may still execute
    executed = (await stage.agent.ask({"at_least": 0}))["executed"]
    return [
        Call(name, SITUATIONS[name[0]], verdict, name in executed)
        for name, verdict in sorted(verdicts.items())
    ]
