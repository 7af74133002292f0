"""The cap on bytes in flight, over a path that is only figures and a clock that nobody waits for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import pytest

from muxado_py.links.inflight_cap import MIN_CAPPED_RTT, RATE_STEPS, RETRY_DELAY, InflightCap
from muxado_py.links.tcp_info import PathFigures

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
FLUSH = 64 * KIB
PACKET = 4 * KIB
FIFTY = 50_000_000 / 8
"""Bytes per second."""


class Network:
    """One bottleneck with an endless queue, and a kernel that hands it over a window.

    :cvar paced: whether the kernel is said to pace.

    :param rate: bytes per second.
    :param delay: seconds of a round trip through an empty queue.
    :param window: what the kernel sends before it waits for acknowledgements, as products of both;
        more than one of them stands in the queue.
    """

    paced = False

    def __init__(self, rate: float = FIFTY, delay: float = 0.04, window: float = 2.0) -> None:
        self.now = 100.0
        self.rate = rate
        self.delay = delay
        self.window = window * rate * delay
        self.others = 0.0
        """Seconds that everything waits for what others sent."""
        self.least = delay
        """The shortest round trip that the kernel remembers; the handshake's at first."""
        self.looks = 0
        self.acknowledged = 0
        self.inflight_cap = InflightCap(self, lambda: self.now, paced=self.paced)
        self._round_trip = delay
        self._free = 0.0
        self._on_the_way: deque[tuple[float, float, int]] = deque()  # sent, due, bytes
        self._queued = 0
        self.silent_until = 0.0

    def figures(self) -> PathFigures:
        self.looks += 1
        return PathFigures(self._round_trip, self.least, self.acknowledged, 0)

    def in_flight(self) -> int:
        return self._queued

    @property
    def round_trip(self) -> float:
        """Of what was acknowledged last."""
        return self._round_trip

    @property
    def product(self) -> float:
        return self.rate * self.delay

    def send(self, nbytes: int) -> None:
        """In packets."""
        for at in range(0, nbytes, PACKET):
            self._send(min(PACKET, nbytes - at))

    def _send(self, nbytes: int) -> None:
        begin = max(self.now + self.others, self._free)
        self._free = begin + nbytes / self.rate
        self._on_the_way.append((self.now, self._free + self.delay, nbytes))
        self._queued += nbytes

    def run(self, seconds: float, application: Callable[[], int] = lambda: 4 * FLUSH) -> float:
        """Let time pass, and send what there is and may go; bytes per second that arrived.

        :param application: how much it has to send now.
        """
        before, until = self.acknowledged, self.now + seconds
        while self.now < until:
            self.now += RETRY_DELAY
            self._receive()
            wanted = application()
            while wanted and self._queued < self.window:
                allowed = min(wanted, self.inflight_cap.allow(FLUSH))
                if not allowed:
                    break
                self.send(allowed)
                wanted -= allowed
        return (self.acknowledged - before) / seconds

    def run_until(self, condition: Callable[[], bool]) -> None:
        """A minute at most."""
        until = self.now + 60
        while not condition():
            self.run(0.01)
            assert self.now < until

    def wait(self, seconds: float) -> None:
        """Let time pass in which the process does nothing, and its kernel goes on."""
        until = self.now + seconds
        while self.now < until:
            self.now += RETRY_DELAY
            self._receive()

    def _receive(self) -> None:
        while self._on_the_way and self._on_the_way[0][1] <= self.now >= self.silent_until:
            sent, _, nbytes = self._on_the_way.popleft()
            self._round_trip = self.now - sent
            self.least = min(self.least, self._round_trip)
            self.acknowledged += nbytes
            self._queued -= nbytes


class PacedNetwork(Network):
    """One whose kernel sends no faster than the path, from its start-up on, so that all that waits does so in the kernel.

    The kernel takes a product, and 256 KiB more.
    """

    paced = True

    def __init__(self, rate: float = FIFTY, delay: float = 0.04) -> None:
        super().__init__(rate, delay)
        self.window = self.product + 256 * KIB
        self.most_in_flight = 0
        self._unsent = 0
        self._pace = rate / 64

    @classmethod
    def started(cls) -> PacedNetwork:
        """One that knows its path."""
        network = cls()
        network._pace = network.rate
        return network

    def _send(self, nbytes: int) -> None:
        self._queued += nbytes
        self._unsent += nbytes

    def _receive(self) -> None:
        """In each look of the application's; the rate doubles in a round trip, while there is enough to send."""
        sent = min(self._unsent, int(self._pace * RETRY_DELAY))
        if sent:
            self._unsent -= sent
            self._on_the_way.append((self.now, self.now + self.delay, sent))
        if self._unsent:
            self._pace = min(self.rate, self._pace * 2 ** (RETRY_DELAY / self.delay))
        super()._receive()
        if self.inflight_cap.cap:
            self.most_in_flight = max(self.most_in_flight, self._queued)


def filled(rate: float = FIFTY, delay: float = 0.04) -> Network:
    """A network whose path has been full long enough to be known."""
    network = Network(rate, delay)
    network.run(3)
    return network


class Uncapped(InflightCap):
    """Allows everything."""

    def allow(self, budget: int, *, urgent: bool = False) -> int:
        return budget


@pytest.mark.slow
@pytest.mark.parametrize(("mbit", "milliseconds"), [(50, 40), (500, 10), (5, 100), (1000, 40)])
def test_the_queue_gets_short_and_the_path_stays_full(mbit: int, milliseconds: int) -> None:
    network = filled(mbit * 125_000, milliseconds / 1000)
    assert network.inflight_cap.cap
    assert network.inflight_cap.quantum <= max(4 * KIB, 1.1 * network.rate * RETRY_DELAY)
    assert network.run(5) > 0.98 * network.rate
    assert network.round_trip < 1.3 * network.delay + 3 * RETRY_DELAY + PACKET / network.rate


def test_without_it_the_queue_is_as_long_as_the_window() -> None:
    """What the other tests rest on."""
    network = Network()
    network.inflight_cap = Uncapped(network, lambda: network.now)
    network.run(3)
    assert network.round_trip > 1.9 * network.delay


@pytest.mark.parametrize("make", [Network, PacedNetwork.started])
def test_an_application_that_sends_less_than_the_path_takes_is_never_capped(
    make: Callable[[], Network],
) -> None:
    network = make()
    burst = int(0.6 * FIFTY * 0.05)
    due = network.now

    def now_and_then() -> int:
        nonlocal due
        if network.now < due:
            return 0
        due += 0.05
        assert network.inflight_cap.allow(FLUSH) == FLUSH
        return burst

    network.run(5, now_and_then)
    assert not network.inflight_cap.cap


def test_a_path_that_becomes_faster_is_found_out() -> None:
    network = filled()
    network.rate *= 8
    network.window *= 8
    network.run(2)
    assert network.run(2) > 0.95 * network.rate


def test_a_path_that_becomes_slower_gets_a_short_queue_again() -> None:
    network = filled()
    network.rate /= 4
    network.run(6)
    assert network.inflight_cap.cap
    assert network.run(5) > 0.98 * network.rate
    assert network.round_trip < 1.6 * network.delay


@pytest.mark.slow
def test_a_path_that_becomes_longer_is_not_starved() -> None:
    """The kernel goes on believing in the old round trip for minutes."""
    network = filled()
    network.delay *= 2
    network.window *= 2
    assert network.run(60) > 0.9 * network.rate


def test_nothing_is_given_way_to_a_queue_of_others() -> None:
    """They fill it whatever we do, and would take what the cap leaves them."""
    network = filled()
    network.others = network.delay
    network.window *= 2
    assert network.run(60) > 0.9 * network.rate


def test_where_a_cap_does_not_help_it_is_tried_less_and_less() -> None:
    network = filled()
    network.others = network.delay
    network.window *= 2
    tries = []
    for _ in range(3):
        begin = network.now
        network.run_until(lambda: not network.inflight_cap.cap)
        network.run_until(lambda: bool(network.inflight_cap.cap))
        tries.append(network.now - begin)
    assert tries == sorted(tries)
    assert tries[-1] > 2 * tries[0]


def test_a_moment_in_which_the_machine_was_busy_changes_nothing() -> None:
    network = filled()
    cap = network.inflight_cap.cap
    network.silent_until = network.now + 0.1
    network.run(0.1)
    for _ in range(2 * RATE_STEPS):
        network.run(network.delay)
        assert 0.8 * cap < network.inflight_cap.cap < 1.2 * cap


@pytest.mark.parametrize(("mbit", "milliseconds"), [(50, 40), (500, 10)])
def test_a_process_that_waits_for_a_processor_keeps_its_cap(mbit: int, milliseconds: int) -> None:
    """What it does not send meanwhile says nothing of the path."""
    network = filled(mbit * 125_000, milliseconds / 1000)
    cap = network.inflight_cap.cap
    until = network.now + 5
    while network.now < until:
        network.run(0.3 * network.delay)
        assert network.inflight_cap.cap > 0.8 * cap
        network.wait(2 * network.delay)
    assert network.run(5) > 0.98 * network.rate
    assert network.round_trip < 1.3 * network.delay + 3 * RETRY_DELAY + PACKET / network.rate


def test_a_peer_that_is_gone_is_left_to_the_transport_which_counts_the_time() -> None:
    network = filled()
    network.window = float("inf")
    network.silent_until = float("inf")
    network.run(2)
    assert not network.inflight_cap.cap
    assert network.inflight_cap.allow(FLUSH) == FLUSH


def test_the_path_runs_empty_now_and_then_so_that_the_kernel_sees_its_true_length() -> None:
    network = filled()
    network.least = network.round_trip  # it has forgotten, as it does after five minutes
    network.run(12)
    assert network.least < 1.02 * network.delay + RETRY_DELAY
    assert network.run(5) > 0.98 * network.rate


def test_after_a_rest_there_is_no_cap() -> None:
    network = filled()
    assert network.inflight_cap.cap
    network.run(2, lambda: 0)
    assert network.inflight_cap.allow(FLUSH) == FLUSH
    assert not network.inflight_cap.cap


@pytest.mark.slow
def test_a_path_too_short_to_be_timed_is_never_capped_and_hardly_looked_at() -> None:
    network = Network(1e9, MIN_CAPPED_RTT / 3, window=20.0)
    network.run(10)
    assert not network.inflight_cap.cap
    assert network.looks <= 11


def test_what_presses_goes_above_the_cap_once_until_there_is_room() -> None:
    network = filled()
    inflight_cap = network.inflight_cap
    network.send(inflight_cap.cap)
    assert inflight_cap.allow(FLUSH) == 0
    assert inflight_cap.allow(FLUSH, urgent=True) > 0
    assert inflight_cap.allow(FLUSH, urgent=True) == 0
    network.run(0.1)
    network.send(inflight_cap.cap)
    assert inflight_cap.allow(FLUSH, urgent=True) > 0


@pytest.mark.parametrize(("mbit", "milliseconds"), [(50, 40), (500, 10), (1000, 40)])
def test_little_waits_in_a_kernel_that_paces(mbit: int, milliseconds: int) -> None:
    network = PacedNetwork(mbit * 125_000, milliseconds / 1000)
    network.run(2)
    assert network.run(5) > 0.97 * network.rate
    waits = network.in_flight() / network.rate - network.delay
    assert waits < 0.005


@pytest.mark.parametrize(("mbit", "milliseconds"), [(50, 40), (500, 10), (1000, 40)])
def test_a_kernel_that_paces_starts_up_as_quickly_and_fills_no_queue(
    mbit: int, milliseconds: int
) -> None:
    """Of as many bytes as the path carries in a round trip, which is what queues are made for."""
    network = PacedNetwork(mbit * 125_000, milliseconds / 1000)
    alone = PacedNetwork(mbit * 125_000, milliseconds / 1000)
    alone.inflight_cap = Uncapped(alone, lambda: alone.now)
    seconds = 20 * network.delay
    assert network.run(seconds) > 0.8 * alone.run(seconds)
    network.run(1)
    assert network.most_in_flight < 2.2 * network.product


def test_a_path_that_becomes_faster_is_found_out_where_the_kernel_paces() -> None:
    network = PacedNetwork()
    network.run(3)
    network.rate *= 4
    network.window *= 4
    network.run(4)
    assert network.run(1) > 0.95 * network.rate


def test_without_a_kernel_that_paces_what_it_holds_is_no_sign() -> None:
    network = PacedNetwork()
    network.inflight_cap = InflightCap(network, lambda: network.now)
    network.run(3)
    assert network.inflight_cap.cap == 0
