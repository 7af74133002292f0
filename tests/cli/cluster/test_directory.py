"""Which gateways there are, and when the registry is not believed that one is not."""

from __future__ import annotations

from muxado_py.cli.cluster.directory import DISTRUST, GONE_AFTER, MAX_MISSED, Directory
from muxado_py.cli.cluster.nodes import Node


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def nodes(*ids: str) -> dict[str, Node]:
    return {one: Node(one, f"unix:///{one}") for one in ids}


def test_the_others_are_those_that_the_registry_says() -> None:
    directory = Directory("me", Clock())
    directory.read(nodes("me", "one", "two"))
    assert directory.nodes == nodes("one", "two")
    directory.read(nodes("me", "two"))
    assert directory.nodes == nodes("two")


def test_a_registry_that_may_have_forgotten_takes_nobody_away() -> None:
    clock = Clock()
    directory = Directory("me", clock)
    directory.read(nodes("one", "two"))
    directory.distrust()
    assert directory.is_distrusted
    directory.read(nodes("two", "three"))
    assert directory.nodes == nodes("one", "two", "three")
    clock.now += DISTRUST
    assert not directory.is_distrusted
    directory.read(nodes("two", "three"))
    assert directory.nodes == nodes("two", "three")


def test_only_who_is_missed_for_long_is_gone() -> None:
    clock = Clock()
    directory = Directory("me", clock)
    directory.read(nodes("one"))
    assert directory.gone(["me", "one", "two"]) == []
    clock.now += GONE_AFTER / 2
    directory.read(nodes("one", "two"))
    directory.read(nodes("one"))
    assert directory.gone(["two"]) == []
    clock.now += GONE_AFTER / 2
    assert directory.gone(["two"]) == []
    clock.now += GONE_AFTER / 2
    assert directory.gone(["one", "two"]) == ["two"]
    assert directory.gone(["two"]) == []


def test_nobody_makes_it_note_nodes_without_end() -> None:
    clock = Clock()
    directory = Directory("me", clock)
    for _ in range(2):
        found = directory.gone(str(number) for number in range(3 * MAX_MISSED))
        clock.now += GONE_AFTER
    assert len(found) == MAX_MISSED
