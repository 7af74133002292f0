"""Random calls against a model: whatever the order, what is ready is what is popped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from muxado_py.scheduler import SCHEDULERS, Priority, make_scheduler

from .driver import FRAME

if TYPE_CHECKING:
    from collections.abc import Hashable

KEYS = st.sampled_from("abcdefgh")
PRIORITIES = st.builds(Priority, st.integers(0, 7), st.sampled_from([1, 2, 16, 255, 256]))
SIZES = st.sampled_from([0, 1, 63, 1024, FRAME - 1, FRAME, 4 * FRAME])


class Calls(RuleBasedStateMachine):
    """The model is a set of known keys, a set of ready ones, and the key in service."""

    name = "priority"

    def __init__(self) -> None:
        super().__init__()
        self.scheduler = make_scheduler(self.name)
        self.known: set[Hashable] = set()
        self.ready: set[Hashable] = set()
        self.serving: Hashable | None = None

    @rule(key=KEYS, priority=PRIORITIES)
    def add(self, key: str, priority: Priority) -> None:
        if key in self.known:
            with pytest.raises(ValueError, match="in the scheduler already"):
                self.scheduler.add(key, priority)
        else:
            self.scheduler.add(key, priority)
            self.known.add(key)

    @rule(key=KEYS)
    def remove(self, key: str) -> None:
        self.scheduler.remove(key)
        self.known.discard(key)
        self.ready.discard(key)
        if key == self.serving:
            self.serving = None

    @rule(key=KEYS, priority=PRIORITIES)
    def set_priority(self, key: str, priority: Priority) -> None:
        self.scheduler.set_priority(key, priority)

    @rule(key=KEYS, nbytes=SIZES)
    def mark_ready(self, key: str, nbytes: int) -> None:
        self.scheduler.mark_ready(key, nbytes)
        if key in self.known and key != self.serving:
            self.ready.add(key)

    @precondition(lambda self: self.serving is None)
    @rule()
    def pop(self) -> None:
        self.serving = self.scheduler.pop()
        assert (self.serving is None) == (not self.ready)
        if self.serving is not None:
            self.ready.remove(self.serving)

    @rule(key=KEYS, nbytes=SIZES, ready=st.booleans())
    def served(self, key: str, nbytes: int, ready: bool) -> None:
        self.scheduler.served(key, nbytes, ready)
        if key == self.serving:
            self.serving = None
            if ready:
                self.ready.add(key)

    @precondition(lambda self: self.serving is not None)
    @rule(nbytes=SIZES, ready=st.booleans())
    def serve(self, nbytes: int, ready: bool) -> None:
        assert isinstance(self.serving, str)
        self.served(self.serving, nbytes, ready)

    @precondition(lambda self: self.serving is None)
    @rule()
    def drain(self) -> None:
        """Each ready key is popped once if each runs dry when it is."""
        popped = []
        while (key := self.scheduler.pop()) is not None:
            popped.append(key)
            self.scheduler.served(key, FRAME, False)
        assert len(popped) == len(self.ready)
        assert set(popped) == self.ready
        self.ready.clear()

    @invariant()
    def length(self) -> None:
        assert len(self.scheduler) == len(self.ready)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_what_is_ready_is_what_is_popped(name: str) -> None:
    machine = type("Calls", (Calls,), {"name": name})
    run_machine(machine, settings=settings(max_examples=100, stateful_step_count=50, deadline=None))
