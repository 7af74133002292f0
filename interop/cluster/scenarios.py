"""What is done to a cluster while callers ask, and in which seconds after it they may be told something else than an answer.

The rules.  A scenario begins with a cluster that serves, and leaves one.  What is held to is how many were told something else
and when they had asked, never how long an answer took.

The trap.  Two processors that do other things too make a second longer: what is late by that is not what is looked for, so the
bounds of a run on a machine that is not quiet are a multiple.
"""

from __future__ import annotations

import signal
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import anyio

from .callers import Callers
from .journal import Told, verdicts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .cluster import Cluster
    from .journal import Asked

__all__ = ("SCENARIOS", "Outcome", "Scenario", "run")

BEFORE = 1.0
"""Seconds before the fault."""


class Scenario(NamedTuple):
    """One fault."""

    name: str
    harm: Callable[[Cluster], Awaitable[None]]
    window: float = 0.0
    """Seconds from the fault in which those must have asked who were told something else than an answer."""
    allowed: int | None = 0
    """How many may be; None: any number."""


class Outcome(NamedTuple):
    """What came of it."""

    scenario: Scenario
    asked: int
    bad: list[Asked]
    findings: list[str]
    """What must never be."""

    @property
    def late(self) -> list[Asked]:
        """Those outside of the window."""
        return [one for one in self.bad if not 0 <= one.at <= self.scenario.window]

    def faults(self, patience: float = 1.0) -> list[str]:
        """What is not as it should be; ``patience`` is by how much the window may be longer."""
        found = list(self.findings)
        window, allowed = self.scenario.window * patience, self.scenario.allowed
        late = [one for one in self.bad if not -BEFORE <= one.at <= window]
        if allowed is None:
            found += [f"{one.id} at {one.at:.1f} s: {one.told.value}, {one.why}" for one in late]
        elif len(self.bad) > allowed:
            found += [
                f"{one.id} at {one.at:.1f} s: {one.told.value}, {one.why}" for one in self.bad
            ]
        return found

    def row(self) -> str:
        """A row of the table."""
        told = Counter(one.told for one in self.bad)
        last = max((one.at for one in self.bad), default=0.0)
        first = min((one.at for one in self.bad), default=0.0)
        when = f"{first:.1f} to {last:.1f} s" if self.bad else ""
        return (
            f"| {self.scenario.name} | {self.asked:,} | {told[Told.NOT_EXECUTED]} | {told[Told.UNKNOWN]} "
            f"| {when} | {len(self.findings)} |"
        )


async def run(cluster: Cluster, scenario: Scenario, at_once: int) -> Outcome:
    """Have ``at_once`` callers ask while it happens."""
    await cluster.serving()
    callers = Callers(scenario.name.replace(" ", "-"), cluster.balancer, cluster.names)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cluster.balancer.run)
        async with anyio.create_task_group() as asking:
            asking.start_soon(callers.run, at_once)
            await anyio.sleep(BEFORE)
            callers.fault()
            await scenario.harm(cluster)
            callers.stopping = True
        tasks.cancel_scope.cancel()
    bad = [one for one in callers.asked if one.told is not Told.ANSWERED]
    return Outcome(
        scenario, len(callers.asked), bad, verdicts(callers.asked, cluster.journal.executed())
    )


async def nothing(cluster: Cluster) -> None:
    """None at all."""
    await anyio.sleep(3)


async def kill_a_gateway(cluster: Cluster) -> None:
    """One dies, and is started again."""
    gateway = cluster.gateways[0]
    gateway.kill()
    await anyio.sleep(5)
    gateway.begin()
    await anyio.sleep(3)


async def stop_a_gateway(cluster: Cluster) -> None:
    """One hangs, and goes on."""
    gateway = cluster.gateways[1]
    gateway.signal(signal.SIGSTOP)
    await anyio.sleep(8)
    gateway.signal(signal.SIGCONT)
    await anyio.sleep(2)


async def restart_each_gateway(cluster: Cluster) -> None:
    """One after the other is asked to end, and started again."""
    for gateway in cluster.gateways:
        gateway.signal(signal.SIGTERM)
        await gateway.ended()
        gateway.begin()
        await cluster.serving()
        await anyio.sleep(1)


async def restart_the_agents(cluster: Cluster) -> None:
    """A part of them after the other is asked to end, and started again."""
    for agents in cluster.agents:
        agents.signal(signal.SIGTERM)
        await agents.ended()
        agents.begin()
        await agents.registered()  # else those of a name may all be on their way at once
        await cluster.serving()
        await anyio.sleep(1)


async def restart_all(cluster: Cluster) -> None:
    """Both at the same time."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restart_each_gateway, cluster)
        tasks.start_soon(restart_the_agents, cluster)


async def kill_redis(cluster: Cluster) -> None:
    """The registry is gone."""
    cluster.redis.kill()
    await anyio.sleep(8)


async def start_redis_empty(cluster: Cluster) -> None:
    """It is back, and knows nothing."""
    cluster.redis.start()
    await anyio.sleep(6)


async def hang_redis(cluster: Cluster) -> None:
    """It takes commands and answers none, for longer than a gateway has connections to lose with that, and goes on."""
    cluster.redis.pause()
    await anyio.sleep(12)
    cluster.redis.go_on()
    await anyio.sleep(2)


SCENARIOS = (
    Scenario("steady", nothing),
    Scenario("kill -9 of a gateway", kill_a_gateway, window=2.0, allowed=None),
    Scenario("SIGSTOP of a gateway", stop_a_gateway, window=4.0, allowed=None),
    Scenario("rolling restart of gateways", restart_each_gateway),
    Scenario("rolling restart of agents", restart_the_agents),
    Scenario("rolling restart of both at once", restart_all),
    Scenario("Redis hangs", hang_redis),
    Scenario("Redis killed", kill_redis),
    Scenario("Redis started empty", start_redis_empty, allowed=5),
)
