"""How much is handed to a transport at once, over one that is only figures, on a clock that nobody waits for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.links.flush_size import FlushSize

KIB = 1024
UNSENT = 16 * KIB
"""What the kernel takes ahead of the path: TCP_NOTSENT_LOWAT."""


class Transport:
    """Carries so many bytes a second, and takes them at once while it has room.

    :param turn: seconds in which the event loop is busy elsewhere, between two flushes.
    """

    def __init__(self, rate: float, turn: float = 0.00002) -> None:
        self.rate = rate
        self.turn = turn
        self.now = 0.0
        self.sizes = FlushSize()
        self.most = 2**31
        """Bytes that the application has ready at a time."""
        self._empty_at = 0.0

    def carry(self, seconds: float) -> float:
        """Hand over all that is taken in so many seconds; the rate of it in bytes per second."""
        began, total = self.now, 0
        while self.now < began + seconds:
            nbytes = min(self.sizes.now, self.most)
            given = self.now
            self._empty_at = max(self._empty_at, given) + nbytes / self.rate
            self.now = max(given, self._empty_at - UNSENT / self.rate)
            self.sizes.taken(nbytes, given, self.now)
            self.now += self.turn
            total += nbytes
        return total / (self.now - began)


@pytest.mark.parametrize("mbit", [50, 100, 500, 1000])
def test_it_becomes_what_the_path_carries_in_a_millisecond(mbit: int) -> None:
    transport = Transport(mbit * 125_000)
    assert transport.carry(0.5) > 0.99 * transport.rate
    assert transport.sizes.now == pytest.approx(transport.rate * 0.001, rel=0.2)


def test_it_is_never_less_than_a_small_frame() -> None:
    transport = Transport(100_000)
    transport.carry(5)
    assert transport.sizes.now == 4 * KIB


def test_it_is_never_more_than_is_of_use() -> None:
    transport = Transport(2e9)
    transport.carry(0.1)
    assert transport.sizes.now == 256 * KIB


def test_a_path_that_becomes_slow_is_noticed_with_the_next_flush() -> None:
    transport = Transport(1e9)
    transport.carry(0.1)
    transport.rate = 6_000_000
    transport.carry(0.1)
    assert transport.sizes.now < 10 * KIB


def test_a_path_that_becomes_quick_is_noticed() -> None:
    transport = Transport(1_000_000)
    transport.carry(1)
    transport.rate = 1e9
    transport.carry(0.1)
    assert transport.sizes.now == 256 * KIB


def test_an_application_with_less_than_a_flush_at_a_time_is_noticed_where_the_path_is_slow() -> (
    None
):
    transport = Transport(2e9)
    transport.carry(0.1)
    assert transport.sizes.now == 256 * KIB
    transport.rate, transport.most = 6_000_000, 128 * KIB
    transport.carry(2)
    assert transport.sizes.now == pytest.approx(6000, rel=0.2)


@pytest.mark.slow
@given(st.floats(1e5, 2e9), st.floats(0.000_01, 0.02))
def test_the_path_never_waits_for_small_flushes(rate: float, turn: float) -> None:
    """Not even where each flush has to last for a long turn of the loop: then they are longer."""
    transport = Transport(rate, turn)
    transport.carry(50 * turn + 1)
    longest = turn + (256 * KIB - UNSENT) / rate  # seconds from one flush of 256 KiB to the next
    assert transport.carry(50 * turn + 1) > 0.7 * min(rate, 256 * KIB / longest)


@given(st.lists(st.integers(0, 300 * KIB), min_size=1, max_size=200), st.floats(0, 1))
def test_whatever_an_application_gives_leaves_it_within_bounds(
    given: list[int], pause: float
) -> None:
    sizes = FlushSize()
    now = 0.0
    for nbytes in given:
        sizes.taken(nbytes, now, now)
        now += pause
        assert 4 * KIB <= sizes.now <= 256 * KIB
