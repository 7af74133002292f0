"""Overview: what a gateway says of itself at its admin address, to people, probes and Prometheus.

What it is.  ``/healthz``: whether callers should come, and of one name, if that is asked for.  ``/status``: its agents, names, doors and callers now, as JSON.
``/metrics``: the same as figures, and what was summed up of the callers that have left, and of requests.

Where data comes from.  All of it is asked when somebody asks; only the sums are kept: by :mod:`..callers.ledger` for each name that a
door or a call may lead to, and by :mod:`..http_door.accounts` for names that have agents, as far as these are not too many.  So no
caller and no agent can make them grow.

The trap.  The library that writes Prometheus' format is an extra; without it the others answer all the same.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from ...runtime.extras import MissingExtraError, require
from ..http_door.accounts import BUCKETS
from .admin import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import anyio

    from ..agents.agents import Agents
    from ..callers.latest import Latest
    from ..callers.ledger import Ledger
    from ..http_door.accounts import Accounts, Sums
    from ..options import Published

__all__ = ("Overview",)


class Overview:
    """What can be asked of a gateway.

    :param ledger: of the callers that have left.
    :param accounts: of the HTTP door, if there is one.
    :param latest: the callers that are there, those of the HTTP door too.
    :param limit: how many there may be.
    :param stop: set when it takes no more callers.
    """

    def __init__(
        self,
        agents: Agents,
        ledger: Ledger,
        accounts: Accounts | None,
        latest: Latest,
        limit: int,
        doors: Sequence[Published],
        stop: anyio.Event,
    ) -> None:
        self._agents = agents
        self._ledger = ledger
        self._accounts = accounts
        self._latest = latest
        self._limit = limit
        self._doors = doors
        self._stop = stop

    def answers(self) -> dict[str, Callable[[Mapping[str, str]], Answer]]:
        """What is answered, by path."""
        return {"/healthz": self.health, "/status": self.status, "/metrics": self.metrics}

    def health(self, asked: Mapping[str, str]) -> Answer:
        """Whether callers should come; with ``name`` in what is asked, its callers.

        Those go to where its agents are, for a hop to another gateway costs them time: so this one speaks for its own agents alone.
        """
        if self._stop.is_set():
            return Answer(503, b"stopping\n")
        name = asked.get("name")
        if name is not None and not self._agents.are_here(name):
            return Answer(503, b"no agent here serves that name\n")
        return Answer(200, b"serving\n")

    def status(self, asked: Mapping[str, str]) -> Answer:
        """What there is."""
        return Answer(200, json.dumps(self.values(), indent=2).encode() + b"\n", "application/json")

    def values(self) -> dict[str, Any]:
        """What ``/status`` says."""
        return {
            "serving": not self._stop.is_set(),
            "agents": [
                {
                    "peer": agent.peer,
                    "names": names,
                    "since": datetime.fromtimestamp(agent.since, UTC).isoformat(timespec="seconds"),
                    "streams": len(agent.passages),
                    "round_trip": agent.session.statistics().round_trip,
                    "suspect": agent.is_suspect,
                }
                for agent, names in self._agents.connected()
            ],
            "names": {name: [agent.peer for agent in its] for name, its in self._agents.serving()},
            "doors": [{"address": str(door.address), "name": door.name} for door in self._doors],
            "callers": {"served": len(self._latest.callers), "limit": self._limit},
        }

    def metrics(self, asked: Mapping[str, str]) -> Answer:
        """Figures, in Prometheus' format."""
        try:
            prometheus = require("prometheus_client", "metrics")
        except MissingExtraError as exc:
            return Answer(501, f"{exc}\n".encode())
        registry = prometheus.CollectorRegistry()
        registry.register(_Collector(self))
        return Answer(200, prometheus.generate_latest(registry), prometheus.CONTENT_TYPE_LATEST)

    def collect(self) -> Iterator[Any]:
        """The families of ``/metrics``."""
        core = require("prometheus_client.core", "metrics")
        gauge, counter = core.GaugeMetricFamily, core.CounterMetricFamily
        connected = self._agents.connected()
        yield gauge("muxado_agents", "Agents that are connected.", value=len(connected))
        yield gauge("muxado_callers", "Callers that are served.", value=len(self._latest.callers))
        yield gauge("muxado_callers_limit", "Callers that may be.", value=self._limit)
        of_names = gauge("muxado_name_agents", "Agents that serve a name.", labels=["name"])
        for name, its in self._agents.serving():
            of_names.add_metric([name], len(its))
        yield of_names
        ends = counter("muxado_callers_left", "Callers that have left.", labels=["name", "end"])
        for (its_name, end), number in self._ledger.ends.items():
            ends.add_metric([its_name or "", end.value], number)
        yield ends
        size = counter("muxado_bytes", "Bytes of callers that have left.", labels=["name", "way"])
        for (its_name, way), number in self._ledger.sizes.items():
            size.add_metric([its_name or "", way], number)
        yield size
        if self._accounts is not None:
            yield from self._collect_requests(core, self._accounts.sums)

    def _collect_requests(self, core: Any, sums: Mapping[str, Sums]) -> Iterator[Any]:
        counter = core.CounterMetricFamily
        number = counter("muxado_requests", "Requests at the HTTP door.", labels=["name", "status"])
        size = counter("muxado_request_bytes", "Bytes of those.", labels=["name", "way"])
        seconds = core.HistogramMetricFamily(
            "muxado_request_seconds", "Seconds that those took.", labels=["name"]
        )
        for name, its in sums.items():
            for digit, count in enumerate(its.statuses):
                if count:
                    number.add_metric([name, f"{digit}xx" if digit else "none"], count)
            size.add_metric([name, "in"], its.bytes_in)
            size.add_metric([name, "out"], its.bytes_out)
            bounds = [*map(str, BUCKETS), "+Inf"]
            seconds.add_metric(
                [name], list(zip(bounds, accumulate(its.buckets), strict=True)), its.seconds
            )
        yield from (number, size, seconds)


class _Collector:
    def __init__(self, overview: Overview) -> None:
        self.collect = overview.collect
