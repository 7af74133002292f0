"""Random calls against a model: whatever the order, what is ready is what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from muxado_py.scheduler import SCHEDULERS, Priority, make_scheduler

from .driver import FRAME, Stream, serve_one

if TYPE_CHECKING:
    from collections.abc import Hashable

NAMES = st.sampled_from("abcdefgh")
PRIORITIES = st.builds(Priority, st.integers(0, 7), st.sampled_from([1, 2, 16, 255, 256]))
SIZES = st.sampled_from([0, 1, 63, 1024, FRAME - 1, FRAME, 4 * FRAME])
CALLS = st.one_of(
    st.tuples(st.just("renew"), NAMES, PRIORITIES),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("move"), NAMES, PRIORITIES),
    st.tuples(st.just("mark_ready"), NAMES, SIZES),
)
"""What may happen at any time, in service too."""


class Calls(RuleBasedStateMachine):
    """The model is the set of names whose keys are ready, and the one that is in service."""

    name = "priority"

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make_scheduler(self.name)
        self.keys = {name: Stream(name) for name in "abcdefgh"}
        self.removed: set[Hashable] = set()
        self.ready: set[Hashable] = set()
        self.serving: Stream | None = None

    @rule(call=CALLS)
    def call(self, call: tuple[Any, ...]) -> None:
        what, name, *more = call
        key = self.keys[name]
        if what == "renew":
            self.call(("remove", name))
            self.keys[name] = Stream(name, *more)
            self.removed.discard(name)
        elif what == "remove":
            self.scheduler.remove(key)
            self.removed.add(name)
            self.ready.discard(name)
        elif what == "move":
            [key.priority] = more
            self.scheduler.moved(key)
        else:
            self.scheduler.mark_ready(key, *more)
            if name not in self.removed and key is not self.serving:
                self.ready.add(name)

    @rule(calls=st.lists(CALLS, max_size=4), nbytes=SIZES, more=st.booleans())
    def serve(self, calls: list[tuple[Any, ...]], nbytes: int, more: bool) -> None:
        def send(key: Stream) -> tuple[int, bool]:
            self.ready.remove(key.name)
            self.serving = key
            for call in calls:
                self.call(call)
                self.length()
            if more and self.keys[str(key.name)] is key and key.name not in self.removed:
                self.ready.add(key.name)
            self.serving = None
            return nbytes, more

        anything = bool(self.ready)
        assert (serve_one(self.scheduler, send) is not None) == anything

    @rule(
        turns=st.lists(st.tuples(SIZES, st.booleans(), st.lists(CALLS, max_size=2)), max_size=6),
        budget=st.sampled_from([FRAME, 100 * FRAME]),
    )
    def flush(self, turns: list[tuple[int, bool, list[tuple[Any, ...]]]], budget: int) -> None:
        """Some frames with one call, and things that happen between them."""
        coming = iter(turns)

        def send(key: Stream, left: int) -> tuple[int, bool]:
            nbytes, more, calls = next(coming, (FRAME, False, []))
            self.ready.remove(key.name)
            self.serving = key
            for call in calls:
                self.call(call)
                self.length()
            if more and self.keys[str(key.name)] is key and key.name not in self.removed:
                self.ready.add(key.name)
            self.serving = None
            return nbytes, more

        self.scheduler.serve(send, budget)

    @rule()
    def drain(self) -> None:
        """Each ready key is served once if each runs dry when it is."""
        served = []

        def send(key: Stream, left: int) -> tuple[int, bool]:
            served.append(key.name)
            return FRAME, False

        self.scheduler.serve(send, 100 * FRAME)
        assert len(served) == len(self.ready)
        assert set(served) == self.ready
        self.ready.clear()

    @invariant()
    def length(self) -> None:
        assert len(self.scheduler) == len(self.ready)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_is_ready_is_what_is_served(name: str) -> None:
    machine = type("Calls", (Calls,), {"name": name})
    run_machine(machine, settings=settings(max_examples=100, stateful_step_count=50))
