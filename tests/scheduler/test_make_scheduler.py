"""Names and factories of schedulers, and the values of a priority."""

from __future__ import annotations

from typing import Any

import pytest

from muxado_py.scheduler import (
    DEFAULT_PRIORITY,
    SCHEDULERS,
    FifoScheduler,
    Lane,
    Priority,
    RoundRobinScheduler,
    Scheduler,
    make_scheduler,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("priority", Lane),
        ("round-robin", RoundRobinScheduler),
        ("fifo", FifoScheduler),
        (RoundRobinScheduler, RoundRobinScheduler),
        (lambda: FifoScheduler(), FifoScheduler),
    ],
)
def test_what_a_name_or_a_factory_makes(name: Any, kind: type[Scheduler]) -> None:
    made = make_scheduler(name)
    assert type(made) is kind
    assert make_scheduler(name) is not made


def test_the_default_orders_by_priority() -> None:
    assert isinstance(make_scheduler(), Lane)


@pytest.mark.parametrize("name", ["", "Priority", "wfq", None, 3, ["fifo"], dict, lambda: None])
def test_anything_else_is_refused_with_the_choices(name: Any) -> None:
    with pytest.raises(ValueError, match="one of priority, round-robin, fifo, or a callable") as it:
        make_scheduler(name)
    assert repr(name) in str(it.value)


def test_the_names_make_what_the_contract_asks_for() -> None:
    for factory in SCHEDULERS.values():
        assert isinstance(factory(), Scheduler)


def test_the_default_priority_is_in_the_middle() -> None:
    assert Priority() == DEFAULT_PRIORITY == Priority(urgency=3, weight=16)


@pytest.mark.parametrize("given", [(-1, 16), (8, 16), (3, 0), (3, 257), (3.0, 16), (3, "16")])
def test_a_priority_out_of_range_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"(urgency|weight) must be an int from \d to \d+, got"):
        Priority(*given)
