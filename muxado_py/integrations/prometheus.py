"""A pool for Prometheus: how it stands with its targets and what became of its calls, asked whenever somebody scrapes.

What it is.  A collector of the library ``prometheus_client``: between two scrapes it costs nothing but the sums that a pool
keeps anyway.

The rule.  Labels are the pool's name and its targets, which the application has written down; nothing that a peer says is one.

The trap.  Most programs let ``prometheus_client`` answer in a thread of its own (``start_http_server``), and a pool belongs to its
event loop: so what there is to see is taken down there, and the thread waits for it.
"""

from __future__ import annotations

from concurrent.futures import Future
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from ..arguments import check_able, check_text
from ..runtime.checkpoints import current_backend
from ..runtime.extras import require
from ..service.call_statistics import CALL_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.registry import Collector

    from ..service.call_statistics import CallStatistics
    from ..service.pool import Pool
    from ..service.pool_state import PoolState

    Seen: TypeAlias = tuple[PoolState, CallStatistics]

__all__ = ("PoolCollector", "pool_collector")


PATIENCE = 5.0
"""Seconds for which a scrape waits for the pool's event loop; half of Prometheus' own time-out."""


def pool_collector(pool: Pool, name: str) -> Collector:
    """What ``prometheus_client.REGISTRY.register`` takes; unregister it when the pool ends.

    Made in the pool's event loop, and asked in any thread; once that loop is over it has nothing to say.

    :param name: the label ``pool`` of all its metrics; no two collectors of a registry may have the same.
    :raises TypeError: if ``name`` is no str, or ``pool`` none.
    :raises MissingExtraError: if ``prometheus_client`` is not installed (extra ``metrics``).
    """
    check_text("name", name)
    check_able("pool", pool, "a Pool", "call_statistics")
    # Its base is the library's, and would have to be imported with this module.
    return cast(
        "Collector", PoolCollector(pool, name, require("prometheus_client.core", "metrics"))
    )


class PoolCollector:
    """Made by :func:`pool_collector`, never directly."""

    def __init__(self, pool: Pool, name: str, core: Any) -> None:
        self._pool = pool
        self._name = name
        self._core = core
        self._backend = current_backend()

    def describe(self) -> list[Any]:
        """Nothing, so that two collectors may have metrics of the same names."""
        return []

    def collect(self) -> Iterator[Any]:
        """The metrics of this moment.

        :raises TimeoutError: in another thread, if the pool's event loop does not get to it in 5 s.
        """
        seen = self._seen()
        if seen is not None:
            state, calls = seen
            yield from self._of_targets(state)
            yield from self._of_calls(calls)

    def _seen(self) -> Seen | None:
        """What there is to see; None if the event loop is over."""
        backend = self._backend
        try:
            backend.check_here()
        except RuntimeError:
            seen: Future[Seen] = Future()
            try:
                backend.soon(lambda: _fulfil(seen, self._look))
            except RuntimeError:
                return None
            return seen.result(PATIENCE)
        return self._look()

    def _look(self) -> Seen:
        return self._pool.state, self._pool.call_statistics()

    def _of_targets(self, state: PoolState) -> Iterator[Any]:
        gauge = self._core.GaugeMetricFamily
        sessions = gauge(
            "muxado_pool_sessions", "Sessions that are there.", labels=("pool", "target")
        )
        streams = gauge(
            "muxado_pool_open_streams", "Streams that this side opened.", labels=("pool", "target")
        )
        connected = gauge(
            "muxado_pool_connected", "Whether streams can be opened.", labels=("pool", "target")
        )
        for target in state.targets:
            labels = (self._name, target.url)
            sessions.add_metric(labels, target.sessions)
            streams.add_metric(labels, target.open_streams)
            connected.add_metric(labels, float(target.status == "connected"))
        waiting = gauge(
            "muxado_pool_waiting", "Who waits for a session or a slot.", labels=("pool",)
        )
        waiting.add_metric((self._name,), state.waiting)
        yield from (sessions, streams, connected, waiting)

    def _of_calls(self, calls: CallStatistics) -> Iterator[Any]:
        core, labels = self._core, (self._name,)
        outcomes = core.CounterMetricFamily(
            "muxado_calls", "Calls that have ended, by how.", labels=("pool", "outcome")
        )
        for outcome, count in calls.outcomes.items():
            outcomes.add_metric((self._name, outcome), count)
        attempts = core.CounterMetricFamily(
            "muxado_call_attempts", "Streams that were opened for calls.", labels=("pool",)
        )
        attempts.add_metric(labels, calls.attempts)
        seconds = core.HistogramMetricFamily(
            "muxado_call_seconds", "How long calls took.", labels=("pool",)
        )
        bounds = (*map(str, CALL_BUCKETS), "+Inf")
        buckets = list(zip(bounds, accumulate(calls.buckets), strict=True))
        seconds.add_metric(labels, buckets, calls.seconds)
        budget = core.GaugeMetricFamily(
            "muxado_retry_budget", "Calls that may be sent again now.", labels=("pool",)
        )
        budget.add_metric(labels, calls.budget)
        yield from (outcomes, attempts, seconds, budget)


def _fulfil(future: Future[Seen], look: Callable[[], Seen]) -> None:
    """What ``look`` gives is what the future has; nothing is raised in the loop."""
    try:
        future.set_result(look())
    except Exception as exc:  # noqa: BLE001 - raised in the thread that waits
        future.set_exception(exc)
