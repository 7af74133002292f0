"""One heap for all that is due: in its order, never early, nothing lost, and nothing kept that is over."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxado_py.protocol.timers import (
    AT_ONCE,
    CLOCK_TOLERANCE,
    COARSE,
    MAX_STALE_TIMERS,
    NEVER,
    Deadlines,
    Generations,
    Interval,
    Timer,
    Timers,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class World:
    """Timers, the clock that the test moves, and what acted when.

    Like the task of a session it remembers until when it sleeps, and looks again only if it is told to.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.timers = Timers(lambda: self.now, self._note)
        self.acted: list[tuple[float, object]] = []
        self.asleep_until = NEVER

    def _note(self) -> None:
        self.asleep_until = self.timers.expected

    def timer(self, name: object) -> Timer:
        return Timer(self.timers, lambda now: self.acted.append((now, name)))

    def deadlines(self, seconds: float) -> Deadlines[object]:
        waiting: Deadlines[object] = Deadlines(self.timers, seconds)
        waiting.expired = lambda item: self.acted.append((self.now, item))
        return waiting

    def go_on(self, seconds: float) -> int:
        """So much time passes; how often something had to be looked at."""
        until, turns = self.now + seconds, 0
        while self.asleep_until <= until:
            self.now = max(self.now, self.asleep_until)
            self.timers.expire(self.now)
            self.asleep_until = self.timers.next_deadline()
            turns += 1
            assert turns < 10_000, "it looks again and again"
        self.now = until
        return turns


def test_what_is_due_first_acts_first_and_at_its_moment() -> None:
    world = World()
    for when in (3.0, 1.0, 2.0):
        world.timer(when).arm(when)
    assert world.timers.next_deadline() == 1.0
    world.go_on(10)
    assert world.acted == [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)]
    assert world.timers.next_deadline() == NEVER


def test_what_is_due_at_the_same_moment_acts_in_the_order_of_arming() -> None:
    world = World()
    for name in "abc":
        world.timer(name).arm(5.0)
    world.timers.expire(5.0)
    assert [name for _, name in world.acted] == ["a", "b", "c"]


def test_a_timer_may_be_moved_both_ways_and_disarmed() -> None:
    world = World()
    later, sooner, not_at_all = (world.timer(name) for name in ("later", "sooner", "not at all"))
    for timer in (later, sooner, not_at_all):
        timer.arm(5.0)
    later.arm(7.0)
    sooner.arm(2.0)
    not_at_all.disarm()
    assert 2 <= len(world.timers) <= 2 * 2 + MAX_STALE_TIMERS
    world.go_on(100)
    assert world.acted == [(2.0, "sooner"), (7.0, "later")]
    not_at_all.arm(world.now)
    world.timers.expire(world.now)
    assert world.acted[-1] == (100.0, "not at all")
    not_at_all.arm(NEVER)
    assert world.timers.next_deadline() == NEVER


def test_whoever_sleeps_is_told_of_an_earlier_deadline_and_of_no_other() -> None:
    told = []
    timers = Timers(lambda: 0.0, lambda: told.append(timers.expected))
    one, other = Timer(timers), Timer(timers)
    one.arm(10.0)
    other.arm(12.0)
    one.arm(11.0)
    assert told == [10.0]
    assert timers.next_deadline() == 11.0
    other.arm(11.5)
    other.arm(10.5)
    assert told == [10.0, 10.5]


def test_what_acts_may_arm_itself_for_now_and_waits_for_the_next_look() -> None:
    world = World()
    again = Timer(world.timers)
    times = []

    def act(now: float) -> None:
        times.append(now)
        again.arm(now)

    again.act = act
    again.arm(1.0)
    for now in (1.0, 1.0, 2.0):
        world.timers.expire(now)
    assert times == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("move", [Timer.disarm, lambda timer: timer.arm(9.0)])
def test_what_acts_may_hold_up_another_that_is_due(move: Callable[[Timer], None]) -> None:
    world = World()
    other = world.timer("other")
    Timer(world.timers, lambda _now: move(other)).arm(1.0)
    other.arm(1.0)
    world.timers.expire(1.0)
    assert world.acted == []


def test_a_clock_that_is_a_hair_behind_does_not_make_it_look_for_ever() -> None:
    world = World()
    world.timer("x").arm(1.0)
    world.timers.expire(1.0 - 2 * CLOCK_TOLERANCE)
    assert world.acted == []
    world.timers.expire(1.0 - CLOCK_TOLERANCE / 2)
    assert len(world.acted) == 1


MANY = 24

moves = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, MANY - 1), st.integers(-3, 40)),
        st.tuples(st.just("arm all"), st.just(0), st.integers(0, 40)),
        st.tuples(st.just("disarm"), st.integers(0, MANY - 1), st.just(0)),
        st.tuples(st.just("disarm most"), st.integers(0, MANY - 1), st.just(0)),
        st.tuples(st.just("pass"), st.just(0), st.integers(0, 20)),
        st.tuples(st.just("ask"), st.just(0), st.just(0)),
    ),
    max_size=60,
)


@given(moves=moves)
def test_each_acts_once_at_its_moment_whatever_was_said_before(
    moves: list[tuple[str, int, int]],
) -> None:
    world = World()
    timers = [world.timer(number) for number in range(MANY)]
    armed: dict[object, float] = {}
    for what, number, seconds in moves:
        if what == "arm":
            armed[number] = world.now + seconds
            timers[number].arm(armed[number])
        elif what == "arm all":
            for one, timer in enumerate(timers):
                armed[one] = world.now + (seconds + 7 * one) % 41
                timer.arm(armed[one])
        elif what == "disarm":
            armed.pop(number, None)
            timers[number].disarm()
        elif what == "disarm most":
            for one in range(number + 1):
                armed.pop(one, None)
                timers[one].disarm()
        elif what == "pass":
            end = world.now + seconds
            due = {max(world.now, when) for when in armed.values() if when <= end}
            before = len(world.acted)
            assert world.go_on(seconds) <= len(due) + len(moves), "it wakes for nothing"
            acted = world.acted[before:]
            assert [now for now, _ in acted] == sorted(now for now, _ in acted)
            for now, name in acted:
                assert now == max(end - seconds, armed.pop(name)), "early, late or twice"
            assert all(when > end for when in armed.values()), "one was lost"
        else:
            assert world.timers.next_deadline() == min(armed.values(), default=NEVER)
            world.asleep_until = world.timers.expected
        assert world.asleep_until <= min(armed.values(), default=NEVER), "it would sleep too long"
        assert len(armed) <= len(world.timers) <= 2 * len(armed) + MAX_STALE_TIMERS + 2
        assert all(timer.deadline == armed.get(name, NEVER) for name, timer in enumerate(timers))


@given(
    armed=st.integers(0, 50),
    steps=st.lists(st.tuples(st.integers(0, 1), st.floats(1, 1e6)), max_size=100),
)
def test_what_is_over_is_not_kept(armed: int, steps: list[tuple[int, float]]) -> None:
    """A stream with a deadline of its own that ends well before it must not stay until then."""
    world = World()
    for number in range(armed):
        world.timer(number).arm(2e6)
    live = armed
    short = world.timer("often moved")
    when = 1e9
    for kind, less in steps:
        if kind:
            world.timer("kept").arm(less)
            live += 1
        for _ in range(3):
            when -= 1.0
            short.arm(when)
        one = world.timer("gone")
        one.arm(less)
        one.disarm()
        assert len(world.timers) <= 2 * (live + 1) + MAX_STALE_TIMERS + 2


def test_twenty_thousand_that_end_early_leave_nothing() -> None:
    world = World()
    for number in range(20_000):
        timer = world.timer(number)
        timer.arm(3600.0 + number)
        timer.disarm()
        assert len(world.timers) < 2 * MAX_STALE_TIMERS
    assert world.timers.next_deadline() == NEVER
    assert not len(world.timers)


def test_what_was_disarmed_when_the_heap_was_cleared_can_be_armed_again() -> None:
    world = World()
    timers = [world.timer(number) for number in range(3 * MAX_STALE_TIMERS)]
    for timer in timers:
        timer.arm(5.0)
    for timer in timers:
        timer.disarm()
    assert len(world.timers) <= MAX_STALE_TIMERS + 1
    for timer in timers:
        timer.arm(6.0)
    world.go_on(10)
    assert [when for when, _ in world.acted] == [6.0] * len(timers)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_left_when_the_heap_was_cleared_keeps_its_order(seed: int) -> None:
    world = World()
    times = [float(when) for when in range(4 * MAX_STALE_TIMERS)]
    Random(seed).shuffle(times)
    timers = {when: world.timer(when) for when in times}
    for when in times:
        timers[when].arm(when)
    for when in times[: 3 * MAX_STALE_TIMERS]:
        timers[when].disarm()
    world.go_on(100)
    assert world.acted == [(when, when) for when in sorted(times[3 * MAX_STALE_TIMERS :])]


# Intervals.


def test_an_interval_goes_on_for_as_long_as_there_is_a_reason() -> None:
    world = World()
    times: list[float] = []

    def act(now: float) -> bool:
        times.append(now)
        return len(times) % 3 > 0

    interval = Interval(world.timers, 2.0, act)
    world.go_on(1)
    interval.begin()
    world.go_on(1)
    interval.begin()
    world.go_on(100)
    assert times == [3.0, 5.0, 7.0]
    interval.begin()
    assert world.timers.next_deadline() == 104.0


# What may stay equally long.


def test_each_that_waits_has_its_own_deadline_and_one_that_is_discarded_none() -> None:
    world = World()
    waiting = world.deadlines(10)
    for name in "abcd":
        waiting.add(name)
        world.go_on(1)
    waiting.discard("b")
    waiting.add("c")  # it is here already, and its time runs on
    assert waiting.oldest() == "a"
    world.go_on(100)
    assert world.acted == [(10.0, "a"), (12.0, "c"), (13.0, "d")]
    assert not waiting


def test_what_ends_may_come_again() -> None:
    world = World()
    waiting = world.deadlines(10)
    times = []

    def again(item: object) -> None:
        times.append(world.now)
        waiting.add(item)

    waiting.expired = again
    waiting.add("x")
    world.go_on(35)
    assert times == [10.0, 20.0, 30.0]


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_thousands_that_come_and_go_cost_a_turn_for_all_and_no_place_in_the_heap(
    seconds: float,
) -> None:
    world = World()
    waiting = world.deadlines(seconds)
    for number in range(10_000):
        waiting.add(number)
        waiting.discard(number)
        assert len(world.timers) <= 1
    assert world.go_on(1000) <= 2
    assert world.acted == []
    assert world.go_on(1000) == 0, "nothing is left to look at"


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "discard", "pass"]), st.integers(0, 7)), max_size=100
    )
)
def test_whatever_comes_and_goes_each_stays_for_its_time(steps: list[tuple[str, int]]) -> None:
    world = World()
    waiting = world.deadlines(5)
    model: dict[object, float] = {}
    for what, number in steps:
        if what == "add":
            waiting.add(number)
            model.setdefault(number, world.now + 5)
        elif what == "discard":
            assert waiting.discard(number) == (model.pop(number, None) is not None)
        else:
            end, before = world.now + number, len(world.acted)
            due = [(when, item) for item, when in model.items() if when <= end]
            world.go_on(number)
            assert world.acted[before:] == due
            for _, item in due:
                del model[item]
        assert list(waiting.items()) == list(model.items())


# Where a moment is enough.


def generations(world: World, seconds: float) -> Generations[object]:
    held: Generations[object] = Generations(world.timers, seconds - COARSE)
    held.aged = lambda item: world.acted.append((world.now, item))
    return held


def test_who_is_alone_stays_for_one_step() -> None:
    world = World()
    held = generations(world, 2)
    held.add("x")
    assert world.timers.next_deadline() == AT_ONCE
    assert world.go_on(100) == 2
    assert world.acted == [(2.0, "x")]


def test_a_clock_that_lags_makes_no_step_shorter() -> None:
    """It is read once in a turn of the loop: what is held late in one has its time from the next one on."""
    world = World()
    held = generations(world, 2)
    held.add("x")  # the clock says 0, and it is 5
    world.now = 5.0
    world.go_on(100)
    assert world.acted == [(7.0, "x")]


def test_what_is_no_longer_held_costs_no_turn_any_more() -> None:
    world = World()
    held = generations(world, 2)
    held.add("x")
    assert held.discard("x")
    assert not held.discard("x")
    world.go_on(10)
    assert world.acted == []
    assert world.go_on(100) == 0


@given(gaps=st.lists(st.sampled_from([0.0, 0.1, 0.7, 3.0]), max_size=100))
def test_each_stays_for_one_step_to_two(gaps: list[float]) -> None:
    world = World()
    held = generations(world, 2)
    came: dict[object, float] = {}
    turns = 0
    for number, gap in enumerate(gaps):
        held.add(number)
        came[number] = world.now
        turns += world.go_on(gap)
    turns += world.go_on(10)
    assert [item for _, item in world.acted] == list(range(len(gaps)))
    for now, item in world.acted:
        assert now - came[item] + 1e-9 >= 2
        assert now - came[item] <= 4 + 1e-9
    assert turns <= 2 + sum(gaps) / 2 + 2 * len([gap for gap in gaps if gap > 2]) + 3
